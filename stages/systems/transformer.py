"""What the systems that attend share: sequences of unequal length, positions, an encoder.

A. Vaswani et al., "Attention is all you need", NeurIPS 2017, with PyTorch's own layers. Every
sequence has a mask, and nothing of what lies outside of it reaches a result: what is said of an
utterance depends on it alone, whatever else is in its batch.
"""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from stages.systems.neural import NeuralSystem


def ignored(mask: Tensor) -> Tensor:
    """The mask bool [n, T] as PyTorch's attention wants it: True where a key is not attended to.

    Where there is nothing at all the first key is attended to, since a softmax over nothing is not
    a number: what comes of it has to be left out afterwards.
    """
    nothing = ~mask.any(1, keepdim=True)
    first = torch.arange(mask.shape[1], device=mask.device) == 0
    return ~(mask | (nothing & first))


def sinusoids(like: Tensor) -> Tensor:
    """Positions [T, d] to be added to sequences [n, T, d] with an even d (Vaswani, Section 3.5)."""
    length, dim = like.shape[1:]
    steps = torch.arange(length, dtype=torch.float64)[:, None]
    angles = steps / 10000 ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1).to(like)


class Encoder(nn.Module):
    """A transformer encoder: layers with their LayerNorm first, and one at the end.

    `nn.TransformerEncoder` would start all its layers from the same weights.
    """

    def __init__(self, dim: int, heads: int, ffn_dim: int, layers: int, dropout: float):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, heads, ffn_dim, dropout, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Sequences [n, T, d] of which each step attends to those within its mask [n, T]."""
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=ignored(mask))
        return self.norm(x)


class AttendingSystem(NeuralSystem):
    """A network that attends, as a system: `of` takes its sizes from settings of the same names.

    Ours, and of no paper: gradients of a norm of at most 1, and a learning rate that rises in the
    first steps and then falls to 0.
    """

    of: type[nn.Module]
    sequences = True
    may_lack = True
    clip_norm: float | None = 1.0

    def views(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The modalities of its settings."""
        return tuple(settings["modalities"])

    def network(
        self, dims: Mapping[str, int], classes: int, settings: Mapping[str, Any]
    ) -> nn.Module:
        """The network with the sizes of the settings."""
        sizes = inspect.signature(self.of).parameters.keys() & settings.keys()
        return self.of(dims, classes, **{name: settings[name] for name in sizes})

    def rate(self, step: int, steps: int, settings: Mapping[str, Any]) -> float:
        """Linear warm-up in the first twentieth of the steps, then half a cosine."""
        warm = math.ceil(steps / 20)
        if step < warm:
            return (step + 1) / warm
        return (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm))) / 2
