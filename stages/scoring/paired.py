"""Two systems on the same utterances: do they differ by more than chance?"""

from collections.abc import Sequence

import numpy as np


def seed_variance(observed: Sequence[np.ndarray], resampled: Sequence[np.ndarray]) -> float:
    """Variance between the seeds of a system, beyond what the choice of utterances explains.

    Two seeds recognise different utterances, so they differ on any finite test set even if they
    are equally good. The bootstrap by utterance covers that already: it is the spread of the seeds'
    differences over its samples, and is subtracted here. (To resample seeds as well as utterances
    would count it three times: A. B. Owen, Ann. Appl. Stat. 1 (2007) 386-411.)

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
    """The two-sided exact p-value of McNemar's test; 1 if there is nothing to compare.

    Source: Q. McNemar, Psychometrika 12 (1947) 153-157.

    Args:
        only_a: utterances that A alone recognises.
        only_b: utterances that B alone recognises.
    """
    from scipy.stats import binomtest  # takes a second to load

    n = only_a + only_b
    return float(binomtest(only_a, n).pvalue) if n else 1.0


def bootstrap_p(differences: np.ndarray) -> float:
    """The two-sided p-value of bootstrap differences [B], whose interval is that of percentiles.

    Source: A. C. Davison and D. V. Hinkley, Bootstrap Methods and their Application (1997), 4.4.
    """
    beyond = min((differences <= 0).sum(), (differences >= 0).sum())
    return min(1.0, 2 * float(beyond + 1) / (len(differences) + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number.

    Source: S. Holm, Scand. J. Stat. 6 (1979) 65-70.
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(order), 0, -1)
    corrected = np.maximum.accumulate(np.asarray(p_values)[order] * factors).clip(max=1)
    return corrected[np.argsort(order)].tolist()


def _deviations(values: np.ndarray) -> np.ndarray:
    return values - values.mean(-1, keepdims=True)
