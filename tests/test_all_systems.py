"""Every system learns the embedded sample: one fold with one seed of each, within ten minutes."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import (
    acoustic_features,
    frames,
    linguistic_features,
    manifest,
    mels,
    sample,
    split,
    transcripts,
    visual_features,
)
from stages.runtime.params import read_params
from stages.splits.dataset import Features, labels, read_split, select_rows
from stages.splits.protocols import TEST
from stages.systems.contract import Reader, Task
from stages.systems.named import SYSTEMS
from tests.helpers import write_params

MINUTES = 10
QUICK = {"size": 64, "epochs": 2}
# What differs from params.yaml: shorter trainings, the same networks.
SECTIONS: dict[str, dict[str, Any]] = {
    "finetuned": QUICK,
    "gm_tcnet": {"epochs": 30},
    "tim_net": {"epochs": 30},
    "query_tokens": {"modalities": ["acoustic", "visual"]},
}
FINETUNED = ("vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "efficientnet_lite0")
# Two epochs from random weights are too few to recognise anything by.
NOT_YET = (*FINETUNED, "majority")
OF_VOICES = {
    "inca": {"name": "twine_shuf_pat", "weights": "published"},
    "tf_mix": {"name": "hand_features", "weights": "published", "sequences": True},
}


def setting(acoustic: Mapping[str, Any] | None = None, **changes: Any) -> None:
    encoders = {"acoustic": dict(acoustic)} if acoustic else {}
    write_params(Path(), protocol="speaker", folds=4, encoders=encoders, **SECTIONS, **changes)


@pytest.mark.long
def test_every_system_learns_the_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    setting()
    sample.main()
    for stage in (manifest, frames, mels, transcripts, visual_features, linguistic_features):
        stage.main("sample")
    seconds, recalls = {}, {}
    for name, system in sorted(SYSTEMS.items(), key=lambda item: item[0] in OF_VOICES):
        setting(OF_VOICES.get(name), system=name)
        acoustic_features.main("sample")
        split.main()
        found, rows = read_split()
        settings = system.settings(read_params(), found["classes"])
        features = Features(found["features_sha256"])
        started = time.monotonic()
        task = Task(features, rows, found["protocol"], settings)
        (trained,) = system.train_all(task, 1, [0], name)
        seconds[name] = time.monotonic() - started
        dims = features.dims(system.views(settings), system.sequences)
        facts = {"settings": settings, "dims": dims}
        tested = select_rows(rows, "acoustic", 0, TEST)
        shares = Reader(system, settings, features, rows).classify(
            system.restore(facts, trained.state), tested
        )
        np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
        hits = shares.argmax(1) == labels(tested)
        recalls[name] = float(hits.mean())
    print({name: (round(recalls[name], 2), round(seconds[name])) for name in SYSTEMS})
    low = [name for name in SYSTEMS if name not in NOT_YET and recalls[name] < 0.3]
    assert not low, recalls  # chance is 0.143
    assert sum(seconds.values()) < MINUTES * 60, seconds
