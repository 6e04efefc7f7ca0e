"""TF-Mix: its networks, that copies are of the training part alone, and the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from stages import evaluate, model, split, train
from stages.corpora.emotions import EMOTIONS
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import read_json, read_table
from stages.recognition.bundle import read_bundle
from stages.runtime.paths import BUNDLE, DESCRIPTION, METRICS, MODEL, features_path
from stages.splits.dataset import Features, read_split, select_rows
from stages.splits.protocols import TEST, TRAIN, VALIDATION
from stages.systems.checkpoint import read_description, read_replicas
from stages.systems.contract import ACOUSTIC, Reader, Standardizer, Task
from stages.systems.neural import NeuralClassifier, Padded
from stages.systems.tf_mix import (
    EQUAL,
    TENTHS,
    WEIGHTS,
    Ensemble,
    LocalFeatures,
    Mixture,
    averaged,
    probabilities_by_weights,
)
from tests.feature_files import SETTINGS, prepare, utterances, work_in
from tests.helpers import user_error

SYSTEM = Mixture()
SMALL = {
    "epochs": 12, "batch_size": 16, "learning_rate": 0.01, "weight_decay": 0.0, "channels": 4,
    "dropout": 0.1,
}  # fmt: skip
DIM = 24


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def draw(rows: Any, copies: int = 3, noise: float = 0.3, seed: int = 0) -> np.ndarray:
    """Vectors float16 [n, 1 + copies, DIM], of which row 0 tells the emotion, as do its copies."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(7, DIM))[
        [EMOTIONS.index(row["emotion"]) for row in rows]
    ]
    return (centres[:, None] + noise * random.normal(size=(len(rows), 1 + copies, DIM))).astype(
        "f2"
    )


def prepared(
    speakers: int = 4, sentences: int = 3, copies: int = 3, noise: float = 0.3, **changes: Any
) -> None:
    """A corpus whose voices have copies in their sequences."""
    rows = utterances("sample", speakers, sentences)
    small = SMALL | changes.pop("tf_mix", {})
    prepare(rows, system="tf_mix", tf_mix=small, **changes)
    values = draw(rows, copies, noise)
    with write_arrays(
        features_path("acoustic", "sample"), "acoustic features", SETTINGS, 0
    ) as file:
        file.append("ids", encode_ids([row["id"] for row in rows]))
        file.append("pooled", values[:, 0].astype("f4"))
        if copies:
            file.append("values", values.reshape(-1, DIM))
            file.append("offsets", np.arange(len(rows) + 1) * (1 + copies))
    split.main()


def batch_of(x: torch.Tensor) -> dict[str, Padded]:
    return {ACOUSTIC: Padded(x, torch.ones(x.shape[:2]).bool())}


@pytest.fixture
def ensemble() -> Ensemble:
    torch.manual_seed(0)
    return Ensemble(DIM, 7, 4, 0.1).eval()


@pytest.mark.parametrize("dim, channels", [(162, 32), (24, 4), (1, 2)])
def test_the_number_of_parameters_is_that_of_the_formula(dim: int, channels: int):
    def affine(before: int, after: int) -> int:
        return (before + 1) * after

    c, w, length = channels, 2 * channels, -(-dim // 8)
    convolutions = affine(5, c) + affine(5 * c, w) + affine(5 * w, w) + 2 * (c + w + w)
    head = affine(w, 7)
    lstm = 2 * 4 * (c * (w + c) + 2 * c)
    attending = affine(w, 3 * w) + affine(w, w) + affine(w, 2 * w) + affine(2 * w, w) + 2 * 2 * w
    expected = 3 * convolutions + affine(length * w, w) + 2 * affine(w, w) + 3 * head
    expected += 2 * lstm + attending
    found = Ensemble(dim, 7, channels, 0.1)
    assert sum(value.numel() for value in found.parameters()) == expected
    if dim == 162:
        assert expected == 273_493


def test_blocks_are_convolution_normalisation_and_pooling_by_definition():
    torch.manual_seed(0)
    local = LocalFeatures(2)
    x = torch.randn(5, 9)
    local.train()(x)  # so that the means and variances are those of something
    found = local.eval()(x)
    at = x[:, None].double().numpy()
    for number in range(3):
        convolution, norm = local[1 + 4 * number], local[2 + 4 * number]
        kernel, bias = (value.detach().double().numpy() for value in convolution.parameters())
        padded = np.pad(at, ((0, 0), (0, 0), (2, 2)))
        at = np.stack(
            [
                np.einsum("nck,ock->no", padded[:, :, i : i + 5], kernel) + bias
                for i in range(at.shape[2])
            ],
            2,
        )
        mean, variance = (
            v.double().numpy()[:, None] for v in (norm.running_mean, norm.running_var)
        )
        at = np.maximum((at - mean) / np.sqrt(variance + 1e-5), 0)
        at = np.stack([at[:, :, i : i + 2].max(2) for i in range(0, at.shape[2], 2)], 2)
    np.testing.assert_allclose(found.detach(), at, atol=1e-5)
    assert found.shape == (5, 4, 2)


def test_the_ensemble_is_the_weighted_average_of_probabilities(ensemble: Ensemble):
    x = torch.randn(6, 1, DIM)
    ensemble.weights = torch.tensor([0.2, 0.5, 0.3])
    shares = [
        torch.softmax(network(x[:, 0]).double(), 1)
        for network in (ensemble.cnn, ensemble.bilstm, ensemble.transformer)
    ]
    expected = 0.2 * shares[0] + 0.5 * shares[1] + 0.3 * shares[2]
    torch.testing.assert_close(ensemble(batch_of(x)).exp().double(), expected, atol=1e-6, rtol=0)


def test_in_training_each_network_learns_by_its_own_cross_entropy(ensemble: Ensemble):
    x, y = torch.randn(6, 1, DIM), torch.arange(6)
    networks = (ensemble.cnn, ensemble.bilstm, ensemble.transformer)
    own = sum(cross_entropy(network(x[:, 0]), y) for network in networks) / 3
    ensemble.training = True  # itself alone: dropout and batch normalisation as at test
    loss = SYSTEM.loss(ensemble(batch_of(x)), y, {})
    torch.testing.assert_close(loss, own)
    expected = torch.autograd.grad(own, list(ensemble.parameters()), retain_graph=True)
    found = torch.autograd.grad(loss, list(ensemble.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_an_utterance_is_told_by_row_0_alone(ensemble: Ensemble):
    x = torch.randn(6, 4, DIM)
    other = torch.cat([x[:, :1], 100 * torch.randn(6, 3, DIM)], 1)
    assert torch.equal(ensemble(batch_of(x)), ensemble(batch_of(other)))
    assert not torch.equal(ensemble(batch_of(x)), ensemble(batch_of(x.flip(1))))


def test_what_is_trained_on_is_the_clip_or_a_copy_each_as_often():
    clip = {ACOUSTIC: torch.arange(4.0)[:, None].repeat(1, DIM)}
    generator = torch.Generator().manual_seed(0)
    drawn = [SYSTEM.augment(clip, {}, generator)[ACOUSTIC] for _ in range(400)]
    assert {row.shape for row in drawn} == {(1, DIM)}
    counts = np.bincount([int(row[0, 0]) for row in drawn], minlength=4)
    assert counts.sum() == 400 and counts.min() > 70
    alone = {ACOUSTIC: clip[ACOUSTIC][:1]}
    assert torch.equal(SYSTEM.augment(alone, {}, generator)[ACOUSTIC], alone[ACOUSTIC])


def test_weights_are_tenths_that_sum_to_one_and_a_third_each_comes_first():
    assert WEIGHTS[0] == EQUAL and len(WEIGHTS) == 1 + len(TENTHS) == 37
    np.testing.assert_allclose(np.sum(WEIGHTS, 1), 1)
    assert np.min(WEIGHTS) == pytest.approx(0.1)


def test_it_learns_and_its_predictions_depend_on_no_other(capsys: pytest.CaptureFixture[str]):
    prepared()
    train.main()
    assert "without augmented copies" not in capsys.readouterr().out
    evaluate.main()
    assert read_json(METRICS / "details.json")["uar"] > 0.8
    found = read_description()
    divided, rows = read_split()
    reader = Reader(SYSTEM, found["settings"], Features(divided["features_sha256"]), rows)
    tested = select_rows(rows, ACOUSTIC, 0, TEST)
    _, _, classifier = next(read_replicas(found))
    together = reader.classify(classifier, tested)
    for row, shares in zip(tested, together, strict=True):
        np.testing.assert_array_equal(reader.classify(classifier, [row])[0], shares)
    curves = read_table(METRICS / "curves/loss.csv")
    assert len([row for row in curves if row["series"] == "training voices"]) == SMALL["epochs"]


def test_shuffled_labels_give_chance():
    prepared(speakers=6, sentences=4, shuffle_labels=True, tf_mix={"epochs": 4})
    train.main()
    evaluate.main()
    assert read_json(METRICS / "details.json")["uar"] < 0.26


def test_without_copies_it_says_so_and_learns_all_the_same(capsys: pytest.CaptureFixture[str]):
    prepared(copies=0)
    train.main()
    assert "train: tf_mix trains without augmented copies" in capsys.readouterr().out
    evaluate.main()
    assert read_json(METRICS / "details.json")["uar"] > 0.7


def test_sequences_that_are_no_copies_are_refused():
    prepared(copies=6)
    message = user_error(train.main)
    assert "the acoustic sequences have 7 rows, and are no copies of a voice; set " in message


def replica_of(role: str, change: Mapping[str, Any] | None = None) -> Any:
    """Fold 0, of which the utterances of a role have other features."""
    divided, rows = read_split()
    features = Features(divided["features_sha256"])
    task = Task(features, rows, divided["protocol"], settings_with(change))
    for row in select_rows(rows, ACOUSTIC, 0, role) if role else ():
        of = features.sequences(ACOUSTIC)
        of[row["id"]] = 50 - 9 * of[row["id"]]
    return SYSTEM.train_all(task, 1, [0], "t")[0]


def settings_with(change: Mapping[str, Any] | None) -> dict[str, Any]:
    planned = {"planned": 3, "select": "uar", "patience": 0, "weights": EQUAL}
    return SMALL | {"epochs": 3} | planned | dict(change or {})


def test_no_test_utterance_and_no_copy_of_one_reaches_what_is_learned():
    prepared(noise=2.0)
    one, other = replica_of(""), replica_of(TEST)
    assert one.chosen == other.chosen
    assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)
    learned = replica_of(TRAIN)
    assert not torch.equal(one.state["acoustic_mean"], learned.state["acoustic_mean"])


def test_the_validation_part_chooses_and_is_not_learned_from():
    prepared(noise=2.0, validation=0.3)
    last = {"select": "last"}
    one, other = replica_of("", last), replica_of(VALIDATION, last)
    assert all(torch.equal(one.state[name], other.state[name]) for name in one.state)
    assert one.state["network.weights"].tolist() == pytest.approx(EQUAL)
    assert one.chosen["weight_cnn"] == pytest.approx(1 / 3)


def test_the_weights_tell_the_validation_part_best():
    prepared(noise=4.0, validation=0.3, speakers=6)
    replica = replica_of("")
    divided, rows = read_split()
    reader = Reader(SYSTEM, settings_with(None), Features(divided["features_sha256"]), rows)
    held = select_rows(rows, ACOUSTIC, 0, VALIDATION)
    clips = reader.clips(held)
    true = torch.tensor([EMOTIONS.index(row["emotion"]) for row in held])
    scale = Standardizer(replica.state["acoustic_mean"], replica.state["acoustic_std"])
    network = SYSTEM.network({ACOUSTIC: DIM}, 7, settings_with(None))
    classifier = NeuralClassifier(
        SYSTEM, settings_with(None), network, {ACOUSTIC: scale}, torch.arange(7)
    )
    classifier.load_state_dict(replica.state, strict=False)
    recalls = {}
    for weights, shares in probabilities_by_weights(classifier, clips).items():
        hits = torch.stack(shares).argmax(1) == true
        recalls[weights] = np.mean([float(hits[true == k].float().mean()) for k in true.unique()])
    found = tuple(replica.state["network.weights"].tolist())
    (chosen,) = [weights for weights in WEIGHTS if np.allclose(weights, found)]
    assert recalls[chosen] == pytest.approx(max(recalls.values()))
    assert len(set(recalls.values())) > 1
    assert replica.kept["validation_uar"] == pytest.approx(recalls[chosen])
    assert [replica.chosen[f"weight_{name}"] for name in ("cnn", "bilstm", "transformer")] == (
        pytest.approx(chosen)
    )
    # What is told is told with these weights.
    told = averaged(
        network.told(classifier.eval().batch(clips[:1], torch.device("cpu"))), torch.tensor(chosen)
    )
    torch.testing.assert_close(classifier(clips[0]), told.exp()[0])


def test_the_same_seed_gives_the_same_bytes_and_a_bundle_has_the_mean_weights():
    prepared(noise=2.0, validation=0.2, tf_mix={"epochs": 3})
    train.main()
    content = MODEL.read_bytes(), DESCRIPTION.read_bytes()
    torch.manual_seed(7)
    train.main()
    assert (MODEL.read_bytes(), DESCRIPTION.read_bytes()) == content
    evaluate.main()
    model.main()
    chosen = read_description()["chosen"].values()
    expected = [
        np.mean([of[f"weight_{n}"] for of in chosen]) for n in ("cnn", "bilstm", "transformer")
    ]
    (final,) = read_bundle(BUNDLE).final
    np.testing.assert_allclose(final.state_dict()["network.weights"], expected, atol=1e-6)
