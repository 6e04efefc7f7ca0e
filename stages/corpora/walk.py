"""The files of a corpus folder, in one order on every machine."""

import os
from collections.abc import Iterator
from pathlib import Path

from stages.io.files import LFS_POINTER

LFS_POINTER_MAX = 1024  # bytes; the format allows no more


def files_below(root: Path) -> Iterator[Path]:
    """All files below `root`, sorted by path; linked folders are followed, each place once.

    Files whose names no table could hold are left out (see `unwritable_names`).
    """
    yield from sorted(path for path in _walk(root) if _is_utf8(path))


def unwritable_names(root: Path) -> list[str]:
    """What `files_below` leaves out for its name, which is not UTF-8: escaped, relative, sorted."""
    return sorted(ascii(str(path.relative_to(root))) for path in _walk(root) if not _is_utf8(path))


def _walk(root: Path) -> Iterator[Path]:
    seen = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            subfolders.clear()
            continue
        seen.add(place)
        for name in names:
            yield Path(folder, name)


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


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
