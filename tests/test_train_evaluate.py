"""From features to metrics: repeatable to the byte, consistent, and closed to wrong files."""

import math
import re
import shutil
from collections import Counter
from operator import eq
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.stats import binomtest
from sklearn import metrics as sklearn_metrics

from stages import best_test_epoch, evaluate, split, train, tsne
from stages.corpora.emotions import CODES, EMOTIONS
from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.io.files import read_json, read_table, write_json, write_table
from stages.runtime.paths import features_path, manifest_path
from stages.scoring.calibration import calibration_error, fit_temperature, with_temperature
from stages.scoring.summary import circumstances
from stages.splits.dataset import SPLIT_KEYS, Features, select_rows
from stages.systems import fdan
from stages.systems.checkpoint import read_description, read_replicas
from tests.feature_files import (
    DIM,
    Rows,
    officially_split,
    prepare,
    utterances,
    work_in,
    write_corpus,
    write_features,
    write_params,
)
from tests.helpers import user_error

OUTPUTS = [
    "models/replicas.safetensors",
    "models/replicas.json",
    "metrics/train.json",
    "metrics/curves/loss.csv",
    "metrics/curves/recall.csv",
    "metrics/curves/lmmd.csv",
    "metrics/test.json",
    "metrics/details.json",
    "metrics/predictions.csv",
    "metrics/confusion.csv",
]
# Noise that confuses the emotions: some utterances are recognised and some are not.
HARD: dict[str, Any] = {"noise": 1.0, "epochs": 3, "seeds": 3, "seed": 9, "selection": "last"}
FOUR_DIGITS = 5.1e-4  # how far a value of metrics/train.json may be from its unrounded one
IDS = sorted(row["id"] for row in utterances("sample"))


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def run_all(rows: Rows | None = None, **changes: Any) -> tuple[dict[str, Any], Rows]:
    """Split, train and evaluate; the metrics and the predictions."""
    prepare(rows, **changes)
    train.main()
    evaluate.main()
    return results()


def results() -> tuple[dict[str, Any], Rows]:
    return read_json(Path("metrics/details.json")), read_table(Path("metrics/predictions.csv"))


def run_once(folder: Path, **changes: Any) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        work_in(folder, patch)
        run_all(**changes)
    return folder


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_once(tmp_path_factory.mktemp("plain"), epochs=1)


@pytest.fixture(scope="module")
def hard_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_once(tmp_path_factory.mktemp("hard"), **HARD)


@pytest.fixture
def plain(plain_run: Path, project: Path) -> tuple[dict[str, Any], Rows]:
    """Metrics and predictions of a run of one epoch and seed, with all its files here."""
    shutil.copytree(plain_run, project, dirs_exist_ok=True)
    return results()


@pytest.fixture
def hard(hard_run: Path, project: Path) -> tuple[dict[str, Any], Rows]:
    """The same of the run HARD."""
    shutil.copytree(hard_run, project, dirs_exist_ok=True)
    return results()


def contents() -> dict[str, bytes]:
    return {name: Path(name).read_bytes() for name in OUTPUTS}


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict | list):
        return sum(map(leaves, value.values() if isinstance(value, dict) else value), [])
    return [value]


def by_seed(predictions: Rows) -> dict[str, Rows]:
    """The predictions of each seed."""
    seeds = sorted({row["seed"] for row in predictions}, key=int)
    return {seed: [row for row in predictions if row["seed"] == seed] for seed in seeds}


def emotions(predictions: Rows) -> tuple[list[str], list[str]]:
    """True and predicted emotions."""
    of_code = dict(zip(CODES, EMOTIONS))
    return tuple([of_code[row[key]] for row in predictions] for key in ("actual", "predicted"))


def curve(name: str) -> dict[str, list[dict[str, str]]]:
    """The rows of a table of curves by series."""
    series: dict[str, list[dict[str, str]]] = {}
    for row in read_table(Path(f"metrics/curves/{name}.csv")):
        series.setdefault(row["series"], []).append(row)
    return series


@pytest.mark.parametrize("protocol", ["paper", "sentence", "speaker_sentence"])
def test_a_task_that_can_be_learned_is_learned(protocol: str):
    rows = utterances("sample", sentences=4)
    metrics, _ = run_all(rows, epochs=20, protocol=protocol)
    assert metrics["war"] > 0.9 and metrics["uar"] > 0.9 and metrics["w_f1"] > 0.9
    assert (metrics["n_test"], metrics["protocol"]) == (112, protocol)


def test_the_official_split_tests_its_test_part_and_no_more():
    rows = officially_split(utterances("sample", sentences=4))
    metrics, predictions = run_all(rows, epochs=20, protocol="official", folds=1)
    tested = {row["id"] for row in rows if row["split"] == "test"}
    assert {row["id"] for row in predictions} == tested and metrics["n_test"] == 28
    assert metrics["uar"] > 0.9 and metrics["n_folds"] == 1


def test_shuffled_labels_are_not_recognised():
    metrics, _ = run_all(shuffle_labels=True, seeds=2)
    assert metrics["war"] < 0.4 and metrics["labels_shuffled"] is True


def test_the_same_input_gives_the_same_bytes(hard: Any):
    first = contents()
    torch.manual_seed(7)
    np.random.seed(7)
    torch.rand(3)
    run_all(**HARD)
    assert contents() == first


def test_the_last_digits_of_another_cpu_do_not_show_in_the_results(
    hard: Any, monkeypatch: pytest.MonkeyPatch
):
    """Losses that differ by a millionth, and weights: bar ties at an edge of the rounding."""
    kept = {
        name: Path(f"metrics/{name}.json").read_bytes() for name in ("train", "test", "details")
    }
    trained = fdan.train_all

    def on_another_cpu(*arguments: Any) -> list[Any]:
        found = trained(*arguments)
        for replica in found:
            for epoch in replica.history:
                changed = [name for name in epoch if "loss" in name or "lmmd" in name]
                epoch |= {name: epoch[name] * (1 + 1e-6) for name in changed}
            for name, tensor in replica.state.items():
                replica.state[name] = tensor * (1 + 1e-6)
        return found

    monkeypatch.setattr(fdan, "train_all", on_another_cpu)
    before = Path("models/replicas.safetensors").read_bytes()
    train.main()
    evaluate.main()
    assert Path("models/replicas.safetensors").read_bytes() != before
    assert kept == {name: Path(f"metrics/{name}.json").read_bytes() for name in kept}


def test_another_seed_gives_another_model(plain: Any):
    first = contents()
    run_all(epochs=1, seed=1)
    after, before = load_file("models/replicas.safetensors"), first["models/replicas.safetensors"]
    assert {name.split(".")[1] for name in after} == {"seed_1"}
    assert Path("models/replicas.safetensors").read_bytes() != before


# Every ablation of Section 3.7 and every other way to train, from the features to the last file.
ABLATIONS: dict[str, dict[str, Any]] = {
    "no cross-attention, two seeds": {"cross_attention": False, "seeds": 2},
    "no LMMD, prototypes": {"alpha": 0.0, "inference": "prototypes"},
    "neither, no validation": {
        "cross_attention": False,
        "alpha": 0.0,
        "selection": "last",
        "validation": 0.0,
    },
    "no faces": {"acoustic_only": True},
    "no faces, two layers, last epoch": {
        "acoustic_only": True,
        "selection": "last",
        "network": {"dim": 16, "ffn_dim": 16, "layers": 2},
    },
    "two layers, no attention at test": {
        "alpha": 0.01,
        "inference": "none",
        "network": {"dim": 16, "ffn_dim": 16, "layers": 2},
    },
    "another kernel, by speaker": {
        "lmmd": {"kernels": 1, "ratio": 2.0, "bandwidth": "median", "classes": "common"},
        "protocol": "speaker",
    },
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_ablation_runs_from_features_to_metrics(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tsne, "LIMIT", 20)
    changes = ABLATIONS[name]
    metrics, predictions = run_all(epochs=12, **changes)
    best_test_epoch.main()
    tsne.main()
    seeds = changes.get("seeds", 1)
    assert len(predictions) == 56 * seeds and metrics["n_seeds"] == seeds
    assert metrics["uar"] > 0.75  # chance is 0.143
    found = sorted(str(path) for path in Path("metrics").rglob("*.*"))
    assert found == sorted([*OUTPUTS[2:], "metrics/best_test_epoch.json", "metrics/tsne.csv"])
    for file in Path("metrics").glob("*.json"):
        for value in leaves(read_json(file)):
            assert isinstance(value, str | bool | int | float)
            assert isinstance(value, str) or math.isfinite(value)

    kept = read_json(Path("metrics/train.json"))
    layers = changes.get("network", {"layers": 1})["layers"]
    series = {"training voices", "training faces", "validation voices"}
    if changes.get("acoustic_only"):
        layers = 0
        series.remove("training faces")
        assert Path("metrics/curves/lmmd.csv").read_text() == "epoch,series,mean,sd,n_replicas\n"
        assert "visual_loss" not in kept
    if changes.get("validation") == 0:
        series.remove("validation voices")
        assert not [name for name in kept if "validation" in name]
    assert set(curve("lmmd")) == {f"layer {layer}" for layer in range(1, layers + 1)}
    assert set(curve("loss")) == set(curve("recall")) == series

    lmmd = [kept[f"lmmd_{layer}"] for layer in range(1, layers + 1)]
    assert all(value > 0 for value in lmmd)  # measured also where it does not act
    alpha = changes.get("alpha", 0.001)
    assert kept["lmmd_in_loss"] == pytest.approx(alpha * sum(lmmd), rel=2 * FOUR_DIGITS)
    weights = [name.split(".")[-2] for name in load_file("models/replicas.safetensors")]
    attends = changes.get("cross_attention", True) and not changes.get("acoustic_only")
    assert all((part in weights) == attends for part in ("query", "key", "value"))


def test_the_seeds_have_as_many_predictions_for_every_test_utterance_and_they_are_sorted(hard: Any):
    _, predictions = hard
    assert [(row["id"], row["seed"]) for row in predictions] == [
        (name, seed) for name in IDS for seed in ("9", "10", "11")
    ]


def test_each_voice_is_predicted_in_the_fold_that_tests_it(plain: Any):
    _, predictions = plain
    voices = {
        row["id"]: row
        for row in read_table(Path("data/split.csv"))
        if row["modality"] == "acoustic"
    }
    assert all(voices[row["id"]][f"fold_{row['fold']}"] == "test" for row in predictions)


def test_emotion_and_speaker_of_a_prediction_are_those_of_the_manifest(plain: Any):
    _, predictions = plain
    manifest = {row["id"]: row for row in utterances("sample")}
    for row in predictions:
        assert EMOTIONS[CODES.index(row["actual"])] == manifest[row["id"]]["emotion"]
        assert row["speaker"] == manifest[row["id"]]["speaker"]


def test_probabilities_sum_to_1_and_the_largest_is_predicted(hard: Any):
    _, predictions = hard
    for row in predictions:
        probabilities = {code: float(row[code]) for code in CODES}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert probabilities[row["predicted"]] == max(probabilities.values())


def test_the_measures_of_each_seed_are_those_of_its_predictions(hard: Any):
    metrics, predictions = hard
    for seed, rows in by_seed(predictions).items():
        true, predicted = emotions(rows)
        f1 = sklearn_metrics.f1_score(true, predicted, average="weighted", zero_division=0)
        hits = sum(a == b for a, b in zip(true, predicted))
        assert 0 < hits < 56
        assert metrics["by_seed"][f"seed_{seed}"] == {
            "war": pytest.approx(sklearn_metrics.accuracy_score(true, predicted), abs=1e-6),
            "uar": pytest.approx(
                sklearn_metrics.balanced_accuracy_score(true, predicted), abs=1e-6
            ),
            "w_f1": pytest.approx(f1, abs=1e-6),
            "n_correct": hits,
        }
    assert len(metrics["by_seed"]) == 3


def test_a_measure_is_the_mean_over_the_seeds_and_their_deviation_is_told(hard: Any):
    metrics, _ = hard
    assert metrics["n_seeds"] == 3 and metrics["n_test"] == 56
    for name in ("war", "uar", "w_f1", "n_correct"):
        values = [seed[name] for seed in metrics["by_seed"].values()]
        assert len(set(values)) > 1
        assert metrics[name] == pytest.approx(np.mean(values), abs=2e-6)
        if name != "n_correct":
            expected = np.std(values, ddof=1)
            assert metrics["sd_over_seeds"][name] == pytest.approx(expected, abs=2e-6)


def test_one_seed_has_no_deviation(plain: Any):
    metrics, _ = plain
    assert metrics["n_seeds"] == 1 and "sd_over_seeds" not in metrics
    assert metrics["by_seed"] == {
        "seed_0": {name: metrics[name] for name in ("war", "uar", "w_f1", "n_correct")}
    }


def test_the_temperature_is_that_of_the_validation_part_and_its_worth_that_of_the_test_part():
    details, predictions = run_all(noise=1.0, seeds=2, validation=0.3, epochs=20)
    split_rows = read_table(Path("data/split.csv"))
    features = Features(read_json(Path("data/split.json"))["features_sha256"])
    validated: dict[tuple[int, str], list[Any]] = {}
    for fold, _, classifier in read_replicas(read_description()):
        for row in select_rows(split_rows, "acoustic", fold, "validation"):
            x = torch.from_numpy(features.acoustic[row["id"]])[None]
            key = fold, f"{row['id']} {EMOTIONS.index(row['emotion'])}"
            validated.setdefault(key, []).append(classifier(x).numpy()[0])
    true = np.array([int(name.split()[-1]) for _, name in validated])
    temperature = fit_temperature(np.array([np.mean(of, 0) for of in validated.values()]), true)
    found = details["calibration"]
    assert found["n_validation"] == len(true) > 0
    assert found["temperature"] == pytest.approx(temperature, abs=0.0051)
    tested: dict[str, list[Any]] = {}
    for row in predictions:
        tested.setdefault(row["id"], []).append([float(row[code]) for code in CODES])
    shares = np.array([np.mean(of, 0) for of in tested.values()])
    of_id = {row["id"]: CODES.index(row["actual"]) for row in predictions}
    labels = np.array([of_id[name] for name in tested])
    assert found["ece_before"] == pytest.approx(calibration_error(shares, labels), abs=5.1e-4)
    after = calibration_error(with_temperature(shares, found["temperature"]), labels)
    assert found["ece_after"] == pytest.approx(after, abs=5.1e-4)


def test_recall_precision_and_support_of_each_emotion_are_means_over_the_seeds(hard: Any):
    metrics, predictions = hard
    table = metrics["classes"]
    true, predicted = emotions(predictions)  # as many utterances in each seed: the mean is pooled
    precision, recall, _, support = sklearn_metrics.precision_recall_fscore_support(
        true, predicted, labels=list(EMOTIONS), zero_division=0
    )
    assert list(table) == list(EMOTIONS) and len(set(recall)) > 1
    for i, emotion in enumerate(EMOTIONS):
        expected = {
            "recall": pytest.approx(recall[i], abs=1e-6),
            "precision": pytest.approx(precision[i], abs=1e-6),
            "support": pytest.approx(support[i] / 3),
            "predicted": pytest.approx(predicted.count(emotion) / 3, abs=1e-6),
        }
        if emotion not in predicted:
            del expected["precision"]
        assert table[emotion] == expected


def test_each_speaker_has_the_recall_of_the_own_utterances(hard: Any):
    metrics, predictions = hard
    assert list(metrics["speakers"]) == [f"sample/S{i}" for i in range(4)]
    assert len({found["war"] for found in metrics["speakers"].values()}) > 1
    for name, found in metrics["speakers"].items():
        of_seeds = [
            measures_of(*emotions([row for row in rows if row["speaker"] == name]))
            for rows in by_seed(predictions).values()
        ]
        for key in ("war", "uar"):
            assert found.pop(key) == pytest.approx(mean(item[key] for item in of_seeds), abs=1e-6)
        assert found == {"n_test": 14}


def test_the_confusion_matrix_holds_mean_counts_and_shares_of_the_rows(hard: Any):
    _, predictions = hard
    found = read_table(Path("metrics/confusion.csv"))
    expected = sklearn_metrics.confusion_matrix(*emotions(predictions), labels=list(EMOTIONS)) / 3
    assert [(row["actual"], row["predicted"]) for row in found] == [
        (actual, predicted) for actual in EMOTIONS for predicted in EMOTIONS
    ]
    counts = np.reshape([float(row["count"]) for row in found], (7, 7))
    shares = np.reshape([float(row["share"]) for row in found], (7, 7))
    np.testing.assert_allclose(counts, expected, atol=1e-5)
    np.testing.assert_allclose(shares, expected / expected.sum(1, keepdims=True), atol=1e-6)
    assert np.count_nonzero(counts) > 7


def test_emotions_that_nobody_speaks_are_no_error_on_request():
    four = utterances("sample", emotions=["anger", "fear", "neutral", "sadness"])
    metrics, _ = run_all(four, allow_missing_classes=True, epochs=12)
    assert metrics["n_classes_present"] == 4 and metrics["uar"] > 0.9
    table = metrics["classes"]
    assert table["happiness"]["support"] == 0 and "recall" not in table["happiness"]
    found = read_table(Path("metrics/confusion.csv"))
    empty = [row for row in found if row["actual"] == "happiness"]
    assert {(row["count"], row["share"]) for row in empty} == {("0", "")}


FOUR = ["anger", "happiness", "neutral", "sadness"]


def delete_others() -> Rows:
    """Only the utterances of FOUR stay in the manifest and the features, as they are."""
    rows = [row for row in utterances("sample") if row["emotion"] in FOUR]
    write_table(manifest_path("sample"), list(rows[0]), rows)
    ids = {row["id"] for row in rows}
    for modality in ("visual", "acoustic"):
        with open_arrays(features_path(modality, "sample"), f"{modality} features") as file:
            kept = [name in ids for name in decode_ids(file["ids"][...])]
            arrays = {name: values[...][kept] for name, values in file.items()}
            settings = read_settings(file)
        write_features(Path(), modality, "sample", settings, arrays)
    return rows


def test_a_task_of_four_classes_is_that_of_a_corpus_without_the_others():
    metrics, predictions = run_all(classes=FOUR[::-1], **HARD)
    first, split_table = contents(), Path("data/split.csv").read_bytes()
    delete_others()
    split.main()
    train.main()
    evaluate.main()
    other, _ = results()
    assert Path("data/split.csv").read_bytes() == split_table
    # The two files that tell of what was left out, or of the feature files.
    for name in set(OUTPUTS) - {"metrics/details.json", "models/replicas.json"}:
        assert Path(name).read_bytes() == first[name], name
    assert metrics.pop("n_excluded_by_rule") == 24 and other.pop("n_excluded_by_rule") == 0
    assert metrics.pop("excluded") and other.pop("excluded") == {}
    assert metrics == other
    assert {row["actual"] for row in predictions} == {"AN", "HA", "NE", "SA"}


def test_what_is_measured_of_four_classes_is_of_these_alone():
    metrics, predictions = run_all(classes=FOUR, **HARD)
    true, predicted = emotions(predictions)
    recall = sklearn_metrics.recall_score(true, predicted, labels=FOUR, average="macro")
    assert metrics["uar"] == pytest.approx(recall, abs=1e-6) and recall < 1
    assert (metrics["n_classes_present"], metrics["n_test"]) == (4, 32)
    assert list(metrics["classes"]) == FOUR
    found = read_table(Path("metrics/confusion.csv"))
    assert [(row["actual"], row["predicted"]) for row in found] == [
        (actual, predicted) for actual in FOUR for predicted in FOUR
    ]
    assert sum(float(row["count"]) for row in found) == pytest.approx(32, abs=1e-4)
    others = [code for code, emotion in zip(CODES, EMOTIONS) if emotion not in FOUR]
    assert {row[code] for row in predictions for code in others} == {"0.000000"}
    assert "sample, 4 classes (anger, happiness, neutral, sadness), " in circumstances(metrics)
    best_test_epoch.main()
    assert read_json(Path("metrics/best_test_epoch.json"))["n_test"] == 32


@pytest.mark.parametrize("classes, divisor", [("all", 4), ("common", None)])
def test_the_lmmd_of_four_classes_is_the_mean_over_four(classes: str, divisor: int | None):
    """Of seven, of which three have no utterance, it is the same sum over seven."""
    settings = {"alpha": 0, "epochs": 2, "selection": "last", "lmmd": {"classes": classes}}
    run_all(classes=FOUR, **settings)
    of_four = read_json(Path("metrics/train.json"))["lmmd_1"]
    assert read_description()["settings"]["lmmd"]["classes"] == (divisor or classes)
    delete_others()
    write_params(Path(), allow_missing_classes=True, **settings)
    split.main()
    train.main()
    of_seven = read_json(Path("metrics/train.json"))["lmmd_1"]
    assert of_four * (divisor or 7) == pytest.approx(of_seven * 7, rel=2e-3)


def test_every_measure_lies_in_its_intervals(hard: Any):
    metrics, _ = hard
    assert set(metrics["ci95"]) == {
        "war_wilson",
        "uar_by_utterance",
        "w_f1_by_utterance",
        "war_by_speaker",
        "uar_by_speaker",
        "w_f1_by_speaker",
    }
    for name, interval in metrics["ci95"].items():
        measure = metrics["w_f1" if name.startswith("w_f1") else name.split("_")[0]]
        assert 0 <= interval["low"] < measure < interval["high"] <= 1


def measures_of(true: list[str], predicted: list[str]) -> dict[str, float]:
    """WAR, UAR and w-F1 by their definitions."""
    hits = [a for a, b in zip(true, predicted) if a == b]
    support, found, right = Counter(true), Counter(predicted), Counter(hits)
    f1 = {emotion: 2 * right[emotion] / (support[emotion] + found[emotion]) for emotion in support}
    return {
        "war": len(hits) / len(true),
        "uar": mean(right[emotion] / support[emotion] for emotion in support),
        "w_f1": sum(f1[emotion] * support[emotion] for emotion in support) / len(true),
    }


@pytest.mark.parametrize("unit, key", [("utterance", "id"), ("speaker", "speaker")])
def test_the_intervals_are_those_of_a_bootstrap_over_utterances_or_speakers(
    unit: str, key: str, hard: Any
):
    metrics, predictions = hard
    names = sorted({row[key] for row in predictions})
    of = {
        (name, seed): emotions([row for row in rows if row[key] == name])
        for seed, rows in by_seed(predictions).items()
        for name in names
    }
    rng = np.random.default_rng(0)
    samples: dict[str, list[float]] = {"war": [], "uar": [], "w_f1": []}
    for _ in range(evaluate.REPEATS):
        drawn = rng.integers(len(names), size=len(names))
        of_seed = [
            measures_of(*(sum((of[names[i], seed][part] for i in drawn), []) for part in range(2)))
            for seed in ("9", "10", "11")
        ]
        for name, values in samples.items():
            values.append(mean(item[name] for item in of_seed))
    for name, values in samples.items():
        if (unit, name) != ("utterance", "war"):  # that one is Wilson's
            low, high = np.percentile(values, [2.5, 97.5])
            assert metrics["ci95"][f"{name}_by_{unit}"] == {
                "low": pytest.approx(low, abs=2e-6),
                "high": pytest.approx(high, abs=2e-6),
            }


def test_the_interval_of_war_is_that_of_wilson(plain: Any):
    metrics, _ = plain
    share = binomtest(int(metrics["n_correct"]), metrics["n_test"])
    low, high = share.proportion_ci(method="wilson")
    expected = {"low": pytest.approx(low, abs=1e-6), "high": pytest.approx(high, abs=1e-6)}
    assert 0 < metrics["n_correct"] < 56 and metrics["ci95"]["war_wilson"] == expected


@pytest.mark.parametrize("speakers", [2, 3])
def test_intervals_over_speakers_need_three_of_them(speakers: int):
    true = np.arange(12) % 7
    found = evaluate.scores(true, true[:, None], [f"S{i % speakers}" for i in range(12)], [0])
    assert found["n_speakers"] == speakers
    assert ("uar_by_speaker" in found["ci95"]) == (speakers == 3)


def test_what_dvc_compares_is_the_scores_to_four_decimals_and_the_details_say_the_rest(hard: Any):
    metrics, predictions = hard
    test = read_json(Path("metrics/test.json"))
    assert list(test) == ["n_test", "uar", "uar_high", "uar_low", "w_f1", "war"]
    for name in ("n_test", "uar", "w_f1", "war"):
        assert test[name] == round(metrics[name], 4)
    ends = metrics["ci95"]["uar_by_utterance"]
    assert (test["uar_low"], test["uar_high"]) == (round(ends["low"], 4), round(ends["high"], 4))
    hits = sum(map(eq, *emotions(predictions)))
    assert metrics["n_correct"] == pytest.approx(hits / 3, abs=1e-6)


def test_the_details_tell_the_protocol_and_its_leak(plain: Any):
    metrics, _ = plain
    assert (metrics["protocol"], metrics["n_test_with_trained_face"]) == ("paper", 56)
    assert metrics["n_test_with_suspected_copy"] == 0
    for modality in ("visual", "acoustic"):
        encoder = metrics["encoders"][modality]
        assert (encoder["name"], encoder["weights_source"]) == ("resnet34", "seed 0")
    assert (metrics["inference"], metrics["n_folds"]) == ("bank", 2)


def test_the_details_count_what_was_left_out():
    rows = [row | {"video": "v.mp4", "audio": "a.wav"} for row in utterances("sample")]
    angry = [row for row in rows if row["emotion"] == "anger"]
    write_params(Path(), epochs=1)
    write_corpus(Path(), "sample", rows, failed={"frames": rows[:3], "mels": angry[:6]})
    for stage in (split, train, evaluate):
        stage.main()
    metrics, _ = results()
    assert (metrics["n_skipped"], metrics["n_duplicates"]) == (9, 0)
    assert metrics["skipped"]["sample"]["frames"] == {"unreadable": {"anger": 2, "disgust": 1}}
    assert metrics["skipped_unevenly"] == {"sample": {"mels": {"anger": 0.75}}}


def test_the_curves_have_a_row_an_epoch_and_series(hard: Any):
    of = {name: curve(name) for name in ("loss", "recall", "lmmd")}
    for series in of.values():
        for rows in series.values():
            assert [row["epoch"] for row in rows] == ["1", "2", "3"]
            assert all(float(row["sd"]) >= 0 for row in rows)
    assert all(float(row["sd"]) > 0 for row in of["loss"]["training voices"])  # six replicas


def test_the_curves_are_of_the_replicas_that_have_not_ended():
    prepare(noise=1.0, epochs=40, seeds=3, patience=4)
    train.main()
    chosen = read_json(Path("models/replicas.json"))["chosen"].values()
    kept = [of["epoch"] for of in chosen]
    made = [min(epoch + 4, 40) for epoch in kept]
    assert len(set(made)) > 1
    for series in (*curve("loss").values(), *curve("recall").values(), *curve("lmmd").values()):
        assert [(row["epoch"], row["n_replicas"]) for row in series] == [
            (str(number), str(sum(number <= count for count in made)))
            for number in range(1, max(made) + 1)
        ]


def test_patience_that_never_runs_out_changes_no_byte():
    files = []
    for patience in (0, 8, 100):
        run_all(noise=1.0, epochs=8, patience=patience)
        files.append(Path("models/replicas.safetensors").read_bytes())
    assert files[0] == files[1] == files[2]


def test_only_emotions_that_were_trained_on_are_predicted():
    """Surprise is in the test part alone; of fear there are faces to learn from, and no voices."""
    rows = officially_split(utterances("sample", sentences=4))
    rows = [row for row in rows if row["emotion"] != "surprise" or row["split"] == "test"]
    voices = [row for row in rows if row["emotion"] != "fear" or row["split"] == "test"]
    write_params(Path(), protocol="official", folds=1, allow_missing_classes=True)
    write_corpus(Path(), "sample", rows, voices=voices, noise=2.0)
    split.main()
    train.main()
    evaluate.main()
    best_test_epoch.main()
    _, predictions = results()
    trained = [emotion for emotion in EMOTIONS if emotion != "surprise"]
    assert read_json(Path("models/replicas.json"))["trained_emotions"] == {"fold_0.seed_0": trained}
    surprise, fear = (CODES[EMOTIONS.index(emotion)] for emotion in ("surprise", "fear"))
    assert {row["actual"] for row in predictions} >= {surprise, fear}
    assert {row[surprise] for row in predictions} == {"0.000000"}
    assert all(float(row[fear]) > 0 for row in predictions)
    _, _, classifier = next(read_replicas(read_description()))
    probabilities = classifier(9 * torch.randn(200, DIM))
    assert (probabilities[:, EMOTIONS.index("surprise")] == 0).all()


def test_every_emotion_is_among_the_trained_where_all_are_there(plain: Any):
    trained = read_json(Path("models/replicas.json"))["trained_emotions"]
    assert trained == dict.fromkeys(["fold_0.seed_0", "fold_1.seed_0"], list(EMOTIONS))


def test_the_curves_of_the_last_epoch_are_the_metrics_of_training_where_it_is_kept(hard: Any):
    kept = read_json(Path("metrics/train.json"))
    assert (kept["epoch"], kept["n_replicas"]) == (3, 6)
    for table, key in [("loss", "loss"), ("recall", "uar")]:
        for part, series in [
            ("acoustic", "training voices"),
            ("visual", "training faces"),
            ("validation", "validation voices"),
        ]:
            value = float(curve(table)[series][-1]["mean"])
            assert value == pytest.approx(kept[f"{part}_{key}"], rel=FOUR_DIGITS)
    value = float(curve("lmmd")["layer 1"][-1]["mean"])
    assert value == pytest.approx(kept["lmmd_1"], rel=FOUR_DIGITS)


def test_the_epoch_kept_is_the_first_of_the_best_on_the_validation_voices():
    rows = officially_split(utterances("sample", sentences=3))
    run_all(rows, noise=1.5, epochs=30, protocol="official", folds=1)
    recalls = [float(row["mean"]) for row in curve("recall")["validation voices"]]
    losses = [float(row["mean"]) for row in curve("loss")["validation voices"]]
    scores = [(recall, -loss) for recall, loss in zip(recalls, losses)]
    epoch = read_json(Path("models/replicas.json"))["chosen"]["fold_0.seed_0"]["epoch"]
    assert epoch == 1 + scores.index(max(scores))
    assert 1 < epoch < 30  # neither the first nor merely the last
    kept = read_json(Path("metrics/train.json"))
    assert kept["epoch"] == epoch
    for name, series in [
        ("acoustic_loss", "training voices"),
        ("visual_loss", "training faces"),
        ("validation_loss", "validation voices"),
    ]:
        value = float(curve("loss")[series][epoch - 1]["mean"])
        assert kept[name] == pytest.approx(value, rel=FOUR_DIGITS)


def test_lmmd_acts_by_its_weight(plain: Any):
    before = load_file("models/replicas.safetensors")
    run_all(epochs=1, alpha=0.5)
    after = load_file("models/replicas.safetensors")
    assert not all(torch.equal(after[name], value) for name, value in before.items())


def test_the_inference_changes_what_is_predicted_and_not_what_is_learned():
    tables, tensors = [], []
    for inference in ("bank", "prototypes", "none"):
        tables.append(run_all(epochs=2, selection="last", inference=inference)[1])
        found = load_file("models/replicas.safetensors").items()
        tensors.append({name: value for name, value in found if ".network." in name})
    assert tables[0] != tables[1] != tables[2] != tables[0]
    for other in tensors[1:]:
        assert other.keys() == tensors[0].keys()
        assert all(torch.equal(tensors[0][name], value) for name, value in other.items())


@pytest.mark.parametrize("stage", [train, evaluate])
def test_a_changed_feature_file_is_refused(stage: Any, plain: Any):
    write_corpus(Path(), "sample", utterances("sample"), seed=1)
    message = user_error(stage.main)
    assert "/sample.h5: is not the file that data/split.json names" in message


@pytest.mark.parametrize("stage", [train, evaluate])
def test_a_missing_feature_file_is_refused(stage: Any, plain: Any):
    Path("data/features/acoustic/sample.h5").unlink()
    assert "data/features/acoustic/sample.h5" in user_error(stage.main)


@pytest.mark.parametrize("stage", [evaluate, best_test_epoch, tsne])
def test_a_damaged_model_is_refused_by_all_that_read_it(stage: Any, plain: Any):
    model = Path("models/replicas.safetensors")
    model.write_bytes(model.read_bytes()[:-1])
    assert "models/replicas.safetensors: is not the file that models/replicas.json" in user_error(
        stage.main
    )


@pytest.mark.parametrize("stage", [evaluate, best_test_epoch, tsne])
def test_a_model_of_another_split_is_refused_by_all_that_read_it(stage: Any, plain: Any):
    write_params(Path(), seed=1)
    split.main()
    assert user_error(stage.main).endswith(
        "was trained on another data/split.csv; run dvc repro train"
    )


@pytest.mark.parametrize("stage", [evaluate, tsne])
def test_a_description_that_does_not_fit_the_model_is_refused(stage: Any, plain: Any):
    path = Path("models/replicas.json")
    write_json(path, read_json(path) | {"dims": {"acoustic": 13, "visual": DIM}})
    said = user_error(stage.main)
    assert (
        said.startswith("models/replicas.safetensors: fold_0.seed_0: ")
        and "dvc repro train" in said
    )


def test_a_missing_split_is_told_with_the_remedy():
    write_params(Path())
    assert user_error(train.main).startswith("data/split.json: cannot be read")


@pytest.mark.parametrize("stage", [train, evaluate, best_test_epoch, tsne])
def test_a_split_that_lacks_a_column_is_told_with_the_remedy(stage: Any):
    prepare()
    table = Path("data/split.csv")
    table.write_text(table.read_text().replace("emotion", "Emotion", 1))
    assert user_error(stage.main) == (
        "data/split.csv: cannot be read: has no column emotion; make it again by dvc repro"
    )


@pytest.mark.parametrize("stage", [train, evaluate, best_test_epoch, tsne])
def test_a_split_that_lacks_a_key_is_told_with_the_remedy(stage: Any):
    """As that of an earlier version may."""
    write_params(Path())
    write_json(Path("data/split.json"), {key: 1 for key in SPLIT_KEYS if key != "protocol"})
    assert user_error(stage.main) == (
        "data/split.json: cannot be read: has no protocol; make it again by dvc repro"
    )


def test_all_that_is_read_of_a_split_is_asked_for_and_no_more():
    sources = "".join(
        Path(module.__file__).read_text() for module in (train, evaluate, best_test_epoch, tsne)
    )
    read = set(re.findall(r'split\["(\w+)"\]', sources))
    others = {"classes", "test", "train_share"}  # which are written where they are not the default
    assert read == {*SPLIT_KEYS, *others}
