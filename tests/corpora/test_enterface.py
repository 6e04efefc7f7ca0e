"""eNTERFACE'05 as its archive unpacks it, with what is wrong in it; the files are empty."""

from collections import Counter
from pathlib import Path

import pytest

from stages.corpora.enterface import CODE, OFFICIAL, read
from stages.corpora.listing import list_corpus
from stages.corpora.utterance import Listing, Utterance, differences
from tests.corpora.trees import make


def official_paths() -> list[str]:
    """All 1,293 films: 43 people with 30 each, but for 3 of subject 23; and 6 of subject 6."""
    paths = []
    for subject in range(1, 45):
        for emotion, code in CODE.items():
            if subject == 6:
                paths.append(f"subject 6/{emotion}/s6_{code}.avi")
                continue
            for number in range(1, 6):
                if (subject, emotion) == (23, "happiness") and number > 2:
                    continue
                name = f"s{subject}_{code}_{number}.avi"
                if subject == 11:
                    name = f"s12_{code}_{number}.avi"
                if subject == 3 and number < 4:
                    name = f"s_3_{code}_{number}.avi"
                if (subject, code, number) == (16, "su", 3):
                    name = "s16_su_3avi.avi"
                paths.append(f"subject {subject}/{emotion}/sentence {number}/{name}")
    return paths


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    root = tmp_path_factory.mktemp("enterface") / "enterface"
    junk = ["subject 1/anger/sentence 1/Thumbs.db", "subject 1/anger/sentence 1/._s1_an_1.avi"]
    make(root, *(f"enterface database/{path}" for path in [*official_paths(), *junk]))
    return list_corpus(root, "enterface")


def test_the_archive_has_1293_films_of_which_6_are_not_cut(listing: Listing):
    assert listing.expected == 1293 and differences(listing) == [] and listing.notes == []
    assert len(listing.utterances) == len({item.id for item in listing.utterances}) == 1287
    assert Counter(code for _, code, _ in listing.excluded) == {"known_bad": 6}
    assert {item.speaker for item, _, _ in listing.excluded} == {"enterface/s6"}
    counts = Counter(item.emotion for item in listing.utterances)
    assert counts == dict.fromkeys(CODE, 215) | {"happiness": 212}
    assert {("", emotion): n + 1 for emotion, n in counts.items()} == OFFICIAL


def test_there_are_43_people_with_30_films_each_but_for_one(listing: Listing):
    counts = Counter(item.speaker for item in listing.utterances)
    people = (number for number in range(1, 45) if number != 6)
    assert counts == {f"enterface/s{number}": 30 for number in people} | {"enterface/s23": 27}


def test_subject_11_and_subject_12_are_two_people_with_films_of_one_name(listing: Listing):
    found = {item.id: item for item in listing.utterances}
    for subject in (11, 12):
        item = found[f"enterface/s{subject}_fe_5"]
        assert item.speaker == f"enterface/s{subject}" and item.sentence == "fear_5"
        assert item.video == item.audio
        assert item.video == f"enterface database/subject {subject}/fear/sentence 5/s12_fe_5.avi"


@pytest.mark.parametrize(
    "path, name",
    [
        ("subject 3/fear/sentence 5/s_3_fe_5.avi", "s3_fe_5"),
        ("subject 16/surprise/sentence 3/s16_su_3avi.avi", "s16_su_3"),
        ("Subject_01/Anger/Sentence_2/S1_AN_2.AVI", "s1_an_2"),
        ("x/subject 7/sadness/sentence 4/s7_sa_4 (1).mp4", "s7_sa_4"),
    ],
)
def test_odd_names_are_those_of_their_folders(path: str, name: str, tmp_path: Path):
    make(tmp_path / "c", path)
    (utterance,) = read(tmp_path / "c", "enterface").utterances
    assert (utterance.id, utterance.video) == (f"enterface/{name}", path)


def test_a_voice_of_its_own_goes_before_that_of_the_film(tmp_path: Path):
    place = "subject 1/anger/sentence 1"
    make(tmp_path / "c", f"{place}/s1_an_1.avi", f"{place}/s1_an_1.wav")
    assert read(tmp_path / "c", "enterface").utterances == [
        Utterance(
            id="enterface/s1_an_1",
            speaker="enterface/s1",
            emotion="anger",
            sentence="anger_1",
            video=f"{place}/s1_an_1.avi",
            audio=f"{place}/s1_an_1.wav",
        )
    ]


def test_a_second_film_of_a_sentence_is_named(tmp_path: Path):
    place = "subject 1/anger/sentence 1"
    make(tmp_path / "c", f"{place}/s1_an_1.avi", f"{place}/s1_an_2.avi")
    ((_, code, detail),) = read(tmp_path / "c", "enterface").excluded
    assert (code, detail) == ("duplicate", f"{place}/s1_an_2.avi repeats {place}/s1_an_1.avi")


@pytest.mark.parametrize(
    "path",
    ["subject 1/anger/sentence 1/s1_fe_1.avi", "subject 1/calm/sentence 1/s1_an_1.avi",
     "subject 1/anger/sentence 6/s1_an_6.avi", "s1_an_1.avi", "subject 1/anger/sentence 1/x.avi",
     "subject 1/anger/sentence 1/s1_angry.avi"],
)  # fmt: skip
def test_what_lies_elsewhere_or_contradicts_its_folder_is_told_and_not_used(
    path: str, tmp_path: Path
):
    make(tmp_path / "c", path, "subject 2/fear/sentence 1/s2_fe_1.avi")
    listing = list_corpus(tmp_path / "c", "enterface")
    assert [item.id for item in listing.utterances] == ["enterface/s2_fe_1"]
    assert listing.notes == [f"there and not used, 1 files: {path}"]
