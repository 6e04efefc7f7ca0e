"""All replicas of an experiment: every fold with every seed, none of which sees another.

On CPUs they run side by side, in processes of one thread each; on a GPU they are stacked.
"""

import os
import time
from collections.abc import Sequence
from typing import NamedTuple

import joblib
import torch
from torch import Tensor

from stages.corpora.emotions import EMOTIONS
from stages.fdan.batches import BANK, make_generator
from stages.fdan.inference import (
    Bank,
    SpeechClassifier,
    draw_bank,
    prototypes,
)
from stages.fdan.training import (
    DivergedError,
    Inputs,
    Replica,
    Report,
    term_names,
    train_replicas,
    trained_classes,
)
from stages.runtime.command import end_with
from stages.runtime.device import enough_memory, pick_device, require_determinism
from stages.runtime.errors import UserError
from stages.splits.dataset import bank_candidates, select_rows
from stages.splits.leaks import check_bank
from stages.splits.protocols import TRAIN
from stages.systems.board import board
from stages.systems.contract import (
    ACOUSTIC,
    VISUAL,
    Live,
    Samples,
    Standardizer,
    Task,
    Trained,
    even,
    fit_standardizer,
)


class Fold(NamedTuple):
    """What the replicas of one fold share.

    Attributes:
        visual, acoustic: standardised training samples, those of no copies first; no `visual`
            without that modality.
        validation: standardised acoustic samples that each epoch is scored on.
        visual_scale, acoustic_scale: what they were standardised by.
        visual_ids: the utterance of every visual sample that is of no copy.
        emotions: those of the training samples.
    """

    visual: Samples | None
    acoustic: Samples
    validation: Samples | None
    visual_scale: Standardizer | None
    acoustic_scale: Standardizer
    visual_ids: list[str]
    emotions: list[str]


def prepare_fold(task: Task, fold: int) -> Fold:
    """The samples of a fold.

    Raises:
        UserError: no utterance that could be recognised is left to choose the epoch.
    """
    settings = task.settings
    acoustic = task.acoustic(task.training_rows(fold, [ACOUSTIC]))
    acoustic_scale = fit_standardizer(acoustic.x)
    visual, visual_scale = None, None
    visual_ids: list[str] = []
    if not settings.network["acoustic_only"]:
        seen = select_rows(task.rows, VISUAL, fold, TRAIN)
        visual_ids = [row["id"] for row in seen for _ in task.features.visual[row["id"]]]
        x, y, _ = task.features.visual_samples(task.features.with_copies(seen, [VISUAL]))
        visual = Samples(torch.from_numpy(x), torch.from_numpy(y))
        if task.class_balance == "sampler":
            chosen = even(visual.y)
            visual = Samples(visual.x[chosen], visual.y[chosen])
        visual_scale = fit_standardizer(visual.x)
        visual = _scaled(visual, visual_scale)
    emotions = [EMOTIONS[label] for label in trained_classes(visual, acoustic)]
    watched = select_rows(task.rows, "acoustic", fold, task.watched)
    if not any(row["emotion"] in emotions for row in watched):
        watched = []
        if settings.select != "last":
            raise UserError(
                f"params.yaml: selection: fold {fold} has no {task.watched} voice to choose the "
                "epoch by; set selection: last"
            )
    return Fold(
        visual,
        _scaled(acoustic, acoustic_scale),
        _scaled(task.acoustic(watched), acoustic_scale) if watched else None,
        visual_scale,
        acoustic_scale,
        visual_ids,
        emotions,
    )


def train_group(
    task: Task,
    pairs: Sequence[tuple[int, int]],
    device: str,
    report: Report,
) -> list[Trained]:
    """Train the replicas of the folds and seeds given, each on its training samples alone.

    Raises:
        UserError: a loss is no longer finite, no utterance is left to choose the epoch, or a bank
            would hold a visual sample that it must not.
    """
    torch.set_num_threads(1)  # the last bits of a sum depend on the number of threads
    require_determinism()
    folds = {fold: prepare_fold(task, fold) for fold in {fold for fold, _ in pairs}}
    inputs, bank_ids = [], []
    for fold, seed in pairs:
        shared = folds[fold]
        bank, ids = make_bank(task, fold, seed, shared)
        samples = shared.visual, shared.acoustic, shared.validation
        inputs.append(Inputs(*samples, bank, seed, task.class_balance == "weights"))
        bank_ids.append(ids)
    started = time.perf_counter()
    try:
        replicas = train_replicas(inputs, task.settings, torch.device(device), report)
    except DivergedError as error:
        fold, seed = pairs[error.place]
        raise UserError(
            f"train: fold {fold}, seed {seed}: {error}; lower learning_rate or momentum"
        ) from error
    seconds = time.perf_counter() - started
    return [
        Trained(
            fold,
            seed,
            _state(replica, folds[fold], bank),
            ids,
            folds[fold].emotions,
            {"epoch": replica.epoch},
            replica.history[replica.epoch - 1],
            replica.history,
            seconds,
        )
        for (fold, seed), replica, (*_, bank, _, _), ids in zip(pairs, replicas, inputs, bank_ids)
    ]


def _state(replica: Replica, shared: Fold, bank: Bank | None) -> dict[str, Tensor]:
    """All that the replica needs to predict; the tensors are its own."""
    classifier = SpeechClassifier(replica.network, shared.acoustic_scale, shared.visual_scale, bank)
    # The seeds of a fold share its standardizer, and a checkpoint takes no tensor under two names.
    return {name: value.clone() for name, value in classifier.state_dict().items()}


def train_side_by_side(
    task: Task, pairs: Sequence[tuple[int, int]], label: str, live: Live | None = None
) -> list[Trained]:
    """Train the replicas one by one, on as many cores as there are."""
    jobs = min(len(pairs), joblib.cpu_count())
    parallel = joblib.Parallel(jobs, initializer=end_with, initargs=(os.getpid(),))
    terms = term_names(task.settings)
    with board(label, len(pairs), task.settings.epochs, terms, live) as reporter:
        return [
            trained
            for [trained] in parallel(
                joblib.delayed(train_group)(task, [pair], "cpu", reporter.starting_at(place))
                for place, pair in enumerate(pairs)
            )
        ]


def train_at_once(
    task: Task, pairs: Sequence[tuple[int, int]], label: str, live: Live | None = None
) -> list[Trained]:
    """Train the replicas as one stack, on a GPU where there is one.

    Raises:
        UserError: as `train_group`, or the GPU has no memory left.
    """
    advice = f"lower seeds, batch_size ({task.settings.batch_size}), network.dim or network.ffn_dim"
    with (
        enough_memory(f"train: {len(pairs)} replicas at once", advice),
        board(label, len(pairs), task.settings.epochs, term_names(task.settings), live) as reporter,
    ):
        return train_group(task, pairs, pick_device(), reporter)


def make_bank(task: Task, fold: int, seed: int, shared: Fold) -> tuple[Bank | None, list[str]]:
    """The bank of a replica, if it has one, and the ids of the utterances of its visual samples.

    Raises:
        UserError: no visual sample is left, or (`check_bank`) one must not be there.
    """
    visual, heard = shared.visual, len(select_rows(task.rows, ACOUSTIC, fold, TRAIN))
    acoustic = Samples(*(part[:heard] for part in shared.acoustic))  # no copies
    attends = task.settings.network["cross_attention"] and task.settings.inference != "none"
    if visual is None or not attends:
        return None, []
    open_to_all = {row["id"] for row in bank_candidates(task.rows, fold)}
    allowed = [i for i, name in enumerate(shared.visual_ids) if name in open_to_all]
    if not allowed:
        raise UserError(
            f"params.yaml: folds: fold {fold} tests or validates the utterance of every face; "
            "choose more folds, or inference: none"
        )
    chosen = torch.tensor(allowed)
    if task.settings.inference == "bank":
        size, generator = task.settings.batch_size, make_generator(seed, BANK)
        chosen = chosen[draw_bank(visual.y[chosen], size, generator)]
        bank = Bank(visual.x[chosen], acoustic.x[draw_bank(acoustic.y, size, generator)])
    else:
        bank = Bank(
            prototypes(visual.x[chosen], visual.y[chosen]), prototypes(acoustic.x, acoustic.y)
        )
    ids = sorted({shared.visual_ids[i] for i in chosen.tolist()})
    check_bank(task.rows, task.protocol, fold, ids)
    return bank, ids


def train_all(
    task: Task, folds: int, seeds: Sequence[int], label: str, live: Live | None = None
) -> list[Trained]:
    """Train every fold with every seed, in this order.

    Args:
        live: given every few seconds what is known of the epochs made (`stages.systems.board`).
    """
    pairs = [(fold, seed) for fold in range(folds) for seed in seeds]
    train = train_at_once if pick_device() == "cuda" else train_side_by_side
    return train(task, pairs, label, live)


def _scaled(samples: Samples, scale: Standardizer) -> Samples:
    return Samples(scale.apply(samples.x), samples.y)
