"""Check: look a corpus over before its extraction, which may take an hour.

    python -m stages check CORPUS          (a folder of data/raw, e.g. ravdess)
    python -m stages check --all CORPUS    (decode every clip, however long it takes)

In:  data/raw/<corpus>/, params.yaml and the weights that are here
Out: on stdout what is ok, warnings, and errors to fix. Exit code 0 where there is no error, 1 where
     there is one, and 2 where there is no such corpus or params.yaml is wrong.

An error is what would stop one of the stages from manifest to split. The packets of every clip are
read, and clips are decoded as the stages do it: all of them where a minute does for the faces and
another for the voices, else a random sample. What was made of them is kept in the cache of clips,
where the stages find it; no other file is written.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from stages.commands.check.clips import (
    CALLED,
    KINDS,
    MODALITIES,
    Clips,
    duration_findings,
    file_findings,
    scan,
)
from stages.commands.check.copies import copy_findings, equal_samples, suspect_findings
from stages.commands.check.decoding import (
    SECONDS,
    Decoded,
    decode_faces,
    decode_voices,
    face_finding,
    not_decoded,
    skip_findings,
    time_finding,
)
from stages.commands.check.disk import space_findings
from stages.commands.check.findings import ERROR, OK, WARNING, Finding, listed, show, some
from stages.commands.check.pretrained import at_hand, weight_findings
from stages.commands.check.task import emotion_findings, protocol_finding, speaker_findings, task_of
from stages.corpora.emotions import task_classes
from stages.corpora.listing import list_corpus, named, skipped_rows, summary
from stages.corpora.utterance import Listing
from stages.io.files import read_table
from stages.io.skips import NOT_IN_CLASSES, too_many
from stages.preflight.pretrained_files import frame_weights
from stages.runtime.params import read_params
from stages.runtime.paths import RAW, transcripts_path


def look_over(
    corpus: str, seconds: float, section: Callable[[str, Iterable[Finding]], None]
) -> list[Decoded]:
    """Look a corpus over, and give what is found to `section`, part by part.

    Args:
        seconds: in which faces, and then voices, are decoded.
        section: is given a title and findings, each made when it is asked for.

    Returns:
        What was decoded of the faces and of the voices, where there are any.

    Raises:
        UserError: no such corpus, its folder is not there, or params.yaml is wrong.
    """
    params = read_params().model_dump()
    frames, mels = params["frames"], params["mels"]
    limit = params["max_skip_fraction"]
    root = RAW / corpus
    listing = list_corpus(root, corpus)
    classes = task_classes(params["classes"])
    others = [item.id for item in listing.utterances if item.emotion not in classes]
    section("Corpus", listing_findings(corpus, listing, len(others), params))
    clips = scan(root, listing.utterances, mels["min_seconds"], f"check@{corpus} packets")
    section("Files", file_findings(clips, root))
    section("Durations", duration_findings(clips, mels["max_seconds"]))
    modalities = [modality for kind, modality in MODALITIES.items() if clips.with_kind(kind)]
    section("Weights", weight_findings(corpus, params, modalities))

    texts = {item.id: " ".join(item.text.split()) for item in listing.utterances}
    if params["encoders"]["linguistic"]["name"] != "none":
        section("Texts", text_findings(texts, params["text"]))
    if params["text"] == "asr":
        texts = heard(corpus)

    decoded = {kind: not_decoded(clips, kind) for kind in KINDS}
    if clips.with_kind("video") and at_hand(frame_weights(frames["detector"], frames["align"])):
        decoded["video"] = decode_faces(clips, corpus, params, seconds)
    if clips.with_kind("audio"):
        decoded["audio"] = decode_voices(clips, corpus, params, seconds)
    for kind, found in decoded.items():
        clips = clips.with_errors(kind, found.errors)
    there = [found for found in decoded.values() if found.total]
    for found in there:
        section(f"{CALLED[found.kind].title()}s", clip_findings(found, clips, frames, limit))

    task, of_others = task_of(corpus, clips, params)
    equal = equal_samples(task, decoded)
    copies = list(copy_findings(task, decoded, equal, params))
    left_out = {*others, *(copy for _, copy in equal["acoustic"])}
    suspects = suspect_findings(decoded["audio"], left_out, mels)
    section("Copies", [*copies, *suspects])
    allow_missing = params["allow_missing_classes"]
    section("Emotions", emotion_findings(corpus, clips, task, allow_missing))
    if any(found.state == ERROR for found in copies):  # once they are fixed there are none
        division = protocol_finding(task, params, {"visual": [], "acoustic": []}, drop=True)
    else:
        division = protocol_finding(task, params, equal, params["duplicates"] == "drop")
    section("Speakers and protocol", [*of_others, *speaker_findings(clips), division])
    from stages.commands.check.encoding import encoding_findings  # loads torch, which takes seconds

    section("Encoding", encoding_findings(corpus, clips, decoded, texts, params))
    section("Space", space_findings(clips, params))
    return there


def clip_findings(
    decoded: Decoded, clips: Clips, frames: Mapping[str, Any], limit: float
) -> Iterator[Finding]:
    """What decoding showed of the clips of one kind; `limit` is max_skip_fraction."""
    yield from skip_findings(decoded, clips, limit)
    if not decoded.count:
        text = f"{CALLED[decoded.kind]}s were not decoded"
        wanted = frame_weights(frames["detector"], frames["align"])
        if decoded.kind == "video" and not at_hand(wanted):
            text += f", as the weights of {frames['detector']} are not there"
        yield Finding(WARNING, text)
        return
    if decoded.kind == "video" and decoded.samples:
        yield face_finding(decoded, frames)
    if decoded.extent:
        yield time_finding(decoded)


def heard(corpus: str) -> dict[str, str]:
    """What the stage transcripts has heard, by utterance id."""
    path = transcripts_path(corpus)
    rows = read_table(path, ["id", "text", "source"]) if path.exists() else []
    return {row["id"]: row["text"] for row in rows if row["source"].startswith("asr:")}


def text_findings(texts: Mapping[str, str], source: str) -> Iterator[Finding]:
    """Which utterances have no text.

    Args:
        texts: what the publisher writes down of each utterance, by id.
        source: params.yaml's `text`.
    """
    lacking = [name for name, text in texts.items() if not text]
    if source == "asr":
        yield Finding(OK, "text: asr: the stage transcripts hears what is said in every voice")
    elif lacking:
        text = f"{len(lacking):,} of {len(texts):,} utterances have no text, and get no linguistic"
        remedy = "features; the corpus does not say it, but text: asr hears English"
        yield Finding(WARNING, f"{text} {remedy}", some(lacking))
    else:
        yield Finding(OK, f"all {len(texts):,} utterances have a text")


def listing_findings(
    corpus: str, listing: Listing, n_others: int, params: Mapping[str, Any]
) -> Iterator[Finding]:
    """What there is, what is missing, and whether params.yaml names the corpus.

    Args:
        n_others: how many utterances are of none of the classes.
    """
    counts, *others = summary(listing)
    yield Finding(OK, counts)
    codes = Counter(code for _, code, _ in listing.excluded)
    if codes:
        yield Finding(OK, f"left out by rule: {listed(codes)}")
    if n_others:
        yield Finding(OK, f"the stage split leaves out {n_others} {NOT_IN_CLASSES} of params.yaml")
    for line in others:
        yield Finding(WARNING, line)
    largest, total = params["max_skip_fraction"], named(listing)
    rows: list[Mapping[str, str]] = [*skipped_rows(listing)]
    if too_many(rows, total, largest):
        yield Finding(
            ERROR,
            f"{len(listing.missing)} of {total} utterances are missing, more than "
            f"max_skip_fraction: {largest:g} allows: the stage manifest would stop; put the files "
            "there, or raise it",
            [f"{item.id}  {detail}" for item, detail in listing.missing],
        )
    to_train = ["visual:", f"  - {corpus}", f"acoustic: {corpus}"]
    if corpus not in params["corpora"]:
        corpora = [f"  - {name}" for name in [*params["corpora"], corpus]]
        text = "params.yaml does not name it yet; write there"
        yield Finding(WARNING, text, ["corpora:", *corpora, *to_train])
    elif corpus not in [*params["visual"], params["acoustic"], params["test"]]:
        text = "params.yaml extracts it and does not train on it; to do so, write there"
        yield Finding(WARNING, text, to_train)


def conclusion(corpus: str, count: int, decoded: Sequence[Decoded]) -> str:
    """The last line: how many errors there are, what was looked at, and what to run next."""
    params = read_params().model_dump()
    is_named = corpus in params["corpora"]
    command = "dvc repro"
    if is_named and corpus not in [*params["visual"], params["acoustic"], params["test"]]:
        stages = ("visual_features", "acoustic_features", "linguistic_features", "contact_sheet")
        command = f"dvc repro {' '.join(f'{stage}@{corpus}' for stage in stages)}"
    if count:
        errors = f"{count} errors: fix them" if count > 1 else "1 error: fix it"
        return f"{errors}, run this check again, and then {command}"
    extents = " and ".join(filter(None, (found.extent for found in decoded)))
    sample = f" in a sample of {extents} (--all decodes all)" if extents else ""
    first = "" if is_named else "name the corpus in params.yaml, and "
    others = [name for name in params["corpora"] if name not in (corpus, "sample")]
    if others and is_named:
        first = f"check {', '.join(others)} too, and "
    return f"no errors{sample}; next: {first}{command}"


def main(words: Sequence[str]) -> None:
    """Print what the stages will find in the corpora."""
    parser = argparse.ArgumentParser(
        prog="python -m stages check",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", help="a folder of data/raw, e.g. ravdess")
    parser.add_argument("--all", action="store_true", help="decode every clip")
    asked = parser.parse_args(words)
    states: Counter[str] = Counter()

    def section(title: str, findings: Iterable[Finding]) -> None:
        print(title, flush=True)
        for finding in findings:
            states[finding.state] += 1
            print(show(finding), flush=True)

    decoded = look_over(asked.corpus, math.inf if asked.all else SECONDS, section)
    print(f"\n{conclusion(asked.corpus, states[ERROR], decoded)}")
    if states[ERROR]:
        sys.exit(1)
