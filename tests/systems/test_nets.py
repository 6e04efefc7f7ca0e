"""What learns from spectrograms, trained and tested by the stages on a small corpus."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from stages import evaluate, train
from stages.encoders import torchvision_models
from stages.io.files import read_json
from stages.runtime.paths import DESCRIPTION, METRICS, MODEL
from stages.splits.dataset import Features, read_split, select_rows
from stages.splits.protocols import TEST
from stages.systems.checkpoint import read_description, read_replicas
from stages.systems.contract import Reader
from stages.systems.named import SYSTEMS
from tests.feature_files import prepare, utterances, work_in
from tests.helpers import user_error

LEARNED = {"epochs": 15, "batch_size": 14}
# Each with settings by which it learns 70 short utterances in seconds.
SMALL: dict[str, dict[str, Any]] = {
    "gm_tcnet": {"gm_tcnet": LEARNED | {"seconds": 0.3}},
    "tim_net": {"tim_net": LEARNED | {"seconds": 0.3, "blocks": 4, "learning_rate": 0.01}},
    "resnet18": {
        "finetuned": LEARNED | {"size": 64, "momentum": 0.9, "body_factor": 1, "epochs": 8}
    },
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def trained(system: str, rows: Any = None, **changes: Any) -> dict[str, Any]:
    """What models/replicas.json says after a training on a small corpus."""
    small = SMALL[system] | changes
    prepare(rows or utterances("sample", sentences=3), system=system, **small)
    train.main()
    return read_description()


def clips_of_test(system: str, description: dict[str, Any], fold: int = 0) -> list[Any]:
    """What the system is given of the test utterances of a fold."""
    found, rows = read_split()
    reader = Reader(SYSTEMS[system], description["settings"], Features(found["features_sha256"]), rows)
    return reader.clips(select_rows(rows, "acoustic", fold, TEST))


@pytest.mark.parametrize("system", SMALL)
def test_it_learns_what_can_be_learned(system: str):
    trained(system)
    evaluate.main()
    found = read_json(METRICS / "details.json")
    assert found["uar"] > 0.6 and found["system"] == system
    assert found["encoders"] == {}
