"""All replicas of an experiment: every fold with every seed, each trained by itself.

On CPUs they run side by side, in processes of one thread each; on a GPU in turn.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import joblib
import torch
from torch import Tensor

from stages.device import enough_memory, pick_device
from stages.failures import UserError
from stages.fdan.inference import (
    Bank,
    Moments,
    SpeechClassifier,
    draw_bank,
    moments_of,
    prototypes,
)
from stages.fdan.training import (
    BANK,
    Epoch,
    Samples,
    Settings,
    random_stream,
    train_replica,
)
from stages.leaks import refuse_bank
from stages.progress import track
from stages.protocols import TEST, TRAIN, VALIDATION, Rows, take
from stages.samples import Features, having


class Task(NamedTuple):
    """What all replicas share.

    Attributes:
        rows: data/split.csv.
        inference: "bank", "prototypes" or "none" (`stages.fdan.inference`).
        watched: role of the voices that each epoch is judged on and that may choose it:
            "validation"; "test" only for the figure that is labelled as optimistic.
    """

    features: Features
    rows: Rows
    protocol: str
    settings: Settings
    inference: str
    watched: str = VALIDATION


class Trained(NamedTuple):
    """One replica.

    Attributes:
        state: of its SpeechClassifier.
        bank: ids of the utterances whose faces are in its bank.
        epoch: the epoch kept, from 1.
        seconds: how long the training took.
    """

    fold: int
    seed: int
    state: dict[str, Tensor]
    bank: list[str]
    epoch: int
    history: list[Epoch]
    seconds: float


def train_one(task: Task, fold: int, seed: int) -> Trained:
    """Train the replica of one fold and seed on its training samples alone.

    Raises:
        UserError: the loss is no longer finite, no voice is left to choose the epoch, the bank
            would hold a face that it must not, or the GPU has no memory left.
    """
    advice = f"lower batch_size ({task.settings.batch_size}), network.dim or network.ffn_dim"
    with enough_memory(f"train: fold {fold}, seed {seed}", advice):
        return _train_one(task, fold, seed)


def _train_one(task: Task, fold: int, seed: int) -> Trained:
    torch.set_num_threads(1)  # the last bits of a sum depend on the number of threads
    device = pick_device()
    settings, faceless = task.settings, task.settings.network["acoustic_only"]

    def voices(role: str) -> Samples | None:
        rows = having(task.rows, "acoustic", fold, role)
        return Samples(*map(torch.from_numpy, task.features.voices(rows)[:2])) if rows else None

    heard = voices(TRAIN)
    acoustic_moments, visual_moments = moments_of(heard.x), None
    acoustic = _scaled(heard, acoustic_moments, device)
    watched = voices(task.watched)
    if watched is None and settings.select != "last":
        raise UserError(
            f"params.yaml: selection: fold {fold} has no {task.watched} voice to choose the epoch "
            "by; set selection: last"
        )
    visual, bank, bank_ids = None, None, []
    if not faceless:
        x, y, face_ids = task.features.faces(having(task.rows, "visual", fold, TRAIN))
        seen = Samples(torch.from_numpy(x), torch.from_numpy(y))
        visual_moments = moments_of(seen.x)
        visual = _scaled(seen, visual_moments, device)
        if task.inference != "none" and settings.network["cross_attention"]:
            bank, bank_ids = make_bank(task, fold, seed, visual, acoustic, face_ids)
    started = time.perf_counter()
    try:
        held_out = None if watched is None else _scaled(watched, acoustic_moments, device)
        replica = train_replica(visual, acoustic, held_out, bank, settings, seed)
    except FloatingPointError as error:
        raise UserError(
            f"train: fold {fold}, seed {seed}: {error}; lower learning_rate or momentum"
        ) from error
    seconds = time.perf_counter() - started
    on_cpu = None if bank is None else Bank(*(part.cpu() for part in bank))
    classifier = SpeechClassifier(replica.network.cpu(), acoustic_moments, visual_moments, on_cpu)
    state = classifier.state_dict()
    return Trained(fold, seed, state, bank_ids, replica.epoch, replica.history, seconds)


def make_bank(task: Task, fold: int, seed: int, visual: Samples, acoustic: Samples,
              face_ids: Sequence[str]) -> tuple[Bank, list[str]]:
    """The bank of a replica, and the ids of the utterances whose faces are in it.

    Protocol paper trains on the faces of test utterances; no test or validation voice may attend
    to them.

    Args:
        visual, acoustic: standardised training samples.
        face_ids: the utterance of every face.

    Raises:
        UserError: no face is left, or (`refuse_bank`) one must not be there.
    """
    held = {
        take(row["id"])
        for role in (TEST, VALIDATION)
        for row in having(task.rows, "acoustic", fold, role)
    }
    chosen = torch.tensor([i for i, name in enumerate(face_ids) if take(name) not in held])
    if len(chosen) == 0:
        raise UserError(
            f"params.yaml: folds: fold {fold} tests or validates the utterance of every face; "
            "choose more folds, or inference: none"
        )
    chosen = chosen.to(visual.y.device)
    if task.inference == "bank":
        size, stream = task.settings.batch_size, random_stream(seed, BANK)
        chosen = chosen[draw_bank(visual.y[chosen].cpu(), size, stream)]
        heard = draw_bank(acoustic.y.cpu(), size, stream)
        bank = Bank(visual.x[chosen], acoustic.x[heard])
    else:
        bank = Bank(prototypes(visual.x[chosen], visual.y[chosen]),
                    prototypes(acoustic.x, acoustic.y))
    ids = sorted({face_ids[i] for i in chosen.tolist()})
    refuse_bank(task.rows, task.protocol, fold, ids)
    return bank, ids


def train_all(task: Task, folds: int, seeds: Sequence[int], label: str) -> list[Trained]:
    """Train every fold with every seed, in this order."""
    jobs = 1 if torch.cuda.is_available() else min(folds * len(seeds), joblib.cpu_count())
    parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
    pairs = [(fold, seed) for fold in range(folds) for seed in seeds]
    calls = (joblib.delayed(train_one)(task, fold, seed) for fold, seed in pairs)
    return list(track(parallel(calls), len(pairs), label, "replicas"))


def _scaled(samples: Samples, moments: Moments, device: str) -> Samples:
    return Samples(moments.standardise(samples.x).to(device), samples.y.to(device))
