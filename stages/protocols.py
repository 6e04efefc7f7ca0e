"""Protocols: which voices and faces train and which voices test, in every fold.

Paper: Section 3.2, "we selected 8/10 speech samples of each emotional categories and all visual
samples for training, and the remaining 2/10 speech samples for testing". With `folds: 5` that is
done five times, so that every voice is tested once.
"""

from collections.abc import Sequence

import numpy as np

from stages.failures import UserError

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
