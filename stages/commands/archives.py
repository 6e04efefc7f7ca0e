"""Unpack archives so that nothing is written outside of a folder, and no more than there should be.

Only regular files and folders are taken. An archive that holds a link, a device, a name that leads
out of it or one that a terminal would obey is refused; no corpus has any.
"""

import errno
import gzip
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

from stages.runtime.errors import UserError, one_line

MAX_MEMBERS = 100_000
MAX_BYTES = 64e9  # of all files, unpacked
MAX_RATIO = 20.0  # of their bytes to those of the archive
MAX_READ = 16 << 20  # bytes; only a header that lies makes tarfile read more at once

# A RuntimeError is a zip with a password or a compression that Python does not know.
_DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, struct.error,
    EOFError, LookupError, ValueError, RuntimeError,
)  # fmt: skip
# Of a name: it is empty, too long, or that of a file and of a folder.
_BAD_NAMES = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL)


def unpack(archive: Path, folder: Path, wanted: str = "") -> None:
    """Unpack a .zip or a .tar.gz, and each .tar.gz in the latter into a folder of its name.

    Args:
        folder: which is empty or not there; on failure it holds a part.
        wanted: pattern of the names of a .zip's members to unpack; "" for all.

    Raises:
        UserError: the archive is damaged, unsafe, or beyond the limits.
        OSError: `folder` cannot be written.
    """
    limit = min(MAX_BYTES, MAX_RATIO * archive.stat().st_size)
    members = unpacked = 0

    def check(name: str, size: int, is_plain: bool) -> None:
        nonlocal members, unpacked
        members, unpacked = members + 1, unpacked + size
        path = PurePosixPath(name)
        if "\0" in name or "\\" in name or path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{name!r} leads out of it")
        if not name.isprintable():
            raise ValueError(f"{name!r} is no name for a file")
        if not is_plain:
            raise ValueError(f"{name!r} is a link, a device or sparse")
        if members > MAX_MEMBERS:
            raise ValueError(f"holds more than {MAX_MEMBERS:,} members")
        if unpacked > limit:
            raise ValueError(f"unpacks to more than {limit:,.0f} bytes")

    folder.mkdir(parents=True, exist_ok=True)  # else a member without a name would be this file
    try:
        if archive.suffix == ".zip":
            _unzip(archive, folder, wanted, check)
        else:
            with open(archive, "rb") as file:
                _untar(file, folder, check)
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno not in (None, *_BAD_NAMES):
            raise
        raise UserError(
            f"{archive}: cannot be unpacked: {one_line(error)}; delete it and run the same command "
            "again"
        ) from error


Check = Callable[[str, int, bool], None]


def _unzip(archive: Path, folder: Path, wanted: str, check: Check) -> None:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            # Not `filename`, which zipfile has cut at the first NUL.
            check(info.orig_filename, info.file_size, kind in (0, stat.S_IFREG, stat.S_IFDIR))
        names = [name for name in opened.namelist() if not wanted or re.fullmatch(wanted, name)]
        opened.extractall(folder, names)


def _untar(file: IO[bytes], folder: Path, check: Check, inside: bool = False) -> None:
    with _Gzip(fileobj=file) as plain, tarfile.open(fileobj=plain, mode="r:") as opened:
        for info in opened:
            is_plain = (info.isreg() or info.isdir()) and not info.issparse()
            check(info.name, info.size, is_plain)  # filter="data" only strips a leading slash
            # macOS puts a "._" stub beside a file, which is no archive.
            is_archive = info.name.endswith(".tar.gz") and not Path(info.name).name.startswith("._")
            content = opened.extractfile(info)
            if is_archive and content and not inside:
                # Straight from the outer archive, so that MELD needs 10 GB less of disk.
                _untar(content, folder / info.name.removesuffix(".tar.gz"), check, inside=True)
            else:
                opened.extract(info, folder, filter="data")


class _Gzip(gzip.GzipFile):
    """Gunzips, but not into memory at will: tarfile reads headers of any announced size whole."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= MAX_READ:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return super().read(size)
