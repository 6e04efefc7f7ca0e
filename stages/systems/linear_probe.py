"""Linear probe: multinomial logistic regression on the standardised features of the encoder.

The floor that any method on frozen features must beat: G. Alain, Y. Bengio, "Understanding
intermediate layers using linear classifier probes", ICLR 2017 (workshop). The weight of its L2
penalty, 1 / C, is the only thing chosen: on the validation part, by UAR, or where there is none by
cross-validation within the training part, divided as the protocol divides. It learns from the
training part alone, like all systems, and not from the validation part in the end.
"""

from collections.abc import Mapping, Sequence
from statistics import median_low
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stages.corpora.emotions import EMOTIONS
from stages.runtime.params import LinearProbe
from stages.systems.contract import Layout, Samples
from stages.systems.pooled import PooledSystem, Training
from stages.systems.selection import best_of, inner_parts

MAX_ITERATIONS = 10_000  # far more than L-BFGS has needed here
TOLERANCE = 1e-7  # of the gradient: the same probabilities, to rounding, on other machines


class Probe(PooledSystem):
    """Probabilities softmax(W x + b)."""

    section = "linear_probe"
    schema = LinearProbe
    chooses = ("c",)

    def fit(
        self,
        training: Training,
        validation: Samples | None,
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Fit every C of `settings`, and keep the best; of equal ones the smallest."""
        grid = sorted(settings["c"])
        c = grid[0]
        if len(grid) > 1:
            parts = [(training.samples, validation)] if validation else inner_parts(training)
            told: dict[float, list[Tensor]] = {c: [] for c in grid}
            true = []
            for learned, held in parts:
                true.append(held.y)
                for c in grid:
                    tensors = regression(learned, c, training.weighted)
                    told[c] += [self.predict(tensors, x, settings) for x in held.x.double()]
            c = best_of(told, true)
        return regression(training.samples, c, training.weighted), {"c": c}

    def predict(
        self, tensors: Mapping[str, Tensor], x: Tensor, settings: Mapping[str, Any]
    ) -> Tensor:
        """softmax(W x + b) of one utterance."""
        return torch.softmax(tensors["weight"].double() @ x + tensors["bias"].double(), 0)

    def shapes(self, classes: int, dim: int) -> Layout:
        """W and b."""
        return {"weight": (classes, dim), "bias": (classes,)}

    def settle(
        self, settings: Mapping[str, Any], chosen: Sequence[Mapping[str, float]]
    ) -> dict[str, Any]:
        """With the C that is in the middle of those that the folds chose."""
        return {**settings, "c": [median_low(of["c"] for of in chosen)]}


def regression(samples: Samples, c: float, weighted: bool) -> dict[str, Tensor]:
    """W [C, D] and b [C] of a logistic regression.

    Emotions that no sample has get the lowest b there is, so that their probability is 0.

    Args:
        c: the inverse of the weight of the L2 penalty.
        weighted: whether emotions with fewer samples weigh as much in the loss as others.
    """
    from sklearn.linear_model import LogisticRegression  # which takes seconds to load

    classes = samples.y.unique().numpy()
    weight = np.zeros((len(EMOTIONS), samples.x.shape[1]), np.float32)
    bias = np.full(len(EMOTIONS), np.finfo(np.float32).min)
    bias[classes] = 0
    if len(classes) > 1:
        model = LogisticRegression(
            C=c,
            class_weight="balanced" if weighted else None,
            max_iter=MAX_ITERATIONS,
            tol=TOLERANCE,
        )
        model.fit(samples.x.double().numpy(), samples.y.numpy())
        # Of two classes scikit-learn gives the difference alone.
        known = classes[-len(model.coef_) :]
        weight[known], bias[known] = model.coef_, model.intercept_
    return {"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)}
