"""Predictions: what is not a probability is no prediction."""

import numpy as np
import pytest
import torch

from stages.scoring.predictions import predict_fold
from stages.splits.dataset import Features
from tests.helpers import user_error


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_model_whose_parameters_overflow_is_named(value: float):
    features = Features({})
    features.acoustic["a"] = np.zeros(3, np.float32)
    row = {"id": "a", "modality": "acoustic", "speaker": "s", "emotion": "fear", "fold_0": "test"}

    def classifier(x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), 7), value)

    said = user_error(predict_fold, classifier, features, [row], 0, 5)
    assert said.startswith("model of fold 0, seed 5: ") and "dvc repro train" in said
