"""The files of a corpus folder, in one order on every machine, and links in it.

DVC 3.67 sees what changes in a corpus folder that is itself a link, and behind links to single
files in it; it sees nothing behind a link to a folder in it, and stops at a link to nothing. So a
linked folder is not walked into: one that leads to another folder of the corpus shows nothing new,
and `check_links` refuses the others.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from stages.io.files import LFS_POINTER
from stages.runtime.errors import UserError

# Of the formats in stages.media.container.FORMATS, by what is mostly in them: a file named after a
# face may have one of VIDEO, and one of SOUND is a voice alone.
VIDEO = frozenset(
    ".3g2 .3gp .asf .avi .dif .dv .f4v .flv .ism .ismv .ivf .m2t .m2ts .m4v .mj2 .mk3d .mkv .mov "
    ".mp4 .mpeg .mpg .mts .mxf .nut .ogv .psp .rm .rmvb .ts .vob .webm .wmv".split()
)
SOUND = frozenset(
    ".722 .aa3 .aac .ac3 .adx .afc .aif .aifc .aiff .amr .ape .apl .au .caf .dsf .dts .eac3 .ec3 "
    ".flac .g722 .gsm .ircam .isma .m2a .m4a .m4b .mac .mka .mp2 .mp3 .mpa .mpc .nist .oga .ogg "
    ".oma .omg .opus .paf .qcp .ra .sf .shn .snd .sox .sph .tak .tta .voc .w64 .wav .wma .wv "
    ".xwma".split()
)
COPY = re.compile(r" \([0-9]{1,3}\)$", re.ASCII)  # what browsers and explorers add to a second file
UNSEEN = {".dvc", ".git", ".hg"}  # folders that DVC passes over
ANNEX = ".git/annex/"  # in the target of a link of git-annex
LFS_POINTER_MAX = 1024  # bytes; the format allows no more


def files_below(root: Path) -> Iterator[Path]:
    """All files below `root`, sorted by path; folders that are linked into it are passed over.

    Files whose names no table could hold are left out (see `unwritable_names`).
    """
    yield from sorted(path for path in _walk(root) if _is_utf8(path))


def unwritable_names(root: Path) -> list[str]:
    """What `files_below` leaves out for its name, which is not UTF-8: escaped, relative, sorted."""
    return sorted(ascii(str(path.relative_to(root))) for path in _walk(root) if not _is_utf8(path))


def media_kind(path: Path) -> str:
    """Say "video" or "audio" by the suffix of a file, in any case; "" for others and hidden."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):  # among them what macOS leaves beside a file
        return ""
    return "video" if suffix in VIDEO else "audio" if suffix in SOUND else ""


def check_links(root: Path) -> None:
    """Refuse links below `root` that DVC does not follow or cannot.

    Raises:
        UserError: a link to a folder leads out of `root`, or a link leads to nothing.
    """
    place = os.path.realpath(root)
    broken = []
    for folder, subfolders, names in _folders(root):
        for path in (Path(folder, name) for name in sorted(subfolders)):
            target = os.path.realpath(path)
            if path.is_symlink() and os.path.commonpath([place, target]) != place:
                raise UserError(
                    f"{path}: is a link to a folder elsewhere, behind which DVC sees no change; "
                    f"remove it, and either make {root} itself a link to the whole corpus or link "
                    f"the files one by one: cp -rs {target} {path}"
                )
        broken += [path for name in names if not os.path.exists(path := Path(folder, name))]
    if broken:
        first = min(broken)
        remedy = "put there what it leads to, or remove it"
        if ANNEX in os.readlink(first):
            remedy = f"run `git annex get .` or `datalad get .` in {root}, or remove it"
        raise UserError(
            f"{first}: is a link to nothing, as are {len(broken)} files in all; {remedy}"
        )


def _walk(root: Path) -> Iterator[Path]:
    for folder, _, names in _folders(root):
        yield from (Path(folder, name) for name in names)


def _folders(root: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if name not in UNSEEN]
        yield folder, subfolders, names


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
