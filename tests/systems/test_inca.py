"""INCA: its equations one by one, and that nothing held out reaches what it learns."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import recall_score
from sklearn.svm import SVC

from stages.corpora.emotions import EMOTIONS
from stages.systems import inca
from stages.systems.contract import Samples
from stages.systems.inca import (
    IterativeNca,
    machines,
    nca_objective,
    nca_weights,
    ranking,
    sizes_of,
)
from stages.systems.pooled import Training
from tests.feature_files import utterances

SETTINGS: dict[str, Any] = {
    "k_min": 2, "k_max": 40, "k_step": 6, "ridge": 0.01, "degree": 3, "c": 1.0
}  # fmt: skip
SYSTEM = IterativeNca()
TELLING = 6  # of 40 features


def drawn(n: int, classes: int = 7, seed: int = 0, noise: float = 0.6) -> Samples:
    """Samples of which every seventh feature tells the class, and the others are noise."""
    random = np.random.default_rng(seed)
    y = np.arange(n) % classes
    x = random.normal(size=(n, 40))
    centres = np.random.default_rng(9).normal(size=(classes, TELLING))
    x[:, ::7] = centres[y] + noise * random.normal(size=(n, TELLING))
    return Samples(torch.from_numpy(x).float(), torch.from_numpy(y))


def training_of(samples: Samples, protocol: str = "paper") -> Training:
    rows = utterances("sample", speakers=5, sentences=20)[: len(samples.y)]
    named = [row | {"emotion": EMOTIONS[y]} for row, y in zip(rows, samples.y)]
    return Training(samples, named, protocol)


def uar_of(tensors: dict[str, torch.Tensor], held: Samples) -> float:
    shares = [SYSTEM.predict(tensors, x, SETTINGS) for x in held.x.double()]
    said = [int(p.argmax()) for p in shares]
    return float(recall_score(held.y, said, average="macro", labels=held.y.unique()))


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_the_objective_is_that_of_brute_force(ridge: float):
    x, y = (part.numpy() for part in drawn(15, classes=3))
    w = np.random.default_rng(1).normal(0, 0.3, 40)
    told = 0.0
    for i in range(15):
        powers = [
            np.exp(-np.sum(w**2 * (x[i].astype(float) - x[j]) ** 2)) if j != i else 0.0
            for j in range(15)
        ]
        told += sum(p for p, label in zip(powers, y) if label == y[i]) / sum(powers)
    found = nca_objective(
        torch.from_numpy(w), torch.from_numpy(x).double(), torch.from_numpy(y), ridge
    )
    assert found.item() == pytest.approx((told - ridge * np.sum(w**2)) / 15, rel=1e-10)


def test_the_weights_are_where_the_objective_is_largest():
    x, y = drawn(60)
    x = x.double() / 8
    weights = nca_weights(x, y, 0.01).requires_grad_()
    found = nca_objective(weights, x, y, 0.01)
    (slope,) = torch.autograd.grad(found, weights)
    assert slope.abs().max() < 1e-4
    start = torch.full((40,), float((2 * x.var(0, correction=0).sum()) ** -0.5))
    assert found > nca_objective(start, x, y, 0.01) + 0.2


def test_what_tells_the_classes_is_ranked_first():
    # The centres of feature 0 are so near to each other that it tells little.
    assert set(ranking(drawn(140), 0.01)[: TELLING - 1].tolist()) == set(range(7, 40, 7))


def test_constant_features_and_equal_weights_have_an_order():
    x, y = drawn(28)
    x[:, 3] = 5.0
    assert sorted(ranking(Samples(x, y), 0.01).tolist()) == list(range(40))
    same = Samples(torch.ones(4, 5), torch.tensor([0, 0, 1, 1]))
    assert ranking(same, 0.01).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("dim, tried", [(1000, [100, 400, 700]), (500, [100, 400, 500]), (5, [5])])
def test_no_more_features_are_tried_than_there_are(dim: int, tried: list[int]):
    assert sizes_of(dim, {"k_min": 100, "k_max": 900, "k_step": 300}) == tried


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_probabilities_are_those_of_scikit_learns_machine(classes: int):
    samples, held = drawn(70, classes), drawn(40, classes, seed=1)
    features = torch.tensor([0, 7, 14, 3, 1])
    tensors = machines(samples, features, SETTINGS)
    columns = sorted(features.tolist())
    x = samples.x.numpy().astype(float)
    low, high = x.min(0), x.max(0)
    scaled = ((x - low) / (high - low))[:, columns]
    new = ((held.x.numpy() - low) / (high - low))[:, columns]
    machine = SVC(C=1.0, kernel="poly", degree=3, gamma="scale", coef0=1, tol=1e-6)
    machine.fit(scaled, samples.y)
    decisions = machine.decision_function(new)
    if classes == 2:  # of which it gives the one decision between them, the second's
        sums = np.stack([-decisions, decisions], 1)
        decisions = (sums > 0) + sums / (3 * (np.abs(sums) + 1))
    expected = np.exp(decisions) / np.exp(decisions).sum(1, keepdims=True)
    found = torch.stack([SYSTEM.predict(tensors, one, SETTINGS) for one in held.x.double()])
    np.testing.assert_allclose(found[:, :classes], expected, atol=1e-5)
    assert (found[:, classes:] == 0).all()


def test_it_learns_what_a_few_features_tell():
    tensors, chosen = SYSTEM.fit(training_of(drawn(140)), drawn(70, seed=1), SETTINGS, 0)
    assert 2 <= chosen["k"] < 40 and tensors["selected"].sum() == chosen["k"]
    assert uar_of(tensors, drawn(140, seed=2)) > 0.75
    assert all(value.dtype == torch.float32 for value in tensors.values())


def test_shuffled_labels_give_chance():
    x, y = drawn(210)
    shuffled = y[torch.from_numpy(np.random.default_rng(3).permutation(len(y)))]
    tensors, _ = SYSTEM.fit(training_of(Samples(x, shuffled)), drawn(70, seed=1), SETTINGS, 0)
    found = [uar_of(tensors, drawn(350, seed=seed)) for seed in (2, 4)]
    assert np.mean(found) < 0.25


def test_the_size_is_what_tells_the_validation_part_best():
    training, validation = training_of(drawn(105)), drawn(70, seed=1)
    tensors, chosen = SYSTEM.fit(training, validation, SETTINGS, 0)
    order = ranking(training.samples, SETTINGS["ridge"])
    recalls = {
        k: uar_of(machines(training.samples, order[:k], SETTINGS), validation)
        for k in sizes_of(40, SETTINGS)
    }
    assert recalls[int(chosen["k"])] == pytest.approx(max(recalls.values()))
    assert len(set(recalls.values())) > 1
    best = machines(training.samples, order[: int(chosen["k"])], SETTINGS)
    assert all(torch.equal(best[name], tensors[name]) for name in tensors)


def test_selection_sees_no_held_out_utterance():
    """Of another validation part only k may be another; with k set nothing is."""
    training, validation = training_of(drawn(105)), drawn(70, seed=1)
    other = Samples(-100 * validation.x, validation.y.flip(0))
    fixed = SETTINGS | {"k_min": 8, "k_max": 8}
    one, two = (SYSTEM.fit(training, part, fixed, 0)[0] for part in (validation, other))
    assert all(torch.equal(one[name], two[name]) for name in one)
    k = int(SYSTEM.fit(training, other, SETTINGS, 0)[1]["k"])
    tensors = SYSTEM.fit(training, validation, SETTINGS | {"k_min": k, "k_max": k}, 0)[0]
    again = SYSTEM.fit(training, other, SETTINGS, 0)[0]
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_each_inner_fold_ranks_by_what_it_learns_from(monkeypatch: pytest.MonkeyPatch):
    """Without a validation part: no utterance by which k is chosen is ranked with."""
    training = training_of(drawn(105))
    ranked = []

    def seen(samples: Samples, ridge: float) -> torch.Tensor:
        ranked.append(len(samples.y))
        return ranking(samples, ridge)

    monkeypatch.setattr(inca, "ranking", seen)
    _, chosen = SYSTEM.fit(training, None, SETTINGS, 0)
    assert ranked == [105] + 5 * [84] and chosen["k"] in sizes_of(40, SETTINGS)


def test_settling_takes_the_middle_of_what_the_folds_chose():
    found = SYSTEM.settle(SETTINGS, [{"k": 20.0}, {"k": 2.0}, {"k": 14.0}])
    assert sizes_of(40, found) == [14]
