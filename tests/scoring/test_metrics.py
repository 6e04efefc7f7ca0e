"""WAR, UAR and w-F1 against scikit-learn; intervals and tests against SciPy and by simulation."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics

from stages.scoring.metrics import (
    MEASURES,
    confusion_matrix,
    confusions,
    interval,
    mcnemar,
    resample_weights,
    seed_variance,
    uar,
    war,
    weighted_f1,
    wilson,
)

CLASSES = 7
LABELS = list(range(CLASSES))
Judged = list[tuple[int, int]]

judged = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)
of_two_classes = st.lists(st.tuples(st.integers(2, 3), st.integers(0, 6)), min_size=1, max_size=9)
any_judged = judged | of_two_classes  # often with absent classes


def matrix(pairs: Judged) -> np.ndarray:
    true, predicted = zip(*pairs)
    return confusion_matrix(true, predicted, CLASSES)


@given(any_judged)
def test_rows_are_true_and_columns_predicted_as_in_scikit_learn(pairs: Judged):
    assert (matrix(pairs) == metrics.confusion_matrix(*zip(*pairs), labels=LABELS)).all()


@given(any_judged)
def test_war_is_the_accuracy(pairs: Judged):
    assert war(matrix(pairs)) == pytest.approx(metrics.accuracy_score(*zip(*pairs)))


@given(any_judged)
def test_uar_is_the_balanced_accuracy(pairs: Judged):
    with warnings.catch_warnings(action="ignore"):
        expected = metrics.balanced_accuracy_score(*zip(*pairs))
    assert uar(matrix(pairs)) == pytest.approx(expected)


@given(any_judged)
def test_uar_is_the_mean_recall_over_the_classes_with_utterances(pairs: Judged):
    true, predicted = zip(*pairs)
    expected = metrics.recall_score(
        true, predicted, labels=sorted(set(true)), average="macro", zero_division=0
    )
    assert uar(matrix(pairs)) == pytest.approx(expected)


@given(any_judged)
def test_weighted_f1_is_that_of_scikit_learn(pairs: Judged):
    expected = metrics.f1_score(*zip(*pairs), labels=LABELS, average="weighted", zero_division=0)
    assert weighted_f1(matrix(pairs)) == pytest.approx(expected)


def test_all_three_by_hand():
    confusion = np.array([[3, 1], [0, 1]])
    assert war(confusion) == 4 / 5
    assert uar(confusion) == (3 / 4 + 1) / 2
    assert weighted_f1(confusion) == pytest.approx((4 * 6 / 7 + 1 * 2 / 3) / 5)


@pytest.mark.parametrize("measure", [war, uar, weighted_f1])
def test_always_the_same_answer_is_worth_what_it_hits(measure):
    expected = {war: 1 / 2, uar: 1 / 3, weighted_f1: 2 / 3 / 2}[measure]
    assert measure(matrix([(0, 0), (0, 0), (1, 0), (2, 0)])) == pytest.approx(expected)


def drawn(seed: int, n: int = 40, seeds: int = 3, repeats: int = 5) -> tuple[np.ndarray, ...]:
    """True classes [n], predictions [n, S] and bootstrap weights [B, n], at random."""
    rng = np.random.default_rng(seed)
    true, predicted = rng.integers(CLASSES, size=n), rng.integers(CLASSES, size=(n, seeds))
    return true, predicted, resample_weights(n, repeats, rng)


@pytest.mark.parametrize("repeats", [1, 5, 256, 600])
def test_weighted_confusions_are_those_of_the_repeated_utterances(repeats: int):
    true, predicted, weights = drawn(0, repeats=repeats)
    found = confusions(true, predicted, weights, CLASSES)
    assert found.shape == (repeats, 3, CLASSES, CLASSES)
    for i, row in enumerate(weights):
        for s in range(3):
            again = np.repeat(true, row), np.repeat(predicted[:, s], row)
            assert (found[i, s] == confusion_matrix(*again, CLASSES)).all()


@pytest.mark.parametrize("measure", MEASURES.values())
def test_a_measure_of_many_matrices_is_that_of_each(measure):
    counts = confusions(*drawn(1, n=6), CLASSES)  # so few that classes are absent
    assert (counts.sum(-1) == 0).any()
    expected = [[measure(matrix) for matrix in of_sample] for of_sample in counts]
    np.testing.assert_allclose(measure(counts), expected, rtol=1e-12)


@given(any_judged, st.permutations(LABELS))
def test_no_measure_depends_on_the_names_of_the_classes(pairs: Judged, names: list[int]):
    renamed = [(names[true], names[predicted]) for true, predicted in pairs]
    for measure in MEASURES.values():
        assert measure(matrix(renamed)) == pytest.approx(measure(matrix(pairs)))


@given(any_judged, st.integers(2, 5))
def test_no_measure_depends_on_how_often_the_whole_set_is_counted(pairs: Judged, times: int):
    for measure in MEASURES.values():
        assert measure(times * matrix(pairs)) == pytest.approx(measure(matrix(pairs)))


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
    true = np.repeat(LABELS, [30, 10, 20, 10, 30, 20, 20])  # unequal, so that UAR is not WAR
    held = 0
    for _ in range(200):
        hit = rng.random(len(true)) < recall[true]
        predicted = np.where(hit, true, (true + 1) % CLASSES)[:, None]
        weights = resample_weights(len(true), 500, rng)
        low, high = interval(uar(confusions(true, predicted, weights, CLASSES))[:, 0])
        held += low <= recall.mean() <= high
    assert 180 <= held <= 198


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
