"""Evaluate: the models of every fold on the test utterances that they did not see.

In:  models/replicas.safetensors, models/replicas.json, data/split.csv, data/split.json, and the
     data/features/<modality>/<corpus>.h5 that it names
Out: metrics/test.json         WAR, UAR, w-F1, an interval of UAR and the number of utterances
     metrics/details.json      intervals, emotions, speakers, seeds, and what the scores rest on;
                               `test` where another corpus is tested than the one that trains, and
                               `train_share` where it is not 1
     metrics/predictions.csv   one row a test utterance and seed: emotions, probabilities
     metrics/confusion.csv     counts and row shares of the confusion matrix (Fig. 4)
Paper: Section 3.2, "the weighted average recall (WAR), unweighted average recall (UAR), and
weighted F1-score (w-F1) as the experimental evaluation metrics".

The folds are pooled: every test utterance has one prediction per seed. A measure is the mean over
the seeds; intervals cover other utterances or speakers, `sd_over_seeds` other seeds.

Run: dvc repro evaluate, or python -m stages.evaluate
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from stages.corpora.emotions import CODES, EMOTIONS
from stages.io.files import write_json, write_table
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import METRICS, PREDICTIONS
from stages.scoring.calibration import calibration_error, fit_temperature, with_temperature
from stages.scoring.intervals import MIN_SPEAKERS, REPEATS, interval, resample_weights, wilson
from stages.scoring.metrics import MEASURES, confusions
from stages.scoring.predictions import COLUMNS, predict_fold, predict_part, to_arrays
from stages.scoring.summary import circumstances, headline
from stages.splits.dataset import Features, labels, read_split, select_rows
from stages.splits.leaks import check_bank, check_leaks
from stages.splits.protocols import VALIDATION
from stages.systems.checkpoint import read_description, read_replicas, replica_name
from stages.systems.contract import LINGUISTIC, VISUAL, Reader, modalities_of_test
from stages.systems.named import SYSTEMS

DECIMALS = 4  # of what DVC compares, so that its tables fit a screen


def scores(
    true: np.ndarray, predicted: np.ndarray, speakers: list[str], seeds: Sequence[int]
) -> dict[str, Any]:
    """WAR, UAR and w-F1, of each seed and their mean, sd over the seeds and 95 % intervals.

    The intervals are Wilson's for WAR, the bootstrap by utterance for UAR and w-F1, and for all
    three the bootstrap by speaker, which is wider where speakers differ.

    Args:
        true: classes [n].
        predicted: classes [n, S], a column a seed.
        speakers: n.
        seeds: S.
    """
    n = len(true)
    confusion = confusions(true, predicted, np.ones((1, n), int), len(EMOTIONS))[0]
    by_seed = measure_all(confusion)
    correct = np.trace(confusion, axis1=1, axis2=2)
    found: dict[str, Any] = {name: float(values.mean()) for name, values in by_seed.items()}
    found |= {"n_correct": float(correct.mean()), "n_test": n, "n_seeds": len(seeds)}
    found["n_speakers"] = len(set(speakers))
    found["by_seed"] = {
        f"seed_{seed}": {name: float(values[i]) for name, values in by_seed.items()}
        | {"n_correct": int(correct[i])}
        for i, seed in enumerate(seeds)
    }
    if len(seeds) > 1:
        found["sd_over_seeds"] = {
            name: float(values.std(ddof=1)) for name, values in by_seed.items()
        }

    intervals = {"war_wilson": wilson(found["n_correct"], n)}
    units: dict[str, list[str] | None] = {"utterance": None}
    if found["n_speakers"] >= MIN_SPEAKERS:
        units["speaker"] = speakers
    for unit, groups in units.items():
        weights = resample_weights(n, REPEATS, np.random.default_rng(0), groups)
        resampled = measure_all(confusions(true, predicted, weights, len(EMOTIONS)))
        for name, values in resampled.items():
            intervals[f"{name}_by_{unit}"] = interval(values.mean(1))
    del intervals["war_by_utterance"]  # Wilson's stands for it
    found["ci95"] = {name: {"low": low, "high": high} for name, (low, high) in intervals.items()}
    return found


def measure_all(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """WAR, UAR and w-F1 [...] of confusion matrices [..., C, C]."""
    return {name: measure(confusion) for name, measure in MEASURES.items()}


def per_class(
    confusion: np.ndarray, classes: Sequence[str] = EMOTIONS
) -> dict[str, dict[str, float]]:
    """Recall, precision and support of each class from mean counts [C, C] of all emotions.

    An emotion without test utterances has no recall, one that is never predicted no precision.

    Args:
        classes: the emotions of the task.
    """
    support, predicted, hits = confusion.sum(1), confusion.sum(0), np.diag(confusion)
    table: dict[str, dict[str, float]] = {}
    for emotion in classes:
        i = EMOTIONS.index(emotion)
        table[emotion] = {"support": float(support[i]), "predicted": float(predicted[i])}
        if support[i] > 0:
            table[emotion]["recall"] = float(hits[i] / support[i])
        if predicted[i] > 0:
            table[emotion]["precision"] = float(hits[i] / predicted[i])
    return table


def per_speaker(
    true: np.ndarray, predicted: np.ndarray, speakers: list[str]
) -> dict[str, dict[str, float]]:
    """WAR, UAR and number of test utterances of each speaker, means over the seeds.

    Args:
        true: classes [n].
        predicted: classes [n, S], a column a seed.
        speakers: n.
    """
    names = sorted(set(speakers))
    spoken = (np.array(names)[:, None] == np.array(speakers)).astype(int)
    found = measure_all(confusions(true, predicted, spoken, len(EMOTIONS)))
    return {
        name: {
            "n_test": int(spoken[i].sum()),
            **{measure: float(found[measure][i].mean()) for measure in ("war", "uar")},
        }
        for i, name in enumerate(names)
    }


def confusion_rows(
    confusion: np.ndarray, classes: Sequence[str] = EMOTIONS
) -> list[dict[str, str]]:
    """Rows actual, predicted, count, share of the row; no share where a row is empty.

    Args:
        confusion: mean counts [C, C] of all emotions.
        classes: the emotions of the task.
    """
    support = confusion.sum(1)
    return [
        {
            "actual": actual,
            "predicted": predicted,
            "count": f"{confusion[i, j]:.6g}",
            "share": f"{confusion[i, j] / support[i]:.6f}" if support[i] else "",
        }
        for i, actual in enumerate(EMOTIONS)
        for j, predicted in enumerate(EMOTIONS)
        if {actual, predicted} <= set(classes)
    ]


def calibration(
    validated: np.ndarray, validated_true: np.ndarray, tested: np.ndarray, true: np.ndarray
) -> dict[str, float]:
    """The temperature of the validation utterances, and what it does for the test utterances.

    Args:
        validated, tested: probabilities [n, C], means over the seeds.
        validated_true, true: classes [n].

    Returns:
        n_validation, the expected calibration error ece_before and, where there is a temperature,
        temperature and ece_after; rounded, since the last digits differ between kinds of CPU.
    """
    before = round(calibration_error(tested, true), 3)
    fitted = fit_temperature(validated, validated_true)
    if fitted is None:
        return {"n_validation": len(validated), "ece_before": before}
    temperature = round(fitted, 2)
    after = round(calibration_error(with_temperature(tested, temperature), true), 3)
    return {
        "n_validation": len(validated),
        "ece_before": before,
        "temperature": temperature,
        "ece_after": after,
    }


def total(counts: dict[str, Any] | int) -> int:
    """Sum of the leaves of nested counts."""
    return counts if isinstance(counts, int) else sum(map(total, counts.values()))


def main() -> None:
    """Test every replica on the test utterances of its fold, and write the measures."""
    torch.set_num_threads(1)
    params = read_params()
    split, rows = read_split()
    check_leaks(rows, split["protocol"], split["folds"], split["validated_by"])
    features = Features(split["features_sha256"])
    description = read_description()
    system, settings = SYSTEMS[description["system"]], description["settings"]
    seen = modalities_of_test(params.test_modalities, system, settings, rows, split["folds"])
    reader = Reader(system, settings, features, rows, seen)
    predictions = []
    validated: dict[int, list[np.ndarray]] = {fold: [] for fold in range(split["folds"])}
    for fold, seed, classifier in read_replicas(description):
        check_bank(rows, split["protocol"], fold, description["bank"][replica_name(fold, seed)])
        classify = partial(reader.classify, classifier)
        predictions += predict_fold(classify, rows, fold, seed)
        validated[fold].append(predict_part(classify, rows, fold, seed, VALIDATION))
    predictions.sort(key=lambda row: (row["id"], row["seed"]))
    write_table(PREDICTIONS, COLUMNS, predictions)

    true, predicted, speakers = to_arrays(predictions)
    found = scores(true, predicted, speakers, description["seeds"])
    by_seed = confusions(true, predicted, np.ones((1, len(true)), int), len(EMOTIONS))[0]
    confusion = by_seed.mean(0)
    columns = ["actual", "predicted", "count", "share"]
    write_table(METRICS / "confusion.csv", columns, confusion_rows(confusion, split["classes"]))
    shares = np.array([[float(row[code]) for code in CODES] for row in predictions])
    calibrated = calibration(
        np.concatenate([np.mean(of_seeds, 0) for of_seeds in validated.values()]),
        np.concatenate([labels(select_rows(rows, "acoustic", k, VALIDATION)) for k in validated]),
        shares.reshape(*predicted.shape, -1).mean(1),
        true,
    )
    low, high = found["ci95"]["uar_by_utterance"].values()
    measures = {name: found[name] for name in MEASURES} | {"uar_low": low, "uar_high": high}
    test = {name: round(value, DECIMALS) for name, value in measures.items()}
    modalities = system.modalities(settings)
    sees_faces, reads_text = VISUAL in modalities, LINGUISTIC in modalities
    details = found | {
        "system": description["system"],
        "acoustic": split["acoustic"],
        "visual": split["visual"] if sees_faces else [],
        "classes": per_class(confusion, split["classes"]),
        "speakers": per_speaker(true, predicted, speakers),
        "calibration": calibrated,
        "n_classes_present": int((confusion.sum(1) > 0).sum()),
        "n_folds": split["folds"],
        "n_skipped": total(split["skipped"]),
        "n_excluded_by_rule": total(split["excluded"]),
        "n_duplicates": sum(map(len, split["duplicates"].values())),
        "n_test_with_trained_face": split["n_test_with_trained_face"] if sees_faces else 0,
        "n_test_with_suspected_copy": split["n_test_with_suspected_copy"],
        "n_test_with_trained_text": split["n_test_with_trained_text"] if reads_text else 0,
        "text_leak": split["text_leak"] and reads_text,
        "skipped": split["skipped"],
        "skipped_unevenly": split["skipped_unevenly"],
        "excluded": split["excluded"],
        "protocol": split["protocol"],
        "selection": settings.get("select"),  # of an epoch, and
        "test_modalities": list(seen),
        "inference": settings.get("inference"),  # what a voice attends to: None where there is none
        "labels_shuffled": split["shuffle_labels"],
        "encoders": {
            name: of for name, of in split["encoders"].items() if name in system.views(settings)
        },
    }
    details |= {"test": split["test"]} if split["test"] else {}
    details |= {"train_share": split["train_share"]} if split["train_share"] < 1 else {}
    write_json(METRICS / "test.json", test | {"n_test": found["n_test"]})
    write_json(METRICS / "details.json", details)
    print(f"evaluate: {headline(details)}; {circumstances(details)}")


if __name__ == "__main__":
    run_stage(main, __doc__)
