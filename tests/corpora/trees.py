"""Corpus folders for tests: official names in full number, all of them links to one empty clip."""

import os
from pathlib import Path


def make(root: Path, *names: str) -> None:
    """Make the files `names` below `root`, with their folders."""
    root.mkdir(parents=True, exist_ok=True)
    clip = root.with_name(f"{root.name}.clip")
    clip.touch()
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(clip, root / name)
