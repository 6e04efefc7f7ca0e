"""Array files: HDF5 with ids, settings and a checksum, written in one pass and whole.

One chunked dataset an array, rows appended in the order of the ids, no timestamps: the same input
gives the same bytes. Appending to one growing dataset keeps the memory of a stage independent of
the number of clips.

fletcher32 covers the rows but not HDF5's own metadata, where one flipped bit was seen to give other
values, or to hang it. So the SHA-256 of all that HDF5 wrote stands in the 512 bytes before it, the
"user block" of the format, and HDF5 opens no file that does not fit it.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stages.io.files import plain_only, replacing, require_space
from stages.runtime.errors import UserError, one_line

SCHEMA = 2
HEAD_BYTES = 512  # the smallest user block
MAGIC = f"FDAN arrays, schema {SCHEMA}, SHA-256 ".encode()
CHUNK_BYTES = 1 << 19
RESERVE_BYTES = 16 << 20  # beyond what is appended: chunks not yet written, and metadata
PATIENCE = 10.0  # seconds that another process gets to close a file that it writes to
Layout = Mapping[str, tuple[str, tuple[int | None, ...]]]  # dtype and shape by name; None: any
_IDS = ("S", (None,))
_FEATURES: Layout = {  # of clips whose sequences may be kept
    "ids": _IDS,
    "pooled": ("float32", (None, None)),
    "values": ("float16", (None, None)),
    "offsets": ("int64", (None,)),
}
LAYOUTS: dict[str, Layout] = {  # of the files of each kind; an array without a row is not there
    "frames": {
        "ids": _IDS,
        "faces": ("uint8", (None, 3, None, None, 3)),
        "ok": ("bool", (None, 3)),
        "status": ("uint8", (None, 3)),
        "boxes": ("float32", (None, 3, 5)),
        "certainty": ("float32", (None, 3)),
        "jumps": ("float32", (None, 3)),
        "times": ("float64", (None, 3)),
        "found": ("int16", (None, 3)),
    },
    "mels": {"ids": _IDS, "values": ("float32", (None, None)), "offsets": ("int64", (None,))},
    "visual features": {
        "ids": _IDS,
        "pooled": ("float32", (None, 3, None)),
        "ok": ("bool", (None, 3)),
    },
    "acoustic features": _FEATURES,
    "linguistic features": _FEATURES,
}
_RAGGED = {"values", "offsets"}  # the values of all clips in a row, and where those of each begin
# Augmented copies have no ids: after what "pooled" and the ragged arrays hold of all clips comes
# what they hold of the first copy of each, and so on.
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)  # a file system of some clusters


class ArrayWriter:
    """Appends rows to the arrays of one file. Made by `write_arrays`.

    Rows wait in memory until they fill a chunk: for the few bytes of one clip HDF5 takes as long as
    for those of a thousand.
    """

    def __init__(self, file: h5py.File, path: Path):
        self._file = file
        self._path = path
        self._reserved = 0  # bytes of the file
        self._waiting: defaultdict[str, list[np.ndarray]] = defaultdict(list)
        self._waiting_bytes: Counter[str] = Counter()

    def append(self, name: str, rows: np.ndarray) -> None:
        """Append `rows` [n, ...] to the array `name`, which the first call creates."""
        self._waiting[name].append(rows.copy())  # the caller may go on to change them
        self._waiting_bytes[name] += rows.nbytes
        if self._waiting_bytes[name] >= CHUNK_BYTES:
            self._write(name)

    def flush(self) -> None:
        """Write what still waits."""
        for name in list(self._waiting):
            self._write(name)

    def _write(self, name: str) -> None:
        rows = np.concatenate(self._waiting.pop(name))
        self._waiting_bytes[name] = 0
        if name not in self._file:
            row_bytes = max(1, int(np.prod(rows.shape[1:])) * rows.itemsize)
            self._file.create_dataset(
                name,
                data=rows[:0],
                maxshape=(None, *rows.shape[1:]),
                chunks=(max(1, CHUNK_BYTES // row_bytes), *rows.shape[1:]),
                fletcher32=True,
                track_times=False,
            )
        # HDF5 can crash the interpreter on a full disk, so never let it meet one. The reservation
        # meets what free space does not show, as a quota or a limit on the size of files.
        require_space(self._path, rows.nbytes)
        needed = self._file.id.get_filesize() + rows.nbytes + RESERVE_BYTES
        if needed > self._reserved:
            # Ahead, as file systems that cannot reserve have the reservation written out.
            more = needed - self._reserved + RESERVE_BYTES
            os.posix_fallocate(self._file.id.get_vfd_handle(), self._reserved, more)
            self._reserved += more
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
        with h5py.File(temporary, "w", userblock_size=HEAD_BYTES) as file:
            file.attrs["kind"] = kind
            file.attrs["settings"] = json.dumps(settings, sort_keys=True)
            writer = ArrayWriter(file, path)
            yield writer
            writer.flush()
            file.flush()  # into what is reserved; the rest of that goes
            os.ftruncate(file.id.get_vfd_handle(), file.id.get_filesize())
        with open(temporary, "r+b") as written:
            head = _head(written)
            written.seek(0)
            written.write(head)


@contextlib.contextmanager
def open_arrays(path: Path, kind: str) -> Iterator[h5py.File]:
    """Open an array file for reading; arrays are read by `file["name"][...]`.

    The whole file is read once for its checksum, at the speed of the disk or of SHA-256 (about
    1.5 GB/s), whichever is slower.

    Raises:
        UserError: the file is missing, damaged, of another kind or another schema version, or
            another process keeps it open for writing. A checksum that fails while reading is
            reported the same way.
    """
    wrong = ""
    try:
        with open(path, "rb", opener=plain_only) as content:
            _wait_for_writer(content, path)
            head = content.read(HEAD_BYTES)
            if not head.startswith(MAGIC):
                wrong = f"is not an array file of schema {SCHEMA}"
            elif head != _head(content):
                wrong = "is damaged, its checksum does not fit"
        if not wrong:
            with h5py.File(path, "r") as file:
                wrong = _misfit(file, kind)
                if not wrong:
                    yield file
    except (OSError, KeyError) as error:  # h5py's errors of a missing array name no file
        wrong = f"cannot be read: {one_line(error)}"
    if wrong:
        raise UserError(f"{path}: {wrong}; delete it and run dvc repro")


def fits(arrays: Mapping[str, np.ndarray], layout: Layout) -> bool:
    """Whether arrays have the names, types and shapes of a layout, and only finite numbers."""
    return arrays.keys() == layout.keys() and all(
        _is_like(arrays[name], *item) and _is_finite(arrays[name]) for name, item in layout.items()
    )


def _is_like(array: np.ndarray | h5py.Dataset, dtype: str, shape: tuple[int | None, ...]) -> bool:
    return (
        (array.dtype.kind == "S" if dtype == "S" else array.dtype == dtype)
        and len(array.shape) == len(shape)
        and all(wanted in (None, length) for wanted, length in zip(shape, array.shape))
    )


def _is_finite(array: np.ndarray | h5py.Dataset) -> bool:
    """Of what is not in memory, a part at a time."""
    if array.dtype.kind != "f" or not array.size:
        return True
    rows = max(1, CHUNK_BYTES * len(array) // (array.size * array.dtype.itemsize))
    return all(
        np.isfinite(array[start : start + rows]).all() for start in range(0, len(array), rows)
    )


def _misfit(file: h5py.File, kind: str) -> str:
    """What is wrong with a file whose checksum fits, as anybody can write one; "" for nothing.

    HDF5 follows links, virtual arrays and external storage into other files: none is read.
    """
    found = file.attrs["kind"]
    if not isinstance(found, str) or found != kind:
        return f"holds {' '.join(str(found).split())[:80]}, not {kind}"
    layout = LAYOUTS.get(kind)
    lengths: set[int] = set()
    copied: set[int] = set()  # the lengths of what may hold copies
    try:
        if not isinstance(read_settings(file), dict):
            return "has no settings"
        for name in file:
            array = file[name] if type(file.get(name, getlink=True)) is h5py.HardLink else None
            if not isinstance(array, h5py.Dataset) or array.is_virtual or array.external:
                return f"{ascii(name)} is no plain array"
            if layout is not None and not (name in layout and _is_like(array, *layout[name])):
                return f"{ascii(name)} is no array of a file of {kind}"
            if name != "pooled" and not _is_finite(array):  # whose readers name the utterance
                return f"{name} holds values that are not finite"
            if array.dtype.kind == "S":
                decode_ids(array[...])
            if name == "pooled" and kind in LAYOUTS:
                copied.add(len(array))
            elif name not in _RAGGED or kind not in LAYOUTS:
                lengths.add(len(array))
        if kind == "mels" or (layout is not None and not _RAGGED.isdisjoint(file)):
            offsets = file["offsets"][...]
            rows = len(file["values"]) if "values" in file else 0
            copied.add(len(offsets) - 1)
            whole = _has_copies(len(offsets) - 1, len(file["ids"]))
            whole = whole and (offsets[0], offsets[-1]) == (0, rows)
            if not whole or (np.diff(offsets) <= 0).any():
                return "its offsets do not fit its arrays"
        if layout is not None:
            whole = all(_has_copies(length, len(file["ids"])) for length in copied)
            if len(lengths) > 1 or len(copied) > 1 or not whole:
                return "its arrays have different lengths"
    except (AttributeError, TypeError, ValueError) as error:  # of types that NumPy does not have
        return one_line(error)[:200]
    return ""


def _has_copies(rows: int, clips: int) -> bool:
    """Whether there is a row of every clip, and as many more of each as of every other."""
    return rows >= clips and (rows % clips == 0 if clips else rows == 0)


def _wait_for_writer(file: BufferedIOBase, path: Path) -> None:
    """Wait while another process holds the lock that HDF5 takes (flock) on a file that it writes.

    The lock is never bypassed: what is read under a writer may be anything.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise UserError(
                    f"{path}: is open for writing in another process{_lock_holder(path)}; "
                    "close it there, or wait for it to end"
                ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            return
        time.sleep(0.2)


def _lock_holder(path: Path) -> str:
    """For a file that process 12 has locked " (process 12)"; "" where Linux does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text().splitlines():
            fields = line.split()  # 1: FLOCK  ADVISORY  WRITE 12 fe:00:1234 0 EOF
            if len(fields) > 5 and fields[5].endswith(f":{path.stat().st_ino}"):
                return f" (process {fields[4]})"
    return ""


def read_settings(file: h5py.File) -> dict[str, Any]:
    """The settings an open array file was written with."""
    return json.loads(file.attrs["settings"])


def encode_ids(ids: list[str]) -> np.ndarray:
    """Ids as fixed-length UTF-8 bytes [n]: HDF5 keeps those of variable length elsewhere."""
    encoded = [item.encode() for item in ids]
    return np.array(encoded, dtype=f"S{max([1, *map(len, encoded)])}")


def decode_ids(rows: np.ndarray) -> list[str]:
    """The inverse of `encode_ids`."""
    return [item.decode() for item in rows]


def _head(file: BufferedIOBase) -> bytes:
    """What stands in a whole file's first `HEAD_BYTES`, made of all that follows them."""
    file.seek(HEAD_BYTES)
    digest = hashlib.file_digest(file, "sha256").hexdigest()
    return (MAGIC + digest.encode() + b"\n").ljust(HEAD_BYTES, b"\0")
