"""The training loop that all systems learned by gradient descent share, with a small one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages import best_test_epoch, evaluate, model, train
from stages.corpora.emotions import EMOTIONS
from stages.io.files import read_json, read_table
from stages.recognition.bundle import read_bundle
from stages.runtime.params import Learned, Params
from stages.runtime.paths import BUNDLE, DESCRIPTION, METRICS, MODEL
from stages.splits.dataset import Features, read_split, select_rows
from stages.systems import named
from stages.systems.checkpoint import read_description, read_replicas
from stages.systems.contract import MELS, Clip, Reader
from stages.systems.neural import Batch, NeuralSystem, with_epochs
from tests.feature_files import N_MELS, prepare, utterances, work_in
from tests.helpers import user_error

SETTINGS = {"epochs": 4, "batch_size": 8, "learning_rate": 0.02, "weight_decay": 0.0}


class MeanSpectrum(nn.Module):
    """A line from the mean spectrum, with dropout."""

    def __init__(self, dim: int, classes: int):
        super().__init__()
        self.line = nn.Linear(dim, classes)
        self.drop = nn.Dropout(0.1)

    def forward(self, batch: Batch) -> Tensor:
        x, mask = batch[MELS]
        mean = (x * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return self.line(self.drop(mean))


class Small(NeuralSystem):
    schema = with_epochs(Learned)

    def settings(self, params: Params, classes: Sequence[str]) -> dict[str, Any]:
        return SETTINGS | {
            "select": {"validation": "uar", "last": "last"}[params.selection],
            "patience": params.patience,
            "planned": SETTINGS["epochs"],
        }

    def views(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        return (MELS,)

    def widths(self, dims: Mapping[str, int], settings: Mapping[str, Any]) -> Mapping[str, int]:
        return {MELS: dims[MELS] // 2}

    def prepare(self, clip: Clip, settings: Mapping[str, Any]) -> Clip:
        return {MELS: clip[MELS][:, ::2]}

    def network(
        self, dims: Mapping[str, int], classes: int, settings: Mapping[str, Any]
    ) -> nn.Module:
        return MeanSpectrum(dims[MELS], classes)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    # In the place of a system with a section, which params.yaml must name.
    monkeypatch.setitem(named.SYSTEMS, "knn", Small())
    return tmp_path


def trained(**changes: Any) -> dict[str, Any]:
    prepare(utterances("sample", sentences=3), system="knn", **changes)
    train.main()
    return read_description()


def test_it_learns_and_says_by_which_epoch():
    found = trained(noise=0.2)
    evaluate.main()
    details = read_json(METRICS / "details.json")
    assert details["uar"] > 0.9 and details["encoders"] == {}
    assert (details["visual"], details["test_modalities"]) == ([], ["acoustic"])
    curves = read_table(METRICS / "curves/loss.csv")
    losses = [float(row["mean"]) for row in curves if row["series"] == "training voices"]
    assert len(losses) == 4 and losses[-1] < losses[0]
    assert all(1 <= of["epoch"] <= 4 for of in found["chosen"].values())
    assert found["dims"] == {MELS: N_MELS}


def test_shuffled_labels_give_chance():
    prepare(utterances("sample", speakers=6, sentences=5), system="knn", shuffle_labels=True)
    train.main()
    evaluate.main()
    assert read_json(METRICS / "details.json")["uar"] < 0.25


def test_the_same_seed_gives_the_same_bytes_and_another_another():
    found = trained(seeds=2)
    content = MODEL.read_bytes(), DESCRIPTION.read_bytes()
    torch.manual_seed(7)
    torch.rand(1)
    train.main()
    assert (MODEL.read_bytes(), DESCRIPTION.read_bytes()) == content
    states = [classifier.state_dict() for *_, classifier in read_replicas(found)]
    assert not torch.equal(states[0]["network.line.weight"], states[1]["network.line.weight"])


def test_what_is_tested_is_what_the_epoch_that_was_kept_had_learned():
    """The validation recall of the kept epoch is that of the classifier read back."""
    found = trained(noise=3.0, validation=0.3)
    split, rows = read_split()
    reader = Reader(Small(), found["settings"], Features(split["features_sha256"]), rows)
    recalls = []
    for fold, _, classifier in read_replicas(found):
        chosen = select_rows(rows, "acoustic", fold, "validation")
        shares = reader.classify(classifier, chosen)
        true = np.array([EMOTIONS.index(row["emotion"]) for row in chosen])
        hits = shares.argmax(1) == true
        recalls.append(np.mean([hits[true == k].mean() for k in np.unique(true)]))
    kept = read_json(METRICS / "train.json")["validation_uar"]
    assert np.mean(recalls) == pytest.approx(kept, abs=1e-3)


def test_a_prediction_does_not_depend_on_what_else_is_predicted():
    found = trained(noise=2.0)
    split, rows = read_split()
    reader = Reader(Small(), found["settings"], Features(split["features_sha256"]), rows)
    tested = select_rows(rows, "acoustic", 0, "test")
    _, _, classifier = next(read_replicas(found))
    together = reader.classify(classifier, tested)
    # A modality is seen by the views that the system learned from, and no others.
    at_test = Reader(Small(), found["settings"], reader.features, rows, ["acoustic"])
    assert [clip.keys() for clip in at_test.clips(tested)] == [{MELS}] * len(tested)
    np.testing.assert_array_equal(at_test.classify(classifier, tested), together)
    for row, shares in zip(tested, together, strict=True):
        np.testing.assert_array_equal(reader.classify(classifier, [row])[0], shares)
    assert reader.classify(classifier, []).shape == (0, 7)


def test_an_emotion_that_was_not_trained_on_is_never_predicted():
    prepare(
        utterances("sample", emotions=["fear", "anger", "neutral"]),
        system="knn",
        classes=["fear", "anger", "neutral"],
    )
    train.main()
    evaluate.main()
    for row in read_table(METRICS / "predictions.csv"):
        assert all(float(row[code]) == 0 for code in ("DI", "HA", "SA", "SU"))


def test_the_last_epoch_is_kept_where_nothing_chooses_and_it_ends_early_by_patience(
    monkeypatch: pytest.MonkeyPatch,
):
    assert trained(selection="last", validation=0)["chosen"]["fold_0.seed_0"] == {"epoch": 4}
    monkeypatch.setitem(SETTINGS, "epochs", 12)
    assert trained(patience=1, noise=0.05)["chosen"]["fold_0.seed_0"]["epoch"] < 11
    assert len(read_table(METRICS / "curves/recall.csv")) < 2 * 12


def test_the_validation_loss_is_finite_where_a_probability_is_rounded_to_0(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setitem(SETTINGS, "learning_rate", 1000.0)
    trained(shuffle_labels=True, validation=0.3)
    assert 104 < read_json(METRICS / "train.json")["validation_loss"] < 1e9  # exp(-104) is 0


def test_a_loss_that_is_not_finite_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(SETTINGS, "learning_rate", 1e37)
    prepare(utterances("sample"), system="knn")
    assert "the loss is not finite in epoch" in user_error(train.main)


def test_it_is_bundled_with_the_epochs_of_the_folds_and_tested_by_epoch():
    trained(noise=1.0, best_test_epoch=True)
    evaluate.main()
    model.main()
    best_test_epoch.main()
    found = read_bundle(BUNDLE)
    assert found.contents["chosen"]["epoch"] in range(1, 5)
    assert found.contents["settings"]["planned"] == 4
    best = read_json(METRICS / "best_test_epoch.json")
    assert best["war"] >= best["war_last_epoch"]


def test_gradients_are_no_longer_than_a_system_allows(monkeypatch: pytest.MonkeyPatch):
    class Clipped(Small):
        clip_norm = 1e-9

        def optimizer(
            self, network: nn.Module, settings: Mapping[str, Any]
        ) -> torch.optim.Optimizer:
            return torch.optim.SGD(network.parameters(), lr=1.0)

    moved = []
    for norm in (1e-9, None):
        monkeypatch.setattr(Clipped, "clip_norm", norm)
        monkeypatch.setitem(named.SYSTEMS, "knn", Clipped())
        _, _, classifier = next(read_replicas(trained()))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            initial = MeanSpectrum(N_MELS // 2, len(EMOTIONS)).line.weight
        moved.append(float((classifier.network.line.weight - initial).norm()))
    assert moved[0] < 1e-5 < 0.01 < moved[1]
