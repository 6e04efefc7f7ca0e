"""The files of a corpus folder, in one order on every machine."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(root: Path) -> Iterator[Path]:
    """All files below `root`, sorted by path; linked folders are followed, each place once."""
    seen = set()
    found = []
    for folder, subfolders, names in os.walk(root, followlinks=True):
        place = os.path.realpath(folder)
        if place in seen:
            subfolders.clear()
            continue
        seen.add(place)
        found += [Path(folder, name) for name in names]
    yield from sorted(found)
