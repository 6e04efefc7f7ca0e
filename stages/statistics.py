"""WAR, UAR and w-F1 from a confusion matrix. Paper: Section 3.2.

All matrices are counts [C, C], rows true and columns predicted.
"""

from collections.abc import Sequence

import numpy as np


def confusion_matrix(true: Sequence[int], predicted: Sequence[int], classes: int) -> np.ndarray:
    """Counts int [C, C]: how often class i (row) was taken for class j (column)."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (np.asarray(true, int), np.asarray(predicted, int)), 1)
    return counts


def war(confusion: np.ndarray) -> float:
    """Weighted average recall: the share of utterances that are recognised (accuracy)."""
    return float(np.trace(confusion) / confusion.sum())


def uar(confusion: np.ndarray) -> float:
    """Unweighted average recall: the mean recall over the classes that have utterances."""
    support = confusion.sum(1)
    present = support > 0
    return float(np.mean(np.diag(confusion)[present] / support[present]))


def weighted_f1(confusion: np.ndarray) -> float:
    """w-F1: the F1 of each class, 2 hits / (support + predicted), weighted by its support."""
    support, predicted = confusion.sum(1), confusion.sum(0)
    f1 = 2 * np.diag(confusion) / np.maximum(1, support + predicted)
    return float(np.average(f1, weights=support))
