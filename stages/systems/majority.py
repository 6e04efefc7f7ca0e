"""Majority: every utterance has the most frequent emotion of the training part.

The lowest floor: what one gets who does not listen. Its probabilities are the shares of the
emotions in the training part, so that its WAR is that of the most frequent emotion, and its UAR
that of chance. Of equally frequent emotions the first in EMOTIONS is said.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from stages.corpora.emotions import EMOTIONS
from stages.runtime.params import Section
from stages.systems.contract import Layout, Samples
from stages.systems.pooled import PooledSystem, Training


class Majority(PooledSystem):
    """It has no settings, chooses nothing and looks at no features."""

    schema = Section

    def fit(
        self,
        training: Training,
        validation: Samples | None,
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """The share of each emotion."""
        counts = torch.bincount(training.samples.y, minlength=len(EMOTIONS))
        return {"shares": (counts / counts.sum()).float()}, {}

    def predict(
        self, tensors: Mapping[str, Tensor], x: Tensor, settings: Mapping[str, Any]
    ) -> Tensor:
        """The shares, whatever the utterance."""
        return tensors["shares"].double()

    def shapes(self, classes: int, dim: int) -> Layout:
        """A share an emotion."""
        return {"shares": (classes,)}
