"""WAR, UAR and w-F1 of one or many confusion matrices, and how much of them is chance.

Paper: Section 3.2 for the measures; it gives no intervals, for which each function names its own
source. All matrices are counts [..., C, C], rows true and columns predicted.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import bdtr, ndtri

REPEATS = 10_000  # of a bootstrap: the ends of a 95 % interval then move by about 1 % of its width
LEVEL = 0.95
MIN_SPEAKERS = 3  # a bootstrap over two speakers has three different samples

_CHUNK = 256  # bootstrap samples at a time, so that their weights as floats stay small


def confusion_matrix(true: Sequence[int], predicted: Sequence[int], classes: int) -> np.ndarray:
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
    return (_diagonal(confusion) / np.maximum(1, support)).sum(-1) / (support > 0).sum(-1)


def weighted_f1(confusion: np.ndarray) -> np.ndarray:
    """w-F1 [...]: the F1 of each class, 2 hits / (support + predicted), weighted by its support.

    Source: the paper, Section 3.2.
    """
    support, predicted = confusion.sum(-1), confusion.sum(-2)
    f1 = 2 * _diagonal(confusion) / np.maximum(1, support + predicted)
    return (f1 * support).sum(-1) / support.sum(-1)


MEASURES = {"war": war, "uar": uar, "w_f1": weighted_f1}  # under their keys in metrics/test.json


def wilson(correct: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """The score interval of a share `correct` / `n`, which holds for 0 and n of n as well.

    `correct` may be fractional, as the mean over several seeds is. It then tells the chance in
    which utterances are tested, as if every seed were one and the same model.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212, without continuity correction.

    Raises:
        ValueError: `correct` is not in 0 to `n`, or `n` is 0.
    """
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} of {n} is not a share")
    z = float(ndtri((1 + level) / 2))
    share = correct / n
    centre = share + z * z / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low, high = (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)
    # Rounding must not move the end past the share, which is the end itself for 0 and n of n.
    return float(min(max(low, 0.0), share)), float(max(min(high, 1.0), share))


def resample_weights(
    n: int, repeats: int, rng: np.random.Generator, groups: Sequence[str] | None = None
) -> np.ndarray:
    """How often each of `n` utterances is in each bootstrap sample.

    Without `groups`, n utterances are drawn with replacement. With `groups` (the speaker of each
    utterance), as many whole groups as there are: what is said of the measure then holds for other
    speakers, not only for other utterances of the same ones. Few groups make it too sure.

    Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), Chapters 6 and 8.

    Returns:
        Unsigned int [repeats, n], of the smallest type that holds n.
    """
    units, unit = n, np.arange(n)
    if groups is not None:
        names, unit = np.unique(np.asarray(groups), return_inverse=True)
        units = len(names)
    # 10,000 samples of MELD are 1.1 GB as int64 and 0.3 GB as uint16.
    weights = np.empty((repeats, n), np.min_scalar_type(n))
    for row in weights:
        row[:] = np.bincount(rng.integers(units, size=units), minlength=units)[unit]
    return weights


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The percentile interval of bootstrap values [B].

    Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), Chapter 13.
    """
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def seed_variance(observed: Sequence[np.ndarray], resampled: Sequence[np.ndarray]) -> float:
    """By how much the seeds of a system differ beyond what the choice of its utterances explains.

    Two seeds recognise different utterances, so they differ on any finite test set even if they
    are equally good; the bootstrap by utterance counts that already, in the spread of the seeds'
    differences over its samples. What the seeds differ by more is the seeds' own. (To resample
    seeds as well as utterances would count the first part three times: A. B. Owen, Ann. Appl.
    Stat. 1 (2007) 386-411.)

    Source: the moment estimator of a random effect, S. R. Searle, G. Casella and C. E. McCulloch,
    Variance Components (1992), Chapter 4, pooled over the systems.

    Args:
        observed: of each system, the measure of each seed, [S].
        resampled: of each system, the same in each bootstrap sample, [B, S].

    Returns:
        The variance of one seed; 0 if no system has two seeds or they differ by no more.
    """
    freedom = sum(len(values) - 1 for values in observed)
    if freedom == 0:
        return 0.0
    found = sum((_deviations(values) ** 2).sum() for values in observed)
    explained = sum(_deviations(values).var(0).sum() for values in resampled)
    return max(0.0, float(found - explained) / freedom)


def mcnemar(only_a: int, only_b: int) -> float:
    """The probability of so unequal counts, or more, if A and B recognise equally many.

    `only_a` utterances are recognised by A alone and `only_b` by B alone; those on which the two
    agree say nothing. Exact and two-sided; 1 if there are none.

    Source: Q. McNemar, Psychometrika 12 (1947) 153-157; here by the binomial distribution itself.
    """
    return min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))


def _diagonal(confusion: np.ndarray) -> np.ndarray:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def _deviations(values: np.ndarray) -> np.ndarray:
    return values - values.mean(-1, keepdims=True)
