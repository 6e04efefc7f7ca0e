"""Predictions of the test utterances: the rows of metrics/predictions.csv."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stages.corpora.emotions import CODES, EMOTIONS
from stages.runtime.errors import UserError
from stages.splits.dataset import select_rows
from stages.splits.protocols import TEST, Rows

# Probabilities float32 [n, C] of the utterances of rows of data/split.csv.
Classify = Callable[[Rows], np.ndarray]
COLUMNS = ["id", "speaker", "fold", "seed", "actual", "predicted", *CODES]


def predict_part(
    classify: Classify,
    rows: Rows,
    fold: int,
    seed: int,
    role: str = TEST,
) -> np.ndarray:
    """Probabilities float32 [n, C] of the utterances that have a role in a fold.

    Args:
        rows: of data/split.csv.

    Raises:
        UserError: a probability is not finite, as where parameters overflow.
    """
    chosen = select_rows(rows, "acoustic", fold, role)
    if not chosen:
        return np.empty((0, len(EMOTIONS)), np.float32)
    probabilities = classify(chosen)
    if not np.isfinite(probabilities).all():
        raise UserError(
            f"model of fold {fold}, seed {seed}: gives probabilities that are not finite; run dvc "
            "repro train, with a lower learning_rate or momentum"
        )
    return probabilities


def predict_fold(classify: Classify, rows: Rows, fold: int, seed: int) -> list[dict[str, Any]]:
    """A row of COLUMNS for each test utterance of a fold; arguments as of `predict_part`."""
    tested = select_rows(rows, "acoustic", fold, TEST)
    probabilities = predict_part(classify, rows, fold, seed)
    return [
        {
            "id": row["id"],
            "speaker": row["speaker"],
            "fold": fold,
            "seed": seed,
            "actual": CODES[EMOTIONS.index(row["emotion"])],
            "predicted": CODES[int(p.argmax())],
            **{code: f"{value:.6f}" for code, value in zip(CODES, p.tolist())},
        }
        for row, p in zip(tested, probabilities)
    ]


def to_arrays(predictions: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """True classes [n], predicted classes [n, S] and speakers [n] of the utterances, by id.

    Args:
        predictions: rows of COLUMNS sorted by id and seed, as many seeds for every id.
    """
    seeds = len({row["seed"] for row in predictions})
    predicted = np.array([CODES.index(row["predicted"]) for row in predictions])
    true = np.array([CODES.index(row["actual"]) for row in predictions[::seeds]])
    return true, predicted.reshape(-1, seeds), [row["speaker"] for row in predictions[::seeds]]
