"""Protocols: which voices and faces train and which voices test, in every fold.

Paper: Section 3.2, "we selected 8/10 speech samples of each emotional categories and all visual
samples for training, and the remaining 2/10 speech samples for testing". With `folds: 5` that is
done five times, so that every voice is tested once.
"""

from collections.abc import Sequence

import numpy as np

from stages.emotions import EMOTIONS
from stages.failures import UserError

Rows = list[dict[str, str]]
TRAIN, TEST, OUT = "train", "test", "out"


def test_folds(
    protocol: str, emotions: Sequence[str], speakers: Sequence[str], folds: int, seed: int
) -> np.ndarray:
    """The fold in which each voice is tested, int [n].

    "paper" divides the voices of each emotion at random; "speaker" divides the speakers.

    Raises:
        UserError: there are fewer speakers than folds.
    """
    rng = np.random.default_rng(seed)
    if protocol == "paper":
        return _deal(emotions, folds, rng)
    names = sorted(set(speakers))
    if len(names) < folds:
        raise UserError(
            f"params.yaml: folds: {folds} is more than the {len(names)} speakers of the voices; "
            f"protocol speaker needs folds <= {len(names)}"
        )
    fold_of = dict(zip(rng.permutation(names).tolist(), np.arange(len(names)) % folds))
    return np.array([fold_of[name] for name in speakers])


def visual_roles(
    protocol: str, face_speakers: Sequence[str], test_speakers: set[str]
) -> list[str]:
    """Roles of the faces in a fold whose test voices are of `test_speakers`.

    In "paper" all faces train, those of test utterances included. In "speaker" the faces of test
    speakers stay out.
    """
    if protocol == "paper":
        return [TRAIN] * len(face_speakers)
    return [OUT if speaker in test_speakers else TRAIN for speaker in face_speakers]


def require_classes(rows: Rows, folds: int, allow_missing: bool = False) -> None:
    """Refuse a fold in which an emotion is absent from what trains or from what is tested.

    With `allow_missing` only a fold in which all of them are is refused.
    """
    for fold in range(folds):
        for modality, role in [("visual", TRAIN), ("acoustic", TRAIN), ("acoustic", TEST)]:
            present = {
                row["emotion"]
                for row in rows
                if row["modality"] == modality and row[f"fold_{fold}"] == role
            }
            missing = [emotion for emotion in EMOTIONS if emotion not in present]
            if not present or (missing and not allow_missing):
                raise UserError(
                    f"params.yaml: folds: fold {fold} has no {modality} {role} sample of "
                    f"{', '.join(missing)}; choose fewer folds or other corpora, or, where "
                    "other emotions remain, set allow_missing_classes: true"
                )


def take(identity: str) -> str:
    """The recording behind an id, the same for variants of a corpus (ravdess, ravdess_grey)."""
    corpus, name = identity.split("/", 1)
    return f"{corpus.split('_')[0]}/{name}"


def tested_with_trained_face(rows: Rows, folds: int) -> int:
    """How many test voices have the face of their own recording among the training faces."""
    count = 0
    for column in (f"fold_{fold}" for fold in range(folds)):
        trained = {
            take(row["id"]) for row in rows if row["modality"] == "visual" and row[column] == TRAIN
        }
        count += sum(row[column] == TEST and take(row["id"]) in trained for row in rows)
    return count


def _deal(groups: Sequence[str], folds: int, rng: np.random.Generator) -> np.ndarray:
    """Deal the members of each group to the folds like cards, going on where the last stopped."""
    groups = np.asarray(groups)
    fold = np.empty(len(groups), int)
    dealt = 0
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        fold[members] = (dealt + np.arange(len(members))) % folds
        dealt += len(members)
    return fold
