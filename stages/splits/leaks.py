"""Leaks stop the run: no test utterance may be learned from. The message names both utterances.

`split` makes roles without leaks; these checks do not trust it. Every stage that reads
data/split.csv repeats them, and every inference bank is checked as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn

from stages.runtime.errors import UserError
from stages.splits.protocols import (
    SAME_RECORDING,
    TEST,
    TRAIN,
    VALIDATION,
    Mark,
    Rows,
    corpus_of,
    kept_apart,
    marks,
    recording_id,
)

RELATIONS = {
    "recording": "is the same recording as",
    "overlap": "overlaps",
    "session": "is of the same session as",
    "speaker": "has the same speaker as",
    "sentence": "has the same sentence as",
    "dialogue": "is of the same dialogue as",
}


def check_leaks(rows: Rows, protocol: str, folds: int, validated_by: str) -> None:
    """Check the roles of all samples in all folds.

    Args:
        validated_by: "speaker", "dialogue" or "utterance", see
            `stages.splits.protocols.validated_by`.

    Raises:
        UserError: the acoustic sample of a test or validation recording is in training, or, but for
            protocol "paper" within a corpus, its visual samples are; or a test session, speaker or
            sentence is in training where the protocol keeps them apart; or a validation speaker or
            dialogue is, where these are said to be apart. Copies count as what they are copies of.
    """
    kinds = kept_apart(protocol)
    apart = SAME_RECORDING if validated_by == "utterance" else (*SAME_RECORDING, validated_by)
    for fold in range(folds):
        column = f"fold_{fold}"
        tested = _held_out(rows, TEST, kinds, column)
        validated = _held_out(rows, VALIDATION, apart, column)
        heard = {
            role: {
                corpus_of(row["id"])
                for row in rows
                if row["modality"] == "acoustic" and row[column] == role
            }
            for role in (TRAIN, TEST)
        }
        within = not heard[TRAIN].isdisjoint(heard[TEST])
        for row in rows:
            allowed = row["modality"] == "visual" and protocol == "paper" and within
            # VALIDATION chooses the epoch
            if row[column] in (TRAIN, VALIDATION) and not allowed:
                sample = f"the {row['modality']} sample of {row['id']}"
                _check_apart(fold, row, sample, tested, TEST)
                if row[column] == TRAIN:
                    _check_apart(fold, row, sample, validated, VALIDATION)
                if protocol == "official" and (parts := marks(row, ["part"])):
                    _leak(fold, sample, f"is of the official {parts[0][1]} part")


def check_faces_at_test(rows: Rows, folds: int) -> None:
    """Check that who is recognised by the face, too, was never seen in training.

    Raises:
        UserError: a test speaker, or an utterance tested, has a face in training.
    """
    for fold in range(folds):
        column = f"fold_{fold}"
        tested = _held_out(rows, TEST, ("recording", "speaker"), column)
        for row in rows:
            for mark in marks(row, ("recording", "speaker")) if row[column] == TRAIN else ():
                if mark in tested:
                    raise UserError(
                        f"params.yaml: test_modalities: fold {fold}: the {row['modality']} sample "
                        f"of {row['id']}, which is learned from, {RELATIONS[mark[0]]} the test "
                        f"utterance {tested[mark]}; set protocol: speaker, or leave out visual"
                    )


def check_dialogues(rows: Rows, folds: int) -> None:
    """Check that what reads whole dialogues reads none that is learned from and tested.

    Raises:
        UserError: the voices of a dialogue have several roles in a fold.
    """
    for fold in range(folds):
        first: dict[str, dict[str, str]] = {}
        for row in rows:
            if row["modality"] == "acoustic" and row["dialogue"]:
                other = first.setdefault(row["dialogue"], row)
                if other[f"fold_{fold}"] != row[f"fold_{fold}"]:
                    raise UserError(
                        f"params.yaml: protocol: in fold {fold} {other['id']} is in "
                        f"{other[f'fold_{fold}']}, and {row['id']} of the same dialogue in "
                        f"{row[f'fold_{fold}']}, which a system that reads whole dialogues would "
                        "see; set protocol: official or session, or validation: 0 and selection: "
                        "last"
                    )


def check_bank(rows: Rows, protocol: str, fold: int, bank: Iterable[str]) -> None:
    """Check the utterances whose visual samples are in the inference bank of a fold.

    Raises:
        UserError: one is tested or validates in the fold, has something in common with the test
            utterances that the protocol keeps apart, or is no visual training sample at all.
    """
    column = f"fold_{fold}"
    tested = _held_out(rows, TEST, kept_apart(protocol), column)
    validated = _held_out(rows, VALIDATION, SAME_RECORDING, column)
    visual = {row["id"]: row for row in rows if row["modality"] == "visual"}
    for name in bank:
        sample = f"the visual sample of {name} in the inference bank"
        row = visual.get(name)
        if row:
            _check_apart(fold, row, sample, tested, TEST)
            _check_apart(fold, row, sample, validated, VALIDATION)
        if not row or row[column] != TRAIN:
            raise UserError(
                f"data/split.csv: fold {fold}: {sample} is not in training; run dvc repro"
            )


def _held_out(rows: Rows, role: str, kinds: Sequence[str], column: str) -> dict[Mark, str]:
    """The marks of the test or validation voices, and of each a voice that has it."""
    return {
        mark: row["id"]
        for row in rows
        if row["modality"] == "acoustic" and row[column] == role
        for mark in marks(row, kinds)
    }


def _check_apart(
    fold: int, row: dict[str, str], sample: str, held_out: dict[Mark, str], role: str
) -> None:
    for mark in marks(row, list(RELATIONS)):
        if mark in held_out:
            _leak(fold, sample, f"{RELATIONS[mark[0]]} the {role} utterance {held_out[mark]}")


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


def _leak(fold: int, sample: str, relation: str) -> NoReturn:
    raise UserError(
        f"data/split.csv: fold {fold}: {sample}, which is learned from, {relation}; run dvc repro "
        "split, or fix the manifest"
    )
