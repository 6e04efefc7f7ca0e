"""From features to metrics: repeatable to the byte, consistent, and closed to wrong files."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from stages import evaluate, split, train
from stages.arrays import encode_ids, write_arrays
from stages.emotions import CODES, EMOTIONS
from stages.failures import UserError
from stages.files import read_json, read_table, write_json
from stages.samples import Features
from tests.feature_files import FRAMES, Rows, utterances, write_corpus, write_params

OUTPUTS = ["models/fdan.safetensors", "models/fdan.json", "metrics/train.json",
           "metrics/curves.csv", "metrics/test.json", "metrics/predictions.csv"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, in which one process trains on one core of the CPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(train.joblib, "cpu_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path


def prepare(noise: float = 0.2, rows: Rows | None = None, **changes: Any) -> None:
    """Write params and features, and split."""
    write_params(Path(), **changes)
    write_corpus(Path(), "sample", rows or utterances("sample"), noise=noise)
    split.main()


def run_all(noise: float = 0.2, **changes: Any) -> tuple[dict[str, Any], Rows]:
    """Split, train and evaluate; the metrics and the predictions."""
    prepare(noise, **changes)
    train.main()
    evaluate.main()
    return read_json(Path("metrics/test.json")), read_table(Path("metrics/predictions.csv"))


def contents() -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in OUTPUTS}


def leaves(value: Any) -> list[Any]:
    return sum(map(leaves, value.values()), []) if isinstance(value, dict) else [value]


def complaint(stage: Any) -> str:
    with pytest.raises(UserError) as caught:
        stage.main()
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_task_that_can_be_learned_is_learned():
    metrics, _ = run_all()
    assert metrics["war"] > 0.9 and metrics["uar"] > 0.9 and metrics["w_f1"] > 0.9


def test_shuffled_labels_are_not_recognised():
    metrics, _ = run_all(shuffle_labels=True)
    assert metrics["war"] < 0.4 and metrics["labels_shuffled"] is True


def test_the_same_input_gives_the_same_bytes():
    run_all(epochs=2)
    first = contents()
    run_all(epochs=2)
    assert contents() == first


def test_the_global_random_state_does_not_matter():
    run_all(epochs=2)
    first = contents()
    torch.manual_seed(7)
    np.random.seed(7)
    run_all(epochs=2)
    assert contents() == first


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(monkeypatch: pytest.MonkeyPatch):
    run_all(epochs=2)
    first = contents()
    monkeypatch.setattr(train.joblib, "cpu_count", lambda: 2)
    train.main()
    evaluate.main()
    assert contents() == first


def test_another_seed_gives_another_model():
    run_all(epochs=1)
    first = contents()
    run_all(epochs=1, seed=1)
    assert contents()["models/fdan.safetensors"] != first["models/fdan.safetensors"]


@pytest.mark.parametrize("name", ["test", "train"])
def test_metrics_are_finite_scalars_or_nested_and_never_lists(name: str):
    run_all(epochs=1)
    for value in leaves(read_json(Path(f"metrics/{name}.json"))):
        assert isinstance(value, str | bool | int | float)
        assert isinstance(value, str) or math.isfinite(value)


def test_every_test_utterance_has_one_prediction_and_they_are_sorted():
    _, predictions = run_all(epochs=1)
    expected = sorted(row["id"] for row in utterances("sample"))
    assert [row["id"] for row in predictions] == expected


def test_each_voice_is_predicted_in_the_fold_that_tests_it():
    _, predictions = run_all(epochs=1)
    voices = {row["id"]: row for row in read_table(Path("data/split.csv"))
              if row["modality"] == "acoustic"}
    assert all(voices[row["id"]][f"fold_{row['fold']}"] == "test" for row in predictions)


def test_the_counts_are_those_of_the_predictions():
    metrics, predictions = run_all(noise=1.0, epochs=2)
    hits = sum(row["actual"] == row["predicted"] for row in predictions)
    assert 0 < hits < len(predictions)
    assert (metrics["n_correct"], metrics["n_test"]) == (hits, len(predictions))
    assert metrics["war"] == pytest.approx(hits / len(predictions), abs=1e-6)


def test_uar_is_the_mean_recall_over_the_emotions_of_the_predictions():
    metrics, predictions = run_all(noise=1.0, epochs=2)
    recalls = []
    for code in CODES:
        of_class = [row["predicted"] for row in predictions if row["actual"] == code]
        recalls.append(of_class.count(code) / len(of_class))
    assert metrics["uar"] == pytest.approx(sum(recalls) / 7, abs=1e-6)


def test_the_true_emotion_of_a_prediction_is_that_of_the_manifest():
    _, predictions = run_all(epochs=1)
    emotion_of = {row["id"]: row["emotion"] for row in utterances("sample")}
    for row in predictions:
        assert EMOTIONS[CODES.index(row["actual"])] == emotion_of[row["id"]]


def test_probabilities_sum_to_1_and_the_largest_is_predicted():
    _, predictions = run_all(epochs=2)
    for row in predictions:
        probabilities = {code: float(row[code]) for code in CODES}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert probabilities[row["predicted"]] == max(probabilities.values())


def test_the_metrics_tell_the_protocol_and_its_leak():
    metrics, _ = run_all(epochs=1)
    assert (metrics["protocol"], metrics["n_test_with_trained_face"]) == ("paper", 56)
    assert (metrics["backbone"], metrics["weights_source"]) == ("resnet34", "seed 0")


def test_the_curves_have_a_row_an_epoch_and_end_in_the_metrics_of_training():
    run_all(epochs=3)
    curves, last = read_table(Path("metrics/curves.csv")), read_json(Path("metrics/train.json"))
    assert [row["epoch"] for row in curves] == ["1", "2", "3"]
    for name in ("acoustic_loss", "visual_loss", "lmmd", "acoustic_accuracy", "visual_accuracy"):
        assert float(curves[-1][name]) == pytest.approx(last[name], abs=1e-6)


def test_the_weight_of_lmmd_in_the_loss_is_told():
    run_all(epochs=1, alpha=0.5)
    last = read_json(Path("metrics/train.json"))
    assert last["lmmd_in_loss"] == pytest.approx(0.5 * last["lmmd"], abs=1e-6)


def test_a_bank_holds_training_faces_of_its_own_fold_only():
    run_all(epochs=1, protocol="speaker")
    rows = read_table(Path("data/split.csv"))
    for fold, bank in read_json(Path("models/fdan.json"))["bank"].items():
        faces = [row for row in rows if row["modality"] == "visual"]
        trained = {row["id"] for row in faces if row[fold] == "train"}
        assert len(bank) == 14 and set(bank) <= trained


def test_voices_are_standardised_by_the_training_voices_of_their_fold():
    run_all(epochs=1)
    rows = read_table(Path("data/split.csv"))
    features = Features(read_json(Path("data/split.json"))["features_sha256"])
    tensors = load_file("models/fdan.safetensors")
    for fold in range(2):
        trained = [row for row in rows
                   if row["modality"] == "acoustic" and row[f"fold_{fold}"] == "train"]
        x, _, _ = features.voices(trained)
        np.testing.assert_allclose(tensors[f"fold_{fold}.mean"], x.mean(0), atol=1e-6)
        np.testing.assert_allclose(tensors[f"fold_{fold}.std"], x.std(0), atol=1e-6)


def test_features_of_test_voices_do_not_reach_the_model():
    run_all(epochs=2)
    before = load_file("models/fdan.safetensors")
    tested = {row["id"] for row in read_table(Path("data/split.csv"))
              if row["modality"] == "acoustic" and row["fold_0"] == "test"}
    spoil_voices(tested)
    train.main()
    after = load_file("models/fdan.safetensors")
    names = [name for name in before if name.startswith("fold_0.")]
    assert names and all(torch.equal(before[name], after[name]) for name in names)
    assert any(not torch.equal(before[name], after[name]) for name in before)


def spoil_voices(ids: set[str]) -> None:
    """Replace the features of some voices by others, and name the new file in the split."""
    task = read_json(Path("data/split.json"))
    features = Features(task["features_sha256"])
    rows = utterances("sample")
    names = [row["id"] for row in rows]
    with write_arrays(Path("data/features/sample.h5"), "features", {}, 0) as arrays:
        arrays.append("visual_ids", encode_ids(names))
        arrays.append("acoustic_ids", encode_ids(names))
        arrays.append("visual_ok", np.ones((len(names), FRAMES), bool))
        arrays.append("visual", np.stack([features.visual[name] for name in names]))
        changed = [features.acoustic[name] + 9 * (name in ids) for name in names]
        arrays.append("acoustic", np.stack(changed).astype(np.float32))
    sha = evaluate.file_sha256(Path("data/features/sample.h5"))
    write_json(Path("data/split.json"), task | {"features_sha256": {"sample": sha}})


@pytest.mark.parametrize("stage", [train, evaluate])
def test_a_changed_feature_file_is_refused(stage: Any):
    run_all(epochs=1)
    write_corpus(Path(), "sample", utterances("sample"), seed=1)
    assert "data/features/sample.h5: is not the file that data/split.json names" in complaint(stage)


@pytest.mark.parametrize("stage", [train, evaluate])
def test_a_missing_feature_file_is_refused(stage: Any):
    run_all(epochs=1)
    Path("data/features/sample.h5").unlink()
    assert "data/features/sample.h5" in complaint(stage)


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:-9] + b"\7" + b[-8:],
                                    lambda b: b"", lambda b: b + b"\0"])
def test_a_damaged_model_is_refused(damage: Any):
    run_all(epochs=1)
    model = Path("models/fdan.safetensors")
    model.write_bytes(damage(model.read_bytes()))
    assert "models/fdan.safetensors: is not the file that models/fdan.json" in complaint(evaluate)


def test_a_missing_model_is_refused():
    run_all(epochs=1)
    Path("models/fdan.safetensors").unlink()
    assert complaint(evaluate).endswith("run dvc repro train")


@pytest.mark.parametrize("changes", [{"acoustic_dim": 13}, {"folds": 3},
                                     {"network": {"dim": 16, "ffn_dim": 16, "layers": 2}}])
def test_a_description_that_does_not_fit_the_model_is_refused(changes: dict[str, Any]):
    run_all(epochs=1)
    path = Path("models/fdan.json")
    write_json(path, read_json(path) | changes)
    assert "models/fdan.safetensors: cannot be read: " in complaint(evaluate)


def test_a_model_of_another_split_is_refused():
    run_all(epochs=1)
    write_params(Path(), seed=1)
    split.main()
    assert "dvc repro" in complaint(evaluate)


def test_training_that_diverges_is_told_with_its_fold_and_leaves_no_model():
    prepare(learning_rate=1e30)
    assert complaint(train).startswith("train: fold 0: the loss is not finite in epoch 1; lower ")
    assert not Path("models/fdan.safetensors").exists()


def test_a_missing_split_is_told_with_the_remedy():
    write_params(Path())
    assert complaint(train).startswith("data/split.json: cannot be read")


def test_emotions_that_nobody_speaks_are_no_error_on_request():
    four = utterances("sample", emotions=["anger", "fear", "neutral", "sadness"])
    metrics, _ = run_all(rows=four, allow_missing_classes=True)
    assert metrics["n_classes_present"] == 4 and metrics["uar"] > 0.9


def test_faces_that_were_not_found_are_left_out_of_the_training_samples():
    prepare()
    names = [row["id"] for row in utterances("sample")]
    seen = np.ones((56, FRAMES), bool)
    seen[0] = [True, False, True]
    with write_arrays(Path("data/features/sample.h5"), "features", {}, 0) as arrays:
        arrays.append("visual_ids", encode_ids(names))
        arrays.append("acoustic_ids", encode_ids([]))
        arrays.append("visual_ok", seen)
        arrays.append("visual", np.arange(56 * FRAMES, dtype=np.float32).reshape(56, FRAMES, 1))
    features = Features({"sample": evaluate.file_sha256(Path("data/features/sample.h5"))})
    x, y, ids = features.faces(utterances("sample")[:2])
    assert x[:, 0].tolist() == [0, 2, 3, 4, 5]
    assert ids == [names[0]] * 2 + [names[1]] * 3 and y.tolist() == [0] * 5


def test_no_test_voice_attends_to_the_face_of_a_test_utterance():
    run_all(epochs=1)
    rows = read_table(Path("data/split.csv"))
    bank = read_json(Path("models/fdan.json"))["bank"]
    for column, ids in bank.items():
        faces = {row["id"]: row[column] for row in rows if row["modality"] == "visual"}
        voices = {row["id"]: row[column] for row in rows if row["modality"] == "acoustic"}
        assert ids and {faces[name] for name in ids} == {"train"}
        assert "test" not in {voices[name] for name in ids}
        assert "test" in {voices[name] for name in faces}  # the face of a test voice was there
