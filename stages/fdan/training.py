"""Training of one replica: one fold with one seed. Paper: Eq. (9) and Section 3.2."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from stages.fdan.inference import Bank, bank_states
from stages.fdan.lmmd import members, shared_classes
from stages.fdan.network import FDAN, Losses, fdan_loss
from stages.fdan.optimiser import SGD
from stages.scoring.metrics import uar, war


class Samples(NamedTuple):
    """Features float32 [n, D] and labels int64 [n] of one modality."""

    x: Tensor
    y: Tensor


# What one epoch tells, by name. Of the training batches: acoustic_loss, visual_loss, lmmd_1 ..
# lmmd_l, shared_classes (classes that LMMD could compare), acoustic_uar, visual_uar. Of the
# held-out voices: validation_loss, validation_uar, validation_war. What there is not has no entry.
Epoch = dict[str, float]

# The streams of a seed, see `random_stream`.
FACES, VOICES, BANK, PARAMETERS = range(4)


@dataclass(frozen=True)
class Settings:
    """What Section 3.2 names, and the learning rate, layers and widths that it does not.

    Attributes:
        network: arguments of FDAN after the classes.
        lmmd: options of `lmmd`.
        select: "last" epoch, or that with the best "uar" or "war" of the held-out voices.
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


class Replica(NamedTuple):
    """A trained network, the epoch (from 1) whose parameters it has, and its whole history."""

    network: FDAN
    epoch: int
    history: list[Epoch]


def random_stream(seed: int, number: int) -> torch.Generator:
    """Independent streams of one seed: what one purpose draws changes nothing for another."""
    mixed = np.random.SeedSequence((seed, number)).generate_state(1)  # torch reads 32 bits
    return torch.Generator().manual_seed(int(mixed[0]))


def draws(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices [min(size, n)] of random batches of n samples, without end.

    Each pass draws without replacement and drops the rest.
    """
    size = min(size, n)
    while True:
        order = torch.randperm(n, generator=generator)
        yield from order[: n // size * size].split(size)


def batches(samples: Samples, size: int, generator: torch.Generator) -> Iterator[Samples]:
    """Random batches without end, see `draws`."""
    for chosen in draws(len(samples.y), size, generator):
        yield Samples(*(part.index_select(0, chosen) for part in samples))


def steps_of_epoch(acoustic: Samples, settings: Settings) -> int:
    """An epoch is one pass over the training voices."""
    return max(1, len(acoustic.y) // settings.batch_size)


def initial_network(
    visual: Samples | None, acoustic: Samples, settings: Settings, seed: int
) -> FDAN:
    """FDAN with random parameters, on the device of its voices."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_stream(seed, PARAMETERS).initial_seed())
        visual_dim = 0 if visual is None else visual.x.shape[1]
        network = FDAN(visual_dim, acoustic.x.shape[1], settings.classes, **settings.network)
    return network.to(acoustic.x.device)


def make_optimiser(parameters: Iterable[Tensor], settings: Settings) -> SGD:
    """SGD as in Section 3.2."""
    return SGD(parameters, settings.learning_rate, settings.momentum, settings.weight_decay)


def confusion_of(logits: Tensor, y: Tensor) -> Tensor:
    """Counts [C, C] of a batch, rows true and columns predicted."""
    classes = logits.shape[1]
    true, predicted = members(y, classes), members(logits.argmax(1), classes)
    return true.double().T @ predicted.double()


def told_by(loss: Losses) -> dict[str, Tensor]:
    """The losses of one batch whose means an Epoch has."""
    told = {"acoustic_loss": loss.acoustic.detach()}
    if loss.visual is not None:
        told["visual_loss"] = loss.visual.detach()
        told |= {f"lmmd_{i}": value.detach() for i, value in enumerate(loss.lmmd, 1)}
    return told


def train_one_epoch(
    network: FDAN,
    optimiser: SGD,
    faces: Iterator[Samples],
    voices: Iterator[Samples],
    steps: int,
    settings: Settings,
) -> Epoch:
    """`steps` steps of SGD on Eq. (9); returns means over the batches."""
    told: dict[str, list[Tensor]] = defaultdict(list)
    judged: dict[str, list[tuple[Tensor, Tensor]]] = {"acoustic": [], "visual": []}
    for _ in range(steps):
        x_a, y_a = next(voices)
        x_v, y_v = (None, None) if network.acoustic_only else next(faces)
        outputs = network(x_v, x_a)
        loss = fdan_loss(outputs, y_v, y_a, settings.alpha, settings.lmmd)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()

        judged["acoustic"].append((outputs.acoustic.detach(), y_a))
        if not network.acoustic_only:
            judged["visual"].append((outputs.visual.detach(), y_v))
        for name, value in told_by(loss).items():
            told[name].append(value)
    means = {name: float(torch.stack(values).double().mean()) for name, values in told.items()}
    if not network.acoustic_only:
        y_v, y_a = (torch.stack([y for _, y in judged[name]]) for name in ("visual", "acoustic"))
        shared = shared_classes(y_v, y_a, settings.classes).sum(1)
        means["shared_classes"] = float(shared.double().mean())
    for name, batches_judged in judged.items():
        if batches_judged:
            logits, y = map(torch.cat, zip(*batches_judged))
            means[f"{name}_uar"] = float(uar(confusion_of(logits, y).cpu().numpy()))
    return means


def judge(network: FDAN, x_a: Tensor, bank: Bank | None) -> Tensor:
    """Logits [n, C] of standardised voices x_a [n, D_a], attending as at test."""
    faces = None if bank is None else bank_states(network, bank)[0]
    return network.classifier(network.hear(x_a, faces))


@torch.inference_mode()
def validate(network: FDAN, held_out: Samples, bank: Bank | None) -> Epoch:
    """Loss, UAR and WAR of voices that do not train."""
    logits = judge(network, held_out.x, bank)
    confusion = confusion_of(logits, held_out.y).cpu().numpy()
    return {
        "validation_loss": float(cross_entropy(logits, held_out.y)),
        "validation_uar": float(uar(confusion)),
        "validation_war": float(war(confusion)),
    }


def score_of(epoch: Epoch, select: str) -> tuple[float, float]:
    """What the epoch kept has most of: recall, and of equal recall the lower loss decides."""
    recall = round(epoch[f"validation_{select}"], 9)  # summed in whatever order
    return recall, -epoch["validation_loss"]


def train_replica(
    visual: Samples | None,
    acoustic: Samples,
    held_out: Samples | None,
    bank: Bank | None,
    settings: Settings,
    seed: int,
) -> Replica:
    """Train FDAN by SGD.

    Args:
        visual, acoustic: standardised training samples, on the device to train on; no `visual`
            for a network that sees no faces.
        held_out: standardised voices that choose the epoch, where `settings.select` says so; of
            equal scores the earliest.
        bank: what the held-out voices attend to.

    Raises:
        FloatingPointError: the loss is no longer finite; the message names the epoch.
    """
    network = initial_network(visual, acoustic, settings, seed)
    optimiser = make_optimiser(network.parameters(), settings)
    faces = (
        iter(())
        if visual is None
        else batches(visual, settings.batch_size, random_stream(seed, FACES))
    )
    voices = batches(acoustic, settings.batch_size, random_stream(seed, VOICES))
    steps = steps_of_epoch(acoustic, settings)
    history: list[Epoch] = []
    best, best_epoch, best_state = (-math.inf, -math.inf), settings.epochs, None
    for number in range(1, settings.epochs + 1):
        epoch = train_one_epoch(network, optimiser, faces, voices, steps, settings)
        if held_out is not None:
            epoch |= validate(network, held_out, bank)
        if not all(map(math.isfinite, epoch.values())):
            raise FloatingPointError(f"the loss is not finite in epoch {number}")
        history.append(epoch)
        if settings.select != "last":
            score = score_of(epoch, settings.select)
            if score > best:
                best, best_epoch = score, number
                best_state = {name: value.clone() for name, value in network.state_dict().items()}
    if best_state is not None:
        network.load_state_dict(best_state)
    return Replica(network.eval(), best_epoch, history)
