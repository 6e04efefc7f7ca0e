"""Array files: HDF5 with ids, settings and checksums, written in one pass and whole.

One chunked dataset an array with fletcher32, rows appended in the order of the ids, no
timestamps: the same input gives the same bytes. Appending to one growing dataset keeps the
memory of a stage independent of the number of clips.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stages.failures import UserError
from stages.files import replacing

SCHEMA = 1
CHUNK_BYTES = 1 << 19
SPARE_BYTES = 64 << 20
PATIENCE = 10.0  # seconds that another process gets to close a file that it writes to


class ArrayWriter:
    """Appends rows to the arrays of one file. Made by `write_arrays`."""

    def __init__(self, file: h5py.File, path: Path):
        self._file = file
        self._path = path

    def append(self, name: str, rows: np.ndarray) -> None:
        """Append `rows` [n, ...] to the array `name`, which the first call creates."""
        if name not in self._file:
            row_bytes = max(1, int(np.prod(rows.shape[1:])) * rows.itemsize)
            self._file.create_dataset(
                name,
                shape=(0, *rows.shape[1:]),
                maxshape=(None, *rows.shape[1:]),
                chunks=(max(1, CHUNK_BYTES // row_bytes), *rows.shape[1:]),
                dtype=rows.dtype,
                fletcher32=True,
                track_times=False,
            )
        # HDF5 can crash the interpreter on a full disk, so never let it meet one.
        require_space(self._path, rows.nbytes)
        data = self._file[name]
        start = len(data)
        data.resize(start + len(rows), axis=0)
        data[start:] = rows


@contextlib.contextmanager
def write_arrays(
    path: Path, kind: str, settings: Mapping[str, Any], expected_bytes: int
) -> Iterator[ArrayWriter]:
    """Write an array file of `kind`, atomically.

    Args:
        settings: what the arrays were made with; stored as JSON and returned by `read_settings`.
        expected_bytes: about how large the file will be; checked against the free space first.

    Raises:
        UserError: there is no room, or the file cannot be written.
    """
    with replacing(path) as temporary:
        require_space(path, expected_bytes)
        with h5py.File(temporary, "w") as file:
            file.attrs["schema"] = SCHEMA
            file.attrs["kind"] = kind
            file.attrs["settings"] = json.dumps(settings, sort_keys=True)
            yield ArrayWriter(file, path)


def require_space(path: Path, needed: int) -> None:
    """Raise UserError unless `needed` bytes and some spare fit on the disk of `path`."""
    free = shutil.disk_usage(path.parent).free
    if free < needed + SPARE_BYTES:
        raise UserError(
            f"{path}: no space: needs {(needed + SPARE_BYTES) / 1e6:.0f} MB, "
            f"{free / 1e6:.0f} MB are free; make room"
        )


@contextlib.contextmanager
def open_arrays(path: Path, kind: str) -> Iterator[h5py.File]:
    """Open an array file for reading; arrays are read by `file["name"][...]`.

    Raises:
        UserError: the file is missing, damaged, of another kind or another schema version, or
            another process keeps it open for writing. A checksum that fails while reading is
            reported the same way.
    """
    try:
        with _open_unlocked(path) as file:
            found = (file.attrs.get("kind"), file.attrs.get("schema"))
            if found != (kind, SCHEMA):
                raise UserError(
                    f"{path}: holds {found[0]} of schema {found[1]}, not {kind} of schema "
                    f"{SCHEMA}; delete it and run dvc repro"
                )
            yield file
    except (OSError, KeyError) as error:  # h5py's errors of a missing array name no file
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: cannot be read: {reason}; delete it and run dvc repro") from error


def _open_unlocked(path: Path) -> h5py.File:
    """Open a file for reading; wait while another process holds HDF5's lock on it.

    The lock is never gone around: what is read under a writer may be anything.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return h5py.File(path, "r")
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise UserError(
                    f"{path}: is open for writing in another process{_lock_holder(path)}; close it "
                    "there, or wait for it to end"
                ) from error
        time.sleep(0.2)


def _lock_holder(path: Path) -> str:
    """" (process 12)" for a file that process 12 has locked; "" where Linux does not tell."""
    with contextlib.suppress(OSError):
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            # 1: FLOCK  ADVISORY  WRITE 12 fe:00:1234 0 EOF
            fields = line.split()
            if len(fields) > 5 and fields[5].split(":")[-1] == str(inode):
                return f" (process {fields[4]})"
    return ""


def read_settings(file: h5py.File) -> dict[str, Any]:
    """The settings an open array file was written with.

    Raises:
        UserError: they are damaged.
    """
    try:
        return json.loads(file.attrs["settings"])
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{file.filename}: its settings are damaged; delete it and run dvc repro"
        ) from error


def encode_ids(ids: list[str]) -> np.ndarray:
    """Ids as fixed-length UTF-8 bytes [n], which fletcher32 protects (variable length is not)."""
    width = max((len(item.encode()) for item in ids), default=1)
    return np.array([item.encode() for item in ids], dtype=f"S{max(1, width)}")


def decode_ids(rows: np.ndarray) -> list[str]:
    """The inverse of `encode_ids`."""
    return [item.decode() for item in rows]
