"""The copies in a corpus, and what the stage split does about them."""

import contextlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stages.commands.check.clips import KINDS, MODALITIES
from stages.commands.check.decoding import Decoded
from stages.commands.check.findings import ERROR, OK, WARNING, Finding, some
from stages.commands.check.task import Task
from stages.corpora.span import used_part
from stages.io.files import file_sha256
from stages.runtime.errors import UserError
from stages.runtime.paths import RAW
from stages.splits.leaks import find_duplicates
from stages.splits.samples import Pairs, held_out_first, of_classes, without_copies
from stages.splits.suspects import alike


def clip_path(row: Mapping[str, str], kind: str) -> Path:
    """Where the clip of a row lies."""
    return RAW / row["id"].split("/")[0] / row[kind]


def contents(paths: set[Path]) -> dict[Path, bytes]:
    """What two files have in common where and only where they are equal to the byte."""
    of_size = defaultdict(list)
    for path in paths:
        with contextlib.suppress(OSError):  # whoever decodes it says so
            of_size[path.stat().st_size].append(path)
    alike = [path for found in of_size.values() if len(found) > 1 for path in found]
    with ThreadPoolExecutor() as threads:
        digests = threads.map(file_sha256, alike)
        return {path: bytes(path) for path in paths} | {
            path: digest.encode() for path, digest in zip(alike, digests)
        }


def equal_samples(task: Task, decoded: Mapping[str, Decoded]) -> dict[str, Pairs]:
    """The pairs that the stage split will find by their features, by modality.

    Features follow from what the encoder is shown, and that from the bytes of the file: clips that
    were not decoded are compared by these.
    """
    of_path = contents({clip_path(row, kind) for kind in KINDS for row in task.rows[kind]})
    equal = {}
    for kind in KINDS:
        rows = held_out_first(task.rows[kind], task.division.test)
        samples = decoded[kind].samples
        # Two parts of one file are no copies.
        content = {
            row["id"]: (of_path[clip_path(row, kind)], repr(used_part(row, kind))) for row in rows
        }
        shown = {content[name]: samples[name].fingerprint for name in samples if name in content}
        equal[MODALITIES[kind]] = find_duplicates(
            {name: shown.get(found, repr(found).encode()) for name, found in content.items()}
        )
    return equal


def copy_findings(
    task: Task,
    decoded: Mapping[str, Decoded],
    equal: Mapping[str, Pairs],
    params: Mapping[str, Any],
) -> Iterator[Finding]:
    """What the stage split does about the copies.

    Args:
        decoded: by kind; the other clips are compared by the bytes of their files.
        equal: by modality, see `equal_samples`.
    """
    drop = params["duplicates"] == "drop"
    refused: list[Pairs] = []
    for kind in KINDS:
        modality = MODALITIES[kind]
        rows, pairs = of_classes(task.rows[kind], equal[modality], task.classes)
        file_of = {row["id"]: clip_path(row, kind) for row in rows}
        lines = some([f"{file_of[one]}  {file_of[other]}" for one, other in pairs])
        try:
            test = task.division.test
            found = without_copies(rows, pairs, modality, params["protocol"], drop, test)
        except UserError as error:
            if pairs not in refused:  # copies of a clip have both in common
                yield Finding(ERROR, f"the stage split would stop: {error}", lines)
            refused.append(pairs)
            continue
        if gone := len(rows) - len(found.rows):
            text = f"the stage split leaves out {gone} {modality} samples as copies"
            if found.contradicting:
                unlike = len(found.contradicting)
                text += f", {unlike} of them since their copies are labelled differently"
            yield Finding(WARNING, f"{text} (duplicates: drop)", lines)
        elif rows:
            text = f"no copies among {len(rows):,} {modality} samples"
            by_bytes = sum(row["id"] not in decoded[kind].samples for row in rows)
            if by_bytes:
                text += f", {by_bytes:,} of them compared by the bytes of their files alone"
            yield Finding(OK, text)


def suspect_findings(
    voices: Decoded, left_out: Collection[str], mels: Mapping[str, Any]
) -> Iterator[Finding]:
    """Which voices sound like copies of each other, though they are not the same to the bit.

    Args:
        left_out: voices that the stage split leaves out.
        mels: params.yaml's section `mels`.
    """
    courses = {
        name: sample.course
        for name, sample in sorted(voices.samples.items())
        if sample.course is not None and name not in left_out
    }
    pairs = alike(courses, mels)
    what = f"{len(courses):,} voices{' that were decoded' if voices.extent else ''}"
    if pairs:
        text = (
            f"{len(pairs)} pairs of {what} sound like one recording encoded twice: the stage split "
            "keeps both and warns of them"
        )
        yield Finding(WARNING, text, some([f"{one}  {other}" for one, other in pairs]))
    elif courses:
        yield Finding(OK, f"no two of {what} sound like one recording encoded twice")
