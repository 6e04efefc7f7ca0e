"""Archives, unpacked so that nothing lands where it should not, and no more than there should be.

Only regular files and folders are taken; an archive with anything else, or with a name that leads
out of it, is refused as a whole. Links are refused too: no corpus has any.
"""

import filecmp
import gzip
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from stages.runtime.errors import UserError, one_line

CHUNK = 1 << 20
LARGEST_READ = 16 << 20  # bytes; nothing but a header that lies asks for more at once

# What filter="data" does. Python 3.11.0 to 3.11.3 lack it; the checks below are as strict.
_data_filter = getattr(tarfile, "data_filter", lambda member, path: member)
# A RuntimeError is a zip that wants a password or has a compression of its own.
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, struct.error,
    EOFError, ValueError, RuntimeError,
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What an archive may hold.

    Attributes:
        members: files and folders.
        bytes: of all files, unpacked.
        ratio: the same to the bytes of the archive.
    """

    members: int = 100_000
    bytes: int = 64_000_000_000
    ratio: float = 20.0


@dataclass(frozen=True)
class Member:
    """A file or folder in an archive, as it calls itself; `size`: bytes that it announces."""

    name: str
    is_folder: bool
    size: int
    open: Callable[[], BinaryIO]


class _Unsafe(Exception):
    """Why an archive is refused."""


def unpack(
    archive: Path,
    folder: Path,
    limits: Limits = Limits(),
    wanted: Callable[[str], object] = bool,
    nested: bool = False,
) -> Iterator[int]:
    """Unpack a .zip or .tar.gz; yields how many bytes of it have been read.

    Args:
        folder: where to, an empty folder or none; on failure it holds a part.
        wanted: of a member's name, whether to unpack it; all by default.
        nested: unpack each .tar.gz in it too, into a folder of its name, without writing it first.

    Raises:
        UserError: the archive is unsafe, beyond the limits or damaged, or there is no room.
    """
    most = min(limits.bytes, limits.ratio * archive.stat().st_size)
    members = written = 0
    try:
        with open(archive, "rb") as file:
            is_zip = archive.suffix == ".zip"
            for member in _zip_members(file) if is_zip else _tar_members(file, nested):
                members += 1
                path = folder / _safe(member.name)
                if members > limits.members:
                    raise _Unsafe(f"holds more than {limits.members:,} members")
                if member.is_folder or not wanted(member.name):
                    continue
                if written + member.size > most:
                    raise _Unsafe(f"unpacks to more than {most:,.0f} bytes")
                path.parent.mkdir(parents=True, exist_ok=True)
                with member.open() as content, open(path, "xb") as output:
                    while chunk := content.read(CHUNK):
                        written += len(chunk)
                        if written > most:  # whatever its headers say
                            raise _Unsafe(f"unpacks to more than {most:,.0f} bytes")
                        output.write(chunk)
                        yield file.tell()
                    output.flush()
                    os.fsync(output.fileno())
    except _Unsafe as reason:
        raise UserError(f"{archive}: is not unpacked: {reason}; delete it") from reason
    except FileExistsError as error:
        name = Path(error.filename).relative_to(folder)
        raise UserError(f"{archive}: is not unpacked: holds {name} twice; delete it") from error
    except _DAMAGED as error:
        reason = one_line(error)
        raise UserError(
            f"{archive}: is damaged: {reason}; delete it and run the same command again"
        ) from error
    except OSError as error:
        raise UserError(
            f"{folder}: cannot be written: {error}; free space or mend access"
        ) from error


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """An empty folder, there until the end of the block; what a killed run left in it goes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def files_in(folder: Path) -> dict[str, int]:
    """The regular files below a folder: path relative to it -> bytes."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}


def merge(source: Path, target: Path) -> None:
    """Move all files below `source` to the same place below `target`, on the same disk.

    A file that is there already with the same content stays.

    Raises:
        UserError: a file is there with another content; then nothing has been moved.
    """
    moves = []
    for name in files_in(source):
        if not os.path.lexists(target / name):
            moves.append(name)
        elif not (target / name).is_file() or not filecmp.cmp(source / name, target / name, False):
            raise UserError(
                f"{target / name}: is there already with another content; move it away and run "
                "the same command again"
            )
    try:
        for name in moves:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            os.rename(source / name, target / name)
    except OSError as error:
        raise UserError(
            f"{target}: cannot be written: {error}; free space or mend access"
        ) from error


def _safe(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if "\0" in name or "\\" in name or path.is_absolute() or ".." in path.parts:
        raise _Unsafe(f"{name!r} leads out of it")
    return path


def _zip_members(file: BinaryIO) -> Iterator[Member]:
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Unsafe(f"{info.filename!r} is a link or a device")
            # Not `filename`, which zipfile has cut at the first NUL.
            yield Member(
                info.orig_filename, info.is_dir(), info.file_size, partial(archive.open, info)
            )


def _tar_members(file: BinaryIO, nested: bool, inside: str = "") -> Iterator[Member]:
    with _Gzip(fileobj=file) as plain, tarfile.open(fileobj=plain, mode="r:") as archive:
        for info in archive:
            name = inside + info.name
            _safe(info.name)  # filter="data" would strip a leading slash in silence
            try:
                _data_filter(info, "/nowhere")
            except tarfile.FilterError as error:
                raise _Unsafe(str(error)) from error
            if not info.isdir() and not info.isreg() or info.issparse():
                raise _Unsafe(f"{name!r} is a link, a device or sparse")
            # macOS puts a "._" stub beside a file, which is no archive.
            is_archive = info.name.endswith(".tar.gz") and not Path(info.name).name.startswith("._")
            if nested and is_archive and info.isreg():
                content = archive.extractfile(info)
                yield from _tar_members(content, False, name.removesuffix(".tar.gz") + "/")
            else:
                yield Member(name, info.isdir(), info.size, partial(archive.extractfile, info))


class _Gzip(gzip.GzipFile):
    """Gunzips, but not into memory at will: tarfile reads headers of any announced size whole."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= LARGEST_READ:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)
