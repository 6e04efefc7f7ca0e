"""MELD as its archives unpack it; the clips are links to an empty file, only names count."""

import csv
import io
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.corpora.emotions import EMOTIONS
from stages.corpora.listing import list_corpus
from stages.corpora.meld import OFFICIAL, read, read_table, speaker_name
from stages.corpora.spelling import spoken_words
from stages.corpora.utterance import Listing, Utterance, differences
from stages.runtime.errors import UserError
from tests.corpora.trees import make
from tests.helpers import user_error
from tests.media_files import corpora

FOLDERS = {
    "train": "train/train_splits",
    "dev": "dev/dev_splits_complete",
    "test": "test/output_repeated_splits_test",
}
HEADER = [
    "Sr No.",
    "Utterance",
    "Speaker",
    "Emotion",
    "Sentiment",
    "Dialogue_ID",
    "Utterance_ID",
    "Season",
    "Episode",
    "StartTime",
    "EndTime",
]
NAMES = ("neutral", "joy", "surprise", "anger", "sadness", "disgust", "fear")
# Measured on the official tables: rows by split and emotion.
COUNTS = {
    "train": (4710, 1743, 1205, 1109, 683, 271, 268),
    "dev": (470, 163, 150, 153, 111, 22, 40),
    "test": (1256, 402, 281, 345, 208, 68, 50),
}
Row = dict[str, str]


def row(dialogue: int = 0, utterance: int = 0, **cells: str) -> Row:
    times = {"StartTime": "0:16:31,240" if utterance % 2 else "00:16:31,240", "EndTime": "0:16:33"}
    return (
        dict(zip(HEADER, ["1", "Hi!", "Joey", "joy", "positive", "", "", "8", "21"]))
        | times
        | {
            "Dialogue_ID": str(dialogue),
            "Utterance_ID": str(utterance),
            **cells,
        }
    )


def write_rows(path: Path, rows: list[Row], end: str = "\r\n", encoding: str = "utf-8") -> None:
    text = io.StringIO(newline="")
    columns = list(rows[0]) if rows else HEADER
    writer = csv.DictWriter(text, columns, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.getvalue().encode(encoding))


def clip(split: str, dialogue: int = 0, utterance: int = 0, prefix: str = "") -> str:
    return f"{FOLDERS[split]}/{prefix}dia{dialogue}_utt{utterance}.mp4"


def listing_of(root: Path, rows: list[Row], *clips: str, split: str = "dev") -> Listing:
    """The listing of one table and the named clips, or the row's own."""
    write_rows(root / "meld" / f"{split}_sent_emo.csv", rows)
    make(root / "meld", *(clips or [clip(split)]))
    return read(root / "meld", "meld")


def only(listing: Listing) -> Utterance:
    (utterance,) = listing.utterances
    return utterance


def refusal(root: Path, rows: list[Row], *clips: str) -> str:
    message = user_error(listing_of, root, rows, *clips)
    return message.replace(f"{root}/", "")


def generated_rows() -> dict[str, list[Row]]:
    """Tables with the official counts, in dialogues of ten."""
    tables = {}
    for split, counts in COUNTS.items():
        words = [name for name, count in zip(NAMES, counts) for _ in range(count)]
        tables[split] = [row(i // 10, i % 10, Emotion=word) for i, word in enumerate(words)]
    return tables


def official_tables() -> dict[str, Path]:
    folder = corpora() / "meld"
    if not folder.is_dir():
        pytest.skip(f"no MELD tables in {folder}; set FDAN_CORPORA")
    return {split: folder / f"{split}_sent_emo.csv" for split in COUNTS}


def official_rows() -> dict[str, list[Row]]:
    return {
        split: list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"), newline="")))
        for split, path in official_tables().items()
    }


def make_official(root: Path, tables: dict[str, list[Row]]) -> Listing:
    """All three splits as the archives have them, with what is wrong in them."""
    for split, rows in tables.items():
        write_rows(root / "meld" / f"{split}_sent_emo.csv", rows)
        keys = [(int(item["Dialogue_ID"]), int(item["Utterance_ID"])) for item in rows]
        names = [clip(split, *key) for key in keys]
        if split == "dev":
            names.remove(clip("dev", 110, 7))
            names.append(clip("dev", 9999, 9))
        if split == "test":
            names += [clip(split, *key, prefix="final_videos_test") for key in keys[:100]]
            names += [clip(split, *key, prefix="._final_videos_test") for key in keys[:100]]
            names.append("test/._output_repeated_splits_test")
        names += [clip(split, *key, prefix="._") for key in keys]
        make(root / "meld", *names)
    return list_corpus(root / "meld", "meld")


@pytest.fixture(scope="module", params=["generated", "official"])
def official(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Listing:
    """The archives with tables of the official counts, and with the official tables."""
    tables = official_rows() if request.param == "official" else generated_rows()
    return make_official(tmp_path_factory.mktemp("meld"), tables)


def test_the_archives_have_as_many_of_each_split_and_emotion_as_published(official: Listing):
    absent = [item for item, _ in official.missing]
    counts = Counter((item.split, item.emotion) for item in official.utterances + absent)
    words = [name.replace("joy", "happiness") for name in NAMES]
    assert counts == {
        (split, word): count for split in COUNTS for word, count in zip(words, COUNTS[split])
    }
    assert counts == OFFICIAL


def test_the_archives_have_13708_rows_and_one_clip_less(official: Listing):
    assert official.expected == 13708
    assert len({item.id for item in official.utterances}) == len(official.utterances) == 13707
    rows = Counter(item.split for item in official.utterances)
    assert rows == {"train": 9989, "dev": 1108, "test": 2610}


def test_the_clip_that_the_archives_lack_is_missing_and_explained(official: Listing):
    ((utterance, detail),) = official.missing
    assert utterance.id == "meld/dev_dia110_utt7"
    assert detail == (
        "no dia110_utt7.mp4 in dev_splits_complete, which is not in the publisher's archive"
    )
    (difference,) = differences(official)
    count = OFFICIAL["dev", utterance.emotion]
    assert difference == f"dev {utterance.emotion} {count - 1} of {count}"


def test_every_row_has_the_clip_of_its_split_dialogue_and_number(official: Listing):
    for item in official.utterances:
        split, name = item.id.removeprefix("meld/").split("_", 1)
        assert item.video == item.audio
        assert item.split == split
        folder, file = item.video.rsplit("/", 1)
        assert folder == FOLDERS[split]
        assert file.removeprefix("final_videos_test") == f"{name}.mp4"


def test_the_corrected_cuts_are_taken_and_counted(official: Listing):
    corrected = [item for item in official.utterances if "final_videos_test" in item.video]
    assert len(corrected) == 100 and {item.split for item in corrected} == {"test"}
    assert "the corrected cut, final_videos_test..., is taken 100 times" in official.notes


def test_a_clip_without_a_row_is_told_and_never_used(official: Listing):
    stray = clip("dev", 9999, 9)
    assert f"there and not used, 1 files: {stray}" in official.notes
    assert stray not in {item.video for item in official.utterances}


def test_official_speakers_and_dialogues_are_understood():
    tables = {split: read_table(path, split, "meld") for split, path in official_tables().items()}
    dialogues = {split: len({key[1] for key in table}) for split, table in tables.items()}
    assert dialogues == {"train": 1038, "dev": 114, "test": 280}
    speakers = {item.speaker for table in tables.values() for item in table.values()}
    assert {"meld/Joey", "meld/Phoebe Sr", "meld/Richard's Date"} < speakers
    assert len(speakers) == 303
    shared = "but um i dont think its anything serious"
    splits = {
        key[0]
        for table in tables.values()
        for key, item in table.items()
        if item.sentence == shared
    }
    assert splits == {"train", "test"}


@pytest.mark.parametrize("official", ["official"], indirect=True)
def test_the_times_of_the_official_tables_tell_what_overlaps(official: Listing):
    assert (
        "30 groups of utterances share season, episode, start and end: 5 of them across splits, "
        "16 with several emotions" in official.notes
    )
    (note,) = [note for note in official.notes if "overlap" in note]
    assert note.startswith("33 test utterances overlap a train or dev utterance by more than half")
    split_of = {item.id: item.split for item in official.utterances}
    held_out = [
        item.id
        for item in official.utterances
        if item.split == "test" and {split_of[name] for name in names(item)} - {"test"}
    ]
    assert len(held_out) == 33


def names(utterance: Utterance) -> list[str]:
    """The ids of the utterances that an utterance overlaps."""
    return utterance.overlaps.split("\t") if utterance.overlaps else []


@pytest.mark.parametrize(
    "times, overlaps",
    [
        (("0:16:30,000", "0:16:34,000"), True),  # around it
        (("0:16:31,240", "0:16:33"), True),
        (("00:16:32,000", "00:16:40,000"), True),  # 1.0 of 1.76 s
        (("0:16:32,200", "0:16:40"), False),  # 0.8 of 1.76 s
        (("0:16:33", "0:16:34"), False),
        (("0:16:32", "0:16:32"), False),  # no time at all
        (("0:16:32", "0:16:31"), False),
        (("", "0:16:33"), False),
        (("16:31", "0:16:33"), False),
    ],
)
def test_utterances_overlap_that_share_more_than_half_of_the_shorter(
    times: tuple[str, str], overlaps: bool, tmp_path: Path
):
    other = row(0, 1, StartTime=times[0], EndTime=times[1])
    listing = listing_of(tmp_path, [row(), other], clip("dev", 0, 0), clip("dev", 0, 1))
    assert [names(item) for item in listing.utterances] == (
        [["meld/dev_dia0_utt1"], ["meld/dev_dia0_utt0"]] if overlaps else [[], []]
    )


@pytest.mark.parametrize("cells", [{"Season": "9"}, {"Episode": "20"}, {"Episode": ""}])
def test_utterances_of_two_episodes_do_not_overlap(cells: Row, tmp_path: Path):
    clips = clip("dev", 0, 0), clip("dev", 0, 1)
    listing = listing_of(tmp_path, [row(), row(0, 1, **cells)], *clips)
    assert {item.overlaps for item in listing.utterances} == {""}


@pytest.mark.parametrize("official", ["generated"], indirect=True)
def test_times_that_all_utterances_have_are_none(official: Listing):
    assert {item.overlaps for item in official.utterances} == {""}
    assert any(
        "nobody knows what they overlap, 13707 utterances" in note for note in official.notes
    )


def test_an_utterance_that_has_no_clip_overlaps_none(tmp_path: Path):
    assert only(listing_of(tmp_path, [row(), row(0, 1)])).overlaps == ""


def test_what_has_no_times_is_told(tmp_path: Path):
    cells = row()
    del cells["Season"]
    (note,) = listing_of(tmp_path, [cells]).notes
    assert "so that nobody knows what they overlap, 1 utterances: meld/dev_dia0_utt0" in note


def test_overlaps_across_splits_are_counted(tmp_path: Path):
    write_rows(tmp_path / "meld/test_sent_emo.csv", [row(5, 5, Emotion="fear")])
    make(tmp_path / "meld", clip("test", 5, 5))
    assert listing_of(tmp_path, [row()]).notes == [
        "1 groups of utterances share season, episode, start and end: 1 of them across splits, 1 "
        "with several emotions",
        "1 test utterances overlap a train or dev utterance by more than half (set duplicates: "
        "drop): meld/test_dia5_utt5",
    ]


def test_a_row_is_understood(tmp_path: Path):
    rows = [row(3, 14, Speaker=" Joey ", Utterance="It\u2019s  SO\u2014good!", Emotion="joy")]
    assert only(listing_of(tmp_path, rows, clip("test", 3, 14), split="test")) == Utterance(
        id="meld/test_dia3_utt14",
        speaker="meld/Joey",
        sex="male",
        emotion="happiness",
        sentence="its so good",
        split="test",
        video="test/output_repeated_splits_test/dia3_utt14.mp4",
        audio="test/output_repeated_splits_test/dia3_utt14.mp4",
        dialogue="meld/test_dia3",
        turn="1",
        text="It\u2019s  SO\u2014good!",
    )


def test_the_sex_of_the_six_main_characters_is_known(tmp_path: Path):
    known = {"Monica": "female", "Phoebe": "female", "Rachel": "female"}
    known |= {"Chandler": "male", "Joey": "male", "Ross": "male"}
    names = [*known, "All", "Rachel and Ross", "Woman"]
    rows = [row(0, i, Speaker=name) for i, name in enumerate(names)]
    listing = listing_of(tmp_path, rows, *(clip("dev", 0, i) for i in range(len(names))))
    assert {item.speaker.removeprefix("meld/"): item.sex for item in listing.utterances} == {
        name: known.get(name, "") for name in names
    }


def test_a_turn_is_the_rank_of_its_number_whether_there_is_a_clip_of_it_or_not(tmp_path: Path):
    rows = [row(4, 0), row(2, 12), row(2, 3), row(2, 7)]
    names = [clip("dev", *key) for key in [(4, 0), (2, 12), (2, 3)]]
    found = {
        item.id: (item.dialogue, item.turn)
        for item in listing_of(tmp_path, rows, *names).utterances
    }
    assert found == {
        "meld/dev_dia4_utt0": ("meld/dev_dia4", "1"),
        "meld/dev_dia2_utt12": ("meld/dev_dia2", "3"),
        "meld/dev_dia2_utt3": ("meld/dev_dia2", "1"),
    }


def test_every_dialogue_has_turns_from_1_on_without_gaps(official: Listing):
    turns: dict[str, list[int]] = {}
    for item in [*official.utterances, *(item for item, _ in official.missing)]:
        turns.setdefault(item.dialogue, []).append(int(item.turn))
        assert item.text
    assert all(sorted(found) == list(range(1, len(found) + 1)) for found in turns.values())


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_tables_of_all_ages_read_alike(encoding: str, end: str, tmp_path: Path):
    rows = [row(Utterance="It\u2019s caf\xe9 \u2026", Speaker="Richard\u2019s Date", Extra="x")]
    write_rows(tmp_path / "dev_sent_emo.csv", rows, end, encoding)
    make(tmp_path, "dev_splits_complete/dia0_utt0.mp4")
    utterance = only(read(tmp_path, "meld"))
    assert (utterance.sentence, utterance.speaker) == ("its caf\xe9", "meld/Richard's Date")


def test_the_same_numbers_in_two_splits_are_two_utterances(tmp_path: Path):
    for split in ("train", "dev"):
        listing = listing_of(tmp_path / split, [row()], split=split)
        assert only(listing).id == f"meld/{split}_dia0_utt0"


@pytest.mark.parametrize("order", [("", "final_videos_test"), ("final_videos_test", "")])
def test_the_corrected_cut_is_preferred(order: tuple[str, str], tmp_path: Path):
    names = [clip("test", prefix=prefix) for prefix in order]
    listing = listing_of(tmp_path, [row()], *names, split="test")
    assert only(listing).video == clip("test", prefix="final_videos_test")


@pytest.mark.parametrize("suffix", [".MP4", ".mkv", ".avi", ".Mov"])
def test_a_clip_may_be_in_any_format(suffix: str, tmp_path: Path):
    name = clip("dev").replace(".mp4", suffix)
    utterance = only(listing_of(tmp_path, [row()], name))
    assert (utterance.video, utterance.audio) == (name, name)


@pytest.mark.parametrize("suffix", [".wav", ".FLAC", ".m4a"])
def test_sound_alone_is_a_voice_and_a_clip_goes_before_it(suffix: str, tmp_path: Path):
    sound = clip("dev").replace(".mp4", suffix)
    utterance = only(listing_of(tmp_path / "one", [row()], sound))
    assert (utterance.video, utterance.audio) == ("", sound)
    listing = listing_of(tmp_path / "both", [row()], sound, clip("dev"))
    assert only(listing).video == only(listing).audio == clip("dev")
    assert listing.spare == [sound]


def test_an_encoding_that_is_guessed_is_told(tmp_path: Path):
    write_rows(tmp_path / "dev_sent_emo.csv", [row(Utterance="caf\xe9")], encoding="cp1252")
    make(tmp_path, "dev_splits_complete/dia0_utt0.mp4")
    assert read(tmp_path, "meld").notes[0].startswith("dev_sent_emo.csv is not in UTF-8 and was")


def test_an_apple_double_hides_no_clip(tmp_path: Path):
    names = [clip("test", prefix=prefix) for prefix in ("", "._", "._final_videos_test")]
    listing = listing_of(tmp_path, [row()], *names, split="test")
    assert only(listing).video == clip("test")
    assert listing.notes == []


def test_a_second_copy_of_a_clip_is_named(tmp_path: Path):
    again = f"z/{clip('dev')}"
    listing = listing_of(tmp_path, [row()], clip("dev"), again)
    ((utterance, code, detail),) = listing.excluded
    assert only(listing).video == clip("dev")
    assert (utterance.id, code) == ("meld/dev_dia0_utt0", "duplicate")
    assert detail == f"{again} repeats {clip('dev')}"


def test_rows_without_their_clips_are_missing(tmp_path: Path):
    listing = listing_of(tmp_path, [row(0, 0), row(0, 1), row(7, 2)], clip("dev", 0, 1))
    assert only(listing).id == "meld/dev_dia0_utt1"
    assert [(item.id, detail) for item, detail in listing.missing] == [
        ("meld/dev_dia0_utt0", "no dia0_utt0.mp4 in dev_splits_complete"),
        ("meld/dev_dia7_utt2", "no dia7_utt2.mp4 in dev_splits_complete"),
    ]


def test_clips_known_to_be_bad_are_told_and_left_to_the_decoder(tmp_path: Path):
    listing = listing_of(tmp_path, [row(125, 3)], clip("train", 125, 3), split="train")
    assert only(listing).id == "meld/train_dia125_utt3"
    assert listing.notes == ["known of the published clips: train_dia125_utt3 cannot be played"]


@pytest.mark.parametrize("column", ["Utterance", "Speaker", "Emotion", "Dialogue_ID"])
def test_a_column_that_is_not_there_is_named(column: str, tmp_path: Path):
    cells = row()
    del cells[column]
    message = refusal(tmp_path, [cells])
    assert message.startswith(f"meld/dev_sent_emo.csv: no column '{column}', its first line has ")


def test_an_unknown_emotion_is_refused_with_its_line(tmp_path: Path):
    message = refusal(tmp_path, [row(), row(0, 1, Emotion="calm")])
    assert message.startswith("meld/dev_sent_emo.csv: line 3: emotion 'calm' is not known; ")
    assert all(name in message for name in EMOTIONS)


def test_an_utterance_that_is_there_twice_is_refused_with_both_lines(tmp_path: Path):
    assert refusal(tmp_path, [row(), row(0, 1), row()]) == (
        "meld/dev_sent_emo.csv: line 4: dia0_utt0 is already in line 2; keep one of them"
    )


@pytest.mark.parametrize("number", ["", "x", "-1", "1.0", "\u0661", "9" * 5000])
def test_a_dialogue_that_is_no_number_is_refused(number: str, tmp_path: Path):
    message = refusal(tmp_path, [row(Dialogue_ID=number)])
    assert message.startswith("meld/dev_sent_emo.csv: line 2: Dialogue_ID '")
    assert len(message) < 200


@pytest.mark.parametrize("name", ["", "...", "Jo\x07ey"])
def test_a_row_without_a_speaker_is_refused(name: str, tmp_path: Path):
    assert refusal(tmp_path, [row(Speaker=name)]) == (
        f"meld/dev_sent_emo.csv: line 2: Speaker {name!r}: give it a name"
    )


def test_a_table_without_its_clips_is_refused_with_the_archive_to_unpack(tmp_path: Path):
    assert refusal(tmp_path, [row()], clip("test")) == (
        "meld/dev_sent_emo.csv: there is no clip of it in a folder dev_splits_complete; unpack "
        "dev.tar.gz below meld, or remove the table to do without this split"
    )


def test_clips_without_their_table_are_refused(tmp_path: Path):
    message = refusal(tmp_path, [row()], clip("dev"), clip("test"))
    assert message.startswith(
        "meld: no test_sent_emo.csv for the clips in output_repeated_splits_test; take it from "
    )


def test_a_split_that_is_not_there_is_done_without(tmp_path: Path):
    listing = listing_of(tmp_path, [row()])
    assert {"train 0 of 9989", "test 0 of 2610"} < set(differences(listing))


def test_a_table_that_is_there_twice_alike_is_read_once(tmp_path: Path):
    write_rows(tmp_path / "meld/a/dev_sent_emo.csv", [row()])
    assert only(listing_of(tmp_path, [row()])).emotion == "happiness"


def test_a_table_that_is_there_in_two_versions_is_refused(tmp_path: Path):
    write_rows(tmp_path / "meld/a/dev_sent_emo.csv", [row(Emotion="fear")])
    assert refusal(tmp_path, [row()]) == (
        "meld/dev_sent_emo.csv: differs from a/dev_sent_emo.csv; keep one"
    )


def test_tables_alone_of_nothing_list_nothing(tmp_path: Path):
    assert read(tmp_path, "meld") == Listing(official=OFFICIAL)


def test_a_variant_has_its_own_ids_and_the_same_speakers(tmp_path: Path):
    listing_of(tmp_path, [row()])
    utterance = only(read(tmp_path / "meld", "meld_small"))
    assert (utterance.id, utterance.speaker) == ("meld_small/dev_dia0_utt0", "meld/Joey")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Phoebe Sr.", "Phoebe Sr"),
        ("  The\u00a0 Fan ", "The Fan"),
        ("Joey\u2019s Twin", "Joey's Twin"),
        ("Dr. Green", "Dr. Green"),
    ],
)
def test_a_speaker_has_one_spelling(text: str, expected: str):
    assert speaker_name(text) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("It\u2019s on!", "its on"),
        ("it's ON", "its on"),
        ("Yes\u2014no\u2026", "yes no"),
        ("!", "!"),
        (" ... ! ", "... !"),
        ("caf\xe9", "caf\xe9"),
        ("cafe\u0301", "caf\xe9"),
    ],
)
def test_the_same_words_are_the_same_text(text: str, expected: str):
    assert spoken_words(text) == expected


@given(st.text(max_size=20))
def test_what_is_said_is_one_line_and_empty_only_where_nothing_is(text: str):
    words = spoken_words(text)
    assert len(words.splitlines()) <= 1
    assert bool(words) == bool(text.strip())


tables = st.binary(max_size=60) | st.text('joyfear01,"\n\r ', max_size=60).map(str.encode)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tables, st.booleans())
def test_any_file_as_a_table_gives_a_listing_or_one_line(
    tmp_path: Path, content: bytes, header: bool
):
    first = b"Utterance,Speaker,Emotion,Dialogue_ID,Utterance_ID\nHi,Joey,joy,0,0\n"
    (tmp_path / "dev_splits_complete").mkdir(exist_ok=True)
    (tmp_path / "dev_splits_complete/dia0_utt0.mp4").touch()
    (tmp_path / "dev_sent_emo.csv").write_bytes((first if header else b"") + content)
    try:
        listing = read(tmp_path, "meld")
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert {item.emotion for item in listing.utterances} <= set(EMOTIONS)
