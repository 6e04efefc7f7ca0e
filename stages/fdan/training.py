"""Training of one replica: one fold with one seed. Paper: Eq. (9) and Section 3.2."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from stages.fdan.network import FDAN, fdan_loss


class Samples(NamedTuple):
    """Features float32 [n, D] and labels int64 [n] of one modality."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Settings:
    """What Section 3.2 names, and the learning rate, layers and widths that it does not."""

    classes: int
    alpha: float
    learning_rate: float
    momentum: float
    weight_decay: float
    batch_size: int
    epochs: int
    dim: int
    ffn_dim: int
    layers: int
    kernels: int
    ratio: float


class Epoch(NamedTuple):
    """Means over the batches of one epoch; recalls are of the training batches."""

    acoustic_loss: float
    visual_loss: float
    lmmd: float
    acoustic_accuracy: float
    visual_accuracy: float


def standardise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [D] of training features x [n, D]; constants get 1."""
    std = x.std(0, correction=0)
    return x.mean(0), torch.where(std > 1e-12, std, 1.0)


def batches(samples: Samples, size: int, generator: torch.Generator):
    """Random batches without end; each pass draws without replacement and drops the rest."""
    size = min(size, len(samples.y))
    while True:
        order = torch.randperm(len(samples.y), generator=generator)
        for chosen in order[: len(order) // size * size].split(size):
            yield samples.x[chosen], samples.y[chosen]


def train_replica(
    visual: Samples, acoustic: Samples, settings: Settings, seed: int
) -> tuple[FDAN, list[Epoch]]:
    """Train FDAN by SGD; an epoch is one pass over the voices.

    Args:
        visual, acoustic: standardised training samples, on the device to train on.

    Returns:
        The network after the last epoch, and the history. No epoch is selected, so no sample
        beyond the training samples is needed.

    Raises:
        FloatingPointError: the loss is no longer finite; the message names the epoch.
    """
    device = visual.x.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = FDAN(visual.x.shape[1], acoustic.x.shape[1], settings.classes, settings.dim,
                       settings.ffn_dim, settings.layers).to(device)
    optimiser = torch.optim.SGD(network.parameters(), settings.learning_rate, settings.momentum,
                                weight_decay=settings.weight_decay, fused=True)
    generator = torch.Generator().manual_seed(seed)
    faces = batches(visual, settings.batch_size, generator)
    voices = batches(acoustic, settings.batch_size, generator)
    steps = max(1, len(acoustic.y) // settings.batch_size)
    history = []
    for epoch in range(settings.epochs):
        sums = torch.zeros(len(Epoch._fields), device=device)
        for _ in range(steps):
            (x_v, y_v), (x_a, y_a) = next(faces), next(voices)
            outputs = network(x_v, x_a)
            loss = fdan_loss(outputs, y_v, y_a, settings.alpha, settings.kernels, settings.ratio)
            optimiser.zero_grad()
            loss.total.backward()
            optimiser.step()
            right_a = (outputs.acoustic.argmax(1) == y_a).float().mean()
            right_v = (outputs.visual.argmax(1) == y_v).float().mean()
            sums += torch.stack([loss.acoustic, loss.visual, loss.lmmd, right_a, right_v]).detach()
        means = (sums / steps).tolist()
        if not all(map(math.isfinite, means)):
            raise FloatingPointError(f"the loss is not finite in epoch {epoch + 1}")
        history.append(Epoch(*means))
    return network, history
