"""Power: how much data would decide whether two systems differ by as much as was observed.

Sources: J. M. Lachin, Controlled Clinical Trials 2 (1981) 93-113, for a difference that is normally
distributed; J. M. Hoenig and D. M. Heisey, The American Statistician 55 (2001) 19-24, for what the
power at the observed difference is: its p-value in other words, and no evidence that systems are
equal.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from stages.scoring.intervals import LEVEL

POWER = 0.8  # how often a difference is to be found
NORMAL = NormalDist()
CRITICAL = NORMAL.inv_cdf((1 + LEVEL) / 2)  # standard errors from which a difference is significant


@dataclass(frozen=True)
class Need:
    """What a difference needs to be found significant in POWER of all such studies.

    A number is None where no number is enough: the seeds alone differ too much, and there would
    have to be more of them.

    Attributes:
        utterances: like those tested.
        between: the same at the ends of the interval of the difference, the fewer first; the more
            are None, too, where the interval holds 0.
        speakers: with as many utterances each; None, too, where there are too few to tell.
        power: how often a study as large as this one finds it.
    """

    utterances: int | None
    between: tuple[int | None, int | None]
    speakers: int | None
    power: float


def units_needed(difference: float, n: int, variance: float, of_seeds: float = 0.0) -> int | None:
    """How many utterances, or speakers, a difference needs to be found in POWER of all studies.

    More of them make the variance of the difference smaller, in proportion, but for what is between
    seeds.

    Args:
        difference: other than 0.
        n: utterances, or speakers, that were tested; more than 1.
        variance: of the difference over bootstrap samples of these, which is (n - 1) / n of what it
            is over other ones.
        of_seeds: the variance of the difference over other seeds.

    Returns:
        Rounded up; None if no number is enough.
    """
    allowed = (difference / (CRITICAL + NORMAL.inv_cdf(POWER))) ** 2 - of_seeds
    # Rounding must not add one to what comes out even.
    return max(1, math.ceil(round(n * unbiased(variance, n) / allowed, 9))) if allowed > 0 else None


def power_of(difference: float, n: int, variance: float, of_seeds: float = 0.0) -> float:
    """How often a study of this size finds a difference; arguments as of `units_needed`."""
    total = unbiased(variance, n) + of_seeds
    if total == 0:
        return 1.0
    errors = abs(difference) / math.sqrt(total)
    return NORMAL.cdf(errors - CRITICAL) + NORMAL.cdf(-errors - CRITICAL)


def unbiased(variance: float, n: int) -> float:
    """The variance over other samples of n from that over bootstrap samples of one."""
    return variance * n / (n - 1)
