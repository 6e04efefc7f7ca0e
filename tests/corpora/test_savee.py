"""SAVEE as its archives unpack it; only the names count, so the files are links to an empty one."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpora.listing import list_corpus
from stages.corpora.savee import EMOTION, OFFICIAL, SENTENCES, SPEAKERS, read, recording_of
from stages.corpora.utterance import Listing, Utterance, differences
from tests.corpora.trees import make
from tests.helpers import user_error

# From the publisher's description: 15 sentences an emotion, 30 neutral ones, four speakers.
NUMBERS = [(code, i + 1) for code in ("a", "d", "f", "h", "sa", "su") for i in range(15)]
NUMBERS += [("n", i + 1) for i in range(30)]
COUNTS = {
    "anger": 60,
    "disgust": 60,
    "fear": 60,
    "happiness": 60,
    "neutral": 120,
    "sadness": 60,
    "surprise": 60,
}


def voices(pattern: str = "AudioData/{}/{}{:02d}.wav") -> list[str]:
    return [pattern.format(who, *what) for who in ("DC", "JE", "JK", "KL") for what in NUMBERS]


def faces() -> list[str]:
    return voices("AudioVisualClip/{}/{}{}.avi")


def listing_of(root: Path, *names: str) -> Listing:
    make(root / "savee", *names)
    return read(root / "savee", "savee")


def only(listing: Listing) -> Utterance:
    (utterance,) = listing.utterances
    return utterance


@pytest.fixture(scope="module")
def both_archives(tmp_path_factory: pytest.TempPathFactory) -> Listing:
    return listing_of(tmp_path_factory.mktemp("savee"), *voices(), *faces())


def test_there_are_480_takes_as_many_of_each_emotion_as_published(both_archives: Listing):
    assert Counter(item.emotion for item in both_archives.utterances) == COUNTS
    assert both_archives.expected == 480
    assert differences(both_archives) == []


def test_each_of_the_four_speakers_has_120_takes(both_archives: Listing):
    counts = Counter(item.speaker for item in both_archives.utterances)
    assert counts == {f"savee/{who}": 120 for who in ("DC", "JE", "JK", "KL")}


def test_each_sentence_is_said_by_the_four_speakers(both_archives: Listing):
    counts = Counter(item.sentence for item in both_archives.utterances)
    assert len(counts) == 120 and set(counts.values()) == {4}


def test_padded_voices_meet_unpadded_faces(both_archives: Listing):
    for item in both_archives.utterances:
        assert item.audio.startswith("AudioData/") and item.audio.endswith(".wav")
        assert item.video.startswith("AudioVisualClip/") and item.video.endswith(".avi")
    assert len({item.id for item in both_archives.utterances}) == 480
    assert both_archives.excluded == [] and both_archives.notes == []


def test_a_take_is_understood(tmp_path: Path):
    names = ["AudioData/KL/sa03.wav", "AudioVisualClip/KL/sa3.avi"]
    assert only(listing_of(tmp_path, *names)) == Utterance(
        id="savee/KL_sa03",
        speaker="savee/KL",
        sex="male",
        emotion="sadness",
        sentence="sa03",
        video="AudioVisualClip/KL/sa3.avi",
        audio="AudioData/KL/sa03.wav",
    )


@pytest.mark.parametrize(
    "code, emotion",
    [
        ("a", "anger"),
        ("d", "disgust"),
        ("f", "fear"),
        ("h", "happiness"),
        ("n", "neutral"),
        ("sa", "sadness"),
        ("su", "surprise"),
    ],
)
def test_the_letters_are_the_published_emotions(code: str, emotion: str, tmp_path: Path):
    assert only(listing_of(tmp_path, f"AudioData/DC/{code}01.wav")).emotion == emotion


def test_a_flat_mirror_has_all_voices_and_no_face_and_says_so(tmp_path: Path):
    listing = listing_of(tmp_path, *voices("ALL/{}_{}{:02d}.wav"))
    assert differences(listing) == []
    assert not any(item.video for item in listing.utterances)
    assert listing.notes == [
        f"no faces: AudioVisualClip, which has them, is not below {tmp_path / 'savee'}"
    ]


def test_without_the_sound_archive_the_voice_is_that_of_the_clip(tmp_path: Path):
    utterance = only(listing_of(tmp_path, "AudioVisualClip/DC/a1.avi"))
    assert utterance.audio == utterance.video == "AudioVisualClip/DC/a1.avi"


def test_what_is_missing_is_counted_and_named(tmp_path: Path):
    names = [name for name in voices() + faces() if "JE/d03.wav" not in name]
    names = [name for name in names if "JE/d3.avi" not in name and "KL/n30.avi" not in name]
    listing = listing_of(tmp_path, *names)
    assert differences(listing) == ["disgust 59 of 60"]
    assert listing.notes == [
        "not here, 1 of 480 recordings: JE_d03",
        "no face, 1 of 479 recordings: KL_n30",
    ]


def test_two_spellings_of_one_take_are_one_utterance_and_a_duplicate(tmp_path: Path):
    listing = listing_of(tmp_path, "ALL/DC_a01.wav", "AudioData/DC/a1.wav")
    ((utterance, code, detail),) = listing.excluded
    assert only(listing).audio == "ALL/DC_a01.wav"
    assert (utterance.id, code) == ("savee/DC_a01", "duplicate")
    assert detail == "AudioData/DC/a1.wav repeats ALL/DC_a01.wav"


@pytest.mark.parametrize(
    "name",
    [
        "AudioData/DC/Thumbs.db",
        "AudioData/Info.txt",
        "AudioData/DC/._a01.wav",
        "FeatureData/DC_a01.txt",
        "AudioData/DC/a01.wav.part",
    ],
)
def test_what_is_no_clip_is_passed_over(name: str, tmp_path: Path):
    assert listing_of(tmp_path, name) == Listing(official=OFFICIAL)


@pytest.mark.parametrize(
    "name",
    [
        "a01.wav",
        "AudioData/XY/a01.wav",
        "AudioData/DC/s01.wav",
        "AudioData/DC/a16.wav",
        "AudioData/DC/n31.wav",
        "AudioData/DC/a00.wav",
        "AudioData/DC/a01 copy.wav",
        "ALL/XY_a01.wav",
    ],
)
def test_a_clip_that_cannot_be_told_is_not_used_and_named(name: str, tmp_path: Path):
    make(tmp_path / "savee", name, "AudioData/KL/n01.wav")
    listing = list_corpus(tmp_path / "savee", "savee")
    assert only(listing).id == "savee/KL_n01"
    assert f"there and not used, 1 files: {name}" in listing.notes


@pytest.mark.parametrize("suffix", [".WAV", ".flac", ".m4a"])
def test_a_voice_may_be_in_any_format(suffix: str, tmp_path: Path):
    names = [f"AudioData/DC/a01{suffix}", "AudioVisualClip/DC/a1.MP4"]
    utterance = only(listing_of(tmp_path, *names))
    assert [utterance.audio, utterance.video] == names


COPIES = [
    f"{code}{number:02d}{copy}.wav"
    for code, number in NUMBERS
    for copy in ("", " (2)", " (3)", " (4)")
]


@pytest.mark.parametrize("names", [COPIES, ["a01.wav", "sa03.wav"], ["x/f11 (2).WAV"]])
def test_names_that_lost_their_speaker_are_refused_with_what_they_lack(
    names: list[str], tmp_path: Path
):
    make(tmp_path / "savee", *names)
    message = user_error(list_corpus, tmp_path / "savee", "savee")
    assert f"{len(names)} names of files do not say who speaks: {sorted(names)[0]}" in message
    assert "AudioData/DC/a01.wav" in message and "register" not in message


def test_a_copy_whose_name_tells_its_speaker_is_read(tmp_path: Path):
    assert only(listing_of(tmp_path / "one", "DC_f11 (2).wav")).id == "savee/DC_f11"
    listing = listing_of(tmp_path / "both", "DC_f11.wav", "DC_f11 (2).wav")
    assert only(listing).id == "savee/DC_f11"
    assert [code for _, code, _ in listing.excluded] == ["duplicate"]


def test_in_a_folder_of_a_speaker_a_second_file_may_be_of_another(tmp_path: Path):
    make(tmp_path / "savee", "DC/f11.wav", "DC/f11 (2).wav")
    listing = list_corpus(tmp_path / "savee", "savee")
    assert only(listing).audio == "DC/f11.wav"
    assert "there and not used, 1 files: DC/f11 (2).wav" in listing.notes


def test_a_variant_has_its_own_ids_and_the_same_speakers(tmp_path: Path):
    make(tmp_path / "savee", "AudioData/DC/a01.wav")
    utterance = only(read(tmp_path / "savee", "savee_small"))
    assert (utterance.id, utterance.speaker) == ("savee_small/DC_a01", "savee/DC")


def test_the_tables_of_the_reader_are_those_of_the_publisher():
    assert SPEAKERS == ("DC", "JE", "JK", "KL")
    assert sum(SENTENCES.values()) == len(NUMBERS) == 120
    assert {emotion for _, emotion in OFFICIAL} == set(EMOTION.values())


def any_case(text: str) -> st.SearchStrategy[str]:
    return st.tuples(*(st.sampled_from([c.lower(), c.upper()]) for c in text)).map("".join)


@given(
    st.data(),
    st.sampled_from(["DC", "JE", "JK", "KL"]),
    st.sampled_from(NUMBERS),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([".wav", ".avi"]),
)
def test_every_spelling_of_a_name_is_the_same_take(
    data: st.DataObject, who: str, what: tuple[str, int], zeros: int, flat: bool, suffix: str
):
    name = f"{what[0]}{'0' * zeros}{what[1]}{suffix}"
    name = f"{who}_{name}" if flat else f"{who}/{name}"
    path = Path(data.draw(any_case(name)))
    assert recording_of(path) == f"{who}_{what[0]}{what[1]:02d}"


@pytest.mark.parametrize("name", ["\u017fa01.wav", "a\u0661.wav", "a.wav", "1.wav", "DC_.avi"])
def test_letters_and_digits_that_only_look_alike_are_no_take(name: str):
    assert recording_of(Path("DC", name)) is None
