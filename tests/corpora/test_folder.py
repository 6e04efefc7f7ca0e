"""Your own clips: a table that anybody may have written in any program."""

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.corpora import folder
from stages.corpora.emotions import EMOTIONS
from stages.corpora.folder import read
from stages.corpora.listing import list_corpus
from stages.corpora.utterance import Listing, Utterance
from stages.runtime.errors import UserError
from tests.helpers import user_error

HEADER = "id,speaker,emotion,video,audio,sentence,split"
FILES = ("clips/a.mp4", "sound/a.wav", "clips/b.mp4")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A corpus folder with three files and no table yet."""
    for name in FILES:
        (tmp_path / "mine" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mine" / name).touch()
    return tmp_path / "mine"


def listing_of(root: Path, *rows: str, header: str = HEADER) -> Listing:
    (root / "utterances.csv").write_text("\n".join([header, *rows, ""]), encoding="utf-8")
    return read(root, "folder")


def refusal(root: Path, *rows: str) -> str:
    message = user_error(listing_of, root, *rows)
    return message.replace(str(root), "mine").removeprefix("mine/utterances.csv: ")


def only(listing: Listing) -> Utterance:
    (utterance,) = listing.utterances
    return utterance


def test_a_row_is_understood(mine: Path):
    row = "a,anna, Happy ,clips/a.mp4,sound/a.wav,hello  there,Train"
    assert only(listing_of(mine, row)) == Utterance(
        id="folder/a",
        speaker="folder/anna",
        emotion="happiness",
        sentence="hello there",
        split="train",
        video="clips/a.mp4",
        audio="sound/a.wav",
    )


@pytest.mark.parametrize(
    "one, other",
    [
        ("J\u00fcrgen", "Ju\u0308rgen"),
        ("Ben K", "Ben  K"),
        ("Ben K", "Ben\u00a0K"),
        ("Zo\xe9", "Zoe\u0301 "),
    ],
)
def test_names_have_one_spelling_however_they_are_composed_and_spaced(
    one: str, other: str, mine: Path
):
    utterance = only(listing_of(mine, f"{other},{other},fear,clips/a.mp4,,{other},"))
    assert (utterance.id, utterance.speaker) == (f"folder/{one}", f"folder/{one}")
    assert utterance.sentence == one


@pytest.mark.parametrize("one, other", [("Anna", "anna"), ("07", "7"), ("8", "8.0")])
def test_a_speaker_in_two_spellings_is_refused_before_anything_is_extracted(
    one: str, other: str, mine: Path
):
    listing_of(mine, f"a,{one},fear,clips/a.mp4,,,", f"b,{other},fear,clips/b.mp4,,,")
    message = user_error(list_corpus, mine, "folder")
    assert f"speakers 'folder/{one}' and 'folder/{other}' differ in spelling alone" in message


def test_the_example_of_the_documentation_is_read(tmp_path: Path):
    example = re.findall(r"^    (\S.*)$", folder.__doc__, re.MULTILINE)
    assert len(example) == 4
    for name in ("clips/anna_01.mp4", "clips/anna_02.mp4", "sound/anna_02.wav", "sound/ben_01.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    listing = listing_of(tmp_path, *example[1:], header=example[0])
    assert [(item.id, item.emotion, item.split) for item in listing.utterances] == [
        ("folder/anna_01", "happiness", "train"),
        ("folder/anna_02", "anger", "train"),
        ("folder/ben_01", "neutral", "test"),
    ]
    assert listing.missing == []


def test_clips_that_no_row_names_are_told_and_never_used(mine: Path):
    for name in ("clips/B.AVI", "clips/._a.mp4", "notes.txt", ".hidden.wav", "new\nline.wav"):
        (mine / name).touch()
    listing = listing_of(mine, "a,anna,fear,clips/a.mp4,sound/a.wav,,")
    assert [(item.video, item.audio) for item in listing.utterances] == [FILES[:2]]
    assert listing.notes == [
        "in no row of utterances.csv and not used, 3 files: clips/B.AVI, clips/b.mp4, "
        r"'new\nline.wav'"
    ]


def test_where_every_clip_has_a_row_there_is_nothing_to_tell(mine: Path):
    rows = ["a,anna,fear,clips/a.mp4,sound/a.wav,,", "b,anna,fear,clips/b.mp4,,,"]
    assert listing_of(mine, *rows).notes == []


def test_sentence_and_split_may_be_left_out(mine: Path):
    utterance = only(listing_of(mine, "a,anna,fear,clips/a.mp4,", header=HEADER[:-15]))
    assert (utterance.sentence, utterance.split) == ("", "")


@pytest.mark.parametrize("video, audio", [("clips/a.mp4", ""), ("", "sound/a.wav")])
def test_one_of_face_and_voice_is_enough(video: str, audio: str, mine: Path):
    utterance = only(listing_of(mine, f"a,anna,fear,{video},{audio},,"))
    assert (utterance.video, utterance.audio) == (video, audio)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "cp1252", "utf-16"])
def test_what_a_spreadsheet_program_saves_is_read(encoding: str, separator: str, mine: Path):
    text = f"{HEADER}\r\na,Ren\xe9,fear,clips/a.mp4,,,\r\n".replace(",", separator)
    (mine / "utterances.csv").write_bytes(text.encode(encoding))
    assert only(read(mine, "folder")).speaker == "folder/Ren\xe9"


def test_a_variant_has_its_own_ids_and_the_same_speakers(mine: Path):
    listing_of(mine, "a,anna,fear,clips/a.mp4,,,")
    utterance = only(read(mine, "folder_small"))
    assert (utterance.id, utterance.speaker) == ("folder_small/a", "folder/anna")


def test_a_folder_without_its_table_is_told_what_to_write(mine: Path):
    message = user_error(read, mine, "folder")
    assert message == (
        f"{mine}/utterances.csv: no such file; write one with columns id, speaker, emotion, video, "
        "audio"
    )


def test_a_column_that_is_not_there_is_named(mine: Path):
    with pytest.raises(UserError, match="utterances.csv: no column 'audio', its first line has"):
        listing_of(mine, header="id,speaker,emotion,video")


def test_an_id_that_is_there_twice_is_refused_with_both_lines(mine: Path):
    row = "a,anna,fear,clips/a.mp4,,,"
    assert refusal(mine, row, row.replace("a,", "b,", 1), row) == (
        "line 4: id 'a' is already in line 2; keep one of them"
    )


@pytest.mark.parametrize(
    "row, message",
    [
        (",anna,fear,clips/a.mp4,,,", "line 2: id '': give it a name"),
        ("a\x07,anna,fear,clips/a.mp4,,,", "line 2: id 'a\\x07': give it a name"),
        ("a,,fear,clips/a.mp4,,,", "line 2: speaker '': give it a name"),
        ("a,anna,fear,,,,", "line 2: neither video nor audio; name at least one"),
        (
            "a,anna,fear,clips/a.mp4,,,val",
            "line 2: split 'val' is not known; write one of train, dev, test, or leave it empty",
        ),
    ],
)
def test_a_cell_that_makes_no_sense_is_refused_with_its_line(row: str, message: str, mine: Path):
    assert refusal(mine, row) == message


@pytest.mark.parametrize("word", ["calm", ""])
def test_an_unknown_emotion_is_refused_with_its_line_and_what_is_allowed(word: str, mine: Path):
    message = refusal(mine, f"a,anna,{word},clips/a.mp4,,,")
    assert message.startswith(f"line 2: emotion '{word}' is not known; write one of anger, ")


@pytest.mark.parametrize(
    "path",
    ["../other/a.mp4", "clips/../../a.mp4", "/etc/a.mp4", "C:/clips/a.mp4"],
)
def test_a_path_that_leaves_the_folder_is_refused(path: str, mine: Path):
    assert refusal(mine, f"a,anna,fear,{path},,,") == (
        f"line 2: '{path}': leaves mine; write the path relative to that folder"
    )


def test_a_backslash_is_refused_by_name(mine: Path):
    assert refusal(mine, r"a,anna,fear,clips\a.mp4,,,") == (
        r"line 2: 'clips\\a.mp4': has a backslash; write the path with /"
    )


@pytest.mark.parametrize("link", ["out.mp4", "away"])
def test_a_link_out_of_the_folder_is_refused(link: str, mine: Path):
    (mine.parent / "secret").mkdir()
    (mine.parent / "secret/a.mp4").touch()
    (mine / "away").symlink_to(mine.parent / "secret")
    (mine / "out.mp4").symlink_to(mine.parent / "secret/a.mp4")
    name = {"out.mp4": "out.mp4", "away": "away/a.mp4"}[link]
    assert refusal(mine, f"a,anna,fear,,{name},,").startswith(
        f"line 2: '{name}': is a link out of mine; copy the file"
    )


def test_a_link_within_the_folder_and_a_linked_corpus_are_followed(mine: Path):
    (mine / "again.mp4").symlink_to("clips/a.mp4")
    listing_of(mine, "a,anna,fear,again.mp4,,,")
    (mine.parent / "linked").symlink_to(mine)
    assert only(read(mine.parent / "linked", "folder")).video == "again.mp4"


@pytest.mark.parametrize("name", ["a:b.mp4", "100%03d.mp4", "-a.mp4", "caf\xe9 1.mp4", "..a.mp4"])
def test_odd_names_are_names(name: str, mine: Path):
    (mine / name).touch()
    assert only(listing_of(mine, f"a,anna,fear,{name},,,")).video == name


def test_a_path_is_written_in_one_way(mine: Path):
    assert only(listing_of(mine, "a,anna,fear,./clips//a.mp4,,,")).video == "clips/a.mp4"


def test_a_row_whose_files_are_both_missing_is_missing(mine: Path):
    listing = listing_of(mine, "a,anna,fear,clips/x.mp4,clips/y.wav,,", "b,anna,fear,clips,,,")
    assert listing.utterances == []
    assert [(item.id, detail) for item, detail in listing.missing] == [
        ("folder/a", "no file 'clips/x.mp4', 'clips/y.wav'"),
        ("folder/b", "no file 'clips'"),
    ]


def test_a_row_with_one_missing_file_keeps_the_other(mine: Path):
    listing = listing_of(mine, "a,anna,fear,clips/a.mp4,sound/x.wav,,")
    utterance = only(listing)
    assert (utterance.video, utterance.audio) == ("clips/a.mp4", "")
    assert listing.missing == [(utterance, "no file 'sound/x.wav'")]


def test_a_file_for_both_that_is_missing_is_named_once(mine: Path):
    listing = listing_of(mine, "a,anna,fear,x.mp4,x.mp4,,")
    assert [detail for _, detail in listing.missing] == ["no file 'x.mp4'"]


words = st.text('abhappyfear.,;/\\" \n\t\x07\x1f\u2028\xe9', max_size=12) | st.sampled_from(
    ["fear", "anna", "x" * 5000, *FILES]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(words, max_size=8).map(",".join), max_size=4).map("\n".join).map(str.encode)
    | st.binary(max_size=60),
    st.booleans(),
)
def test_any_file_as_a_table_gives_a_listing_or_one_line(mine: Path, content: bytes, header: bool):
    (mine / "utterances.csv").write_bytes((f"{HEADER}\n".encode() if header else b"") + content)
    try:
        listing = read(mine, "folder")
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        for item in listing.utterances:
            assert item.emotion in EMOTIONS and (item.video or item.audio)
            assert {item.video, item.audio} <= {"", *FILES, "utterances.csv"}
