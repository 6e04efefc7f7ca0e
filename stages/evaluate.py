"""Evaluate: the held-out voices of every fold, tested by the models that did not see them.

In:  models/fdan.safetensors, models/fdan.json, data/split.csv, data/split.json, and the
     data/features/<corpus>.h5 that it names
Out: metrics/test.json         WAR, UAR, w-F1 with their intervals, and what they rest on
     metrics/classes.json      recall, precision and support of each emotion
     metrics/predictions.csv   one row a test utterance and seed: emotions, probabilities
     metrics/confusion.csv     counts and row shares of the confusion matrix (Fig. 4)
Paper: Section 3.2, "the weighted average recall (WAR), unweighted average recall (UAR), and
weighted F1-score (w-F1) as the experimental evaluation metrics".

The folds are pooled: every test utterance has one prediction a seed. A figure is the mean over the
seeds of the figure of one seed; intervals are over utterances or speakers, `sd_over_seeds` is over
seeds.

Run: dvc repro evaluate, or python -m stages.evaluate
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.corpora.emotions import CODES, EMOTIONS
from stages.fdan.checkpoint import MODEL_DIGITS, read_description, read_replicas, replica_name
from stages.fdan.inference import SpeechClassifier
from stages.io.files import write_json, write_table
from stages.runtime.command import run_stage
from stages.scoring.metrics import (
    MEASURES,
    MIN_SPEAKERS,
    REPEATS,
    confusions,
    interval,
    resample_weights,
    wilson,
)
from stages.splits.dataset import Features, having, read_split
from stages.splits.leaks import refuse_bank, refuse_leaks
from stages.splits.protocols import TEST, Rows


def test_fold(
    classifier: SpeechClassifier, features: Features, rows: Rows, fold: int, seed: int
) -> list[dict[str, Any]]:
    """Predict the test voices of a fold: one row of the predictions table each."""
    tested = having(rows, "acoustic", fold, TEST)
    x, _, _ = features.voices(tested)
    probabilities = classifier(torch.from_numpy(x)).numpy()
    return [
        {
            "id": row["id"],
            "speaker": row["speaker"],
            "fold": fold,
            "seed": seed,
            "actual": CODES[EMOTIONS.index(row["emotion"])],
            "predicted": CODES[int(p.argmax())],
            **{code: f"{value:.6f}" for code, value in zip(CODES, p.tolist())},
        }
        for row, p in zip(tested, probabilities)
    ]


def judged(predictions: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """True classes [n], predicted classes [n, S] and speakers [n] of the utterances, by id.

    Args:
        predictions: rows sorted by id and seed, as many seeds for every id.
    """
    seeds = len({row["seed"] for row in predictions})
    predicted = np.array([CODES.index(row["predicted"]) for row in predictions])
    true = np.array([CODES.index(row["actual"]) for row in predictions[::seeds]])
    return true, predicted.reshape(-1, seeds), [row["speaker"] for row in predictions[::seeds]]


def scores(true: np.ndarray, predicted: np.ndarray, speakers: list[str]) -> dict[str, Any]:
    """WAR, UAR and w-F1 with sd over seeds and 95 % intervals.

    Wilson's interval for WAR, the bootstrap by utterance for UAR and w-F1, and for all three by
    speaker, which is wider where speakers differ.

    Args:
        true: classes [n].
        predicted: classes [n, S], a column a seed.
    """
    n, classes = len(true), len(CODES)
    once = np.ones((1, n), int)
    of_seed = {
        name: measure(confusions(true, predicted, once, classes)[0])
        for name, measure in MEASURES.items()
    }
    correct = float((predicted == true[:, None]).sum(0).mean())
    found: dict[str, Any] = {name: float(values.mean()) for name, values in of_seed.items()}
    found |= {"n_correct": correct, "n_test": n, "n_seeds": predicted.shape[1]}
    if predicted.shape[1] > 1:
        found["sd_over_seeds"] = {
            name: float(values.std(ddof=1)) for name, values in of_seed.items()
        }
    found["n_speakers"] = len(set(speakers))
    found["ci95"] = {"war_wilson": bounds(wilson(correct, n))}
    groupings = [("utterance", None)]
    if found["n_speakers"] >= MIN_SPEAKERS:
        groupings.append(("speaker", speakers))
    for unit, groups in groupings:
        weights = resample_weights(n, REPEATS, np.random.default_rng(0), groups)
        resampled = confusions(true, predicted, weights, classes)
        for name, measure in MEASURES.items():
            if (unit, name) != ("utterance", "war"):
                over = interval(measure(resampled).mean(1))
                found["ci95"][f"{name}_by_{unit}"] = bounds(over)
    return found


def bounds(of: tuple[float, float]) -> dict[str, float]:
    """An interval as metrics files hold it."""
    return {"low": float(of[0]), "high": float(of[1])}


def per_class(confusion: np.ndarray) -> dict[str, dict[str, float]]:
    """Recall, precision and support of each emotion from mean counts [C, C].

    An emotion without test utterances has no recall, one that is never predicted no precision.
    """
    support, predicted, hits = confusion.sum(1), confusion.sum(0), np.diag(confusion)
    table: dict[str, dict[str, float]] = {}
    for i, code in enumerate(CODES):
        table[code] = {"support": float(support[i]), "predicted": float(predicted[i])}
        if support[i] > 0:
            table[code]["recall"] = float(hits[i] / support[i])
        if predicted[i] > 0:
            table[code]["precision"] = float(hits[i] / predicted[i])
    return table


def confusion_rows(confusion: np.ndarray) -> list[dict[str, str]]:
    """Rows actual, predicted, count, share of the row; no share where a row is empty."""
    support = confusion.sum(1)
    return [
        {
            "actual": actual,
            "predicted": predicted,
            "count": f"{confusion[i, j]:.6g}",
            "share": f"{confusion[i, j] / support[i]:.6f}" if support[i] else "",
        }
        for i, actual in enumerate(CODES)
        for j, predicted in enumerate(CODES)
    ]


def total(counts: dict[str, Any] | int) -> int:
    """Sum of the leaves of nested counts."""
    return counts if isinstance(counts, int) else sum(map(total, counts.values()))


def main() -> None:
    torch.set_num_threads(1)
    split, rows = read_split()
    refuse_leaks(rows, split["protocol"], split["folds"])
    features = Features(split["features_sha256"])
    description = read_description()
    predictions = []
    for fold, seed, classifier in read_replicas(description):
        refuse_bank(rows, split["protocol"], fold, description["bank"][replica_name(fold, seed)])
        predictions += test_fold(classifier, features, rows, fold, seed)
    predictions.sort(key=lambda row: (row["id"], row["seed"]))
    columns = ["id", "speaker", "fold", "seed", "actual", "predicted", *CODES]
    write_table(Path("metrics/predictions.csv"), columns, predictions)

    true, predicted, speakers = judged(predictions)
    by_seed = confusions(true, predicted, np.ones((1, len(true)), int), len(CODES))[0]
    confusion = by_seed.mean(0)
    write_table(
        Path("metrics/confusion.csv"),
        ["actual", "predicted", "count", "share"],
        confusion_rows(confusion),
    )
    write_json(Path("metrics/classes.json"), per_class(confusion))
    found = scores(true, predicted, speakers)
    metrics = found | {
        "by_seed": {
            f"seed_{seed}": {name: float(measure(own)) for name, measure in MEASURES.items()}
            | {"n_correct": int(np.trace(own))}
            for seed, own in zip(description["seeds"], by_seed)
        },
        "n_classes_present": int((confusion.sum(1) > 0).sum()),
        "n_folds": split["folds"],
        "n_skipped": total(split["skipped"]),
        "n_excluded_by_rule": total(split["excluded"]),
        "n_duplicates": sum(map(len, split["duplicates"].values())),
        "n_test_with_trained_face": split["n_test_with_trained_face"],
        "skipped": split["skipped"],
        "skipped_unevenly": split["skipped_unevenly"],
        "model": description["sha256"][:MODEL_DIGITS],
        "protocol": split["protocol"],
        "inference": description["inference"],
        "labels_shuffled": split["shuffle_labels"],
        "backbone": split["backbone"],
        "weights": split["weights"],
        "weights_source": split["weights_source"],
        "precision": split["precision"],
    }
    write_json(Path("metrics/test.json"), metrics)
    low, high = found["ci95"]["uar_by_utterance"].values()
    print(
        f"evaluate: UAR {metrics['uar']:.3f} [{low:.3f}, {high:.3f}], WAR {metrics['war']:.3f} "
        f"({metrics['n_correct']:g} of {metrics['n_test']}), w-F1 {metrics['w_f1']:.3f}; mean of "
        f"{metrics['n_seeds']} seeds, {split['backbone']} with {split['weights']} weights, "
        f"protocol {split['protocol']}"
    )


if __name__ == "__main__":
    run_stage(main, __doc__)
