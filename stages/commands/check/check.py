"""Check: look a corpus over before its extraction, which may take an hour.

    python -m stages check CORPUS        (a folder of data/raw, e.g. ravdess)

In:  data/raw/<corpus>/, params.yaml and the weights in torch.hub's cache
Out: on stdout what is ok, warnings, and errors to fix; no file is written. Exit code 0 where there
     is no error, 1 where there is one, and 2 where there is no such corpus or params.yaml is wrong.

The packets of every clip are read, every voice is compared with all others, and a few clips are
decoded as the stages do it. Errors that
appear only on decoding are found in those few alone.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from stages.commands.check.clips import duration_findings, file_findings, scan
from stages.commands.check.decoding import (
    SAMPLE,
    copy_finding,
    face_findings,
    voice_findings,
)
from stages.commands.check.disk import space_findings, time_finding
from stages.commands.check.findings import ERROR, OK, WARNING, Finding, listed, show
from stages.commands.check.pretrained import at_hand, weight_findings
from stages.commands.check.task import emotion_findings, protocol_finding, speaker_findings, task_of
from stages.corpora.listing import list_corpus, named, skipped_rows, summary
from stages.corpora.utterance import Listing
from stages.io.skips import too_many
from stages.preflight.pretrained_files import frame_weights
from stages.runtime.params import read_params
from stages.runtime.paths import RAW


def report(corpus: str) -> Iterator[tuple[str, Iterable[Finding]]]:
    """The sections of the report, each made when it is asked for.

    Raises:
        UserError: no such corpus, its folder is not there, or params.yaml is wrong.
    """
    params = read_params().model_dump()
    frames, mels, features = params["frames"], params["mels"], params["features"]
    largest = params["max_skip_fraction"]
    root, label = RAW / corpus, f"check@{corpus}"
    listing = list_corpus(root, corpus)
    yield "Corpus", listing_findings(corpus, listing, params)
    clips = scan(root, listing.utterances, mels["min_seconds"], label)
    yield "Files", file_findings(clips, root, largest)
    task, of_others = task_of(corpus, clips, params)
    yield "Emotions", emotion_findings(corpus, clips, task, params["allow_missing_classes"])
    speakers = [*of_others, *speaker_findings(clips), protocol_finding(task, params)]
    yield "Speakers and protocol", speakers
    yield "Durations", duration_findings(clips, mels["max_seconds"])
    yield "Weights", weight_findings(corpus, frames, features)
    looked: list[Finding] = []
    seconds = 0.0
    faces = clips.usable("video")
    if faces and at_hand(frame_weights(frames["detector"], frames["align"])):
        looked, seconds = face_findings(root, clips, frames, largest, label)
    elif faces:
        text = f"faces were not looked for, as the weights of {frames['detector']} are not there"
        looked = [Finding(WARNING, text)]
    if clips.usable("audio"):
        looked += voice_findings(root, clips, mels, largest, label)
    yield f"A sample of {SAMPLE}", looked
    if clips.usable("audio"):
        yield "Copies", [copy_finding(root, clips, mels, label)]
    needs = list(space_findings(clips, frames, mels))
    yield "Space and time", needs + ([time_finding(clips, seconds)] if seconds else [])


def listing_findings(corpus: str, listing: Listing, params: Mapping[str, Any]) -> Iterator[Finding]:
    """What there is, what is missing, and whether params.yaml names the corpus."""
    counts, *others = summary(listing)
    yield Finding(OK, counts)
    codes = Counter(code for _, code, _ in listing.excluded)
    if codes:
        yield Finding(OK, f"left out by rule: {listed(codes)}")
    for line in others:
        yield Finding(WARNING, line)
    largest, total = params["max_skip_fraction"], named(listing)
    rows: list[Mapping[str, str]] = [*skipped_rows(listing)]
    if too_many(rows, total, largest):
        yield Finding(
            ERROR,
            f"{len(listing.missing)} of {total} utterances are missing, more than "
            f"max_skip_fraction={largest:g}: the stage manifest would stop; put the files there, "
            "or raise max_skip_fraction",
        )
    to_train = ["visual:", f"  - {corpus}", f"acoustic: {corpus}"]
    if corpus not in params["corpora"]:
        corpora = [f"  - {name}" for name in [*params["corpora"], corpus]]
        text = "params.yaml does not name it yet; write there"
        yield Finding(WARNING, text, ["corpora:", *corpora, *to_train])
    elif corpus not in [*params["visual"], params["acoustic"]]:
        text = "params.yaml extracts it and does not train on it; to do so, write there"
        yield Finding(WARNING, text, to_train)


def conclusion(corpus: str, count: int) -> str:
    """The last line: how many errors there are, and what to run next."""
    params = read_params().model_dump()
    is_named = corpus in params["corpora"]
    command = "dvc repro" if corpus == "sample" else "dvc repro evaluate contact_sheet"
    if is_named and corpus not in [*params["visual"], params["acoustic"]]:
        command = f"dvc repro features@{corpus} contact_sheet@{corpus}"
    if count:
        errors = f"{count} errors" if count > 1 else "1 error"
        return f"{errors}: fix them, run this check again, and then {command}"
    first = "" if is_named else "name the corpus in params.yaml, and "
    return f"no errors; next: {first}{command}"


def main(words: Sequence[str]) -> None:
    """Print what the stages will find in the corpora."""
    parser = argparse.ArgumentParser(
        prog="python -m stages check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", help="a folder of data/raw, e.g. ravdess")
    corpus = parser.parse_args(words).corpus
    errors = 0
    for title, findings in report(corpus):
        print(title, flush=True)
        for finding in findings:
            errors += finding.state == ERROR
            print(show(finding), flush=True)
    print(f"\n{conclusion(corpus, errors)}")
    if errors:
        sys.exit(1)
