"""Manifest: a corpus folder as its publisher ships it becomes one table row an utterance.

In:  data/raw/<corpus>/
Out: data/manifest/<corpus>.csv   id, speaker, emotion, sentence, split, video, audio, duration
     data/skipped/<corpus>.manifest.csv   what a rule of the corpus leaves out, and why
Paper: Section 3.1.
"""

from dataclasses import asdict
from pathlib import Path

from stages.command import run_on_corpus
from stages.corpora.registry import reader
from stages.corpora.utterance import Listing, Utterance
from stages.failures import UserError
from stages.files import write_table
from stages.media.audio import probe_duration
from stages.progress import track
from stages.skips import skip_row, table_path, write_skips

COLUMNS = ["id", "speaker", "emotion", "sentence", "split", "video", "audio", "duration"]
RAW = Path("data/raw")


def list_corpus(root: Path, corpus: str) -> Listing:
    """Read the layout of `corpus` below `root`.

    Raises:
        UserError: the corpus is unknown, or the folder is missing or holds none of its clips.
    """
    read = reader(corpus)
    if not root.is_dir():
        raise UserError(f"{root}: no such folder; put or link the corpus there as it was published")
    listing = read(root, corpus)
    if not listing.utterances:
        raise UserError(f"{root}: holds no usable clip of {corpus}; see README for its layout")
    return listing


def manifest_row(utterance: Utterance, root: Path) -> dict[str, str]:
    """An utterance with its duration in seconds, "" where the clip's header cannot be read."""
    seconds = probe_duration(root / (utterance.audio or utterance.video))
    return asdict(utterance) | {"duration": "" if seconds is None else f"{seconds:.3f}"}


def main(corpus: str) -> None:
    root = RAW / corpus
    listing = list_corpus(root, corpus)
    utterances = sorted(listing.utterances, key=lambda item: item.id)
    label = f"manifest@{corpus}"
    rows = [
        manifest_row(item, root) for item in track(utterances, len(utterances), label, "clips")
    ]
    excluded = [
        skip_row(asdict(item), "manifest", code, detail) for item, code, detail in listing.excluded
    ]
    write_skips(table_path(corpus, "manifest"), excluded)
    write_table(Path(f"data/manifest/{corpus}.csv"), COLUMNS, rows)
    faces = sum(bool(row["video"]) for row in rows)
    voices = sum(bool(row["audio"]) for row in rows)
    print(
        f"{label}: {len(rows)} utterances, {faces} with a face and {voices} with a voice; "
        f"{len(excluded)} left out by rule"
        + (f"; the publisher ships {listing.expected}" if listing.expected else "")
    )


if __name__ == "__main__":
    run_on_corpus(main, __doc__)
