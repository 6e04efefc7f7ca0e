"""The temperature and the calibration error by their definitions, and on data of a known one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from stages.scoring.calibration import (
    BINS,
    RANGE,
    calibration_error,
    fit_temperature,
    log_loss,
    with_temperature,
)

SEEDS = st.integers(0, 10_000)


def drawn(seed: int, n: int = 200, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and classes drawn from softmax(logits)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, classes))
    p = softmax(logits, 1)
    return logits, np.array([rng.choice(classes, p=row) for row in p])


@given(SEEDS, st.floats(0.1, 10))
def test_a_temperature_divides_the_logits(seed: int, temperature: float):
    logits, _ = drawn(seed, 5)
    found = with_temperature(softmax(logits, 1), temperature)
    np.testing.assert_allclose(found, softmax(logits / temperature, 1), rtol=1e-9)


@given(SEEDS, st.floats(*RANGE))
def test_no_temperature_changes_a_winner_or_the_order(seed: int, temperature: float):
    p = softmax(drawn(seed, 5)[0], 1)
    found = with_temperature(p, temperature)
    assert (found.argmax(1) == p.argmax(1)).all()
    np.testing.assert_allclose(found.sum(1), 1)


def test_what_cannot_be_stays_impossible():
    found = with_temperature(np.array([[0.0, 0.25, 0.75]]), 20)
    assert found[0, 0] == 0 and found.sum() == pytest.approx(1)


@pytest.mark.parametrize("overconfident", [0.5, 1.0, 3.0])
def test_the_temperature_that_the_logits_were_divided_by_is_found(overconfident: float):
    logits, true = drawn(0, 20_000)
    found = fit_temperature(softmax(logits * overconfident, 1), true)
    assert found == pytest.approx(overconfident, rel=0.05)


@given(SEEDS, st.floats(*RANGE))
def test_no_other_temperature_makes_the_classes_likelier(seed: int, other: float):
    logits, true = drawn(seed, 40)
    p = softmax(3 * logits, 1)
    best = fit_temperature(p, true)
    assert best is not None
    least = log_loss(with_temperature(p, best), true)
    assert least <= log_loss(with_temperature(p, other), true) + 1e-6


def test_a_class_that_cannot_be_has_no_part_in_the_fit():
    logits, true = drawn(3)
    p = softmax(2 * logits, 1)
    impossible = np.array([[0.0, 0.6, 0.4, 0.0, 0.0]])
    found = fit_temperature(np.vstack([p, impossible]), np.append(true, 0))
    assert found == fit_temperature(p, true)
    assert fit_temperature(impossible, np.array([0])) is None
    assert fit_temperature(np.empty((0, 5)), np.empty(0, int)) is None


@given(SEEDS, st.integers(1, 60))
def test_the_error_is_that_of_its_definition_bin_by_bin(seed: int, n: int):
    logits, true = drawn(seed, n)
    p = softmax(logits, 1)
    expected = 0.0
    for m in range(1, BINS + 1):
        inside = [i for i in range(n) if (m - 1) / BINS < p[i].max() <= m / BINS]
        if inside:
            accuracy = np.mean([p[i].argmax() == true[i] for i in inside])
            confidence = np.mean([p[i].max() for i in inside])
            expected += len(inside) / n * abs(accuracy - confidence)
    assert calibration_error(p, true) == pytest.approx(expected)


def test_who_is_always_right_and_certain_has_no_error_and_who_is_never_right_has_one():
    certain = np.eye(4)
    assert calibration_error(certain, np.arange(4)) == 0
    assert calibration_error(certain, np.array([1, 2, 3, 0])) == 1
