"""WAR, UAR and w-F1 of one or many confusion matrices.

Paper: Section 3.2. All matrices are counts [..., C, C], rows true and columns predicted. The
measures equal scikit-learn's, but take the many matrices of a bootstrap at once.
"""

from collections.abc import Sequence

import numpy as np

_CHUNK = 256  # bootstrap samples at a time, so that their weights as floats stay small


def confusion_matrix(
    true: Sequence[int] | np.ndarray, predicted: Sequence[int] | np.ndarray, classes: int
) -> np.ndarray:
    """Counts int [C, C]: how often class i (row) was taken for class j (column)."""
    counts = np.zeros((classes, classes), int)
    np.add.at(counts, (np.asarray(true, int), np.asarray(predicted, int)), 1)
    return counts


def confusions(
    true: np.ndarray, predicted: np.ndarray, weights: np.ndarray, classes: int
) -> np.ndarray:
    """The confusion matrix of every seed in every bootstrap sample.

    Args:
        true: int [n].
        predicted: int [n, S], one column a seed.
        weights: [B, n], how often each utterance is in each bootstrap sample.
        classes: C.

    Returns:
        Weighted counts float [B, S, C, C], exact for whole weights that sum to less than 2**24.
    """
    n, seeds = predicted.shape
    cells = classes * classes
    # Utterance u of seed s counts in one cell; all bootstrap samples are then one matrix product.
    cell = np.asarray(true)[:, None] * classes + predicted + np.arange(seeds) * cells
    indicator = np.zeros((n, seeds * cells), np.float32)
    np.put_along_axis(indicator, cell, 1, axis=1)
    counts = np.empty((len(weights), seeds * cells))
    for start in range(0, len(weights), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        counts[chunk] = weights[chunk].astype(np.float32) @ indicator
    return counts.reshape(len(weights), seeds, classes, classes)


def war(confusion: np.ndarray) -> np.ndarray:
    """Weighted average recall [...]: the share of utterances that are recognised (accuracy).

    Source: the paper, Section 3.2.
    """
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))


def uar(confusion: np.ndarray) -> np.ndarray:
    """Unweighted average recall [...]: the mean recall over the classes that have utterances.

    Source: the paper, Section 3.2.
    """
    support = confusion.sum(-1)
    return (_hits(confusion) / np.maximum(1, support)).sum(-1) / (support > 0).sum(-1)


def weighted_f1(confusion: np.ndarray) -> np.ndarray:
    """w-F1 [...]: the F1 of each class, 2 hits / (support + predicted), weighted by its support.

    Source: the paper, Section 3.2.
    """
    support, predicted = confusion.sum(-1), confusion.sum(-2)
    f1 = 2 * _hits(confusion) / np.maximum(1, support + predicted)
    return (f1 * support).sum(-1) / support.sum(-1)


MEASURES = {"war": war, "uar": uar, "w_f1": weighted_f1}  # under their keys in metrics/test.json


def _hits(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)
