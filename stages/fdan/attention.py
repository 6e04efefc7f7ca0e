"""The cross-attention module. Paper: Section 2.2, Eq. (2) to (4).

The paper writes features as columns, Z^T; here a row is a sample, so that Q^T K becomes Q K^T.
"""

import math

import torch
from torch import Tensor, nn


class CrossAttention(nn.Module):
    """One direction of the exchange: a `receiving` modality is updated from a `giving` one.

    With receiving = acoustic and giving = visual this is Delta Z_{v->a} of Eq. (3) and the second
    line of Eq. (4). W^Q belongs to the receiving, W^K and W^V to the giving modality.

    Args:
        dim: d = d_a = d_v, the features of a sample.
        ffn_dim: width of the hidden layer of FFN.
        attends: false leaves out Eq. (2) and (3) with their parameters (Delta Z = 0), so that
            LN and FFN of Eq. (4) remain: the ablation FDAN_1 of Section 3.7.
    """

    def __init__(self, dim: int, ffn_dim: int, attends: bool = True):
        super().__init__()
        self.norm_attended = nn.LayerNorm(dim)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.ReLU(), nn.Linear(ffn_dim, dim))
        self.norm_out = nn.LayerNorm(dim)
        self.attends = attends
        if attends:
            self.query = nn.Linear(dim, dim, bias=False)
            self.key = nn.Linear(dim, dim, bias=False)
            self.value = nn.Linear(dim, dim, bias=False)

    def delta(self, receiving: Tensor, giving: Tensor) -> Tensor:
        """Delta Z [n, d]: what all rows of `giving` [m, d] tell each row of `receiving` [n, d]."""
        q, k, v = self.query(receiving), self.key(giving), self.value(giving)  # Eq. (2)
        return torch.softmax(q @ k.T / math.sqrt(k.shape[1]), dim=1) @ v  # Eq. (3)

    def forward(self, receiving: Tensor, giving: Tensor | None) -> Tensor:
        """The receiving modality [n, d] after the layer; with `giving` None, Delta Z = 0."""
        attended = receiving
        if self.attends and giving is not None:
            attended = receiving + self.delta(receiving, giving)
        z = self.norm_attended(attended)  # Eq. (4)
        return self.norm_out(z + self.ffn(z))
