"""Random batches of one modality, of one replica or of many. Paper: Section 3.2.

Each replica draws with generators of its own seed, so that it draws the same alone and among
others.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from stages.systems.contract import Samples, weights_of

# What the generators of a seed are for, see `make_generator`.
VISUAL, ACOUSTIC, BANK, PARAMETERS = range(4)


def make_generator(seed: int, purpose: int) -> torch.Generator:
    """Independent generators of one seed: what one purpose draws changes nothing for another."""
    mixed = np.random.SeedSequence((seed, purpose)).generate_state(1)  # torch reads 32 bits
    return torch.Generator().manual_seed(int(mixed[0]))


def batch_indices(n: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices [min(size, n)] of random batches of n samples, without end.

    Each pass draws without replacement and drops the rest.
    """
    size = min(size, n)
    while True:
        order = torch.randperm(n, generator=generator)
        yield from order[: n // size * size].split(size)


class Batches:
    """The batches of one modality, of R replicas.

    Attributes:
        indices: of the epoch under way, [longest epoch, R, batch], into the samples of all folds.
    """

    def __init__(
        self,
        parts: Sequence[Samples],
        seeds: Sequence[int],
        purpose: int,
        size: int,
        classes: int,
        steps: Sequence[int],
        device: torch.device,
        weighted: bool = False,
    ):
        folds = {id(part.x): part for part in parts}
        lengths = itertools.accumulate((len(part.y) for part in folds.values()), initial=0)
        starts = dict(zip(folds, lengths))
        self.starts = [starts[id(part.x)] for part in parts]
        x, self.labels = (torch.cat(part) for part in zip(*folds.values()))
        y = one_hot(self.labels, classes).to(x)
        if weighted:
            y *= torch.cat([weights_of(part.y) for part in folds.values()])[:, None]
        self.x, self.y = x.to(device), y.to(device)
        self.draws = [
            batch_indices(len(part.y), size, make_generator(seed, purpose))
            for part, seed in zip(parts, seeds)
        ]
        self.steps = steps
        shape = max(steps), len(parts), min(size, len(parts[0].y))
        self.indices = torch.zeros(shape, dtype=torch.long, device=device)

    def draw_epoch(self) -> Tensor:
        """Indices [longest epoch, R, batch] on the CPU; 0 after the end of a shorter epoch."""
        drawn = torch.zeros(self.indices.shape, dtype=torch.long)
        for r, (draws, start, steps) in enumerate(zip(self.draws, self.starts, self.steps)):
            drawn[:steps, r] = torch.stack(list(itertools.islice(draws, steps))) + start
        return drawn

    def take(self, number: Tensor) -> tuple[Tensor, Tensor]:
        """Features [R, batch, D] and labels [R, batch, C] of a step, by its number [1].

        Labels are rows as of `fdan_loss`.
        """
        chosen = self.indices.index_select(0, number)[0]
        x, y = (of.index_select(0, chosen.flatten()) for of in (self.x, self.y))
        return x.view(*chosen.shape, -1), y.view(*chosen.shape, -1)
