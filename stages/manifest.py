"""Manifest: a corpus folder as its publisher ships it becomes one table row an utterance.

In:  data/raw/<corpus>/
Out: data/manifest/<corpus>.csv   id, speaker, emotion, sentence, split, video, audio, duration
     data/skipped/<corpus>.manifest.csv   what a rule leaves out, what is missing, and why
Paper: Section 3.1.
"""

from dataclasses import asdict
from pathlib import Path

from stages.corpora.registry import how_to_obtain, reader
from stages.corpora.utterance import Listing, Utterance, differences, first_five
from stages.corpora.walk import unwritable_names
from stages.io.files import write_table
from stages.io.skips import (
    skip_row,
    table_path,
    too_many,
    too_many_error,
    uneven_among,
    warn_of_uneven,
    write_skips,
)
from stages.media.probe import APART, far_apart, probe, probe_duration
from stages.runtime.command import run_on_corpus
from stages.runtime.errors import ClipError, UserError
from stages.runtime.params import load
from stages.runtime.progress import track

COLUMNS = ["id", "speaker", "emotion", "sentence", "split", "video", "audio", "duration"]
RAW = Path("data/raw")


def list_corpus(root: Path, corpus: str) -> Listing:
    """Read the layout of `corpus` below `root`.

    Raises:
        UserError: the corpus is unknown, or the folder is missing or holds none of its clips.
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


def manifest_row(utterance: Utterance, root: Path) -> dict[str, str]:
    """An utterance with its duration in seconds, "" where the clip's header cannot be read."""
    seconds = probe_duration(root / (utterance.audio or utterance.video))
    return asdict(utterance) | {"duration": "" if seconds is None else f"{seconds:.3f}"}


def unlike_lengths(utterance: Utterance, root: Path) -> str:
    """What to say of an utterance whose face and voice are not of one length; "" of any other."""
    if not utterance.video or not utterance.audio:
        return ""
    if utterance.video == utterance.audio:
        found = probe(root / utterance.video, ["video", "audio"])
    else:
        found = probe(root / utterance.video, ["video"]) | probe(root / utterance.audio, ["audio"])
    seen, heard = found["video"], found["audio"]
    if isinstance(seen, ClipError) or isinstance(heard, ClipError) or not far_apart(seen, heard):
        return ""
    return f"{utterance.id} ({seen:.2f} s seen, {heard:.2f} s heard)"


def main(corpus: str) -> None:
    root = RAW / corpus
    label = f"manifest@{corpus}"
    max_skip_fraction = load("max_skip_fraction")["max_skip_fraction"]
    listing = list_corpus(root, corpus)
    skips = skipped_rows(listing)
    write_skips(table_path(corpus, "manifest"), skips)
    for line in summary(listing):
        print(f"{label}: {line}", flush=True)
    warn_of_uneven(label, uneven_among(skips, map(asdict, listing.utterances)))
    total = named(listing)
    if too_many(skips, total, max_skip_fraction):
        failed = [row for row in skips if row["code"] == "missing_file"]
        raise too_many_error(failed, total, max_skip_fraction, table_path(corpus, "manifest"))
    utterances = sorted(listing.utterances, key=lambda item: item.id)
    rows, unlike = [], []
    for item in track(utterances, len(utterances), label, "clips"):
        rows.append(manifest_row(item, root))
        if said := unlike_lengths(item, root):
            unlike.append(said)
    write_table(Path(f"data/manifest/{corpus}.csv"), COLUMNS, rows)
    if unlike:
        print(
            f"{label}: warning: face and voice differ in length by more than {APART:.0%}, "
            f"{len(unlike)} utterances, which are used: {first_five(unlike)}"
        )


if __name__ == "__main__":
    run_on_corpus(main, __doc__)
