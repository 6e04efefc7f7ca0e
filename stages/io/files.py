"""Files that appear whole or not at all: tables, JSON, and whatever else is written."""

import contextlib
import csv
import errno
import hashlib
import io
import json
import math
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stages.runtime.errors import UserError, one_line

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
SPARE_BYTES = 64 << 20  # that stay free on a disk
LFS_POINTER = b"version https://git-lfs"  # the first bytes of what git leaves of a file in Git LFS


def plain_only(path: str, flags: int) -> int:
    """The `opener` of open() for what may not be ours: nobody may write to a pipe in its place.

    Raises:
        OSError: it is no regular file, or a link to none.
    """
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return descriptor


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary sibling to write to; sync it and rename it to `path` on success.

    The sibling is removed on failure, so a file under its final name is always a whole one.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    except OSError as error:
        ours = {str(temporary), str(path), str(path.parent)}
        if str(error.filename) not in ours and error.errno not in NO_ROOM:
            raise  # an error of a file that the caller read
        reason = one_line(error)  # HDF5's messages have several
        advice = "free space or fix permissions"
        raise UserError(f"{path}: cannot be written: {reason}; {advice}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def require_space(path: Path, needed: int) -> None:
    """Raise UserError unless `needed` bytes and `SPARE_BYTES` are free on the disk of `path`."""
    free = shutil.disk_usage(path.parent).free
    if free < needed + SPARE_BYTES:
        raise UserError(
            f"{path}: no space: needs {(needed + SPARE_BYTES) / 1e6:.0f} MB, "
            f"{free / 1e6:.0f} MB are free; make room"
        )


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_table(path: Path, columns: list[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as CSV (UTF-8, one header line, LF), atomically."""
    text = io.StringIO()
    # The csv module puts a cell in quotes for the characters of its own line end only, and a cell
    # may hold either: file names do. So it is given CR LF, and each of its lines is ended in LF.
    lines = SimpleNamespace(write=lambda line: text.write(line.removesuffix("\r\n") + "\n"))
    writer = csv.DictWriter(lines, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def read_table(path: Path, needed: Collection[str] = ()) -> list[dict[str, str]]:
    """Read a CSV written by `write_table`.

    Args:
        needed: columns that it must have; it may have others.

    Raises:
        UserError: the file is missing or is not a table, lacks a column, or a row has other cells
            than columns.
    """
    rows = []
    try:
        with open(path, encoding="utf-8", newline="", opener=plain_only) as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            if not columns or len(set(columns)) < len(columns):
                raise csv.Error("its first line does not name columns, each by its own name")
            absent = [name for name in needed if name not in columns]
            if absent:
                raise csv.Error(f"has no column {', '.join(absent)}")
            for cells in filter(None, reader):
                if len(cells) != len(columns):
                    count = f"{len(cells)} cells, not {len(columns)}"
                    raise csv.Error(f"line {reader.line_num}: has {count}")
                rows.append(dict(zip(columns, cells)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {error}; make it again by dvc repro") from error
    return rows


def write_json(path: Path, values: Mapping[str, Any], rounded: bool = True) -> None:
    """Write sorted, indented JSON, atomically; floats `rounded` to 6 digits as metrics are.

    Raises:
        ValueError: a number is not finite (DVC cannot compare NaN with anything).
    """
    values = _rounded(values) if rounded else values
    text = json.dumps(values, indent=2, sort_keys=True, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path, needed: Collection[str] = ()) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        needed: keys that it must have; it may have others.

    Raises:
        UserError: the file is missing, is not a JSON object, or lacks a key.
    """
    try:
        with open(path, encoding="utf-8", opener=plain_only) as file:
            values = json.load(file)
        if not isinstance(values, dict):
            raise ValueError("holds no JSON object")
        absent = [key for key in needed if key not in values]
        if absent:
            raise ValueError(f"has no {', '.join(absent)}")
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read: {error}; make it again by dvc repro") from error
    return values


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb", opener=plain_only) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_sha256(path: Path, expected: str) -> bool:
    """Whether there is a file with this SHA-256 at `path`."""
    try:
        return file_sha256(path) == expected
    except OSError:
        return False


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return round(value, 6) if isinstance(value, float) and math.isfinite(value) else value
