"""All replicas of an experiment: every fold with every seed, none of which sees another.

On CPUs they run side by side, in processes of one thread each; on a GPU they are stacked.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

import joblib
import torch
from torch import Tensor

from stages.fdan.inference import (
    Bank,
    Moments,
    SpeechClassifier,
    draw_bank,
    moments_of,
    prototypes,
)
from stages.fdan.stacked import Diverged, Inputs, train_stacked
from stages.fdan.training import (
    BANK,
    Epoch,
    Replica,
    Samples,
    Settings,
    random_stream,
    train_replica,
)
from stages.runtime.device import enough_memory, pick_device, require_determinism
from stages.runtime.errors import UserError
from stages.runtime.progress import track
from stages.splits.dataset import Features, select_rows
from stages.splits.leaks import check_bank
from stages.splits.protocols import TEST, TRAIN, VALIDATION, Rows, recording_id


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
        seconds: how long the training took, on a GPU that of all replicas.
    """

    fold: int
    seed: int
    state: dict[str, Tensor]
    bank: list[str]
    epoch: int
    history: list[Epoch]
    seconds: float


class Fold(NamedTuple):
    """What the replicas of one fold share.

    Attributes:
        visual, acoustic: standardised training samples; no `visual` where no faces are seen.
        held_out: standardised voices that each epoch is judged on.
        visual_moments, acoustic_moments: what they were standardised by.
        face_ids: the utterance of every face.
    """

    visual: Samples | None
    acoustic: Samples
    held_out: Samples | None
    visual_moments: Moments | None
    acoustic_moments: Moments
    face_ids: list[str]


def prepare_fold(task: Task, fold: int) -> Fold:
    """The samples of a fold.

    Raises:
        UserError: no voice is left to choose the epoch.
    """
    settings = task.settings

    def voices(role: str) -> Samples | None:
        rows = select_rows(task.rows, "acoustic", fold, role)
        return (
            Samples(*map(torch.from_numpy, task.features.acoustic_samples(rows)[:2]))
            if rows
            else None
        )

    heard = voices(TRAIN)
    acoustic_moments, visual_moments = moments_of(heard.x), None
    acoustic = _scaled(heard, acoustic_moments)
    watched = voices(task.watched)
    if watched is None and settings.select != "last":
        raise UserError(
            f"params.yaml: selection: fold {fold} has no {task.watched} voice to choose the epoch "
            "by; set selection: last"
        )
    held_out = None if watched is None else _scaled(watched, acoustic_moments)
    visual, face_ids = None, []
    if not settings.network["acoustic_only"]:
        x, y, face_ids = task.features.visual_samples(select_rows(task.rows, "visual", fold, TRAIN))
        seen = Samples(torch.from_numpy(x), torch.from_numpy(y))
        visual_moments = moments_of(seen.x)
        visual = _scaled(seen, visual_moments)
    return Fold(visual, acoustic, held_out, visual_moments, acoustic_moments, face_ids)


def prepare(task: Task, fold: int, seed: int, shared: Fold) -> tuple[Inputs, list[str]]:
    """What a replica is trained on, and the ids of the utterances whose faces are in its bank.

    Raises:
        UserError: the bank would hold a face that it must not.
    """
    bank, bank_ids = None, []
    attends = shared.visual is not None and task.settings.network["cross_attention"]
    if attends and task.inference != "none":
        bank, bank_ids = make_bank(
            task, fold, seed, shared.visual, shared.acoustic, shared.face_ids
        )
    return Inputs(shared.visual, shared.acoustic, shared.held_out, bank, seed), bank_ids


def finish(
    replica: Replica, fold: int, shared: Fold, inputs: Inputs, bank_ids: list[str], seconds: float
) -> Trained:
    """The replica as it is stored."""
    classifier = SpeechClassifier(
        replica.network, shared.acoustic_moments, shared.visual_moments, inputs.bank
    )
    # The seeds of a fold share its moments, and a model file takes no tensor under two names.
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    return Trained(fold, inputs.seed, state, bank_ids, replica.epoch, replica.history, seconds)


def train_one(task: Task, fold: int, seed: int) -> Trained:
    """Train the replica of one fold and seed on its training samples alone, on the CPU.

    Raises:
        UserError: the loss is no longer finite, no voice is left to choose the epoch, or the bank
            would hold a face that it must not.
    """
    torch.set_num_threads(1)  # the last bits of a sum depend on the number of threads
    require_determinism()
    shared = prepare_fold(task, fold)
    inputs, bank_ids = prepare(task, fold, seed, shared)
    started = time.perf_counter()
    try:
        replica = train_replica(*inputs[:4], task.settings, seed)
    except FloatingPointError as error:
        raise _diverged(fold, seed, error) from error
    return finish(replica, fold, shared, inputs, bank_ids, time.perf_counter() - started)


def train_side_by_side(task: Task, pairs: Sequence[tuple[int, int]], label: str) -> list[Trained]:
    """Train the replicas of the folds and seeds given on as many cores as there are."""
    parallel = joblib.Parallel(min(len(pairs), joblib.cpu_count()), return_as="generator")
    calls = (joblib.delayed(train_one)(task, fold, seed) for fold, seed in pairs)
    return list(track(parallel(calls), len(pairs), label, "replicas"))


def train_at_once(task: Task, pairs: Sequence[tuple[int, int]], label: str) -> list[Trained]:
    """Train the replicas of the folds and seeds given as one stack (`stages.fdan.stacked`).

    Raises:
        UserError: as `train_one`, or the GPU has no memory left.
    """
    advice = f"lower seeds, batch_size ({task.settings.batch_size}), network.dim or network.ffn_dim"
    with enough_memory(f"train: {len(pairs)} replicas at once", advice):
        device = pick_device()
        folds = {fold: prepare_fold(task, fold) for fold in {fold for fold, _ in pairs}}
        prepared = [prepare(task, fold, seed, folds[fold]) for fold, seed in pairs]
        inputs = [of_one for of_one, _ in prepared]
        started = time.perf_counter()
        try:
            replicas = train_stacked(
                inputs,
                task.settings,
                torch.device(device),
                lambda epochs: track(epochs, len(epochs), label, "epochs"),
            )
        except Diverged as error:
            raise _diverged(*pairs[error.place], error) from error
        seconds = time.perf_counter() - started
        return [
            finish(replica, fold, folds[fold], of_one, bank_ids, seconds)
            for replica, (fold, _), (of_one, bank_ids) in zip(replicas, pairs, prepared)
        ]


def make_bank(
    task: Task, fold: int, seed: int, visual: Samples, acoustic: Samples, face_ids: Sequence[str]
) -> tuple[Bank, list[str]]:
    """The bank of a replica, and the ids of the utterances whose faces are in it.

    Protocol paper trains on the faces of test utterances; no test or validation voice may attend
    to them.

    Args:
        visual, acoustic: standardised training samples.
        face_ids: the utterance of every face.

    Raises:
        UserError: no face is left, or (`check_bank`) one must not be there.
    """
    held = {
        recording_id(row["id"])
        for role in (TEST, VALIDATION)
        for row in select_rows(task.rows, "acoustic", fold, role)
    }
    chosen = torch.tensor([i for i, name in enumerate(face_ids) if recording_id(name) not in held])
    if len(chosen) == 0:
        raise UserError(
            f"params.yaml: folds: fold {fold} tests or validates the utterance of every face; "
            "choose more folds, or inference: none"
        )
    if task.inference == "bank":
        size, stream = task.settings.batch_size, random_stream(seed, BANK)
        chosen = chosen[draw_bank(visual.y[chosen], size, stream)]
        heard = draw_bank(acoustic.y, size, stream)
        bank = Bank(visual.x[chosen], acoustic.x[heard])
    else:
        bank = Bank(
            prototypes(visual.x[chosen], visual.y[chosen]), prototypes(acoustic.x, acoustic.y)
        )
    ids = sorted({face_ids[i] for i in chosen.tolist()})
    check_bank(task.rows, task.protocol, fold, ids)
    return bank, ids


def train_all(task: Task, folds: int, seeds: Sequence[int], label: str) -> list[Trained]:
    """Train every fold with every seed, in this order."""
    pairs = [(fold, seed) for fold in range(folds) for seed in seeds]
    train = train_at_once if torch.cuda.is_available() else train_side_by_side
    return train(task, pairs, label)


def _diverged(fold: int, seed: int, error: FloatingPointError) -> UserError:
    return UserError(f"train: fold {fold}, seed {seed}: {error}; lower learning_rate or momentum")


def _scaled(samples: Samples, moments: Moments) -> Samples:
    return Samples(moments.standardise(samples.x), samples.y)
