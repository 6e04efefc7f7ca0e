"""Tables that other people wrote: read alike however they were saved, or refused in one line."""

import csv
import io
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.corpora.annotations import (
    SYNONYMS,
    check_repeat,
    emotion_of,
    encoding_notes,
    quoted,
    read_rows,
)
from stages.corpora.emotions import EMOTIONS
from stages.runtime.errors import UserError
from tests.helpers import user_error

SAME_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def rows_of(folder: Path, content: str | bytes, *optional: str) -> list[tuple[int, dict]]:
    """The rows of a table with columns a and b."""
    path = folder / "t.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_rows(path, ("a", "b"), optional)


def refusal(folder: Path, content: str | bytes) -> str:
    message = user_error(rows_of, folder, content)
    assert message.startswith(str(folder / "t.csv"))
    return message.removeprefix(f"{folder / 't.csv'}: ")


ONE_ROW = [(2, {"a": "It\u2019s", "b": "caf\xe9"})]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_it_does_not_matter_how_a_table_was_saved(
    encoding: str, end: str, separator: str, tmp_path: Path
):
    text = end.join([f"a{separator}b", f"It\u2019s{separator}caf\xe9", ""])
    assert rows_of(tmp_path, text.encode(encoding)) == ONE_ROW


@pytest.mark.parametrize(
    "text",
    [
        "b,a\ncaf\xe9,It\u2019s",
        "x,a,y,b\n1,It\u2019s,2,caf\xe9\n",
        " A ,B\n It\u2019s , caf\xe9 \n",
        '"a","b"\n"It\u2019s","caf\xe9"\n',
        "a,b,,\nIt\u2019s,caf\xe9,,\n",
        "a,b\nIt\u2019s,caf\xe9\n,\n\n",
    ],
)
def test_order_case_spaces_quotes_and_what_is_not_asked_for_do_not_matter(
    text: str, tmp_path: Path
):
    assert rows_of(tmp_path, text) == ONE_ROW


def test_separators_inside_quotes_belong_to_the_cell(tmp_path: Path):
    assert rows_of(tmp_path, 'a,b\n"1,5;","x ""y"""\n') == [(2, {"a": "1,5;", "b": 'x "y"'})]


def test_lines_are_counted_as_an_editor_does(tmp_path: Path):
    rows = rows_of(tmp_path, 'a,b\n"1\n2",3\n\n4,5\n')
    assert rows == [(2, {"a": "1\n2", "b": "3"}), (5, {"a": "4", "b": "5"})]


def test_cells_that_a_row_lacks_are_empty(tmp_path: Path):
    assert rows_of(tmp_path, "a,b\n1\n") == [(2, {"a": "1", "b": ""})]


def test_an_optional_column_is_empty_where_it_is_not_there(tmp_path: Path):
    assert rows_of(tmp_path, "a,b\n1,2\n", "c") == [(2, {"a": "1", "b": "2", "c": ""})]
    assert rows_of(tmp_path, "a,c,b\n1,3,2\n", "c") == [(2, {"a": "1", "b": "2", "c": "3"})]


def test_a_column_that_is_not_there_is_named_beside_what_is(tmp_path: Path):
    assert refusal(tmp_path, "a,c\n1,2\n") == (
        "no column 'b', its first line has 'a', 'c'; name the columns a, b there"
    )


def test_an_empty_file_has_no_columns(tmp_path: Path):
    assert refusal(tmp_path, "") == (
        "no column 'a', its first line has nothing; name the columns a, b there"
    )


def test_a_column_that_is_there_twice_is_named(tmp_path: Path):
    assert refusal(tmp_path, "a,b,A\n1,2,3\n") == "column 'a' appears twice; keep one of them"


def test_a_row_with_too_many_cells_is_named(tmp_path: Path):
    assert refusal(tmp_path, "a,b\n1,2\nOh, my,3\n") == (
        "line 3: has more cells than there are columns; put a cell that contains ',' between "
        "double quotes"
    )


@pytest.mark.parametrize("text", ['a,b\n1,2\n"x"y,3\n', 'a,b\n1,2\n"x,3\n4,5\n'])
def test_a_row_with_a_stray_quote_is_named_and_swallows_nothing(text: str, tmp_path: Path):
    assert refusal(tmp_path, text).startswith("line 3: cannot be read: ")


@pytest.mark.parametrize(
    "content",
    [b"PK\3\4\0\0\0\0", b"a,b\n\x81\x8d,1\n", "a,b\n1,2\n".encode("utf-16-le"), b"\xff\xfea\0,"],
)
def test_what_is_no_text_is_refused(content: bytes, tmp_path: Path):
    assert refusal(tmp_path, content) == "is no text that can be read; save it as CSV in UTF-8"


WESTERN = [
    "Ren\xe9",
    "Das Gr\xf6\xdfte",
    "educa\xe7\xe3o",
    "\xdeóra, hún er góð",
    "\xc5sa, ö är en ö",
    "Jäätee, hyvää yötä",
    "à l\u2019\xe9t\xe9 cr\xe9\xe9e, o\xf9",
    "\xbfQu\xe9? \xa1S\xed! \xd1and\xfa",
    "\u201cWait\u201d \u2013 he said\u2026 25\xb0C, 5\u20ac, m\xb2",
    "JOS\xc9 C\u0152UR",
]


@pytest.mark.parametrize("text", WESTERN)
def test_western_text_in_windows_1252_is_read_and_told(text: str, tmp_path: Path):
    content = f"a;b\n{text};x\n".encode("cp1252")
    assert rows_of(tmp_path, content)[0][1]["a"] == text
    (note,) = encoding_notes(tmp_path / "t.csv")
    assert note.startswith("t.csv is not in UTF-8 and was read as Windows-1252, which gives '")


def test_a_long_word_takes_no_longer_than_others(tmp_path: Path):
    word = "x" * 130_000  # for which a pattern that begins anew at each letter takes minutes
    begun = time.monotonic()
    assert rows_of(tmp_path, f"a;b\n{word};é\n".encode("cp1252"))[0][1]["b"] == "é"
    assert time.monotonic() - begun < 10


FOREIGN = [
    ("gbk", "张三"),
    ("gbk", "王"),
    ("gbk", "你好"),
    ("gb18030", "今天天气很好"),
    ("big5", "張三"),
    ("cp932", "田中"),
    ("cp932", "すずき"),
    ("cp949", "김철수"),
    ("cp1251", "Иван"),
    ("koi8-r", "Иван"),
    ("cp866", "Мария"),
    ("cp1253", "Γιώργος"),
    ("cp1255", "דוד"),
    ("cp1256", "أحمد"),
    ("cp874", "สมชาย"),
    ("cp1250", "Łukasz"),
    ("mac-roman", "René"),
    ("cp437", "René"),
]


@pytest.mark.parametrize("encoding, text", FOREIGN)
def test_what_is_in_another_encoding_is_refused(encoding: str, text: str, tmp_path: Path):
    message = refusal(tmp_path, f"a;b\n{text};x\nanna;y\n".encode(encoding))
    assert message.startswith("is not in UTF-8, and read as Windows-1252 it would say '")
    assert message.endswith("'; save it as CSV in UTF-8")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_an_encoding_that_a_file_states_or_proves_is_not_told(encoding: str, tmp_path: Path):
    rows_of(tmp_path, "a;b\n张三;Иван\n".encode(encoding))
    assert encoding_notes(tmp_path / "t.csv") == []


def test_utf8_with_a_damaged_letter_is_not_read_as_something_else(tmp_path: Path):
    assert "it would say" in refusal(tmp_path, "a;b\nRené;x\n".encode() + b"y;\xe9\n")


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match="t.csv: cannot be read: No such file"):
        read_rows(tmp_path / "t.csv", ("a",))


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)


@SAME_FOLDER
@given(
    st.lists(st.tuples(cells, cells), max_size=5),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_what_a_spreadsheet_program_writes_is_read_back(
    tmp_path: Path, rows: list[tuple[str, str]], separator: str, end: str, encoding: str
):
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *rows])
    found = [tuple(row.values()) for _, row in rows_of(tmp_path, text.getvalue().encode(encoding))]
    stripped = [(a.strip(), b.strip()) for a, b in rows]
    assert found == [row for row in stripped if any(row)]


@SAME_FOLDER
@given(st.binary(max_size=80) | st.text('ab,;\t\n\r" 1\ufeff', max_size=40).map(str.encode))
def test_any_file_gives_rows_or_one_line(tmp_path: Path, content: bytes):
    try:
        rows = rows_of(tmp_path, b"a,b\n" + content)
    except UserError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert all(set(row) == {"a", "b"} and line > 1 for line, row in rows)


@pytest.mark.parametrize("name", EMOTIONS)
def test_an_emotion_is_known_by_its_name_in_any_case(name: str, tmp_path: Path):
    assert emotion_of(f" {name.title()} ", tmp_path, 2) == name


def test_every_synonym_is_of_one_of_the_seven():
    assert set(SYNONYMS.values()) <= set(EMOTIONS) and not set(SYNONYMS) & set(EMOTIONS)


@pytest.mark.parametrize(
    "word, name",
    [
        ("joy", "happiness"),
        ("Happy", "happiness"),
        ("angry", "anger"),
        ("fearful", "fear"),
        ("disgusted", "disgust"),
        ("SURPRISED", "surprise"),
        ("sad", "sadness"),
    ],
)
def test_an_emotion_is_known_by_what_others_call_it(word: str, name: str, tmp_path: Path):
    assert emotion_of(word, tmp_path, 2) == name


@pytest.mark.parametrize("word", ["calm", "contempt", "", "0", "happiness\nsadness"])
def test_another_emotion_is_refused_with_its_line_and_what_is_allowed(word: str):
    message = user_error(emotion_of, word, Path("t.csv"), 7)
    assert message.startswith(f"t.csv: line 7: emotion {word!r} is not known; write one of anger, ")
    assert len(message.splitlines()) == 1 and all(name in message for name in EMOTIONS)


def test_a_key_in_two_lines_is_refused_with_both():
    first: dict = {}
    check_repeat(first, "x", "id x", Path("t.csv"), 2)
    check_repeat(first, "y", "id y", Path("t.csv"), 3)
    with pytest.raises(UserError, match="^t.csv: line 9: id x is already in line 2; keep one"):
        check_repeat(first, "x", "id x", Path("t.csv"), 9)


def test_what_is_quoted_is_short_and_on_one_line():
    assert quoted("a\nb") == "'a\\nb'"
    assert len(quoted("x" * 1000)) < 70
