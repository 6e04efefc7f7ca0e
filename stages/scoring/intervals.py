"""Confidence intervals: what a measure would be on other utterances, or with other speakers."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

REPEATS = 10_000  # of a bootstrap: the ends of a 95 % interval then move by about 1 % of its width
LEVEL = 0.95
MIN_SPEAKERS = 3  # a bootstrap over two speakers has three different samples


def wilson(correct: float, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval of a share `correct` / `n`.

    `correct` may be fractional, as the mean over several seeds is; SciPy takes whole counts only.
    It then covers the choice of utterances, as if every seed were one and the same model.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209-212, without continuity correction.

    Raises:
        ValueError: `correct` is not in 0 to `n`, or `n` is 0.
    """
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} of {n} is not a share")
    z = NormalDist().inv_cdf((1 + level) / 2)
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
    utterance), as many whole groups as there are: the interval then covers other speakers, not only
    other utterances of the same ones. With few groups it is too narrow.

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
