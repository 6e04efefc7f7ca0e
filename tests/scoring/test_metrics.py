"""WAR, UAR and w-F1 against scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from stages.scoring.intervals import resample_weights
from stages.scoring.metrics import MEASURES, confusion_matrix, confusions, uar, war, weighted_f1

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
