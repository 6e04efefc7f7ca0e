"""Evaluate: the held-out voices of every fold, each tested once by the model that did not see it.

In:  models/fdan.safetensors, models/fdan.json, data/split.csv, data/split.json, and the
     data/features/<corpus>.h5 that it names
Out: metrics/test.json         WAR, UAR, w-F1 pooled over the folds, and what they rest on
     metrics/predictions.csv   one row a test utterance: true and predicted emotion, probabilities
Paper: Section 3.2, "the weighted average recall (WAR), unweighted average recall (UAR), and
weighted F1-score (w-F1) as the experimental evaluation metrics".
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from stages.command import run
from stages.emotions import CODES, EMOTIONS
from stages.failures import UserError
from stages.fdan.inference import SpeechClassifier
from stages.fdan.network import FDAN
from stages.files import file_sha256, read_json, read_table, write_json, write_table
from stages.protocols import TEST, Rows
from stages.samples import Features, having
from stages.statistics import confusion_matrix, uar, war, weighted_f1

MODEL = Path("models/fdan.safetensors")
SPLIT = Path("data/split.csv")


def load_classifiers(description: dict[str, Any]) -> list[SpeechClassifier]:
    """The classifier of every fold.

    Raises:
        UserError: the model was trained on another split (and so perhaps on these test voices),
            is not the file described, or does not fit.
    """
    remedy = "run dvc repro train"
    if description["emotions"] != list(EMOTIONS):
        raise UserError(f"{MODEL}: knows the emotions {description['emotions']}; {remedy}")
    if file_sha256(SPLIT) != description["split_sha256"]:
        raise UserError(f"{MODEL}: was trained on another {SPLIT}; {remedy}")
    if not MODEL.exists() or file_sha256(MODEL) != description["sha256"]:
        raise UserError(f"{MODEL}: is not the file that models/fdan.json describes; {remedy}")
    classifiers = []
    try:
        tensors = load_file(MODEL)
        for fold in range(description["folds"]):
            prefix = f"fold_{fold}."
            state = {
                name.removeprefix(prefix): value
                for name, value in tensors.items()
                if name.startswith(prefix)
            }
            network = FDAN(
                description["visual_dim"],
                description["acoustic_dim"],
                len(EMOTIONS),
                **description["network"],
            )
            shapes = (torch.empty_like(state[name]) for name in ("mean", "std", "bank"))
            mean, std, bank = shapes
            classifier = SpeechClassifier(network, mean, std, list(bank))
            classifier.load_state_dict(state)
            classifiers.append(classifier.eval())
    except (SafetensorError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{MODEL}: cannot be read: {reason}; {remedy}") from error
    return classifiers


def test_fold(
    classifier: SpeechClassifier, features: Features, rows: Rows, fold: int
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
            "actual": CODES[EMOTIONS.index(row["emotion"])],
            "predicted": CODES[int(p.argmax())],
            **{code: f"{value:.6f}" for code, value in zip(CODES, p.tolist())},
        }
        for row, p in zip(tested, probabilities)
    ]


def total(counts: dict[str, Any] | int) -> int:
    """Sum of the leaves of nested counts."""
    return counts if isinstance(counts, int) else sum(map(total, counts.values()))


def main() -> None:
    torch.set_num_threads(1)
    task = read_json(Path("data/split.json"))
    rows = read_table(SPLIT)
    features = Features(task["features_sha256"])
    classifiers = load_classifiers(read_json(Path("models/fdan.json")))
    predictions = [
        row
        for fold, classifier in enumerate(classifiers)
        for row in test_fold(classifier, features, rows, fold)
    ]
    predictions.sort(key=lambda row: row["id"])
    columns = ["id", "speaker", "fold", "actual", "predicted", *CODES]
    write_table(Path("metrics/predictions.csv"), columns, predictions)

    confusion = confusion_matrix(
        [CODES.index(row["actual"]) for row in predictions],
        [CODES.index(row["predicted"]) for row in predictions],
        len(CODES),
    )
    metrics = {
        "war": war(confusion),
        "uar": uar(confusion),
        "w_f1": weighted_f1(confusion),
        "n_correct": int(np.trace(confusion)),
        "n_test": len(predictions),
        "n_skipped": total(task["skipped"]),
        "n_excluded_by_rule": total(task["excluded"]),
        "n_classes_present": int((confusion.sum(1) > 0).sum()),
        "n_test_with_trained_face": task["n_test_with_trained_face"],
        "skipped": task["skipped"],
        "protocol": task["protocol"],
        "labels_shuffled": task["shuffle_labels"],
        "backbone": task["backbone"],
        "weights": task["weights"],
        "weights_source": task["weights_source"],
    }
    write_json(Path("metrics/test.json"), metrics)
    print(
        f"evaluate: UAR {metrics['uar']:.3f}, WAR {metrics['war']:.3f} "
        f"({metrics['n_correct']} of {metrics['n_test']}), w-F1 {metrics['w_f1']:.3f}; "
        f"{task['backbone']} with {task['weights']} weights, protocol {task['protocol']}"
    )


if __name__ == "__main__":
    run(main)
