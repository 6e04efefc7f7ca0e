"""Train: one FDAN a fold.

In:  data/split.csv, data/split.json, and the data/features/<corpus>.h5 that it names
Out: models/fdan.safetensors   the tensors of every fold's SpeechClassifier, "fold_<k>.<name>"
     models/fdan.json          what is needed to read them, and the utterances of every bank
     metrics/train.json        the losses and accuracies of the last epoch, mean over folds
     metrics/curves.csv        the same for every epoch
Paper: Section 2, Eq. (1) to (9), and Section 3.2.
"""

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from safetensors.torch import save_file

from stages.command import run
from stages.device import pick_device
from stages.emotions import EMOTIONS
from stages.failures import UserError
from stages.fdan.inference import SpeechClassifier, bank_states, draw_bank
from stages.fdan.training import Epoch, Samples, Settings, standardise, train_replica
from stages.files import file_sha256, read_json, read_table, replacing, write_json, write_table
from stages.params import load, section
from stages.progress import track
from stages.protocols import TEST, TRAIN, Rows, take
from stages.samples import Features, having

SPLIT = Path("data/split.csv")


def train_fold(
    features: Features, rows: Rows, fold: int, settings: Settings, seed: int
) -> tuple[dict[str, torch.Tensor], list[str], list[Epoch]]:
    """Train the replica of one fold on its training samples alone, one thread on a CPU.

    Returns:
        The state of its SpeechClassifier, the utterances of its bank, and the history.

    Raises:
        UserError: the loss is no longer finite.
    """
    torch.set_num_threads(1)  # the last bits of a sum depend on the number of threads
    device = pick_device()
    x_v, y_v, face_ids = features.faces(having(rows, "visual", fold, TRAIN))
    x_a, y_a, _ = features.voices(having(rows, "acoustic", fold, TRAIN))
    samples, moments = [], []
    for x, y in [(x_v, y_v), (x_a, y_a)]:
        values = torch.from_numpy(x)
        mean, std = standardise(values)
        moments.append((mean, std))
        samples.append(Samples(((values - mean) / std).to(device), torch.from_numpy(y).to(device)))
    visual, acoustic = samples
    try:
        network, history = train_replica(visual, acoustic, settings, seed)
    except FloatingPointError as error:
        raise UserError(f"train: fold {fold}: {error}; lower learning_rate or momentum") from error

    # Protocol paper trains on the faces of test utterances; no test voice may attend to them.
    tested = {take(row["id"]) for row in having(rows, "acoustic", fold, TEST)}
    allowed = torch.tensor([i for i, name in enumerate(face_ids) if take(name) not in tested])
    if len(allowed) == 0:
        raise UserError(f"params.yaml: folds: fold {fold} tests the utterance of every face")
    generator = torch.Generator().manual_seed(seed)
    faces = allowed[draw_bank(visual.y.cpu()[allowed], settings.batch_size, generator)]
    voices = draw_bank(acoustic.y.cpu(), settings.batch_size, generator)
    states = bank_states(network, visual.x[faces], acoustic.x[voices])
    mean, std = moments[1]
    classifier = SpeechClassifier(network.cpu(), mean, std, [state.cpu() for state in states])
    return classifier.state_dict(), [face_ids[i] for i in faces], history


def train_all(
    features: Features, rows: Rows, folds: int, settings: Settings, seed: int
) -> list[tuple[dict[str, torch.Tensor], list[str], list[Epoch]]]:
    """Train every fold: side by side in one-thread processes on CPUs, in turn on a GPU."""
    jobs = 1 if torch.cuda.is_available() else min(folds, joblib.cpu_count())
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
    tasks = (
        joblib.delayed(train_fold)(features, rows, fold, settings, seed) for fold in range(folds)
    )
    return list(track(parallel(tasks), folds, "train", "folds"))


def main() -> None:
    seed = load("seed")["seed"]
    params = load("alpha", "batch_size", "epochs", "learning_rate", "momentum", "weight_decay")
    network, kernel = section("network"), section("lmmd")
    settings = Settings(classes=len(EMOTIONS), **params, **network, **kernel)
    task = read_json(Path("data/split.json"))
    rows = read_table(SPLIT)
    features = Features(task["features_sha256"])
    replicas = train_all(features, rows, task["folds"], settings, seed)

    model = Path("models/fdan.safetensors")
    tensors = {
        f"fold_{fold}.{name}": value.contiguous()
        for fold, (state, _, _) in enumerate(replicas)
        for name, value in state.items()
    }
    with replacing(model) as temporary:
        save_file(tensors, temporary)
    description: dict[str, Any] = {
        "emotions": list(EMOTIONS),
        "folds": task["folds"],
        "network": network,
        "visual_dim": len(next(iter(features.visual.values()))[0]),
        "acoustic_dim": len(next(iter(features.acoustic.values()))),
        "bank": {f"fold_{fold}": ids for fold, (_, ids, _) in enumerate(replicas)},
        "sha256": file_sha256(model),
        "split_sha256": file_sha256(SPLIT),
    }
    write_json(Path("models/fdan.json"), description)

    curves = np.mean([history for _, _, history in replicas], axis=0)
    table = [
        {"epoch": epoch + 1} | {name: f"{value:.6f}" for name, value in zip(Epoch._fields, means)}
        for epoch, means in enumerate(curves.tolist())
    ]
    write_table(Path("metrics/curves.csv"), ["epoch", *Epoch._fields], table)
    last = dict(zip(Epoch._fields, curves[-1].tolist()))
    write_json(Path("metrics/train.json"), {**last, "lmmd_in_loss": params["alpha"] * last["lmmd"]})


if __name__ == "__main__":
    run(main)
