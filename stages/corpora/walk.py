"""The files of a corpus folder, in one order on every machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from stages.failures import UserError

LFS_POINTER = b"version https://git-lfs"
LFS_POINTER_MAX = 1024  # bytes; the format allows no more


def files_below(root: Path) -> Iterator[Path]:
    """All files below `root`, sorted by path; linked folders are followed, each place once.

    Raises:
        UserError: a name is not UTF-8, so that no table could hold it.
    """
    seen = set()
    found = []
    for folder, subfolders, names in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            subfolders.clear()
            continue
        seen.add(place)
        found += [Path(folder, name) for name in names]
    for path in found:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise UserError(f"{ascii(str(path))}: its name is not UTF-8; rename it") from None
    yield from sorted(found)


def is_lfs_pointer(path: Path) -> bool:
    """Whether a file is what git leaves where Git LFS has not fetched the file itself.

    False for a file that cannot be opened: whoever decodes it says so.
    """
    try:
        if path.stat().st_size > LFS_POINTER_MAX:
            return False
        with path.open("rb") as file:
            return file.read(len(LFS_POINTER)) == LFS_POINTER
    except OSError:
        return False
