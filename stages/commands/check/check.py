"""Check: what to know of a corpus before the hour that its extraction may take.

    python -m stages check CORPUS

In:  data/raw/<corpus>/, params.yaml and the weights in torch.hub's cache
Out: on stdout what is fine, what is worth knowing and what must be mended; no file is written.
     Exit code 0 where nothing must be mended, 1 where something must, and 2 where there is no such
     corpus or params.yaml is wrong.

The packets of every clip are read, and of a few the face and the voice are looked for as the
stages do it. What shows only when it is decoded shows in those few alone.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence

from stages.commands.check.clips import duration_findings, file_findings, scan
from stages.commands.check.decoding import SAMPLE, face_findings, voice_findings
from stages.commands.check.disk import space_findings, time_finding
from stages.commands.check.findings import KNOW, MEND, Finding, show
from stages.commands.check.listing import listing_findings
from stages.commands.check.pretrained import at_hand, frame_weights, weight_findings
from stages.commands.check.task import emotion_findings, protocol_finding, speaker_findings, task_of
from stages.corpora.listing import list_corpus
from stages.io.paths import RAW
from stages.runtime.params import read_params


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
    looked, seconds = [], 0.0
    faces = clips.usable("video")
    if faces and at_hand(frame_weights(frames)):
        looked, seconds = face_findings(root, clips, frames, largest, label)
    elif faces:
        text = f"faces were not looked for, as the weights of {frames['detector']} are not there"
        looked = [Finding(KNOW, text)]
    if clips.usable("audio"):
        looked += voice_findings(root, clips, mels, largest, label)
    yield f"A sample of {SAMPLE}", looked
    needs = list(space_findings(clips, frames, mels))
    yield "Space and time", needs + ([time_finding(clips, seconds)] if seconds else [])


def conclusion(corpus: str, count: int) -> str:
    """The last line: how many things must be mended, and what to run next."""
    params = read_params().model_dump()
    named = corpus in params["corpora"]
    command = "dvc repro" if corpus == "sample" else "dvc repro evaluate contact_sheet"
    if named and corpus not in [*params["visual"], params["acoustic"]]:
        command = f"dvc repro features@{corpus} contact_sheet@{corpus}"
    if count:
        many = f"{count} things" if count > 1 else "1 thing"
        return f"{many} must be mended; then run this check again, and {command}"
    first = "" if named else "name the corpus in params.yaml, and "
    return f"nothing must be mended; next: {first}{command}"


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", help="the name of a folder in data/raw, e.g. ravdess")
    corpus = parser.parse_args(words).corpus
    to_mend = 0
    for title, findings in report(corpus):
        print(title, flush=True)
        for finding in findings:
            to_mend += finding.state == MEND
            print(show(finding), flush=True)
    print(f"\n{conclusion(corpus, to_mend)}")
    if to_mend:
        sys.exit(1)
