"""Walking a corpus folder: one order everywhere, links once, and files that only seem to be."""

import os
from pathlib import Path

import pytest

from stages.corpora.walk import files_below, is_lfs_pointer, unwritable_names

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 72862\n"


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_files_come_sorted_by_path(tmp_path: Path):
    make(tmp_path, "b/1", "a/2", "c", "a/1")
    names = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)]
    assert names == ["a/1", "a/2", "b/1", "c"]


def test_a_folder_linked_into_itself_is_walked_once(tmp_path: Path):
    make(tmp_path, "a/1")
    (tmp_path / "a/again").symlink_to(tmp_path)
    assert list(files_below(tmp_path)) == [tmp_path / "a/1"]


def test_a_name_that_is_not_utf8_is_left_out_and_told(tmp_path: Path):
    for name in (b"caf\xe9.wav", b"\xff/a.wav"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.touch()
    make(tmp_path, "café.wav")
    assert list(files_below(tmp_path)) == [tmp_path / "café.wav"]
    assert unwritable_names(tmp_path) == [r"'\udcff/a.wav'", r"'caf\udce9.wav'"]


@pytest.mark.parametrize(
    "text, expected", [(POINTER, True), (POINTER + " " * 1024, False), ("RIFF", False), ("", False)]
)
def test_a_pointer_of_git_lfs_is_told_from_other_files(text: str, expected: bool, tmp_path: Path):
    (tmp_path / "a.wav").write_text(text)
    assert is_lfs_pointer(tmp_path / "a.wav") is expected


def test_a_file_that_is_not_there_is_no_pointer(tmp_path: Path):
    assert not is_lfs_pointer(tmp_path / "a.wav")
