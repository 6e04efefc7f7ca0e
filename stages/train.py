"""Train: the system of params.yaml, by default FDAN, once for every fold and seed.

In:  data/split.csv, data/split.json, and the data/features/<modality>/<corpus>.h5 that it names
Out: models/replicas.safetensors, models/replicas.json
                              every replica (stages/systems/checkpoint.py)
     metrics/train.json       losses and recalls in the epochs kept, mean over the replicas, to
                              four digits
     metrics/curves/*.csv     loss, recall and LMMD of every epoch: mean and sd over the replicas
                              that have not ended, and their number; without rows for a system that
                              does not learn by epochs
     Under DVC the curves are written every few seconds with the epochs made so far, and beside them
     metrics/live/train.json, which is deleted at the end: for `dvc exp show` and `dvc plots`.
Paper: Section 2, Eq. (1) to (9), and Section 3.2.
Run: dvc repro train, or python -m stages.train
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest

import numpy as np

from stages.io.files import write_json, write_table
from stages.runtime.command import run_stage
from stages.runtime.device import pick_device
from stages.runtime.errors import UserError
from stages.runtime.params import read_params
from stages.runtime.paths import LIVE, METRICS
from stages.splits.dataset import Features, read_split
from stages.splits.leaks import check_dialogues, check_faces_at_test, check_leaks
from stages.systems.board import state_of
from stages.systems.checkpoint import replica_name, write_model
from stages.systems.contract import VISUAL, Histories, Live, Task, Trained
from stages.systems.named import SYSTEMS

# What each table of curves shows: names for people, and entries of an Epoch.
LOSSES = {
    "training voices": "acoustic_loss",
    "training faces": "visual_loss",
    "validation voices": "validation_loss",
}
RECALLS = {
    "training voices": "acoustic_uar",
    "training faces": "visual_uar",
    "validation voices": "validation_uar",
}


def mean_of(replicas: Sequence[Trained]) -> dict[str, float]:
    """Mean over the replicas of all that is known of what each kept, and of all of them."""
    found = [replica.kept | replica.chosen for replica in replicas]
    shared = [name for name in found[0] if all(name in of for of in found)]
    return {name: float(np.mean([of[name] for of in found])) for name in shared}


def significant(value: float) -> float:
    """A value to four digits: the last ones of a loss differ between kinds of CPU."""
    return float(f"{value:.4g}")


def curves(histories: Histories, series: Mapping[str, str]) -> list[dict[str, str | int]]:
    """Rows epoch, series, mean and sd over the replicas still in training, and their number."""
    rows: list[dict[str, str | int]] = []
    for label, name in series.items():
        counts = (~np.isnan(histories.get(name, np.empty((0, 0))))).sum(0)
        counts = counts[counts > 0]
        if len(counts):
            values = histories[name][:, : len(counts)]
            columns = (np.nanmean(values, 0), np.nanstd(values, 0), counts)
            for number, (mean, sd, count) in enumerate(zip(*columns), 1):
                rows.append(
                    {
                        "epoch": number,
                        "series": label,
                        "mean": f"{mean:.6f}",
                        "sd": f"{sd:.6f}",
                        "n_replicas": int(count),
                    }
                )
    return rows


def layers_of(names: Iterable[str]) -> dict[str, str]:
    """The layers whose LMMD is among the entries of an Epoch, for people, and their entries."""
    return {f"layer {name.removeprefix('lmmd_')}": name for name in names if name[:5] == "lmmd_"}


def write_curves(histories: Histories) -> None:
    """Write the tables of curves."""
    columns = ["epoch", "series", "mean", "sd", "n_replicas"]
    tables = {"loss": LOSSES, "recall": RECALLS, "lmmd": layers_of(histories)}
    for name, series in tables.items():
        write_table(METRICS / f"curves/{name}.csv", columns, curves(histories, series))


@contextlib.contextmanager
def shown_to_dvc() -> Iterator[Live | None]:
    """What shows DVC how far training is; None but under DVC, which deletes old curves before."""
    if "DVC_STAGE" not in os.environ:
        yield None
        return

    def show(histories: Histories) -> None:
        with contextlib.suppress(UserError):  # where there is no room the end of training says so
            write_json(LIVE, state_of(histories))
            write_curves(histories)

    try:
        yield show
    finally:
        with contextlib.suppress(OSError):
            LIVE.unlink()


def main() -> None:
    """Train a replica for every fold and seed, and write the model and its curves."""
    params = read_params()
    split, rows = read_split()
    system = SYSTEMS[params.system]
    settings = system.settings(params, split["classes"])
    check_leaks(rows, split["protocol"], split["folds"], split["validated_by"])
    if system.in_dialogue:
        check_dialogues(rows, split["folds"])
    if VISUAL in system.modalities(settings) and not system.may_lack:
        check_faces_at_test(rows, split["folds"])  # which evaluate would refuse
    features = Features(split["features_sha256"])
    dims = features.dims(system.views(settings), system.sequences)
    if absent := [view for view in system.views(settings) if view not in dims]:
        raise UserError(
            f"params.yaml: system: {params.system} learns from {', '.join(absent)} features, of "
            f"which {split['acoustic']} has none; set acoustic_only: true (fdan) or other "
            "modalities, or choose another system"
        )
    task = Task(features, rows, split["protocol"], settings, class_balance=params.class_balance)
    seeds = [params.seed + number for number in range(params.seeds)]
    with shown_to_dvc() as live:
        replicas = system.train_all(task, split["folds"], seeds, "train", live)

    names = [replica_name(replica.fold, replica.seed) for replica in replicas]
    write_model(
        {name: replica.state for name, replica in zip(names, replicas)},
        {
            "system": params.system,
            "folds": split["folds"],
            "seeds": seeds,
            "settings": settings,
            "dims": dims,
            "chosen": {name: replica.chosen for name, replica in zip(names, replicas)},
            "bank": {name: replica.bank for name, replica in zip(names, replicas)},
            "trained_emotions": {name: replica.emotions for name, replica in zip(names, replicas)},
        },
    )

    kept = mean_of(replicas)
    if "alpha" in settings:
        kept["lmmd_in_loss"] = params.alpha * sum(kept[name] for name in layers_of(kept).values())
    rounded = {name: significant(value) for name, value in kept.items()}
    write_json(METRICS / "train.json", rounded | {"n_replicas": len(replicas)})
    histories = [replica.history for replica in replicas]
    padded = list(zip_longest(*histories, fillvalue={}))  # [epochs][replicas]
    write_curves(
        {
            name: np.array([[epoch.get(name, np.nan) for epoch in row] for row in padded]).T
            for name in (histories[0][0] if system.by_epochs else ())
        }
    )
    longest = max(replica.seconds for replica in replicas)
    at_once = system.by_epochs and pick_device() == "cuda"
    how = "at once on a GPU, in" if at_once else "on CPUs, each in at most"
    print(f"train: {len(replicas)} replicas of {params.system} {how} {longest:.1f} s")


if __name__ == "__main__":
    run_stage(main, __doc__)
