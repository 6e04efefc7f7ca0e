"""Array files: the same input gives the same bytes, and damage never passes for data."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
import tracemalloc
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.io import arrays
from stages.io.arrays import (
    CHUNK_BYTES,
    decode_ids,
    encode_ids,
    open_arrays,
    read_settings,
    write_arrays,
)
from stages.io.files import require_space
from stages.runtime.errors import UserError

IDS = ["sample/F1_AN_s1", "ravdess/01-05", "meld/Žofie 日本"]
ROWS = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
SETTINGS = {"n_mels": 64, "fmin": 20.0, "name": "é"}


def write(path: Path, rows: np.ndarray = ROWS) -> None:
    """A file of kind "rows", its rows appended one at a time."""
    with write_arrays(path, "rows", SETTINGS, rows.nbytes) as file:
        for i in range(len(rows)):
            file.append("values", rows[i : i + 1])
        file.append("ids", encode_ids(IDS))


def read(path: Path, kind: str = "rows") -> tuple[np.ndarray, list[str], dict]:
    with open_arrays(path, kind) as file:
        return file["values"][...], decode_ids(file["ids"][...]), read_settings(file)


def complaint(path: Path, kind: str = "rows") -> str:
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


def test_rows_keep_their_order_however_many_come_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 1000)
    rng = np.random.default_rng(2)
    steps = [rng.normal(size=(count, 7)) for count in rng.integers(0, 30, 40)]
    with write_arrays(tmp_path / "a.h5", "rows", {}, 0) as file:
        for number, step in enumerate(steps):
            file.append("values", step)
            file.append("ids", encode_ids([f"{number:02}"]))
    values, ids, _ = read(tmp_path / "a.h5")
    np.testing.assert_array_equal(values, np.concatenate(steps))
    assert ids == [f"{number:02}" for number in range(40)]


def test_rows_may_be_changed_once_they_are_appended(tmp_path: Path):
    row = ROWS[:1].copy()
    with write_arrays(tmp_path / "a.h5", "rows", {}, 0) as file:
        file.append("values", row)
        row += 1
        file.append("ids", encode_ids(IDS[:1]))
    np.testing.assert_array_equal(read(tmp_path / "a.h5")[0], ROWS[:1])


def test_a_chunk_waits_in_memory_and_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    row = np.zeros((1, CHUNK_BYTES // 8), np.uint8)
    with write_arrays(tmp_path / "a.h5", "rows", {}, 0) as file:
        written: list[int] = []
        monkeypatch.setattr(arrays, "require_space", lambda path, size: written.append(size))
        tracemalloc.start()
        for _ in range(50):
            file.append("values", row)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 3 * CHUNK_BYTES
    assert written == 6 * [CHUNK_BYTES] + [2 * row.nbytes]


def test_an_array_without_rows_is_read_as_one(tmp_path: Path):
    with write_arrays(tmp_path / "a.h5", "rows", {}, 0) as file:
        file.append("values", ROWS[:0])
        file.append("ids", encode_ids([]))
    values, ids, _ = read(tmp_path / "a.h5")
    assert values.shape == (0, 4, 5) and ids == []


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of few bytes, most of which are what HDF5 notes of its arrays."""
    monkeypatch.setattr(arrays, "CHUNK_BYTES", 256)
    write(tmp_path / "a.h5")
    assert (tmp_path / "a.h5").stat().st_size < 16_000
    return tmp_path / "a.h5"


def test_every_flipped_bit_is_noticed_before_hdf5_sees_it(
    small: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(arrays.h5py, "File", lambda *_: pytest.fail("HDF5 opened it"))
    content = small.read_bytes()
    everywhere = np.random.default_rng(0).choice(8 * len(content), 300, replace=False)
    with open(small, "r+b", buffering=0) as file:
        for bit in [*range(8 * 1024), *everywhere.tolist()]:  # the head, the superblock and more
            place, mask = bit // 8, 1 << bit % 8
            os.pwrite(file.fileno(), bytes([content[place] ^ mask]), place)
            assert "delete it and run dvc repro" in complaint(small), f"bit {bit}"
            os.pwrite(file.fileno(), content[place : place + 1], place)
    assert small.read_bytes() == content


def test_a_file_cut_anywhere_or_with_something_after_its_end_is_noticed(
    small: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(arrays.h5py, "File", lambda *_: pytest.fail("HDF5 opened it"))
    content = small.read_bytes()
    lengths = np.random.default_rng(0).choice(len(content), 300, replace=False).tolist()
    for length in [0, 1, 511, 512, 513, len(content) - 1, *lengths]:
        small.write_bytes(content[:length])
        assert "delete it and run dvc repro" in complaint(small), f"{length} bytes"
    small.write_bytes(content + b"\0")
    assert "its checksum does not fit" in complaint(small)


@pytest.mark.parametrize("part", ["values", "ids"])
def test_a_bit_that_flips_after_the_file_was_opened_is_noticed_too(part: str, tmp_path: Path):
    path = tmp_path / "a.h5"
    write(path)
    with pytest.raises(UserError, match="cannot be read"), open_arrays(path, "rows") as file:
        flip_bit(path, ROWS.tobytes() if part == "values" else IDS[0].encode())
        file[part][...]


def test_other_programs_can_read_it(tmp_path: Path):
    write(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r") as file:
        np.testing.assert_array_equal(file["values"][...], ROWS)


def test_a_file_of_another_kind_is_refused(tmp_path: Path):
    write(tmp_path / "a.h5")
    assert "holds rows, not frames; delete it" in complaint(tmp_path / "a.h5", "frames")


def test_a_file_of_another_schema_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path / "a.h5")
    monkeypatch.setattr(arrays, "MAGIC", arrays.MAGIC.replace(b"schema 2", b"schema 3"))
    monkeypatch.setattr(arrays, "SCHEMA", 3)
    assert "is not an array file of schema 3" in complaint(tmp_path / "a.h5")


def test_a_file_that_somebody_else_made_is_refused(tmp_path: Path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["values"] = ROWS
    assert "is not an array file of schema 2" in complaint(tmp_path / "a.h5")


def test_a_missing_file_and_a_text_file_are_refused(tmp_path: Path):
    assert "cannot be read" in complaint(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_text("version https://git-lfs.github.com/spec/v1\n" * 100)
    assert "is not an array file" in complaint(tmp_path / "a.h5")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3, 5), "float32")
    layout[...] = h5py.VirtualSource("other.h5", "values", (3, 5))
    file.create_virtual_dataset("pooled", layout)


VOICES = ROWS[:, 0]
BY_HAND = {
    "virtual": virtual,
    "external storage": lambda file: file.create_dataset(
        "pooled", (3, 5), "float32", external=[("secret", 0, 60)]
    ),
    "soft link": lambda file: file.__setitem__("pooled", h5py.SoftLink("/visual")),
    "external link": lambda file: file.__setitem__("pooled", h5py.ExternalLink("b.h5", "values")),
    "group": lambda file: file.create_group("pooled"),
    "another name": lambda file: file.create_dataset("pool", data=VOICES),
    "another type": lambda file: file.create_dataset("pooled", data=VOICES.astype(np.float64)),
    "text": lambda file: file.create_dataset("pooled", data=["a", "b", "c"]),
    "another rank": lambda file: file.create_dataset("pooled", data=VOICES[0]),
    "another length": lambda file: file.create_dataset("pooled", data=VOICES[:2]),
    "ids that are no text": lambda file: (
        file.__delitem__("ids"),
        file.create_dataset("ids", data=np.array([b"\xff", b"b", b"c"])),
    ),
    "settings": lambda file: file.attrs.__setitem__("settings", "[1"),
    "kind": lambda file: file.attrs.__setitem__("kind", np.arange(3)),
}


@pytest.mark.parametrize("what", BY_HAND)
def test_a_file_with_a_fitting_checksum_and_other_content_is_refused_in_one_line(
    tmp_path: Path, what: str
):
    path = tmp_path / "a.h5"
    with write_arrays(path, "acoustic features", {}, 0) as file:
        file.append("ids", encode_ids(IDS))
        file.flush()
        BY_HAND[what](file._file)
    with pytest.raises(UserError) as caught, open_arrays(path, "acoustic features"):
        pytest.fail("it was opened")
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).endswith("; delete it and run dvc repro")


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, bad: float):
    rows = np.zeros((50_000, 5), np.float32)
    rows[-1, -1] = bad
    with write_arrays(tmp_path / "a.h5", "mels", {}, 0) as file:
        file.append("values", rows)
    with pytest.raises(UserError, match="values holds values that are not finite; delete it"):
        open_arrays(tmp_path / "a.h5", "mels").__enter__()


@pytest.mark.parametrize(
    "offsets", [[0, 1, 3], [0, 1, 2, 4], [0, 2, 1, 3], [1, 2, 2, 3], [0, 0, 1, 3]]
)
@pytest.mark.parametrize("kind, dtype", [("mels", "f4"), ("linguistic features", "f2")])
def test_offsets_that_do_not_fit_are_refused(
    tmp_path: Path, kind: str, dtype: str, offsets: list[int]
):
    with write_arrays(tmp_path / "a.h5", kind, {}, 0) as file:
        file.append("ids", encode_ids(IDS))
        file.append("values", VOICES.astype(dtype))
        file.append("offsets", np.array(offsets))
    with pytest.raises(UserError, match="its offsets do not fit"):
        open_arrays(tmp_path / "a.h5", kind).__enter__()


@pytest.mark.parametrize("pooled, steps", [(3, 3), (6, 6), (9, 9), (4, 4), (6, 3), (3, 6), (0, 0)])
def test_of_copies_there_are_as_many_of_each_clip(tmp_path: Path, pooled: int, steps: int):
    with write_arrays(tmp_path / "a.h5", "acoustic features", {}, 0) as file:
        file.append("ids", encode_ids(IDS))
        file.append("pooled", np.zeros((pooled, 2), np.float32))
        file.append("values", np.zeros((steps, 2), np.float16))
        file.append("offsets", np.arange(steps + 1))
    if pooled == steps and pooled in (3, 6, 9):
        with open_arrays(tmp_path / "a.h5", "acoustic features") as found:
            assert len(found["ids"]) == 3 and len(found["pooled"]) == pooled
    else:
        with pytest.raises(UserError, match="its (arrays have different|offsets do not fit)"):
            open_arrays(tmp_path / "a.h5", "acoustic features").__enter__()


def test_of_texts_there_is_a_row_for_each_id_whether_or_not_there_are_tokens(tmp_path: Path):
    tokens = {"values": VOICES.astype("f2"), "offsets": np.array([0, 1, 2, 3])}
    for more in ({}, tokens):
        for count in (3, 2):
            with write_arrays(tmp_path / "a.h5", "linguistic features", {}, 0) as file:
                file.append("ids", encode_ids(IDS))
                file.append("pooled", np.zeros((count, 2), np.float32))
                for name, rows in more.items():
                    file.append(name, rows)
            if count == len(IDS):
                with open_arrays(tmp_path / "a.h5", "linguistic features") as file:
                    assert set(file) == {"ids", "pooled", *more}
            else:
                with pytest.raises(UserError, match="its arrays have different lengths"):
                    open_arrays(tmp_path / "a.h5", "linguistic features").__enter__()


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
    with open_arrays(tmp_path / "a.h5", "rows"):
        np.testing.assert_array_equal(read(tmp_path / "a.h5")[0], ROWS)


def test_a_failure_leaves_what_was_there_before_and_no_torso(tmp_path: Path):
    write(tmp_path / "a.h5")
    before = (tmp_path / "a.h5").read_bytes()
    with (
        pytest.raises(ZeroDivisionError),
        write_arrays(tmp_path / "a.h5", "rows", {}, 0) as file,
    ):
        file.append("values", ROWS)
        raise ZeroDivisionError
    assert (tmp_path / "a.h5").read_bytes() == before
    assert list(tmp_path.iterdir()) == [tmp_path / "a.h5"]


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with_free_space(monkeypatch, 100 << 20)
    with (
        pytest.raises(UserError, match=r"a.h5: no space: needs 567 MB, 105 MB are free; make room"),
        write_arrays(tmp_path / "a.h5", "rows", {}, 500_000_000),
    ):
        pytest.fail("the file was opened")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_is_told_and_leaves_no_torso(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with (
        pytest.raises(UserError, match="no space"),
        write_arrays(tmp_path / "a.h5", "rows", {}, 0) as file,
    ):
        file.append("values", ROWS)
        with_free_space(monkeypatch, 0)
        file.append("values", ROWS)
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import resource, sys
from pathlib import Path
import numpy as np
from stages.io.arrays import write_arrays
from stages.runtime.command import run

def main():
    with write_arrays(Path("a.h5"), "rows", {}, 0) as file:
        for _ in range(100):
            file.append("values", np.zeros((1, 1 << 20), np.uint8))

limit = int(sys.argv[1]) << 20
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
run(main)
"""


@pytest.mark.parametrize("limit", [0, 1, 17, 40, 110])
def test_a_file_that_may_not_grow_is_one_line_and_no_crash_of_hdf5(limit: int, tmp_path: Path):
    (tmp_path / "params.yaml").touch()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(limit)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: a.h5: cannot be written: ")
    assert list(tmp_path.iterdir()) == [tmp_path / "params.yaml"]


def test_nothing_of_what_was_reserved_stays_in_the_file(tmp_path: Path):
    write(tmp_path / "a.h5")
    assert (tmp_path / "a.h5").stat().st_size < 3 * CHUNK_BYTES


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
