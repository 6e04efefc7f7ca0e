"""Predict: the emotion of clips that the model has not seen.

    python -m stages predict CLIP...                    (files, folders, or - for a list on stdin)
    python -m stages predict --window 3 --hop 1 TALK    (emotion over time)
    python -m stages predict --csv found.csv FOLDER     (or --json, on stdout)
    python -m stages predict --rev alpha-1 CLIP         (with the model of a commit or experiment)

In:  models/bundle, made by `dvc repro`, from the workspace or from DVC's cache; audio or video
Out: on stdout of each clip the emotion, its probability, and how many of the folds' models agree;
     on stderr what could not be used and why. Exit code 2 where a name leads to nothing or no clip
     could be used; nothing is written then.

What is computed of a clip is what the pipeline would have computed, and is kept in its cache, so
that a run that was stopped goes on where it was. Probabilities are calibrated by a temperature from
the validation parts. No clip leaves this machine.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dvc.api
from tabulate import tabulate

from stages.commands.revisions import reading
from stages.corpora.emotions import EMOTIONS
from stages.corpora.walk import files_below, media_kind
from stages.extraction.clip_cache import delete_oldest, size_limit
from stages.io.files import write_table
from stages.recognition.bundle import read_bundle
from stages.recognition.recognise import (
    MODALITIES,
    Answer,
    Piece,
    Recogniser,
    windows,
)
from stages.runtime.errors import UserError, printable
from stages.runtime.paths import BUNDLE
from stages.scoring.summary import cautions, circumstances, headline

COLUMNS = [
    "clip", "start", "end", "emotion", "probability", "agreement", "modalities", "faces",
    "trained_on", "skipped", *EMOTIONS,
]  # fmt: skip


@contextmanager
def bundle_of(revision: str | None) -> Iterator[Path]:
    """The folder of the bundle of a revision; of the workspace where there is none.

    Raises:
        UserError: see `stages.commands.revisions.reading`.
    """
    if revision is None:
        yield BUNDLE
        return
    with TemporaryDirectory() as folder:
        with reading(BUNDLE, revision, "predict", "model"):
            files = dvc.api.DVCFileSystem(rev=revision)
            files.get(str(BUNDLE), folder, recursive=True)
        yield Path(folder) / BUNDLE.name


def clips_of(names: Sequence[str]) -> list[Path]:
    """The clips that are named, in this order; of a folder all audio and video below it.

    Raises:
        UserError: a line for each name that leads to nothing, or to a folder without clips.
    """
    clips: list[Path] = []
    problems = []
    for name in names:
        path = Path(name)
        found = [path]
        if path.is_dir():
            found = [file for file in files_below(path) if media_kind(file)]
        if not path.exists():
            problems.append(f"{name}: not found; name audio or video files, or folders of them")
        elif not found:
            problems.append(f"{name}: no audio or video in it; name another folder, or its files")
        clips += found
    if problems:
        raise UserError("\n".join(problems))
    return list(dict.fromkeys(clips))


def row_of(answer: Answer) -> dict[str, Any]:
    """An answer by the names of COLUMNS; a probability has four decimals."""
    piece = answer.piece
    start, end = piece.span or (None, None)
    row: dict[str, Any] = dict.fromkeys(COLUMNS) | {"clip": str(piece.path)}
    row |= {"start": start, "end": end}
    row["modalities"] = "+".join(answer.modalities)
    row["trained_on"] = answer.trained_on
    row["faces"] = " ".join(answer.faces)
    row["skipped"] = "; ".join(f"{name}: {why}" for name, why in reasons(answer).items())
    if answer.probabilities is not None:
        shares = [round(share, 4) for share in answer.probabilities.tolist()]
        row |= zip(EMOTIONS, shares)
        row["emotion"] = EMOTIONS[int(answer.probabilities.argmax())]
        row["probability"] = max(shares)
        row["agreement"] = round(answer.agreement(), 4)
    return row


def reasons(answer: Answer) -> dict[str, str]:
    """Why a modality could not be used: a code and a detail."""
    return {name: f"{why.code}: {why.detail}" for name, why in answer.skips.items()}


def table(answers: Sequence[Answer], folds: int) -> str:
    """What a person is shown: a line for each clip or window, all of which could be used."""
    rows = []
    for answer in answers:
        assert answer.probabilities is not None
        first, second = answer.probabilities.argsort()[::-1][:2]
        row = {"clip": printable(str(answer.piece.path))}
        if answer.piece.span:
            row["seconds"] = "{:.1f} to {:.1f}".format(*answer.piece.span)
        row |= {
            "emotion": EMOTIONS[first],
            "probability": f"{answer.probabilities[first]:.2f}",
            "then": f"{EMOTIONS[second]} {answer.probabilities[second]:.2f}"
            if answer.probabilities[second]  # else it may be one that was never trained on
            else "",
            "folds that agree": f"{round(answer.agreement() * folds)} of {folds}",
        }
        if answer.faces:
            row["V1 V2 V3"] = " ".join(answer.faces)
        rows.append(row)
    return tabulate(rows, headers="keys", disable_numparse=True)


def warn_of(answers: Sequence[Answer], contents: Mapping[str, Any]) -> None:
    """Say on stderr what was not used, or not all of it, and how far the model can be trusted."""
    longest = contents["mels"]["max_seconds"]
    for answer in answers:
        piece = answer.piece
        of = f"{piece.path} at {piece.span[0]:.1f} s" if piece.span else str(piece.path)
        for name, why in reasons(answer).items():
            print(printable(f"skipped: {of}: {name}: {why}"), file=sys.stderr)
        if answer.seconds is not None and answer.seconds >= longest:
            print(
                printable(f"warning: {of}: only its first {longest:g} s were heard; use --window"),
                file=sys.stderr,
            )
    known = [answer for answer in answers if answer.trained_on]
    if known:
        print(
            f"caution: the model was trained on {len(known)} of these {len(answers)}: what it says "
            "of them does not tell how good it is",
            file=sys.stderr,
        )
    result = contents["result"]
    print(f"model: {headline(result)}; {circumstances(result)}", file=sys.stderr)
    for caution in cautions(result):
        print(f"caution: {caution}", file=sys.stderr)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """The command line, whose values fit each other."""
    parser = argparse.ArgumentParser(
        prog="python -m stages predict",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="a file, a folder, or -")
    parser.add_argument("--rev", metavar="REV", help="a git revision or an experiment")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="everything, as JSON on stdout")
    how.add_argument("--csv", type=Path, metavar="FILE", help="everything, as a table in a file")
    parser.add_argument(
        "--modalities",
        metavar="LIST",
        help="acoustic, visual, or acoustic,visual; those of the model's test if not given",
    )
    parser.add_argument("--window", type=float, metavar="SECONDS", help="of emotion over time")
    parser.add_argument("--hop", type=float, metavar="SECONDS", help="between windows; default 1")
    asked = parser.parse_args(words)
    asked.modalities = asked.modalities and asked.modalities.split(",")
    if not set(asked.modalities or ()) <= set(MODALITIES):
        parser.error(f"--modalities: is not of {', '.join(MODALITIES)}")
    if asked.hop is not None and asked.window is None:
        parser.error("--hop: needs --window")
    asked.hop = 1.0 if asked.hop is None else asked.hop
    for name in ("window", "hop"):
        if getattr(asked, name) is not None and not 0.05 <= getattr(asked, name) <= 600:
            parser.error(f"--{name}: is not a number of seconds from 0.05 to 600")
    return asked


def main(words: Sequence[str]) -> None:
    """Answer for every clip, as the command line asks."""
    asked = parse(words)
    names = [
        line
        for word in asked.clips
        for line in (sys.stdin.read().splitlines() if word == "-" else [word])
    ]
    clips = clips_of(names)
    if not clips:
        raise UserError("no clip is named; give files, folders, or a list of them on stdin")
    limit = size_limit()
    with bundle_of(asked.rev) as folder:
        recogniser = Recogniser(read_bundle(folder))
    mels = recogniser.contents["mels"]
    if asked.window and not mels["min_seconds"] <= asked.window <= mels["max_seconds"]:
        raise UserError(
            f"--window: {asked.window:g} s is not from {mels['min_seconds']:g} s to "
            f"{mels['max_seconds']:g} s, as the model hears clips"
        )
    pieces = windows(clips, asked.window, asked.hop) if asked.window else list(map(Piece, clips))
    answers = recogniser.recognise(pieces, asked.modalities)
    delete_oldest(limit)
    told = [answer for answer in answers if answer.probabilities is not None]
    if not told:
        lines = [f"{row['clip']}: {row['skipped']}" for row in map(row_of, answers)]
        raise UserError("\n".join(dict.fromkeys(lines)))
    warn_of(answers, recogniser.contents)
    if asked.json:
        print(json.dumps([row_of(answer) for answer in answers], indent=1, ensure_ascii=False))
    elif asked.csv:
        write_table(asked.csv, COLUMNS, map(row_of, answers))
        print(f"{asked.csv}: {len(told)} of {len(answers)} could be told")
    else:
        print(table(told, len(recogniser.bundle.folds)))
