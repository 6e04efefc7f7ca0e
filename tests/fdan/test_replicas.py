"""Replicas: what one learns from and attends to is what trains in its fold, and nothing else."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages import best_test_epoch, evaluate, split, train
from stages.corpora.emotions import EMOTIONS
from stages.fdan import replicas
from stages.io.arrays import encode_ids
from stages.io.files import file_sha256, read_json, read_table, write_json
from stages.runtime.errors import UserError
from stages.runtime.paths import features_path
from stages.splits.dataset import Features, select_rows
from tests.feature_files import (
    DIM,
    FRAMES,
    PARAMS,
    SETTINGS,
    Rows,
    officially_split,
    prepare,
    utterances,
    work_in,
    write_corpus,
    write_features,
    write_params,
)

SPLIT, MODEL = Path("data/split.csv"), Path("models/replicas.safetensors")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work_in(tmp_path, monkeypatch)


def trained(rows: Rows | None = None, noise: float = 0.2, **changes: Any) -> dict[str, Any]:
    """Split and train; the description of the model."""
    prepare(rows, noise, **changes)
    train.main()
    return read_json(Path("models/replicas.json"))


def complaint() -> str:
    with pytest.raises(UserError) as caught:
        train.main()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def ids_of(fold: int, role: str, modality: str = "acoustic") -> set[str]:
    return {row["id"] for row in select_rows(read_table(SPLIT), modality, fold, role)}


def features_of_split() -> Features:
    return Features(read_json(Path("data/split.json"))["features_sha256"])


def spoil(ids: set[str], modality: str = "acoustic", by: float = 9) -> None:
    """Add to the features of some voices or faces, and name the new file in the split."""
    features = features_of_split()
    names = [row["id"] for row in utterances("sample")]
    assert ids and ids <= set(names)
    values = {"acoustic": features.acoustic, "visual": features.visual}
    spoiled = {
        kind: [of[name] + (by if kind == modality and name in ids else 0) for name in names]
        for kind, of in values.items()
    }
    task = read_json(Path("data/split.json"))
    for kind, rows in spoiled.items():
        arrays = {"ids": encode_ids(names), "pooled": np.stack(rows).astype(np.float32)}
        if kind == "visual":
            arrays["ok"] = np.ones((len(names), FRAMES), bool)
        write_features(Path(), kind, "sample", SETTINGS, arrays)
        task["features_sha256"][kind] = {"sample": file_sha256(features_path(kind, "sample"))}
    write_json(Path("data/split.json"), task)


def changed_by_spoiling(ids: set[str], modality: str = "acoustic") -> set[str]:
    """The replicas that come out otherwise where the features of some samples are others."""
    before = load_file(MODEL)
    spoil(ids, modality)
    train.main()
    after = load_file(MODEL)
    assert before.keys() == after.keys()
    changed = (name for name in before if not torch.equal(before[name], after[name]))
    return {name.split(".")[0] for name in changed}


@pytest.mark.parametrize(
    "changes",
    [
        {"selection": "last"},
        {"selection": "validation"},
        {"inference": "prototypes"},
        {"acoustic_only": True},
    ],
)
def test_features_of_test_voices_do_not_reach_the_replica(changes: dict[str, Any]):
    trained(epochs=2, **changes)
    assert changed_by_spoiling(ids_of(0, "test")) == {"fold_1"}


@pytest.mark.parametrize("inference", ["bank", "prototypes"])
def test_features_of_validation_voices_do_not_reach_a_replica_that_keeps_the_last_epoch(
    inference: str,
):
    trained(epochs=2, selection="last", inference=inference)
    held = ids_of(0, "validation")
    assert held <= ids_of(1, "test")
    assert changed_by_spoiling(held) == set()


def test_features_of_validation_voices_choose_the_epoch_and_reach_nothing_else():
    before = trained(epochs=8, noise=1.5, seeds=4)
    tensors = load_file(MODEL)
    spoil(ids_of(0, "validation"))
    train.main()
    after, now = read_json(Path("models/replicas.json")), load_file(MODEL)
    assert before["chosen"] != after["chosen"]
    assert before["bank"] == after["bank"]
    fixed = [name for name in tensors if ".network." not in name]
    assert fixed and all(torch.equal(tensors[name], now[name]) for name in fixed)


def test_features_of_training_voices_reach_the_replica():
    trained(epochs=1, selection="last")
    assert changed_by_spoiling({min(ids_of(0, "train"))}) >= {"fold_0"}


@pytest.mark.parametrize("protocol", ["speaker", "sentence"])
def test_features_of_faces_that_stay_out_do_not_reach_the_replica(protocol: str):
    trained(epochs=2, protocol=protocol)
    assert changed_by_spoiling(ids_of(0, "out", "visual"), "visual") == {"fold_1"}


def test_no_face_at_all_reaches_a_replica_that_is_only_heard():
    trained(epochs=2, acoustic_only=True)
    assert changed_by_spoiling({row["id"] for row in utterances("sample")}, "visual") == set()
    assert not [name for name in load_file(MODEL) if "visual" in name or "bank" in name]


@pytest.mark.parametrize("protocol", ["paper", "speaker"])
def test_samples_are_standardised_by_the_training_samples_of_their_fold(protocol: str):
    trained(epochs=1, protocol=protocol)
    rows, features = read_table(SPLIT), features_of_split()
    tensors = load_file(MODEL)
    for fold in range(2):
        heard = features.acoustic_samples(select_rows(rows, "acoustic", fold, "train"))[0]
        seen = features.visual_samples(select_rows(rows, "visual", fold, "train"))[0]
        for modality, x in [("acoustic", heard), ("visual", seen)]:
            name = f"fold_{fold}.seed_0.{modality}"
            np.testing.assert_allclose(tensors[f"{name}_mean"], x.mean(0), atol=1e-6)
            np.testing.assert_allclose(tensors[f"{name}_std"], x.std(0), atol=1e-6)


@pytest.mark.parametrize("inference", ["bank", "prototypes"])
@pytest.mark.parametrize("protocol", ["paper", "speaker", "sentence", "speaker_sentence"])
def test_a_bank_holds_no_face_of_a_test_or_validation_utterance_and_none_that_is_out(
    protocol: str, inference: str
):
    rows = utterances("sample", sentences=4)
    description = trained(rows, epochs=1, protocol=protocol, inference=inference, seeds=2)
    assert len(description["bank"]) == description["folds"] * 2
    for name, bank in description["bank"].items():
        fold = int(name.split(".")[0].removeprefix("fold_"))
        held = ids_of(fold, "test") | ids_of(fold, "validation")
        assert bank and held.isdisjoint(bank)
        assert set(bank) <= ids_of(fold, "train", "visual")
        # In protocol paper there were such faces to be kept away.
        assert (protocol == "paper") == bool(held & ids_of(fold, "train", "visual"))


def test_the_face_of_a_variant_of_a_test_utterance_is_kept_from_the_bank():
    write_params(
        Path(), epochs=1, corpora=["sample", "sample_grey"], visual=["sample_grey"], batch_size=100
    )
    write_corpus(Path(), "sample", utterances("sample"))
    write_corpus(Path(), "sample_grey", utterances("sample_grey"), seed=1)
    split.main()
    train.main()
    for fold in range(2):
        bank = read_json(Path("models/replicas.json"))["bank"][f"fold_{fold}.seed_0"]
        voices = {name.replace("_grey", "") for name in bank}
        # Asked for more faces than there are, the bank has all that it may.
        assert voices == ids_of(fold, "train")


def test_a_bank_has_as_many_faces_and_voices_as_a_batch_and_as_many_of_each_emotion():
    description = trained(epochs=1)
    features = features_of_split()
    emotion_of = {row["id"]: row["emotion"] for row in utterances("sample")}
    tensors = load_file(MODEL)
    for fold in range(2):
        name = f"fold_{fold}.seed_0"
        mean, std = (tensors[f"{name}.visual_{of}"].numpy() for of in ("mean", "std"))
        stored = tensors[f"{name}.bank_x_v"].numpy()
        assert len(stored) == 14 and tensors[f"{name}.bank_x_a"].shape == (14, DIM)
        found = Counter()
        for face in description["bank"][name]:
            frames = (features.visual[face] - mean) / std
            places = np.abs(frames[:, None] - stored[None]).max(-1).min(0) < 1e-5
            found[emotion_of[face]] += int(places.sum())
        assert found == dict.fromkeys(EMOTIONS, 2)


def test_prototypes_are_the_mean_face_and_the_mean_voice_of_each_emotion():
    description = trained(epochs=1, inference="prototypes", protocol="speaker", folds=4)
    rows, features = read_table(SPLIT), features_of_split()
    tensors = load_file(MODEL)
    bank = [
        {"id": name, "emotion": row["emotion"]}
        for row in utterances("sample")
        for name in description["bank"]["fold_2.seed_0"]
        if name == row["id"]
    ]
    heard = select_rows(rows, "acoustic", 2, "train")
    for kind, modality, part, of in [
        ("v", "visual", bank, features.visual_samples),
        ("a", "acoustic", heard, features.acoustic_samples),
    ]:
        found = {
            name.removeprefix("fold_2.seed_0."): value.numpy()
            for name, value in tensors.items()
            if name.startswith("fold_2.")
        }
        x, y, _ = of(part)
        x = (x - found[f"{modality}_mean"]) / found[f"{modality}_std"]
        expected = [x[y == label].mean(0) for label in range(7)]
        np.testing.assert_allclose(found[f"bank_x_{kind}"], expected, atol=1e-5)


@pytest.mark.parametrize(
    "changes", [{"inference": "none"}, {"cross_attention": False}, {"acoustic_only": True}]
)
def test_what_attends_to_nothing_has_no_bank(changes: dict[str, Any]):
    description = trained(epochs=1, **changes)
    assert description["bank"] == {"fold_0.seed_0": [], "fold_1.seed_0": []}
    assert not [name for name in load_file(MODEL) if "bank" in name]


def test_a_fold_that_tests_the_utterance_of_every_face_is_refused():
    rows = utterances("sample")
    prepare(rows)
    held = ids_of(0, "test") | ids_of(0, "validation")
    write_corpus(Path(), "sample", rows, faces=[row for row in rows if row["id"] in held])
    split.main()
    expected = "params.yaml: folds: fold 0 tests or validates the utterance of every face; "
    assert complaint().startswith(expected)
    write_params(Path(), epochs=1, inference="none")
    train.main()


def test_a_fold_without_validation_voices_cannot_choose_the_epoch_by_them():
    rows = [
        row for row in officially_split(utterances("sample", sentences=3)) if row["split"] != "dev"
    ]
    prepare(rows, protocol="official", folds=1)
    expected = "params.yaml: selection: fold 0 has no validation voice to choose the epoch by; "
    assert complaint().startswith(expected)
    write_params(Path(), epochs=1, protocol="official", folds=1, selection="last")
    train.main()


def test_training_that_diverges_is_told_with_its_fold_and_seed_and_leaves_no_model():
    prepare(learning_rate=1e30, seed=3)
    expected = r"train: fold 0, seed 3: the loss is not finite in epoch \d; lower learning_rate or"
    assert re.match(expected, complaint())
    assert not MODEL.exists()


@pytest.mark.parametrize("modality", ["acoustic", "visual"])
def test_features_that_are_not_finite_are_refused_with_their_utterance(modality: str):
    prepare()
    spoil({"sample/S1_FE_s0"}, modality, by=np.nan)
    said = (
        f"{modality} features of 1 of 56 utterances are not finite, first those of sample/S1_FE_s0"
    )
    assert complaint().startswith(f"data/features/{modality}/sample.h5: the {said}")


def test_training_that_diverges_leaves_the_model_that_there_was():
    trained(epochs=1)
    before = MODEL.read_bytes()
    write_params(Path(), learning_rate=1e30)
    assert "the loss is not finite" in complaint()
    assert MODEL.read_bytes() == before


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train as on a GPU, but on the CPU."""
    monkeypatch.setattr(replicas, "train_side_by_side", replicas.train_at_once)


def test_a_full_gpu_is_told_with_what_needs_less_and_leaves_no_model(
    at_once: None, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB")

    prepare(seeds=3)
    monkeypatch.setattr(replicas, "train_replicas", full)
    expected = (
        "train: 6 replicas at once: the GPU has no memory left; lower seeds, batch_size (14), "
        "network.dim or network.ffn_dim, "
    )
    assert complaint().startswith(expected)
    assert not MODEL.exists()


@pytest.mark.parametrize("gpu, way", [(True, "train_at_once"), (False, "train_side_by_side")])
def test_replicas_are_trained_at_once_on_a_gpu_and_side_by_side_on_cpus(
    gpu: bool, way: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(replicas, "pick_device", lambda: "cuda" if gpu else "cpu")
    for name in ("train_at_once", "train_side_by_side"):
        monkeypatch.setattr(replicas, name, lambda *given, name=name: [name, *given])
    pairs = [(0, 5), (0, 6), (1, 5), (1, 6)]
    assert replicas.train_all(None, 2, [5, 6], "train") == [way, None, pairs, "train", None]


def results() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors of the model, and all else that training and its evaluation say."""
    train.main()
    evaluate.main()
    best_test_epoch.main()
    said = {
        name: read_json(Path(name))
        for name in ("models/replicas.json", "metrics/train.json", "metrics/best_test_epoch.json")
    }
    del said["models/replicas.json"]["sha256"]  # a digest has no rounding
    table = read_table(Path("metrics/predictions.csv"))
    said["predictions"] = [(row["id"], row["fold"], row["seed"], row["predicted"]) for row in table]
    return load_file(MODEL), said


@pytest.mark.parametrize(
    "changes",
    [
        {"seeds": 3},
        {"selection": "last", "inference": "prototypes", "protocol": "speaker"},
        {"cross_attention": False, "protocol": "speaker_sentence"},
        {"acoustic_only": True},
        {"inference": "none", "lmmd": PARAMS["lmmd"] | {"bandwidth": "median"}},
    ],
)
def test_replicas_trained_at_once_are_those_trained_side_by_side(
    changes: dict[str, Any], request: pytest.FixtureRequest
):
    prepare(noise=1.0, learning_rate=0.05, **changes)
    expected, said = results()
    request.getfixturevalue("at_once")
    tensors, said_then = results()
    assert list(tensors) == list(expected)
    # Eight epochs of float32, in which rounding grows to a few 1e-6.
    torch.testing.assert_close(tensors, expected, rtol=1e-4, atol=1e-5)
    assert said_then.keys() == said.keys()
    for name, value in said.items():
        if name == "metrics/train.json":
            value = pytest.approx(value, rel=1e-4, abs=1e-6)
        assert said_then[name] == value


def test_of_replicas_trained_at_once_the_one_that_diverges_is_told(
    at_once: None, monkeypatch: pytest.MonkeyPatch
):
    prepare(learning_rate=1e30, seed=3)
    expected = r"train: fold 0, seed 3: the loss is not finite in epoch \d; lower learning_rate or"
    assert re.match(expected, complaint())
    assert not MODEL.exists()


def test_the_seeds_count_up_from_the_seed_of_the_params_and_share_the_folds():
    prepare(seed=5)
    once = SPLIT.read_bytes()
    description = trained(epochs=1, seed=5, seeds=3)
    assert SPLIT.read_bytes() == once and description["seeds"] == [5, 6, 7]
    assert sorted(description["chosen"]) == [
        f"fold_{fold}.seed_{seed}" for fold in (0, 1) for seed in (5, 6, 7)
    ]


def test_no_two_replicas_are_the_same():
    trained(epochs=1, seeds=2)
    tensors = load_file(MODEL)
    found = [
        value.numpy().tobytes()
        for name, value in tensors.items()
        if name.endswith("classifier.weight")
    ]
    assert len(found) == len(set(found)) == 4


def test_a_replica_does_not_depend_on_those_trained_beside_it():
    trained(epochs=2, seeds=2)
    tensors = load_file(MODEL)
    write_params(Path(), epochs=2, seeds=1, seed=1)  # of the same split
    train.main()
    alone = load_file(MODEL)
    assert alone and all(torch.equal(tensors[name], value) for name, value in alone.items())
    assert {name.split(".")[1] for name in alone} == {"seed_1"}


def test_two_processes_give_the_same_bytes_as_one(monkeypatch: pytest.MonkeyPatch):
    prepare(epochs=2, seeds=2)
    files = []
    for processes in (1, 2):
        monkeypatch.setattr(replicas.joblib, "cpu_count", lambda processes=processes: processes)
        train.main()
        evaluate.main()
        names = [*Path("models").iterdir(), *Path("metrics").rglob("*.*")]
        files.append({name: name.read_bytes() for name in names})
    assert len(files[0]) >= 9 and files[0] == files[1]


def test_faces_that_were_not_found_are_left_out_of_the_samples():
    names = [row["id"] for row in utterances("sample")]
    seen = np.ones((56, FRAMES), bool)
    seen[0] = [True, False, True]
    values = np.arange(56 * FRAMES, dtype=np.float32).reshape(56, FRAMES, 1)
    arrays = {"ids": encode_ids(names), "ok": seen, "pooled": values}
    write_features(Path(), "visual", "sample", SETTINGS, arrays)
    sha256 = file_sha256(features_path("visual", "sample"))
    features = Features({"visual": {"sample": sha256}, "acoustic": {}})
    x, y, ids = features.visual_samples(utterances("sample")[:2])
    assert x[:, 0].tolist() == [0, 2, 3, 4, 5]
    assert ids == [names[0]] * 2 + [names[1]] * 3 and y.tolist() == [0] * 5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that PyTorch sees")
@pytest.mark.parametrize("changes", [{"seeds": 3}, {"inference": "prototypes"}])
def test_on_a_gpu_train_writes_the_checkpoint_that_cpus_write(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    prepare(noise=1.0, learning_rate=0.05, selection="last", **changes)
    tensors, said = results()
    monkeypatch.setattr(replicas, "pick_device", lambda: "cpu")
    expected, said_by_cpus = results()
    assert list(tensors) == list(expected)
    torch.testing.assert_close(tensors, expected, rtol=1e-3, atol=1e-4)
    assert said["models/replicas.json"] == said_by_cpus["models/replicas.json"]
    assert said["metrics/train.json"] == pytest.approx(said_by_cpus["metrics/train.json"], rel=1e-3)
