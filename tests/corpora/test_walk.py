"""Walking a corpus folder: one order everywhere, links once, and files that only seem to be."""

import os
import subprocess
from pathlib import Path

import av
import pytest

from stages.corpora.walk import (
    SOUND,
    VIDEO,
    check_links,
    files_below,
    is_lfs_pointer,
    media_kind,
    unwritable_names,
)
from stages.media.container import FORMATS
from tests.helpers import user_error

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


def test_what_git_keeps_for_itself_is_not_walked(tmp_path: Path):
    make(tmp_path, ".git/annex/objects/a.wav", ".dvc/tmp/a.wav", "a.wav")
    assert list(files_below(tmp_path)) == [tmp_path / "a.wav"]


def test_a_linked_corpus_is_walked_and_may_link_to_files_anywhere(tmp_path: Path):
    make(tmp_path, "disk/a.wav", "other/b.wav")
    (tmp_path / "disk/b.wav").symlink_to(tmp_path / "other/b.wav")
    (tmp_path / "linked").symlink_to(tmp_path / "disk")
    check_links(tmp_path / "linked")
    assert [path.name for path in files_below(tmp_path / "linked")] == ["a.wav", "b.wav"]


def test_a_linked_folder_of_the_same_corpus_is_passed_over(tmp_path: Path):
    make(tmp_path, "c/a/1", "c/b/2")
    (tmp_path / "c/b/again").symlink_to(tmp_path / "c/a")
    check_links(tmp_path / "c")
    assert list(files_below(tmp_path / "c")) == [tmp_path / "c/a/1", tmp_path / "c/b/2"]


def test_a_linked_folder_elsewhere_is_refused_with_what_to_do(tmp_path: Path):
    make(tmp_path, "c/a/1", "elsewhere/Audio/2")
    link = tmp_path / "c/a/Audio"
    link.symlink_to(tmp_path / "elsewhere/Audio")
    message = user_error(check_links, tmp_path / "c")
    assert message.startswith(f"{link}: is a link to a folder elsewhere, behind which DVC sees no ")
    link.unlink()
    command = message.split("one by one: ")[1]
    subprocess.run(command, shell=True, check=True)  # as it says
    check_links(tmp_path / "c")
    assert list(files_below(tmp_path / "c")) == [tmp_path / "c/a/1", link / "2"]


@pytest.mark.parametrize(
    "target, remedy",
    [
        ("../.git/annex/objects/x1/MD5E-s1--0.wav", "run `git annex get .` or `datalad get .` in "),
        ("nowhere", "put there what it leads to, or remove it"),
        ("b.wav", "put there what it leads to, or remove it"),  # itself
    ],
)
def test_a_link_to_nothing_is_refused_with_what_to_do(target: str, remedy: str, tmp_path: Path):
    make(tmp_path, "c/a.wav")
    for name in ("c/b.wav", "c/d.wav"):
        (tmp_path / name).symlink_to(target)
    message = user_error(check_links, tmp_path / "c")
    start = f"{tmp_path}/c/b.wav: is a link to nothing, as are 2 files in all; {remedy}"
    assert message.startswith(start)


def test_every_format_that_the_decoder_reads_has_its_suffixes():
    known = {suffix[1:] for suffix in VIDEO | SOUND}
    pictures = {"avif", "heic", "heif", "mks"}  # and subtitles
    for name in FORMATS.split(","):
        for mode in ("r", "w"):
            try:
                suffixes = av.ContainerFormat(name, mode).extensions
            except ValueError:  # cannot be written
                continue
            assert suffixes - pictures <= known, name


@pytest.mark.parametrize(
    "name, kind",
    [
        ("a.wav", "audio"),
        ("a.WAV", "audio"),
        ("a.Flac", "audio"),
        ("a.m4a", "audio"),
        ("a.mp4", "video"),
        ("a.MP4", "video"),
        ("a.wav.mov", "video"),
        ("._a.wav", ""),
        ("a.txt", ""),
        ("wav", ""),
        ("a.wav.part", ""),
    ],
)
def test_the_suffix_tells_what_a_file_holds(name: str, kind: str):
    assert media_kind(Path("b") / name) == kind


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
