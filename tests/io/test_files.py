"""Tables and JSON files appear whole or not at all."""

import errno
import json
import resource
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.io.files import (
    file_sha256,
    read_json,
    read_table,
    replacing,
    write_json,
    write_table,
    write_text,
)
from stages.runtime.errors import UserError

FOREIGN = 'Žofie, "naïve"\nsagte: 日本語;\ttab'


def test_a_file_and_its_folders_appear_on_success(tmp_path: Path):
    path = tmp_path / "a" / "b" / "file.txt"
    write_text(path, FOREIGN)
    assert path.read_bytes() == FOREIGN.encode()
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_under_the_final_name_while_it_is_written(tmp_path: Path):
    path = tmp_path / "file"
    with replacing(path) as temporary:
        temporary.write_text("half")
        assert not path.exists() and temporary.parent == path.parent


def test_a_failure_leaves_what_was_there_before_and_no_torso(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_failure_before_anything_is_written_is_told_as_it_is(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file"):
        raise ZeroDivisionError


def test_who_reads_the_old_file_meanwhile_never_sees_a_part_of_the_new_one(tmp_path: Path):
    path = tmp_path / "file"
    write_text(path, "old")
    with path.open() as reader:
        write_text(path, "new")
        assert reader.read() == "old"
    assert path.read_text() == "new"


def test_a_torso_of_a_killed_run_is_replaced(tmp_path: Path):
    (tmp_path / ".file.tmp").write_text("torso of a killed run, longer than the new text")
    write_text(tmp_path / "file", "new")
    assert [item.read_text() for item in tmp_path.iterdir()] == ["new"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path):
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(UserError, match=f"^{path}: cannot be written: "):
        write_text(path, "text")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_may_not_grow_is_named_and_leaves_no_torso(tmp_path: Path):
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, usual[1]))
    try:
        with pytest.raises(UserError, match="table.csv: cannot be written: .*File too large"):
            write_table(tmp_path / "table.csv", ["id"], [{"id": "x" * 5000}])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert list(tmp_path.iterdir()) == []


def test_what_a_library_says_of_the_disk_in_several_lines_is_one_line(tmp_path: Path):
    with pytest.raises(UserError) as caught, replacing(tmp_path / "a.h5"):
        raise OSError(errno.ENOSPC, "cannot write (time = Sat\n, errno = 28)")
    assert str(caught.value) == (
        f"{tmp_path}/a.h5: cannot be written: [Errno 28] cannot write (time = Sat , errno = 28); "
        "free space or fix permissions"
    )


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    (tmp_path / "taken").write_text("a file where a folder should be")
    path = tmp_path / "taken" / "file"
    with pytest.raises(UserError, match=str(path)):
        write_text(path, "text")


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(st.lists(st.fixed_dictionaries({"id": cells, "b": cells}), max_size=5))
def test_a_table_is_read_as_it_was_written(tmp_path_factory: Any, rows: list[dict[str, str]]):
    path = tmp_path_factory.getbasetemp() / "table.csv"
    write_table(path, ["id", "b"], rows)
    assert read_table(path) == rows


def test_a_table_is_utf_8_with_a_header_and_lf(tmp_path: Path):
    write_table(tmp_path / "t.csv", ["id", "n"], [{"id": "é", "n": 1}, {"id": "a,b", "n": 2.5}])
    assert (tmp_path / "t.csv").read_bytes() == 'id,n\né,1\n"a,b",2.5\n'.encode()


def test_an_empty_table_keeps_its_header(tmp_path: Path):
    write_table(tmp_path / "t.csv", ["id", "n"], [])
    assert (tmp_path / "t.csv").read_text() == "id,n\n"
    assert read_table(tmp_path / "t.csv") == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("id,n\na,1\nb\n", "line 3: has 1 cells, not 2"),
        ("id,n\na,1,2\n", "line 2: has 3 cells, not 2"),
        ("id,id\na,1\n", "its first line does not name columns, each by its own name"),
        ("", "its first line does not name columns, each by its own name"),
    ],
)
def test_a_table_whose_rows_do_not_fit_its_columns_is_refused(
    text: str, message: str, tmp_path: Path
):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError) as caught:
        read_table(tmp_path / "t.csv")
    assert str(caught.value) == (
        f"{tmp_path}/t.csv: cannot be read: {message}; make it again by dvc repro"
    )


def test_a_table_that_lacks_a_column_is_refused(tmp_path: Path):
    write_table(tmp_path / "t.csv", ["id", "n"], [{"id": "a", "n": 1}])
    assert read_table(tmp_path / "t.csv", ["n"]) == [{"id": "a", "n": "1"}]
    with pytest.raises(UserError) as caught:
        read_table(tmp_path / "t.csv", ["id", "emotion", "video"])
    assert str(caught.value) == (
        f"{tmp_path}/t.csv: cannot be read: has no column emotion, video; make it again by dvc "
        "repro"
    )


@pytest.mark.parametrize("row", [{"id": 1, "n": 2, "x": 3}])
def test_a_column_that_was_not_declared_is_refused(row: dict, tmp_path: Path):
    with pytest.raises(ValueError):
        write_table(tmp_path / "t.csv", ["id", "n"], [row])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [read_table, read_json])
@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b'{"a": "b'])
def test_a_file_that_cannot_be_read_is_named_with_the_remedy(
    read: Any, content: bytes | None, tmp_path: Path
):
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content if read is read_json else content.replace(b'{"a": "', b'"a'))
    with pytest.raises(UserError, match=f"^{path}: cannot be read: .*dvc repro$"):
        read(path)


@pytest.mark.parametrize("content, wrong", [
    ('{"folds": 5}', "has no protocol, seeds"), ("[5]", "holds no JSON object"),
])  # fmt: skip
def test_json_that_lacks_what_is_needed_is_refused(content: str, wrong: str, tmp_path: Path):
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(UserError, match=f"^{path}: cannot be read: {wrong}; make it again by dvc"):
        read_json(path, ["folds", "protocol", "seeds"])


def test_json_is_sorted_and_rounded_to_six_digits(tmp_path: Path):
    write_json(tmp_path / "m.json", {"b": 1 / 3, "a": {"y": [2 / 3], "x": 7}, "c": (0.1 + 0.2,)})
    assert (tmp_path / "m.json").read_text() == json.dumps(
        {"a": {"x": 7, "y": [0.666667]}, "b": 0.333333, "c": [0.3]}, indent=2
    ) + "\n"


def test_json_that_is_not_rounded_keeps_every_digit_and_is_sorted_too(tmp_path: Path):
    values = {"b": 1 / 3, "a": {"y": [2 / 3, 1e-9], "x": 7}}
    write_json(tmp_path / "m.json", values, rounded=False)
    assert read_json(tmp_path / "m.json") == values
    expected = json.dumps({"a": {"x": 7, "y": [2 / 3, 1e-9]}, "b": 1 / 3}, indent=2)
    assert (tmp_path / "m.json").read_text() == expected + "\n"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_any_number_that_is_not_rounded_is_read_as_it_was(tmp_path_factory: Any, number: float):
    path = tmp_path_factory.getbasetemp() / "number.json"
    write_json(path, {"number": number}, rounded=False)
    assert read_json(path) == {"number": number}


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"deep": [float("-inf")]}])
def test_a_number_that_is_not_finite_is_never_written(value: Any, rounded: bool, tmp_path: Path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "m.json", {"value": value}, rounded)
    assert list(tmp_path.iterdir()) == []


def test_json_is_read_as_it_was_written(tmp_path: Path):
    values = {"text": FOREIGN, "number": 0.25, "count": 3, "nested": {"flag": True, "none": None}}
    write_json(tmp_path / "m.json", values)
    assert read_json(tmp_path / "m.json") == values


def test_the_sha256_of_a_file_is_that_of_its_bytes(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "file") == expected
