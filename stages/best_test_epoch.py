"""The best epoch on the test part, which the published code reports: optimistic, not a result.

In:  models/replicas.json (the settings), data/split.csv, data/split.json, and the
     data/features/<modality>/<corpus>.h5 that it names
Out: metrics/best_test_epoch.json   {} where params.yaml does not ask for it, or the system
                                    does not learn by epochs

The published code tests after every epoch and reports the best. That figure grows with the number
of epochs even if nothing is learned. It is made here so that it can be set beside published tables:
the replicas of the first seed are trained again, validated on the test part, and of every fold
the epoch with the best WAR is taken. No result rests on this file, and it is only
made where params.yaml asks for it: training again takes a third of what the stage train does.

Run: dvc exp run -S best_test_epoch=true, or dvc repro best_test_epoch once params.yaml asks for it
"""

from functools import partial

import numpy as np

from stages.io.files import write_json
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import METRICS
from stages.scoring.metrics import MEASURES, confusion_matrix
from stages.splits.dataset import Features, read_split, select_rows
from stages.splits.leaks import check_leaks
from stages.splits.protocols import TEST

RESULT = METRICS / "best_test_epoch.json"
LABEL = "optimistic: best epoch on the test voices, as the published code reports; not a result"


def main() -> None:
    """Train the first seed again and test it after every epoch, where that is asked for."""
    params = read_params()
    if not params.best_test_epoch:
        write_json(RESULT, {})
        return
    # Imported here: PyTorch takes seconds, and the usual run does not need it.
    import torch

    from stages.corpora.emotions import EMOTIONS
    from stages.scoring.predictions import predict_fold, to_arrays
    from stages.systems.checkpoint import read_description
    from stages.systems.contract import Reader, Task, modalities_of_test
    from stages.systems.named import SYSTEMS

    split, rows = read_split()
    check_leaks(rows, split["protocol"], split["folds"], split["validated_by"])
    description = read_description()
    system = SYSTEMS[description["system"]]
    if not system.by_epochs:
        write_json(RESULT, {})
        print(f"best_test_epoch: {description['system']} does not learn by epochs")
        return
    features = Features(split["features_sha256"])
    settings = description["settings"] | {"select": "war", "patience": 0}
    task = Task(features, rows, split["protocol"], settings, TEST, params.class_balance)
    seed = description["seeds"][0]
    replicas = system.train_all(task, split["folds"], [seed], "best_test_epoch")

    torch.set_num_threads(1)
    seen = modalities_of_test(params.test_modalities, system, settings, rows, split["folds"])
    reader = Reader(system, settings, features, rows, seen)
    predictions = []
    for replica in replicas:
        classify = partial(reader.classify, system.restore(description, replica.state))
        predictions += predict_fold(classify, rows, replica.fold, seed)
    true, predicted, _ = to_arrays(predictions)
    confusion = confusion_matrix(true, predicted[:, 0], len(EMOTIONS))
    sizes = [len(select_rows(rows, "acoustic", replica.fold, TEST)) for replica in replicas]
    last = [replica.history[-1]["validation_war"] for replica in replicas]
    metrics = {
        "label": LABEL,
        **{name: float(measure(confusion)) for name, measure in MEASURES.items()},
        "war_last_epoch": float(np.average(last, weights=sizes)),
        "n_correct": int(np.trace(confusion)),
        "n_test": len(true),
        "epochs": {f"fold_{replica.fold}": int(replica.chosen["epoch"]) for replica in replicas},
        "protocol": split["protocol"],
    }
    write_json(RESULT, metrics)
    print(
        f"best_test_epoch: WAR {metrics['war']:.3f}, in the last epoch "
        f"{metrics['war_last_epoch']:.3f}; optimistic, not a result"
    )


if __name__ == "__main__":
    run_stage(main, __doc__)
