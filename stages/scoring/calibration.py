"""How far probabilities can be trusted, and a temperature that corrects them.

C. Guo, G. Pleiss, Y. Sun, K. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017: a
network that is right in 80 % of the cases may say 99 %. One number T > 0, by which all logits are
divided, changes no winner, and is fitted on utterances that did not train.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import softmax

BINS = 15  # as in the paper
RANGE = (0.05, 20.0)  # of T; at its ends nearly all is certain, and nearly all is even


def with_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(z / T) [..., C] of probabilities softmax(z) [..., C]; what is 0 stays 0."""
    with np.errstate(divide="ignore"):
        logits = np.log(np.asarray(probabilities, np.float64))
    return softmax(logits / temperature, -1)


def log_loss(probabilities: np.ndarray, true: np.ndarray) -> float:
    """The mean negative log-likelihood of the classes `true` [n] under probabilities [n, C]."""
    with np.errstate(divide="ignore"):
        return float(-np.log(probabilities[np.arange(len(true)), true]).mean())


def fit_temperature(probabilities: np.ndarray, true: np.ndarray) -> float | None:
    """T with the least negative log-likelihood (Guo et al., Section 4.2).

    Utterances whose true class has probability 0, as one that was not trained on, have no part in
    it: no T makes them likelier.

    Args:
        probabilities: [n, C], of utterances that were not trained on.
        true: their classes, [n].

    Returns:
        T, within `RANGE`; None where there is nothing to fit it on.
    """
    possible = probabilities[np.arange(len(true)), true] > 0
    if not possible.any():
        return None
    found = minimize_scalar(
        lambda log_t: log_loss(
            with_temperature(probabilities[possible], np.exp(log_t)), true[possible]
        ),
        bounds=tuple(np.log(RANGE)),
        method="bounded",
    )
    return float(np.exp(found.x))


def calibration_error(probabilities: np.ndarray, true: np.ndarray) -> float:
    """The expected calibration error, Eq. (3) of Guo et al., in `BINS` bins of equal width.

    Over bins of the winner's probability, the mean distance, weighted by utterances, between that
    probability and the share of utterances where the winner is right.

    Args:
        probabilities: [n, C].
        true: classes, [n].
    """
    winner = probabilities.max(1)
    right = probabilities.argmax(1) == true
    in_bin = np.minimum(np.ceil(winner * BINS).astype(int), BINS)  # the m-th is ((m-1)/M, m/M]
    gaps = np.bincount(in_bin, right - winner)
    return float(np.abs(gaps).sum() / len(true))
