"""What a corpus folder holds, read by the reader of its layout, and what to say of it."""

from dataclasses import asdict
from pathlib import Path

from stages.corpora.registry import how_to_obtain, reader
from stages.corpora.spelling import check_spellings
from stages.corpora.utterance import Listing, differences, first_five
from stages.corpora.walk import unwritable_names
from stages.io.skips import skip_row
from stages.runtime.errors import UserError

# Of data/manifest/<corpus>.csv.
COLUMNS = [
    "id",
    "speaker",
    "emotion",
    "sentence",
    "split",
    "video",
    "audio",
    "overlaps",
    "duration",
]


def list_corpus(root: Path, corpus: str) -> Listing:
    """Read the layout of `corpus` below `root`.

    Raises:
        UserError: the corpus is unknown, the folder is missing or holds none of its clips, or a
            speaker has two spellings.
    """
    read = reader(corpus)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; {how_to_obtain(corpus)}")
    listing = read(root, corpus)
    if not listing.utterances:
        why = f"holds no usable clip of {corpus}"
        if listing.missing:
            names = first_five(f"{item.id} ({detail})" for item, detail in listing.missing)
            why = f"holds none of the clips that its table names: {names}"
        raise UserError(f"{root}: {why}; {how_to_obtain(corpus)}")
    check_spellings((item.speaker for item in listing.utterances), "speakers", str(root))
    unwritable = unwritable_names(root)
    if unwritable:
        listing.notes.append(
            f"not used, {len(unwritable)} files whose names are not UTF-8: {first_five(unwritable)}"
        )
    return listing


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
