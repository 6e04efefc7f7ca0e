"""What a corpus folder holds, read by the reader of its layout, and what to say of it."""

from dataclasses import asdict
from pathlib import Path

from stages.corpora.registry import layout_of
from stages.corpora.spelling import check_spellings
from stages.corpora.still import is_still
from stages.corpora.utterance import Listing, differences, first_five
from stages.corpora.walk import check_links, files_below, media_kind, unwritable_names
from stages.io.skips import skip_row
from stages.runtime.errors import UserError

# Of data/manifest/<corpus>.csv.
COLUMNS = [
    "id",
    "speaker",
    "sex",
    "emotion",
    "sentence",
    "split",
    "video",
    "audio",
    "start",
    "end",
    "whole",
    "crop",
    "overlaps",
    "session",
    "dialogue",
    "turn",
    "text",
    "duration",
]


def list_corpus(root: Path, corpus: str) -> Listing:
    """Read the layout of `corpus` below `root`.

    Raises:
        UserError: the corpus is unknown, the folder is missing, holds none of its clips or has
            links that cannot be followed, or a speaker has two spellings.
    """
    layout = layout_of(corpus)
    if root.is_symlink() and not root.exists():
        raise UserError(f"{root}: is a link to {root.readlink()}, which is not there; link it anew")
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {layout.OBTAIN}")
    check_links(root)
    listing: Listing = layout.read(root, corpus)
    unused = _unused(root, listing, hasattr(layout, "STILLS"))
    if not listing.utterances:
        why, remedy = f"holds no usable clip of {corpus}", layout.OBTAIN
        if listing.missing:
            names = first_five(f"{item.id} ({detail})" for item, detail in listing.missing)
            why = f"holds none of the clips that its table names: {names}"
        elif unused:
            why += f" among {len(unused)} media files: {first_five(unused)}"
            remedy = layout.NAMES
        raise UserError(f"{root}: {why}; {remedy}")
    check_spellings((item.speaker for item in listing.utterances), "speakers", str(root))
    if unused:
        listing.notes.append(f"there and not used, {len(unused)} files: {first_five(unused)}")
    if listing.spare:
        listing.notes.append(
            f"not needed, as another file has the same face or voice, {len(listing.spare)} files: "
            f"{first_five(listing.spare)}"
        )
    unwritable = unwritable_names(root)
    if unwritable:
        listing.notes.append(
            f"not used, {len(unwritable)} files whose names are not UTF-8: {first_five(unwritable)}"
        )
    return listing


def _unused(root: Path, listing: Listing, stills: bool) -> list[str]:
    """The media files that no utterance has, used or left out by a rule, relative to `root`.

    Args:
        stills: among them pictures, which lie beside clips for other reasons.
    """
    items = [*listing.utterances, *(item for item, _, _ in listing.excluded)]
    known = {name for item in items for name in (item.video, item.audio)}.union(listing.spare)
    media = (path for path in files_below(root) if media_kind(path) or stills and is_still(path))
    return [name for path in media if (name := path.relative_to(root).as_posix()) not in known]


def skipped_rows(listing: Listing) -> list[dict[str, str]]:
    """The skip table: what a rule leaves out, and what is missing."""
    left_out = [*listing.excluded, *((item, "missing_file", why) for item, why in listing.missing)]
    return [skip_row(asdict(item), "manifest", code, detail) for item, code, detail in left_out]


def named(listing: Listing) -> int:
    """How many utterances there are or should be: those here and those missing."""
    return len({item.id for item in listing.utterances} | {row[0].id for row in listing.missing})


def summary(listing: Listing) -> list[str]:
    """What there is of a corpus, what its publisher ships and what to know of it, a line each."""
    faces = sum(bool(item.video) for item in listing.utterances)
    voices = sum(bool(item.audio) for item in listing.utterances)
    counts = [f"{len(listing.excluded)} left out by rule"]
    if listing.missing:
        counts.append(f"{len(listing.missing)} missing")
    if listing.expected:
        counts.append(f"the publisher ships {listing.expected}")
    lines = [
        f"{len(listing.utterances)} utterances, {faces} with a face and {voices} with a voice; "
        + "; ".join(counts)
    ]
    if listing.missing:
        names = first_five(f"{item.id} ({detail})" for item, detail in listing.missing)
        lines.append(f"missing: {names}")
    other = differences(listing)
    if other:
        lines.append(f"differs from what the publisher ships: {', '.join(other)}")
    return lines + listing.notes
