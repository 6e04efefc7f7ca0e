"""Training of FDAN: replicas, each one fold with one seed. Paper: Eq. (9) and Section 3.2.

`train_replicas` trains any number of them at once, with one loop for all: their parameters are
stacked, [R, ...] (`stages.fdan.stacking`). On CPUs each process trains one; a GPU trains all. A
replica learns, chooses its epoch and stops as if it were alone, to rounding: which bits come out
may depend on how many are stacked, since libraries choose their kernels by the size of the work.

What differs between the replicas of a stack:

- Samples. Each replica draws its own batches with generators of its own seed. The samples of a
  fold lie on the device once, however many seeds it has: 84 MB for MELD's 41,124 faces of 512
  float32. Beside them a replica holds four times its parameters (gradient, momentum, best epoch),
  15 MB at d = 256, and its validation samples.
- Steps an epoch, where the training utterances of two folds lie either side of a multiple of the
  batch size. A replica whose epoch is over is set aside, and put back when the longest has ended.
- Validation utterances are padded to the largest number; what comes out for padding is not read.
- The shapes of a batch (a fold with fewer samples than a batch) or of the bank (a fold that lacks
  a class), which is rare: such replicas are stacked apart, and the stacks trained in turn.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from stages.fdan.batches import ACOUSTIC, PARAMETERS, VISUAL, Batches, make_generator
from stages.fdan.inference import Bank, bank_states
from stages.fdan.network import FDAN, fdan_loss
from stages.fdan.stacking import Stack, capture
from stages.scoring.metrics import uar, war
from stages.systems.contract import Samples
from stages.systems.selection import score_of


class Inputs(NamedTuple):
    """What one replica is trained on, standardised and on the CPU.

    Attributes:
        visual, acoustic: training samples; no `visual` for a network without the visual modality.
            The replicas of a fold should share theirs, which the device then holds once.
        validation: acoustic samples that each epoch is scored on, and that choose the epoch where
            `Settings.select` says so; at least one is of a class that is trained on.
        bank: what the validation utterances attend to.
        weighted: whether the emotions weigh as much as each other in the cross-entropies.
    """

    visual: Samples | None
    acoustic: Samples
    validation: Samples | None
    bank: Bank | None
    seed: int
    weighted: bool = False


# What is known of one epoch, by name. Of the training batches: acoustic_loss, visual_loss, lmmd_1
# .. lmmd_l, shared_classes (classes that LMMD could compare), acoustic_uar, visual_uar. Of the
# validation utterances: validation_loss, validation_uar, validation_war. Without a modality or
# without validation their entries are absent.
Epoch = dict[str, float]
# Told of a replica, by its place among the inputs: an epoch's number, what is known of it, and
# whether it was the last.
Report = Callable[[int, int, Epoch, bool], None]


@dataclass(frozen=True)
class Settings:
    """What Section 3.2 names, and the learning rate, layers and widths that it does not.

    Attributes:
        network: arguments of FDAN after the classes.
        lmmd: options of `lmmd`.
        select: "last" epoch, or that with the best "uar" or "war" of the validation utterances.
        patience: a replica ends after so many epochs that are no better than the one it keeps;
            0 for never. It does not end before its time where the last epoch is kept.
        inference: what a voice attends to at test (`stages.fdan.inference`).
    """

    classes: int
    alpha: float
    learning_rate: float
    momentum: float
    weight_decay: float
    batch_size: int
    epochs: int
    network: dict[str, Any]
    lmmd: dict[str, Any]
    select: str
    patience: int = 0
    inference: str = "bank"


class Replica(NamedTuple):
    """A trained network, the epoch (from 1) whose parameters it has, and its whole history."""

    network: FDAN
    epoch: int
    history: list[Epoch]


class DivergedError(FloatingPointError):
    """The loss of a replica, by its place among the inputs, is no longer finite."""

    def __init__(self, place: int, epoch: int):
        super().__init__(f"the loss is not finite in epoch {epoch}")
        self.place = place


def steps_of_epoch(acoustic: Samples, settings: Settings) -> int:
    """An epoch is one pass over the training utterances of the acoustic modality."""
    return max(1, len(acoustic.y) // settings.batch_size)


def initial_network(inputs: Inputs, settings: Settings) -> FDAN:
    """FDAN with random parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(make_generator(inputs.seed, PARAMETERS).initial_seed())
        visual_dim = 0 if inputs.visual is None else inputs.visual.x.shape[1]
        acoustic_dim = inputs.acoustic.x.shape[1]
        return FDAN(visual_dim, acoustic_dim, settings.classes, **settings.network)


def train_replicas(
    inputs: Sequence[Inputs],
    settings: Settings,
    device: torch.device,
    report: Report = lambda *_: None,
) -> list[Replica]:
    """Train one FDAN by SGD for each of the inputs.

    Of epochs with equal scores (`score_of`) the earliest is kept. Classes that no training sample
    of a replica has are never predicted by it (`untrained_classes`).

    Returns:
        Replicas on the CPU, in the order of the inputs.

    Raises:
        DivergedError: a loss is no longer finite; the message names the epoch.
    """
    stacks: dict[tuple, list[int]] = {}
    for place, replica in enumerate(inputs):
        samples = [part for part in (replica.acoustic, replica.visual) if part is not None]
        batch = [min(settings.batch_size, len(part.y)) for part in samples]
        shape = (*batch, *map(len, replica.bank or ()), replica.validation is None)
        stacks.setdefault(shape, []).append(place)
    trained: dict[int, Replica] = {}
    for places in stacks.values():
        replicas = _train_stack(
            [inputs[place] for place in places], settings, device, report, places
        )
        trained |= zip(places, replicas)
    return [trained[place] for place in range(len(inputs))]


def _train_stack(
    inputs: Sequence[Inputs],
    settings: Settings,
    device: torch.device,
    report: Report,
    places: Sequence[int],
) -> list[Replica]:
    """`train_replicas` of replicas whose batches and banks have the same shapes."""
    networks = [initial_network(replica, settings) for replica in inputs]
    stack = Stack(networks, device)
    training = Training(inputs, settings, stack, device)
    watched = inputs[0].validation is not None
    validation = Validation(inputs, settings, stack, device) if watched else None
    histories: list[list[Epoch]] = [[] for _ in inputs]
    scores = [(-math.inf, -math.inf)] * len(inputs)
    kept = [settings.epochs] * len(inputs)
    running = list(range(len(inputs)))
    best = {name: value.detach().clone() for name, value in stack.state.items()}
    indices = training.draw_epoch()
    for number in range(1, settings.epochs + 1):
        training.train_one_epoch(indices)
        if validation is not None:
            validation.evaluate()
        following = training.draw_epoch()  # while a GPU is at work
        epochs = training.read_epoch(indices)
        indices = following
        if validation is not None:
            epochs = [old | new for old, new in zip(epochs, validation.read_epoch())]
        for r in list(running):
            epoch = epochs[r]
            if not all(map(math.isfinite, epoch.values())):
                raise DivergedError(places[r], number)
            histories[r].append(epoch)
            if settings.select != "last" and score_of(epoch, settings.select) > scores[r]:
                scores[r], kept[r] = score_of(epoch, settings.select), number
                for name, value in stack.state.items():
                    best[name][r].copy_(value[r].detach())
            ended = number == settings.epochs or 0 < settings.patience <= number - kept[r]
            report(places[r], number, epoch, ended)
            if ended:  # in a stack it goes on, unread, until all have ended
                running.remove(r)
        if not running:
            break
    final = stack.state if settings.select == "last" else best
    for r, network in enumerate(networks):
        network.load_state_dict({name: value[r] for name, value in final.items()})
        bias = network.classifier.bias.data
        bias[untrained_classes(inputs[r], settings)] = torch.finfo(bias.dtype).min
    return [Replica(*parts) for parts in zip(map(nn.Module.eval, networks), kept, histories)]


def trained_classes(*samples: Samples | None) -> Tensor:
    """The classes, int64 in ascending order, that any of the training samples has."""
    return torch.cat([part.y for part in samples if part is not None]).unique()


def untrained_classes(inputs: Inputs, settings: Settings) -> Tensor:
    """The classes, bool [C], that no training sample has, neither acoustic nor visual.

    Their logits are the lowest number there is, so that their probability is exactly 0.
    """
    untrained = torch.ones(settings.classes, dtype=torch.bool)
    untrained[trained_classes(inputs.visual, inputs.acoustic)] = False
    return untrained


def objective(
    network: FDAN,
    x_a: Tensor,
    y_a: Tensor,
    x_v: Tensor | None = None,
    y_v: Tensor | None = None,
    *,
    settings: Settings,
) -> tuple[Tensor, ...]:
    """Eq. (9) of one batch of one replica, whose labels are rows as of `fdan_loss`.

    Returns:
        The loss; float64 [k], the terms that an Epoch has the means of (`term_names`); and the
        classes predicted, [n_a] and, with the visual modality, [n_v].
    """
    outputs = network(x_v, x_a)
    loss = fdan_loss(outputs, y_v, y_a, settings.alpha, settings.lmmd)
    terms = [loss.acoustic] if loss.visual is None else [loss.acoustic, loss.visual, *loss.lmmd]
    predicted = [outputs.acoustic] if outputs.visual is None else [outputs.acoustic, outputs.visual]
    return (
        loss.total,
        torch.stack(terms).detach().double(),
        *(logits.detach().argmax(1) for logits in predicted),
    )


def term_names(settings: Settings) -> list[str]:
    """The terms of `objective` as an Epoch names them."""
    if settings.network["acoustic_only"]:
        return ["acoustic_loss"]
    layers = range(1, settings.network["layers"] + 1)
    return ["acoustic_loss", "visual_loss", *(f"lmmd_{i}" for i in layers)]


class Training:
    """SGD on a stack: its batches, and what is noted of the steps of an epoch.

    All tensors that a step reads or writes stay where they are, as `capture` asks.
    """

    def __init__(
        self, inputs: Sequence[Inputs], settings: Settings, stack: Stack, device: torch.device
    ):
        self.settings, self.stack = settings, stack
        self.steps = [steps_of_epoch(replica.acoustic, settings) for replica in inputs]
        self.batches = {
            name: Batches(
                [getattr(replica, name) for replica in inputs],
                [replica.seed for replica in inputs],
                purpose,
                settings.batch_size,
                settings.classes,
                self.steps,
                device,
                inputs[0].weighted,
            )
            for name, purpose in [("acoustic", ACOUSTIC), ("visual", VISUAL)]
            if name == "acoustic" or not settings.network["acoustic_only"]
        }
        self.optimizer = torch.optim.SGD(
            stack.parameters,
            settings.learning_rate,
            settings.momentum,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.number = torch.zeros(1, dtype=torch.long, device=device)  # of the step in its epoch
        longest = max(self.steps), len(inputs)
        terms = torch.zeros(*longest, len(term_names(settings)), dtype=torch.float64, device=device)
        self.noted = [terms, *map(torch.zeros_like, (of.indices for of in self.batches.values()))]
        self.objective = stack.map(partial(objective, settings=settings))
        self.step = capture(self._step, device, self.changed)

    def draw_epoch(self) -> list[Tensor]:
        """For each modality the indices of all batches of the next epoch, on the CPU."""
        return [batches.draw_epoch() for batches in self.batches.values()]

    def train_one_epoch(self, indices: Sequence[Tensor]) -> None:
        """Make the steps of an epoch; on a GPU they are only queued."""
        for batches, of_modality in zip(self.batches.values(), indices):
            batches.indices.copy_(of_modality)
        self.number.zero_()
        aside = []
        for number in range(1, max(self.steps) + 1):
            self.step()
            if number in self.steps and number < max(self.steps):
                over = [r for r, steps in enumerate(self.steps) if steps == number]
                aside.append((over, [value.detach()[over] for value in self._moving()]))
        for over, values in aside:
            for value, old in zip(self._moving(), values):
                value.detach()[over] = old

    def read_epoch(self, indices: Sequence[Tensor]) -> list[Epoch]:
        """What is known of the epoch whose batches had these indices, for every replica."""
        terms, *predictions = (noted.cpu().numpy() for noted in self.noted)
        made = np.arange(len(terms))[:, None] < self.steps  # [longest epoch, R]
        means = np.where(made[..., None], terms, 0).sum(0) / np.array(self.steps)[:, None]
        names = term_names(self.settings)
        labels = {
            name: batches.labels[of] for (name, batches), of in zip(self.batches.items(), indices)
        }
        if "visual" in labels:
            there = [one_hot(y, self.settings.classes).any(-2) for y in labels.values()]
            counts = np.where(made, (there[0] & there[1]).sum(-1).numpy(), 0).sum(0)
            means = np.c_[means, counts / self.steps]
            names = [*names, "shared_classes"]
        for (name, y), predicted in zip(labels.items(), predictions):
            confusion = _confusions(y.numpy(), predicted, made, self.settings.classes)
            means = np.c_[means, uar(confusion)]
            names = [*names, f"{name}_uar"]
        return [dict(zip(names, of_replica.tolist())) for of_replica in means]

    def _step(self) -> None:
        batch = [part for batches in self.batches.values() for part in batches.take(self.number)]
        loss, *noted = self.objective(*batch)
        self.optimizer.zero_grad()
        loss.sum().backward()
        self.optimizer.step()
        for values, kept in zip(noted, self.noted):
            kept.index_copy_(0, self.number, values[None])
        self.number += 1

    def _moving(self) -> list[Tensor]:
        """What a step moves, [R, ...] each; momentum is there after the first step."""
        momenta = [state.get("momentum_buffer") for state in self.optimizer.state.values()]
        if self.stack.size == 1:
            momenta = [momentum[None] for momentum in momenta if momentum is not None]
        return [*self.stack.state.values(), *(value for value in momenta if value is not None)]

    def changed(self) -> list[Tensor]:
        """All tensors that a step changes."""
        return [*self._moving(), *self.noted, self.number]


def validation_outputs(
    network: FDAN, x_a: Tensor, y_a: Tensor, untrained: Tensor, *bank: Tensor
) -> tuple[Tensor, Tensor]:
    """Losses [n] and classes predicted [n] of utterances that attend to the bank, as at test."""
    visual = bank_states(network, Bank(*bank))[0] if bank else None
    logits = network.classifier(network.encode_acoustic(x_a, visual))
    logits = logits.masked_fill(untrained, torch.finfo(logits.dtype).min)
    return cross_entropy(logits, y_a, reduction="none"), logits.argmax(1)


class Validation:
    """The validation utterances of a stack, and how well they are recognised.

    Those of a class that a replica was not trained on are errors, and have no part in its loss.
    """

    def __init__(
        self, inputs: Sequence[Inputs], settings: Settings, stack: Stack, device: torch.device
    ):
        samples = [replica.validation for replica in inputs if replica.validation is not None]
        banks = [replica.bank for replica in inputs if replica.bank is not None]
        x, y = (nn.utils.rnn.pad_sequence(list(part), batch_first=True) for part in zip(*samples))
        self.labels = y.numpy()
        self.there = np.arange(y.shape[1]) < [[len(part.y)] for part in samples]  # [R, longest]
        self.classes = settings.classes
        untrained = torch.stack([untrained_classes(replica, settings) for replica in inputs])
        self.known = self.there & ~untrained.gather(1, y).numpy()
        bank = [torch.stack(part).to(device) for part in zip(*banks)]
        self.given = [x.to(device), y.to(device), untrained.to(device), *bank]
        self.losses = torch.zeros_like(self.given[1], dtype=x.dtype)
        self.predicted = torch.zeros_like(self.given[1])
        self.outputs = stack.map(validation_outputs)
        self.evaluate = capture(self._evaluate, device, lambda: [self.losses, self.predicted])

    def read_epoch(self) -> list[Epoch]:
        """Loss, UAR and WAR of every replica as `evaluate` found them."""
        losses, predicted = self.losses.cpu().numpy(), self.predicted.cpu().numpy()
        confusion = _confusions(self.labels.T, predicted.T, self.there.T, self.classes)
        return [
            {
                "validation_loss": float(of_one[known].mean()),
                "validation_uar": float(uar(counts)),
                "validation_war": float(war(counts)),
            }
            for of_one, known, counts in zip(losses, self.known, confusion)
        ]

    @torch.no_grad()
    def _evaluate(self) -> None:
        losses, predicted = self.outputs(*self.given)
        self.losses.copy_(losses)
        self.predicted.copy_(predicted)


def _confusions(
    true: np.ndarray, predicted: np.ndarray, counted: np.ndarray, classes: int
) -> np.ndarray:
    """Counts [R, C, C], rows true and columns predicted.

    Args:
        true, predicted: classes, int [s, R, ...].
        counted: bool [s, R]; what is false does not count.
    """
    replicas = counted.shape[1]
    of_replica = np.arange(replicas).reshape(replicas, *[1] * (true.ndim - 2))
    cells = (of_replica * classes + true) * classes + predicted
    counts = np.bincount(cells[counted].ravel(), minlength=replicas * classes**2)
    return counts.reshape(replicas, classes, classes)
