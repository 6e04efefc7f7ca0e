"""WAR, UAR and w-F1 against scikit-learn."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from stages.statistics import confusion_matrix, uar, war, weighted_f1

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
    expected = metrics.recall_score(true, predicted, labels=sorted(set(true)), average="macro",
                                    zero_division=0)
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
