"""The cross-attention module. Paper: Section 2.2, Eq. (2) to (4).

The paper writes features as columns, Z^T; here a row is a sample, so that Q^T K becomes Q K^T.
"""

import math

import torch
from torch import Tensor, nn


class Attend(nn.Module):
    """One direction of the exchange: `receiving` samples are updated from the `giving` modality.

    With receiving = acoustic and giving = visual this is Delta Z_{v->a} of Eq. (3) and the second
    line of Eq. (4). W^Q belongs to the receiving, W^K and W^V to the giving modality.
    """

    def __init__(self, dim: int, ffn_dim: int):
        super().__init__()
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.norm_attended = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.ReLU(), nn.Linear(ffn_dim, dim))
        self.norm_out = nn.LayerNorm(dim)

    def forward(self, receiving: Tensor, giving: Tensor) -> Tensor:
        """Update `receiving` [n, d] from all rows of `giving` [m, d]; returns [n, d]."""
        q, k, v = self.query(receiving), self.key(giving), self.value(giving)  # Eq. (2)
        delta = torch.softmax(q @ k.T / math.sqrt(k.shape[1]), dim=1) @ v  # Eq. (3)
        z = self.norm_attended(receiving + delta)  # Eq. (4)
        return self.norm_out(z + self.ffn(z))


class CrossAttention(nn.Module):
    """One layer: both modalities are updated from what the other was before the layer."""

    def __init__(self, dim: int, ffn_dim: int):
        super().__init__()
        self.visual_from_acoustic = Attend(dim, ffn_dim)
        self.acoustic_from_visual = Attend(dim, ffn_dim)

    def forward(self, z_v: Tensor, z_a: Tensor) -> tuple[Tensor, Tensor]:
        """Z_v [n_v, d] and Z_a [n_a, d] of layer i - 1 become those of layer i."""
        return self.visual_from_acoustic(z_v, z_a), self.acoustic_from_visual(z_a, z_v)
