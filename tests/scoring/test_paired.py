"""Two systems on the same utterances: the variance between seeds, and McNemar's test."""

import math
from statistics import mean, pvariance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.scoring.intervals import resample_weights
from stages.scoring.metrics import confusions, war
from stages.scoring.paired import bootstrap_p, holm, mcnemar, seed_variance

CLASSES = 7


def test_the_variance_of_the_seeds_by_its_definition():
    rng = np.random.default_rng(0)
    observed, resampled = [], []
    for seeds in (4, 3):
        observed.append(0.5 + 0.2 * rng.normal(size=seeds))
        easy = rng.normal(size=(50, 1))  # all seeds alike find some samples easier
        resampled.append(0.5 + easy + 0.05 * rng.normal(size=(50, seeds)))
    squares = explained = 0.0
    for values, samples in zip(observed, resampled):
        squares += sum((value - mean(values)) ** 2 for value in values)
        apart = [[value - mean(sample) for value in sample] for sample in samples.tolist()]
        explained += sum(pvariance(of_seed) for of_seed in zip(*apart))
    expected = (squares - explained) / (3 + 2)
    assert expected > 0 and seed_variance(observed, resampled) == pytest.approx(expected)


def simulated_seeds(rng: np.random.Generator, spread: float) -> float:
    """`seed_variance` of two systems with 4 and 6 seeds whose accuracy has a deviation `spread`."""
    true = np.arange(140) % CLASSES
    observed, resampled = [], []
    weights = resample_weights(140, 200, rng)
    for seeds in (4, 6):
        hit = rng.random((140, seeds)) < 0.7 + spread * rng.normal(size=seeds)
        predicted = np.where(hit, true[:, None], (true[:, None] + 1) % CLASSES)
        observed.append(war(confusions(true, predicted, np.ones((1, 140)), CLASSES))[0])
        resampled.append(war(confusions(true, predicted, weights, CLASSES)))
    return seed_variance(observed, resampled)


def test_seeds_that_differ_in_accuracy_are_told_by_how_much():
    rng = np.random.default_rng(0)
    found = np.mean([simulated_seeds(rng, 0.08) for _ in range(100)])
    assert found == pytest.approx(0.08**2, rel=0.2)


def test_seeds_that_differ_in_their_mistakes_alone_have_little_variance_of_their_own():
    rng = np.random.default_rng(0)
    found = [simulated_seeds(rng, 0) for _ in range(100)]
    by_mistakes = 0.7 * 0.3 / 140
    assert min(found) == 0 and np.mean(found) < by_mistakes / 3


def test_seeds_that_are_alone_or_the_same_have_no_variance():
    rng = np.random.default_rng(0)
    alone, same = rng.random((5, 1)), np.repeat(rng.random((5, 1)), 3, 1)
    assert seed_variance([alone[0], alone[1]], [alone, alone]) == 0
    assert seed_variance([alone[0], same[0]], [alone, same]) == 0


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_sum_over_the_binomial_distribution(only_a: int, only_b: int):
    n, least = only_a + only_b, min(only_a, only_b)
    as_far = [k for k in range(n + 1) if min(k, n - k) <= least]
    expected = sum(math.comb(n, k) for k in as_far) / 2**n
    assert mcnemar(only_a, only_b) == pytest.approx(expected)


def test_mcnemar_by_hand():
    assert mcnemar(0, 0) == mcnemar(4, 4) == 1
    assert mcnemar(0, 5) == mcnemar(5, 0) == pytest.approx(2 / 32)
    assert mcnemar(0, 2000) < 1e-300


def test_the_p_value_of_a_bootstrap_is_twice_the_smaller_tail():
    assert bootstrap_p(np.array([0.1] * 999)) == 2 / 1000
    assert bootstrap_p(np.array([-0.1] * 49 + [0.2] * 950)) == bootstrap_p(
        np.array([0.1] * 49 + [-0.2] * 950)
    )
    assert bootstrap_p(np.array([-0.1] * 49 + [0.2] * 950)) == 0.1
    assert bootstrap_p(np.zeros(10)) == 1


def test_holm_by_hand():
    # 3 x 0.01; 2 x 0.04; and no less than the one before.
    assert holm([0.05, 0.01, 0.04]) == pytest.approx([0.08, 0.03, 0.08])
    assert holm([0.5, 0.6]) == [1, 1] and holm([0.05]) == [0.05] and holm([]) == []
