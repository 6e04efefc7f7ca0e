"""How much data a difference needs: by brute force, by another formula, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from stages.scoring.power import power_of, unbiased, units_needed

differences = st.floats(0.005, 0.5).flatmap(lambda d: st.sampled_from([d, -d]))


def power_by_definition(difference: float, variance: float) -> float:
    """The probability that a normal estimate is further from 0 than 1.96 of its errors."""
    error = math.sqrt(variance)
    beyond = norm.ppf(0.975) * error
    return float(norm.sf(beyond, difference, error) + norm.cdf(-beyond, difference, error))


@given(differences, st.integers(2, 5000), st.floats(1e-6, 0.01), st.floats(0, 1e-3))
def test_no_smaller_number_is_enough(difference, n, variance, of_seeds):
    of_one = variance * n * n / (n - 1)  # of one utterance
    found = units_needed(difference, n, variance, of_seeds)
    with_all = power_by_definition(difference, of_seeds) if of_seeds else 1
    if found is None:
        assert with_all <= 0.8 + 1e-4
        return
    assert power_by_definition(difference, of_one / found + of_seeds) >= 0.8 - 1e-6
    if found > 1:
        fewer = power_by_definition(difference, of_one / (found - 1) + of_seeds)
        assert fewer < 0.8 + 1e-4


@given(differences, st.integers(2, 5000), st.floats(1e-6, 0.01), st.floats(0, 1e-3))
def test_the_power_is_that_of_the_definition(difference, n, variance, of_seeds):
    expected = power_by_definition(difference, variance * n / (n - 1) + of_seeds)
    assert power_of(difference, n, variance, of_seeds) == pytest.approx(expected, abs=1e-12)
    assert power_of(-difference, n, variance, of_seeds) == pytest.approx(expected, abs=1e-12)


def test_what_never_varies_is_found_by_one_and_what_is_0_by_none():
    assert units_needed(0.1, 50, 0.0) == 1 and power_of(0.1, 50, 0.0) == 1
    assert units_needed(0.0, 50, 0.01) is None
    assert units_needed(0.1, 50, 0.001, of_seeds=0.01) is None  # more seeds, not more utterances


@given(st.floats(0.02, 0.3), st.floats(0.01, 0.3))
def test_mcnemars_test_needs_but_a_few_utterances_more(only_b, only_a):
    """R. J. Connor, Biometrics 43 (1987) 207-211, of shares of utterances right in one alone."""
    difference, apart = only_b - only_a, only_b + only_a
    if abs(difference) < 0.01:
        return
    spread = apart - difference**2
    connor = (
        norm.ppf(0.975) * math.sqrt(apart) + norm.ppf(0.8) * math.sqrt(spread)
    ) ** 2 / difference**2
    n = 200
    found = units_needed(difference, n, spread * (n - 1) / n**2)
    assert -1 <= connor - found <= 6.5


@pytest.mark.parametrize("only_a, only_b", [(0.05, 0.15), (0.1, 0.15), (0.02, 0.05)])
def test_studies_of_that_size_find_the_difference_four_times_in_five(only_a: float, only_b: float):
    rng = np.random.default_rng(0)
    difference = only_b - only_a
    n = units_needed(difference, 2, (only_a + only_b - difference**2) / 4)
    counts = rng.multinomial(n, [only_a, only_b, 1 - only_a - only_b], 20_000) / n
    found = counts[:, 1] - counts[:, 0]
    error = np.sqrt(unbiased((counts[:, :2].sum(1) - found**2) / n, n))
    assert np.mean(np.abs(found) > norm.ppf(0.975) * error) == pytest.approx(0.8, abs=0.02)
