"""Your own clips: a table that anybody may have written in any program."""

import re
import unicodedata
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
    listing_of(mine, "a,anna,fear,clips/a.mp4,sound/a.wav,,")
    listing = list_corpus(mine, "folder")
    assert [(item.video, item.audio) for item in listing.utterances] == [FILES[:2]]
    assert listing.notes == [
        r"there and not used, 3 files: clips/B.AVI, clips/b.mp4, 'new\nline.wav'"
    ]


def test_where_every_clip_has_a_row_there_is_nothing_to_tell(mine: Path):
    listing_of(mine, "a,anna,fear,clips/a.mp4,sound/a.wav,,", "b,anna,fear,clips/b.mp4,,,")
    assert list_corpus(mine, "folder").notes == []


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


def test_links_to_files_and_a_linked_corpus_are_followed(mine: Path):
    (mine.parent / "b.mp4").touch()
    (mine / "again.mp4").symlink_to("clips/a.mp4")
    (mine / "out.mp4").symlink_to(mine.parent / "b.mp4")
    listing_of(mine, "a,anna,fear,again.mp4,,,", "b,anna,fear,out.mp4,,,")
    (mine.parent / "linked").symlink_to(mine)
    listing = list_corpus(mine.parent / "linked", "folder")
    assert [item.video for item in listing.utterances] == ["again.mp4", "out.mp4"]


@pytest.mark.parametrize("table, disk", [("NFC", "NFD"), ("NFD", "NFC"), ("NFC", "NFC")])
def test_a_file_is_found_in_whichever_form_of_unicode_its_name_is(
    table: str, disk: str, mine: Path
):
    written = unicodedata.normalize(table, "J\u00fcrgen/Zo\u00e9.mp4")
    name = unicodedata.normalize(disk, written)
    (mine / name).parent.mkdir()
    (mine / name).touch()
    listing = listing_of(mine, f"a,anna,fear,{written},,,")
    assert only(listing).video == name and listing.missing == []


def test_two_files_of_one_name_in_two_forms_are_refused(mine: Path):
    for form in ("NFC", "NFD"):
        (mine / unicodedata.normalize(form, "Zo\u00e9.mp4")).touch()
    assert refusal(mine, "a,anna,fear,Zo\u00e9.mp4,,,") == (
        r"mine: 'Zoe\u0301.mp4' and 'Zo\xe9.mp4' are one name in two forms of Unicode; rename one "
        "of them"
    )


@pytest.mark.parametrize(
    "encoding, names",
    [("gbk", ["\u5f20\u4e09", "\u674e\u56db"]), ("cp1251", ["\u0418\u0432\u0430\u043d"])],
)
def test_a_table_in_another_encoding_gives_no_speakers_of_wrong_letters(
    encoding: str, names: list[str], mine: Path
):
    rows = [HEADER, *(f"{i},{name},fear,clips/a.mp4,,," for i, name in enumerate(names))]
    (mine / "utterances.csv").write_bytes("\n".join(rows).encode(encoding))
    assert "is not in UTF-8, and read as Windows-1252 it would say" in user_error(
        read, mine, "folder"
    )


def test_an_encoding_that_is_guessed_is_told(mine: Path):
    text = f"{HEADER}\na,Ren\xe9,fear,clips/a.mp4,,,\n"
    (mine / "utterances.csv").write_bytes(text.encode("cp1252"))
    assert read(mine, "folder").notes == [
        "utterances.csv is not in UTF-8 and was read as Windows-1252, which gives 'Ren\xe9'; if "
        "that is not what it says, save it as CSV in UTF-8"
    ]


SPANS = f"{HEADER},start,end"


def spans_of(root: Path, *times: str) -> list[Utterance]:
    """The utterances of a row for each "start,end" of one file."""
    rows = [f"{i},anna,fear,clips/a.mp4,clips/a.mp4,,,{cells}" for i, cells in enumerate(times)]
    return listing_of(root, *rows, header=SPANS).utterances


@pytest.mark.parametrize(
    "cells, expected",
    [
        ("1.5,3", ("1.5", "3.0")),
        (",3", ("", "3.0")),
        ("1.5,", ("1.5", "")),
        (",", ("", "")),
        ("0,0.5", ("0.0", "0.5")),
        ("0:01:02.5,1:02:03", ("62.5", "3723.0")),
        ("1:02.25,62.75", ("62.25", "62.75")),
        ('"1,5","2,25"', ("1.5", "2.25")),
        ('"0:00:01,240",2e0', ("1.24", "2.0")),
    ],
)
def test_a_row_may_be_a_part_of_a_file(cells: str, expected: tuple[str, str], mine: Path):
    (utterance,) = spans_of(mine, cells)
    assert (utterance.start, utterance.end) == expected


@pytest.mark.parametrize(
    "text", ["x", "-1", "nan", "inf", "1.2.3", "1:2:3:4", "1e99", "0x10", "1:"]
)
@pytest.mark.parametrize("column", ["start", "end"])
def test_a_time_that_is_none_is_refused_with_its_line(text: str, column: str, mine: Path):
    message = user_error(spans_of, mine, {"start": f"{text},5", "end": f"0,{text}"}[column])
    assert message.endswith(
        f"line 2: {column} '{text}' is no time; write seconds (12.5) or h:mm:ss.s (0:00:12.5), or "
        "leave it empty"
    )


@pytest.mark.parametrize("cells", ["2,1", "2,2", "0,0", ",0"])
def test_a_span_that_ends_before_it_begins_is_refused_with_its_line(cells: str, mine: Path):
    start, end = cells.split(",")
    assert user_error(spans_of, mine, cells).endswith(
        f"line 2: end '{end}' is not after start '{start}'; fix them"
    )


@pytest.mark.parametrize(
    "times, overlapping",
    [
        (("0,2", "2,4"), False),
        (("0,2", "1.9,4"), True),
        (("0,5", "2,3"), True),
        (("1,2", "1,2"), True),
        ((",", "7,8"), True),  # the whole file and a part of it
        ((",3", "2,"), True),
        ((",2", "2,"), False),
        ((",", ","), False),  # left to their features
    ],
)
def test_rows_that_share_time_of_a_file_are_the_same_speech(
    times: tuple[str, str], overlapping: bool, mine: Path
):
    expected = ["folder/1", "folder/0"] if overlapping else ["", ""]
    assert [item.overlaps for item in spans_of(mine, *times)] == expected


def test_rows_share_time_through_a_link_and_by_one_of_two_files(mine: Path):
    (mine / "again.mp4").symlink_to("clips/a.mp4")
    rows = [
        "0,anna,fear,clips/a.mp4,sound/a.wav,,,0,2",
        "1,anna,fear,again.mp4,,,,1,3",
        "2,anna,fear,clips/b.mp4,,,,0,9",
        "3,anna,fear,,sound/a.wav,,,0,1",
    ]
    listing = listing_of(mine, *rows, header=SPANS)
    assert [item.overlaps for item in listing.utterances] == [
        "folder/1\tfolder/3",
        "folder/0",
        "",
        "folder/0",
    ]
    assert listing.notes == [
        "3 utterances overlap others of the same file in time, and are not learned from where "
        "these are tested: folder/0, folder/1, folder/3"
    ]


def test_the_sex_of_a_speaker_is_read_in_several_words_and_others_are_told(mine: Path):
    words = ["Female", "w", "man", "", "M"]
    rows = [f"{i},s{i},fear,,sound/a.wav,{word}" for i, word in enumerate(words)]
    listing = listing_of(mine, *rows, header="id,speaker,emotion,video,audio,sex")
    assert [item.sex for item in listing.utterances] == ["female", "", "male", "", "male"]
    assert listing.notes == [
        "sex is female or male in utterances.csv; other words count as not told: w"
    ]


def test_a_speaker_of_two_sexes_is_refused(mine: Path):
    rows = ["a,anna,fear,,sound/a.wav,f", "b,anna,fear,,sound/a.wav,", "c,anna,fear,,sound/a.wav,m"]
    message = user_error(listing_of, mine, *rows, header="id,speaker,emotion,video,audio,sex")
    assert message.endswith(
        "utterances.csv: line 4: speaker 'anna' is male, and female in line 2; fix one of them"
    )


def test_the_table_of_an_audiofolder_is_read(mine: Path):
    (mine / "metadata.csv").write_text(
        "file_name,transcription,emotion,speaker,split,start\n"
        "sound/a.wav,hello,joy,anna,train,\nclips/b.mp4,hello,fear,ben,test,1.5\n"
    )
    assert read(mine, "folder").utterances == [
        Utterance("folder/sound/a", "folder/anna", "happiness", "", "train", "", "sound/a.wav"),
        Utterance(
            "folder/clips/b", "folder/ben", "fear", "", "test", "clips/b.mp4", "clips/b.mp4", "1.5"
        ),
    ]


def test_the_table_of_an_audiofolder_may_have_ids(mine: Path):
    (mine / "metadata.csv").write_text(
        "file_name,emotion,speaker,id,start,end\n"
        "sound/a.wav,joy,anna,a1,0,1\nsound/a.wav,joy,anna,a2,1,2\n"
    )
    assert [item.id for item in read(mine, "folder").utterances] == ["folder/a1", "folder/a2"]


def test_two_tables_are_refused(mine: Path):
    (mine / "metadata.csv").write_text("file_name,emotion,speaker\n")
    assert refusal(mine, "a,anna,fear,clips/a.mp4,,,") == (
        "mine: has utterances.csv and metadata.csv; keep one, or rename the other"
    )


def test_a_table_of_an_audiofolder_without_speakers_is_told_what_it_lacks(mine: Path):
    (mine / "metadata.csv").write_text("file_name,emotion\nsound/a.wav,joy\n")
    assert user_error(read, mine, "folder").endswith(
        "no column 'speaker', its first line has 'file_name', 'emotion'; name the columns "
        "file_name, speaker, emotion there"
    )


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


SAID = f"{HEADER},text,dialogue,turn,session"


def test_text_dialogue_turn_and_session_are_read(mine: Path):
    rows = ["a,anna,fear,clips/a.mp4,,hi,,Hi!  There,lunch,2,may", "b,anna,fear,clips/b.mp4,,,,,,,"]
    first, second = listing_of(mine, *rows, header=SAID).utterances
    assert (first.text, first.sentence) == ("Hi! There", "hi")
    assert (first.dialogue, first.turn, first.session) == ("folder/lunch", "2", "folder/may")
    assert {second.text, second.dialogue, second.turn, second.session} == {""}


@pytest.mark.parametrize("turn", ["one", "-1", "1.5"])
def test_a_turn_that_is_no_number_is_refused(turn: str, mine: Path):
    row = f"a,anna,fear,clips/a.mp4,,,,,lunch,{turn},"
    message = user_error(listing_of, mine, row, header=SAID)
    assert message.endswith(
        f"line 2: turn '{turn}' is not a whole number; write the position in the dialogue"
    )
