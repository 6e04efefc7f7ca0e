"""Pictures in the place of videos: a face that counts once, as it has one frame."""

from pathlib import Path

SUFFIXES = frozenset(".bmp .jpeg .jpg .png .tif .tiff .webp".split())


def is_still(path: Path) -> bool:
    """Whether a file is a picture by its suffix, in any case; not if it is hidden."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
