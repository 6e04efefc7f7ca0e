"""Manifest: a corpus folder as its publisher ships it becomes one table row an utterance.

In:  data/raw/<corpus>/
Out: data/manifest/<corpus>.csv   id, speaker, sex, emotion, sentence, split, video, audio, start,
                                  end, whole, crop (what of these files is the utterance),
                                  overlaps, session, dialogue, turn, text, duration
     data/skipped/<corpus>.manifest.csv   what a rule leaves out, what is missing, and why
Paper: Section 3.1.
Run: dvc repro manifest@<corpus>, or python -m stages.manifest <corpus>
"""

from dataclasses import asdict

from stages.corpora.listing import COLUMNS, list_corpus, named, skipped_rows, summary
from stages.corpora.span import used_part
from stages.corpora.utterance import Utterance, first_five
from stages.extraction.workers import of_each
from stages.io.files import write_table
from stages.io.skips import (
    table_path,
    too_many,
    too_many_error,
    uneven_among,
    warn_of_uneven,
    write_skips,
)
from stages.media.probe import APART, Probed, ProbedUtterance, far_apart, probe_utterance
from stages.runtime.command import run_stage
from stages.runtime.errors import ClipError, UserError
from stages.runtime.params import read_params
from stages.runtime.paths import RAW, manifest_path


def unlike_lengths(utterance: Utterance, found: Probed) -> str:
    """What to say of an utterance whose face and voice are not of one length; "" of any other."""
    video, audio = found.get("video"), found.get("audio")
    if isinstance(video, float) and isinstance(audio, float) and far_apart(video, audio):
        return f"{utterance.id} ({video:.2f} s of video, {audio:.2f} s of audio)"
    return ""


def main(corpus: str) -> None:
    """Write the table of a corpus and its skip table."""
    root = RAW / corpus
    label = f"manifest@{corpus}"
    max_skip_fraction = read_params().max_skip_fraction
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
    asked = []
    for item in utterances:
        parts = {kind: used_part(vars(item), kind) for kind in ("video", "audio")}
        spans = {kind: part["span"] for kind, part in parts.items() if "span" in part}
        asked.append((root, {"video": item.video, "audio": item.audio, "spans": spans}))
    rows, unlike = [], []
    understated: dict[str, None] = {}  # a recording may hold several utterances
    for item, answer in zip(utterances, of_each(probe_utterance, asked, label)):
        if isinstance(answer, UserError):
            raise answer
        lost = ProbedUtterance(None, {}, [])
        seconds, found, more = lost if isinstance(answer, ClipError) else answer
        understated |= dict.fromkeys(more)
        rows.append(asdict(item) | {"duration": "" if seconds is None else f"{seconds:.3f}"})
        if said := unlike_lengths(item, found):
            unlike.append(said)
    write_table(manifest_path(corpus), COLUMNS, rows)
    if understated:
        print(
            f"{label}: warning: their headers end them before their samples do, "
            f"{len(understated)} files, which are read whole: {first_five(understated)}"
        )
    if unlike:
        print(
            f"{label}: warning: face and voice differ in length by more than {APART:.0%}, "
            f"{len(unlike)} utterances, which are used: {first_five(unlike)}"
        )


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
