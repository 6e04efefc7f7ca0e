"""INCA: the features with the largest weights, as many as tell the emotions best, and a cubic SVM.

Paper: T. Tuncer, S. Dogan, U. R. Acharya, Knowledge-Based Systems 211, 2021 (as of the encoder
`twine_shuf_pat`, whose features it selects among; it takes those of any other, too). There is no
public code, and of the text only the abstract was at hand: this is in the manner of it.

From the abstract is that "iterative neighborhood component analysis" selects the features and that
a support vector machine classifies. As usual in the authors' other papers: the features are scaled
to 0 to 1, a neighbourhood component analysis with one weight a feature ranks them, the best k for
every k from 100 to 1000 are tried and the best k is kept, and the kernel is cubic. Not known are
what weighs against large weights, the kernel's other parameters, and C.

As published the weights and k are learned from the labels of all utterances, and the accuracy is
the best of some 900 on the same folds. Here both are learned within the training part: the weights
from it alone, and k by UAR on the validation part, or where there is none by cross-validation
within the training part, whose folds have weights of their own. Ours are also steps of 10 in k,
squared Euclidean distances (J. Goldberger et al., "Neighbourhood Components Analysis", NIPS 2004,
with a diagonal matrix; MATLAB's fscnca, after W. Yang et al. 2012, has city-block ones), the scale
of the kernel, 1 / (k times the variance of the features), and probabilities: the softmax of the
votes of all pairs of emotions, of which the sum of decisions breaks ties. Nothing is random.

The ridge: of 16,896 features of 52 voices 387 had weights above a thousandth of the largest with
0.01, 103 with 0.1, and 40 with 1, which is fscnca's. For k up to 1000 the first is the default.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median_low
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.corpora.emotions import EMOTIONS
from stages.runtime.params import Inca
from stages.systems.contract import Layout, Samples
from stages.systems.pooled import PooledSystem, Training
from stages.systems.selection import best_of, inner_parts

PAIRS = torch.tensor(list(combinations(range(len(EMOTIONS)), 2)))
MAX_ITERATIONS = 200  # of L-BFGS; on 52 voices it ended after 57
TOLERANCE = 1e-6  # of the SVM: the same probabilities, to rounding, on other machines


class IterativeNca(PooledSystem):
    """A support vector machine for each pair of emotions, on the selected features."""

    section = "inca"
    schema = Inca
    chooses = ("k",)

    def fit(
        self,
        training: Training,
        validation: Samples | None,
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Rank the features, and take as many as tell the validation part best."""
        order = ranking(training.samples, settings["ridge"])
        sizes = sizes_of(len(order), settings)
        k = sizes[0]
        if len(sizes) > 1:
            parts = [(training.samples, validation)] if validation else inner_parts(training)
            told: dict[int, list[Tensor]] = {k: [] for k in sizes}
            true = []
            for learned, held in parts:
                own = order if validation else ranking(learned, settings["ridge"])
                true.append(held.y)
                for k in sizes:
                    tensors = machines(learned, own[:k], settings)
                    told[k] += [self.predict(tensors, x, settings) for x in held.x.double()]
            k = best_of(told, true)
        return machines(training.samples, order[:k], settings), {"k": k}

    def predict(
        self, tensors: Mapping[str, Tensor], x: Tensor, settings: Mapping[str, Any]
    ) -> Tensor:
        """The softmax of the votes of all pairs of emotions that were trained on."""
        of = {name: value.double() for name, value in tensors.items()}
        selected = ((x - of["lowest"]) / of["span"])[of["selected"] > 0]
        likeness = kernel(of["support"], selected, of["gamma"], settings["degree"])
        first, second = PAIRS.T
        known = of["known"][first] * of["known"][second]
        decisions = (likeness @ of["weight"] + of["bias"]) * known
        winners = torch.where(decisions >= 0, first, second)
        votes = torch.zeros_like(of["known"]).index_add(0, winners, known)
        sums = torch.zeros_like(votes).index_add(0, first, decisions)
        sums = sums.index_add(0, second, -decisions)
        scores = votes + sums / (3 * (sums.abs() + 1))  # less than a vote
        return torch.softmax(scores.where(of["known"] > 0, -torch.inf), 0)

    def shapes(self, classes: int, dim: int) -> Layout:
        """The scale and selection of the features, and the support vectors of the machines."""
        return {
            "lowest": (dim,),
            "span": (dim,),
            "selected": (dim,),
            "support": (None, None),
            "gamma": (1,),
            "weight": (None, len(PAIRS)),
            "bias": (len(PAIRS),),
            "known": (classes,),
        }

    def settle(
        self, settings: Mapping[str, Any], chosen: Sequence[Mapping[str, float]]
    ) -> dict[str, Any]:
        """With the k that is in the middle of those that the folds chose."""
        k = int(median_low(of["k"] for of in chosen))
        return {**settings, "k_min": k, "k_max": k}


def sizes_of(dim: int, settings: Mapping[str, Any]) -> list[int]:
    """How many of so many features to try, in rising order."""
    sizes = range(settings["k_min"], settings["k_max"] + 1, settings["k_step"])
    return sorted({min(k, dim) for k in sizes})


def scale_of(x: Tensor) -> tuple[Tensor, Tensor]:
    """By what features [n, D] become 0 to 1: the lowest of each and its span, 1 of a constant."""
    lowest = x.min(0).values
    span = x.max(0).values - lowest
    return lowest, torch.where(span > 0, span, 1.0)


def ranking(samples: Samples, ridge: float) -> Tensor:
    """The features int64 [D] by their weights, the largest first; of equal ones the first."""
    lowest, span = scale_of(samples.x)
    weights = nca_weights(((samples.x - lowest) / span).double(), samples.y, ridge)
    return weights.abs().argsort(descending=True, stable=True)


def nca_weights(x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """The weights float64 [D] for which `nca_objective` of x float64 [n, D] is the largest.

    All are equal at first, such that two samples are at a squared distance of 1 in the mean.
    """
    from scipy.optimize import minimize

    start = (2 * x.var(0, correction=0).sum()).clamp(min=1e-12) ** -0.5

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        weights = torch.from_numpy(values).requires_grad_()
        found = -nca_objective(weights, x, y, ridge)
        (gradient,) = torch.autograd.grad(found, weights)
        return found.item(), gradient.numpy()

    found = minimize(
        loss,
        np.full(x.shape[1], start.item()),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": MAX_ITERATIONS},
    )
    return torch.from_numpy(found.x)


def nca_objective(weights: Tensor, x: Tensor, y: Tensor, ridge: float) -> Tensor:
    """The share of samples that a neighbour drawn at random tells, less what large weights cost.

    Sample i draws j, which is not i, with probability p_ij: the softmax over j of
    -sum_r w_r^2 (x_ir - x_jr)^2. It is (sum of p_ij over all j of the class of i and over all i,
    less ridge times sum_r w_r^2) / n.
    """
    scaled = x * weights
    squares = (scaled**2).sum(1)
    distances = squares[:, None] + squares - 2 * scaled @ scaled.T
    alone = torch.eye(len(x), dtype=torch.bool)
    chances = torch.softmax((-distances).masked_fill(alone, -torch.inf), 1)
    told = (chances * (y[:, None] == y)).sum()
    return (told - ridge * (weights**2).sum()) / len(x)


def kernel(a: Tensor, b: Tensor, gamma: Tensor | float, degree: int) -> Tensor:
    """The polynomial kernel (gamma <a, b> + 1)^degree of features [n, k] and [k] or [k, m]."""
    return (gamma * (a @ b) + 1) ** degree


def machines(samples: Samples, features: Tensor, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """A support vector machine for each pair of emotions, on these of the features."""
    from sklearn.svm import SVC  # which takes seconds to load

    lowest, span = scale_of(samples.x)
    selected = torch.zeros(samples.x.shape[1])
    selected[features] = 1
    x = ((samples.x.double() - lowest) / span)[:, selected > 0]
    variance = x.var(correction=0)
    gamma = 1 / (len(features) * torch.where(variance > 0, variance, 1.0)).float()
    likeness = kernel(x, x.T, gamma.double(), settings["degree"]).numpy()
    weight, bias = torch.zeros(len(x), len(PAIRS)), torch.zeros(len(PAIRS))
    for pair, (one, other) in enumerate(PAIRS):
        rows = ((samples.y == one) | (samples.y == other)).nonzero().flatten()
        labels = samples.y[rows] == one
        if labels.unique().numel() == 2:
            machine = SVC(C=settings["c"], kernel="precomputed", tol=TOLERANCE)
            machine.fit(likeness[np.ix_(rows, rows)], labels)
            weight[rows[machine.support_], pair] = torch.tensor(machine.dual_coef_[0]).float()
            bias[pair] = machine.intercept_[0]
    support = weight.any(1)
    support[0] |= not support.any()  # of one emotion alone there are no machines
    known = torch.zeros(len(EMOTIONS))
    known[samples.y] = 1
    return {
        "lowest": lowest,
        "span": span,
        "selected": selected,
        "support": x[support].float(),
        "gamma": gamma[None],
        "weight": weight[support],
        "bias": bias,
        "known": known,
    }
