"""Intervals against SciPy and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from stages.scoring.intervals import interval, resample_weights, wilson
from stages.scoring.metrics import confusions, uar

CLASSES = 7


@pytest.mark.parametrize(
    "correct, n, low, high",
    [(83, 96, 0.782, 0.919), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 2, 0.0945, 0.9055)],
)
def test_wilson_gives_the_known_intervals(correct: int, n: int, low: float, high: float):
    assert wilson(correct, n) == pytest.approx((low, high), abs=6e-4)


@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_is_that_of_scipy(n: int, share: float, level: float):
    correct = round(share * n)
    expected = binomtest(correct, n).proportion_ci(level, method="wilson")
    assert wilson(correct, n, level) == pytest.approx(tuple(expected), abs=1e-12)


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_holds_the_share_also_of_a_fraction_of_an_utterance(n: int, share: float):
    low, high = wilson(share * n, n)
    assert 0 <= low <= share <= high <= 1 and low < high


def test_wilson_of_none_and_of_all_ends_at_0_and_1():
    for n in range(1, 200):
        assert wilson(0, n)[0] == 0 and wilson(n, n)[1] == 1


@pytest.mark.parametrize("correct, n", [(-1, 5), (6, 5), (0, 0), (math.nan, 5)])
def test_wilson_refuses_what_is_no_share(correct: float, n: int):
    with pytest.raises(ValueError, match="is not a share"):
        wilson(correct, n)


def test_resampling_by_utterance_draws_n_with_replacement():
    weights = resample_weights(50, 2000, np.random.default_rng(0))
    assert weights.shape == (2000, 50) and (weights.sum(1) == 50).all()
    assert weights.mean(0) == pytest.approx(1, abs=0.1)
    # Each count is binomial with n = 50 and p = 1 / 50.
    assert weights.var() == pytest.approx(50 * (1 / 50) * (49 / 50), rel=0.03)


def test_resampling_by_group_keeps_groups_whole_and_draws_as_many():
    groups = ["b", "a", "b", "c", "b", "d"]
    weights = resample_weights(6, 500, np.random.default_rng(0), groups)
    assert (weights[:, 0] == weights[:, 2]).all() and (weights[:, 0] == weights[:, 4]).all()
    of_group = weights[:, [0, 1, 3, 5]].astype(int)
    assert (of_group.sum(1) == 4).all() and of_group.max() > 2
    assert of_group.mean(0) == pytest.approx(1, abs=0.15)


def test_the_same_generator_gives_the_same_samples():
    first, second, other = (resample_weights(9, 9, np.random.default_rng(s)) for s in (1, 1, 2))
    assert (first == second).all() and (first != other).any()


def test_an_interval_leaves_out_as_much_on_either_side():
    assert interval(np.arange(101)[::-1]) == pytest.approx((2.5, 97.5))
    assert interval(np.arange(101), 0.5) == (25, 75)


def test_the_bootstrap_interval_of_uar_holds_the_true_uar_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    recall = np.array([0.9, 0.8, 0.7, 0.6, 0.8, 0.5, 0.95])
    true = np.repeat(
        range(CLASSES), [30, 10, 20, 10, 30, 20, 20]
    )  # unequal, so that UAR is not WAR
    held = 0
    for _ in range(200):
        hit = rng.random(len(true)) < recall[true]
        predicted = np.where(hit, true, (true + 1) % CLASSES)[:, None]
        weights = resample_weights(len(true), 500, rng)
        low, high = interval(uar(confusions(true, predicted, weights, CLASSES))[:, 0])
        held += low <= recall.mean() <= high
    assert 180 <= held <= 198
