"""Leaks stop the run: what is tested must not have been learned from, and both ids are named.

`split` builds roles that have none; these checks do not trust it. They are made again by every
stage that reads data/split.csv, and on every inference bank.
"""

from collections.abc import Iterable, Mapping

from stages.runtime.errors import UserError
from stages.splits.protocols import (
    SENTENCE_DISJOINT,
    SPEAKER_DISJOINT,
    TEST,
    TRAIN,
    VALIDATION,
    Rows,
    take,
    text,
)


def refuse_leaks(rows: Rows, protocol: str, folds: int) -> None:
    """Check the roles of all samples in all folds.

    Raises:
        UserError: a recording is both tested and heard in training; or, but for protocol
            "paper", its face is trained on; or a test speaker or test sentence is in training
            where the protocol keeps them apart.
    """
    for fold in range(folds):
        column = f"fold_{fold}"
        tested = [row for row in rows if row["modality"] == "acoustic" and row[column] == TEST]
        recordings = {take(row["id"]): row["id"] for row in tested}
        speakers = {row["speaker"]: row["id"] for row in tested}
        texts = {text(row): row["id"] for row in tested}
        for row in rows:
            if row[column] not in (TRAIN, VALIDATION):  # that chooses the epoch
                continue
            sample = f"the {'voice' if row['modality'] == 'acoustic' else 'face'} of {row['id']}"
            faces_may = row["modality"] == "visual" and protocol == "paper"
            if take(row["id"]) in recordings and not faces_may:
                _refuse(fold, sample, recordings[take(row["id"])], "is the same recording as")
            if row["speaker"] in speakers and protocol in SPEAKER_DISJOINT:
                _refuse(fold, sample, speakers[row["speaker"]], "has the same speaker as")
            if text(row) in texts and protocol in SENTENCE_DISJOINT:
                _refuse(fold, sample, texts[text(row)], "says the same as")


def refuse_bank(rows: Rows, protocol: str, fold: int, bank: Iterable[str]) -> None:
    """Check the utterances whose faces are in the inference bank of a fold.

    Raises:
        UserError: one is tested in the fold, is of a test speaker where the protocol keeps
            speakers apart, or is no training face at all.
    """
    column = f"fold_{fold}"
    tested = [row for row in rows if row["modality"] == "acoustic" and row[column] == TEST]
    recordings = {take(row["id"]): row["id"] for row in tested}
    speakers = {row["speaker"]: row["id"] for row in tested}
    faces = {row["id"]: row for row in rows if row["modality"] == "visual"}
    for name in bank:
        sample = f"the face of {name} in the inference bank"
        if take(name) in recordings:
            _refuse(fold, sample, recordings[take(name)], "is the same recording as")
        if name not in faces or faces[name][column] != TRAIN:
            raise UserError(f"data/split.csv: fold {fold}: {sample} is no training face; dvc repro")
        if faces[name]["speaker"] in speakers and protocol in SPEAKER_DISJOINT:
            _refuse(fold, sample, speakers[faces[name]["speaker"]], "has the same speaker as")


def twins(fingerprints: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Pairs of ids, of different recordings by name, whose features are the same to the bit.

    Args:
        fingerprints: the features of one modality by utterance id, in the order in which the
            first of several is to be kept.
    """
    first: dict[bytes, str] = {}
    pairs = []
    for name, features in fingerprints.items():
        kept = first.setdefault(features, name)
        if take(kept) != take(name):
            pairs.append((kept, name))
    return pairs


def _refuse(fold: int, sample: str, tested: str, relation: str) -> None:
    raise UserError(
        f"data/split.csv: fold {fold}: {sample}, which is learned from, {relation} the test "
        f"utterance {tested}; run dvc repro split, or mend the manifest"
    )
