"""Array files: the same input gives the same bytes, and damage never passes for data."""

import contextlib
import shutil
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages import arrays
from stages.arrays import (
    decode_ids,
    encode_ids,
    open_arrays,
    read_settings,
    require_space,
    write_arrays,
)
from stages.failures import UserError

IDS = ["sample/F1_AN_s1", "ravdess/01-05", "meld/Žofie 日本"]
ROWS = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
SETTINGS = {"n_mels": 64, "fmin": 20.0, "name": "é"}


def write(path: Path, rows: np.ndarray = ROWS) -> None:
    """A file of kind "mels", its rows appended one at a time."""
    with write_arrays(path, "mels", SETTINGS, rows.nbytes) as file:
        for i in range(len(rows)):
            file.append("values", rows[i : i + 1])
        file.append("ids", encode_ids(IDS))


def read(path: Path, kind: str = "mels") -> tuple[np.ndarray, list[str], dict]:
    with open_arrays(path, kind) as file:
        return file["values"][...], decode_ids(file["ids"][...]), read_settings(file)


def complaint(path: Path, kind: str = "mels") -> str:
    with pytest.raises(UserError) as caught:
        read(path, kind)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def flip_bit(path: Path, of: bytes) -> None:
    """Flip one bit in the middle of the bytes `of`, wherever they lie in the file."""
    content = bytearray(path.read_bytes())
    content[content.index(of) + len(of) // 2] ^= 0x10
    path.write_bytes(content)


def with_free_space(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = namedtuple("usage", "total used free")(10**12, 0, free)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


def test_arrays_ids_and_settings_are_read_as_they_were_written(tmp_path: Path):
    write(tmp_path / "a.h5")
    values, ids, settings = read(tmp_path / "a.h5")
    np.testing.assert_array_equal(values, ROWS)
    assert (values.dtype, ids, settings) == (ROWS.dtype, IDS, SETTINGS)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path):
    for name in ("a.h5", "b.h5"):
        write(tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_an_array_may_grow_beyond_one_chunk(tmp_path: Path):
    rows = np.random.default_rng(1).integers(0, 255, (9, 200_000), dtype=np.uint8)
    write(tmp_path / "a.h5", rows)
    np.testing.assert_array_equal(read(tmp_path / "a.h5")[0], rows)


def test_an_array_without_rows_is_read_as_one(tmp_path: Path):
    with write_arrays(tmp_path / "a.h5", "mels", {}, 0) as file:
        file.append("values", ROWS[:0])
        file.append("ids", encode_ids([]))
    values, ids, _ = read(tmp_path / "a.h5")
    assert values.shape == (0, 4, 5) and ids == []


@pytest.mark.parametrize("part", ["values", "ids"])
def test_a_flipped_bit_is_noticed_when_it_is_read(part: str, tmp_path: Path):
    write(tmp_path / "a.h5")
    flip_bit(tmp_path / "a.h5", ROWS.tobytes() if part == "values" else IDS[0].encode())
    assert "cannot be read" in complaint(tmp_path / "a.h5")


def test_flipped_bits_in_the_settings_are_noticed(tmp_path: Path):
    write(tmp_path / "a.h5")
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content.replace(b'{"fmin"', b'["fmin"'))
    assert str(tmp_path / "a.h5") in complaint(tmp_path / "a.h5")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_noticed(share: float, tmp_path: Path):
    write(tmp_path / "a.h5")
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content[: int(share * len(content))])
    assert "delete it and run dvc repro" in complaint(tmp_path / "a.h5")


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    write(tmp_path / "a.h5")
    assert "holds mels of schema 1, not frames" in complaint(tmp_path / "a.h5", "frames")


def test_a_file_of_another_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "a.h5")
    monkeypatch.setattr(arrays, "SCHEMA", 2)
    assert "of schema 1, not mels of schema 2" in complaint(tmp_path / "a.h5")


def test_a_file_that_somebody_else_made_is_refused(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["values"] = ROWS
    assert "holds None of schema None" in complaint(tmp_path / "a.h5")


def test_a_missing_file_and_a_text_file_are_refused(tmp_path: Path):
    assert "cannot be read" in complaint(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_text("version https://git-lfs.github.com/spec/v1\n" * 100)
    assert "cannot be read" in complaint(tmp_path / "a.h5")


HOLDER = """
import sys, time, h5py
with h5py.File(sys.argv[1], "r+"):
    print("open", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextlib.contextmanager
def held_open(path: Path, seconds: float) -> Iterator[subprocess.Popen]:
    """Another process that has the file open for writing for so long."""
    command = [sys.executable, "-c", HOLDER, str(path), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "open\n"
        yield holder
        holder.kill()


def test_a_file_that_another_process_writes_to_is_waited_for(tmp_path: Path):
    write(tmp_path / "a.h5")
    with held_open(tmp_path / "a.h5", 1):
        start = time.monotonic()
        np.testing.assert_array_equal(read(tmp_path / "a.h5")[0], ROWS)
        assert time.monotonic() - start > 0.3


def test_a_file_that_another_process_keeps_open_is_refused_with_that_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(arrays, "PATIENCE", 0.5)
    write(tmp_path / "a.h5")
    with held_open(tmp_path / "a.h5", 60) as holder:
        said = complaint(tmp_path / "a.h5")
    holds = f"{tmp_path / 'a.h5'}: is open for writing in another process"
    remedy = "; close it there, or wait for it to end"
    # Not every kernel tells who it is.
    assert said in (f"{holds} (process {holder.pid}){remedy}", f"{holds}{remedy}")


def test_two_may_read_at_once(tmp_path: Path):
    write(tmp_path / "a.h5")
    with open_arrays(tmp_path / "a.h5", "mels"):
        np.testing.assert_array_equal(read(tmp_path / "a.h5")[0], ROWS)


def test_a_failure_leaves_what_was_there_before_and_no_torso(tmp_path: Path):
    write(tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()
    with (
        pytest.raises(ZeroDivisionError),
        write_arrays(tmp_path / "a.h5", "mels", {}, 0) as file,
    ):
        file.append("values", ROWS)
        1 / 0
    assert (tmp_path / "a.h5").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "a.h5"]


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with_free_space(monkeypatch, 100 << 20)
    with (
        pytest.raises(UserError, match=r"a.h5: no space: needs 567 MB, 105 MB are free; make room"),
        write_arrays(tmp_path / "a.h5", "mels", {}, 500_000_000),
    ):
        pytest.fail("the file was opened")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_told_and_leaves_no_torso(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with (
        pytest.raises(UserError, match="no space"),
        write_arrays(tmp_path / "a.h5", "mels", {}, 0) as file,
    ):
        file.append("values", ROWS)
        with_free_space(monkeypatch, 0)
        file.append("values", ROWS)
    assert list(tmp_path.iterdir()) == []


def test_space_is_asked_of_the_disk_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    usage = namedtuple("usage", "total used free")(10**12, 0, 10**12)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or usage)
    require_space(tmp_path / "a.h5", 1)
    assert asked == [tmp_path]


# A fixed-length field is filled up with NUL, so that an id cannot end in one.
identities = st.text(st.characters(codec="utf-8", exclude_characters="\0"))


@given(st.lists(identities))
def test_any_ids_survive(ids: list[str]):
    assert decode_ids(encode_ids(ids)) == ids
