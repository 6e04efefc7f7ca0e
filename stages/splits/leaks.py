"""Leaks stop the run: no test utterance may be learned from. The message names both utterances.

`split` makes roles without leaks; these checks do not trust it. Every stage that reads
data/split.csv repeats them, and every inference bank is checked as well.
"""

from collections.abc import Iterable, Mapping
from typing import NoReturn

from stages.runtime.errors import UserError
from stages.splits.protocols import (
    SENTENCE_DISJOINT,
    SPEAKER_DISJOINT,
    TEST,
    TRAIN,
    VALIDATION,
    Rows,
    recording_id,
    sentence_id,
)


def check_leaks(rows: Rows, protocol: str, folds: int) -> None:
    """Check the roles of all samples in all folds.

    Raises:
        UserError: the acoustic sample of a test recording is in training, or, but for protocol
            "paper", its visual samples are; or a test speaker or test sentence is in training
            where the protocol keeps them apart.
    """
    for fold in range(folds):
        column = f"fold_{fold}"
        tested = [row for row in rows if row["modality"] == "acoustic" and row[column] == TEST]
        recordings = {recording_id(row["id"]): row["id"] for row in tested}
        speakers = {row["speaker"]: row["id"] for row in tested}
        sentences = {sentence_id(row): row["id"] for row in tested}
        for row in rows:
            if row[column] not in (TRAIN, VALIDATION):  # VALIDATION chooses the epoch
                continue
            sample = f"the {row['modality']} sample of {row['id']}"
            recording, sentence = recording_id(row["id"]), sentence_id(row)
            allowed = row["modality"] == "visual" and protocol == "paper"
            if recording in recordings and not allowed:
                _leak(fold, sample, recordings[recording], "is the same recording as")
            if row["speaker"] in speakers and protocol in SPEAKER_DISJOINT:
                _leak(fold, sample, speakers[row["speaker"]], "has the same speaker as")
            if sentence in sentences and protocol in SENTENCE_DISJOINT:
                _leak(fold, sample, sentences[sentence], "has the same sentence as")


def check_bank(rows: Rows, protocol: str, fold: int, bank: Iterable[str]) -> None:
    """Check the utterances whose visual samples are in the inference bank of a fold.

    Raises:
        UserError: one is tested in the fold, is of a test speaker where the protocol keeps
            speakers apart, or is no visual training sample at all.
    """
    column = f"fold_{fold}"
    tested = [row for row in rows if row["modality"] == "acoustic" and row[column] == TEST]
    recordings = {recording_id(row["id"]): row["id"] for row in tested}
    speakers = {row["speaker"]: row["id"] for row in tested}
    visual = {row["id"]: row for row in rows if row["modality"] == "visual"}
    for name in bank:
        sample = f"the visual sample of {name} in the inference bank"
        if recording_id(name) in recordings:
            _leak(fold, sample, recordings[recording_id(name)], "is the same recording as")
        if name not in visual or visual[name][column] != TRAIN:
            raise UserError(
                f"data/split.csv: fold {fold}: {sample} is not in training; run dvc repro"
            )
        if visual[name]["speaker"] in speakers and protocol in SPEAKER_DISJOINT:
            _leak(fold, sample, speakers[visual[name]["speaker"]], "has the same speaker as")


def find_duplicates(fingerprints: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Pairs of ids, of different recordings by name, whose features are the same to the bit.

    Args:
        fingerprints: the features of one modality by utterance id, in the order in which the
            first of several is to be kept.

    Returns:
        (id kept, id of its copy).
    """
    first: dict[bytes, str] = {}
    pairs = []
    for name, features in fingerprints.items():
        kept = first.setdefault(features, name)
        if recording_id(kept) != recording_id(name):
            pairs.append((kept, name))
    return pairs


def _leak(fold: int, sample: str, tested: str, relation: str) -> NoReturn:
    raise UserError(
        f"data/split.csv: fold {fold}: {sample}, which is learned from, {relation} the test "
        f"utterance {tested}; run dvc repro split, or fix the manifest"
    )
