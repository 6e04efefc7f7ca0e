"""Predictions: what is not a probability is no prediction."""

import numpy as np
import pytest

from stages.scoring.predictions import predict_fold
from tests.helpers import user_error


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_model_whose_parameters_overflow_is_named(value: float):
    row = {"id": "a", "modality": "acoustic", "speaker": "s", "emotion": "fear", "fold_0": "test"}

    said = user_error(predict_fold, lambda rows: np.full((len(rows), 7), value), [row], 0, 5)
    assert said.startswith("model of fold 0, seed 5: ") and "dvc repro train" in said
