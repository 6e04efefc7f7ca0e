"""CADF: cross-attention fusion of two modalities, in the manner of that system.

M. Khan, W. Gueaieb, A. El Saddik, S. Kwon, "MSER: Multimodal speech emotion recognition using
cross-attention with deep fusion", Expert Systems with Applications 245, 2024.

The paper's: speech and text through convolutions and an encoder each, multi-head cross-attention
both ways, and a fusion that weighs the regions of both encoders; IEMOCAP and MELD.

Its code was not published, nor are its sizes, losses and division known: "in the manner of" is all
that can be said, and its figures are not to be expected. Ours are the sizes (`params.yaml`), that
the convolutions read frozen features instead of raw speech and words, that the weights of the
regions are a softmax over time, and that any two modalities can be fused. Of an utterance that
lacks one of them the other decides alone.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stages.runtime import params
from stages.systems.neural import Padded, with_epochs
from stages.systems.transformer import AttendingSystem, Encoder, ignored, sinusoids


class Branch(nn.Module):
    """Two convolutions over time and a transformer encoder: [n, T, D] to [n, T, d]."""

    def __init__(
        self,
        features: int,
        *,
        dim: int,
        kernel: int,
        heads: int,
        ffn_dim: int,
        layers: int,
        dropout: float,
    ):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, dim, kernel, padding="same") for width in (features, dim)
        )
        self.norm = nn.LayerNorm(dim)
        self.encoder = Encoder(dim, heads, ffn_dim, layers, dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Encoded sequences; of no meaning outside of the mask [n, T]."""
        for convolution in self.convolutions:
            # Beyond its end a sequence is zero to a convolution, padded or not.
            x = convolution((x * mask[:, :, None]).mT).mT.relu()
        z = self.norm(x)
        return self.encoder(z + sinusoids(z), mask)


class CrossFusion(nn.Module):
    """One modality after it has attended to the other, as one vector: its regions, weighted."""

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.norm = nn.LayerNorm(dim)
        self.region = nn.Linear(dim, 1)

    def forward(self, receiving: Padded, giving: Padded) -> Tensor:
        """Vectors [n, d] of encoded sequences; zeros of an utterance that lacks the receiving."""
        x, mask = receiving
        told, _ = self.attention(
            x, giving.x, giving.x, key_padding_mask=ignored(giving.mask), need_weights=False
        )
        z = self.norm(x + told * giving.mask.any(1)[:, None, None])
        weights = self.region(z).masked_fill(ignored(mask)[:, :, None], -torch.inf).softmax(1)
        return (weights * z).sum(1) * mask.any(1)[:, None]


class Cadf(nn.Module):
    """A branch for each of two modalities, cross-attention both ways, and a classifier of both.

    Args:
        dims: widths of the features of the two, by modality.
        kernel: steps that a convolution sees; an odd number.
        layers: of the encoder of each branch.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        classes: int,
        *,
        dim: int,
        kernel: int,
        heads: int,
        ffn_dim: int,
        layers: int,
        dropout: float,
    ):
        super().__init__()
        sizes = {"dim": dim, "kernel": kernel, "heads": heads, "ffn_dim": ffn_dim}
        self.branches = nn.ModuleDict(
            {
                view: Branch(features, **sizes, layers=layers, dropout=dropout)
                for view, features in dims.items()
            }
        )
        self.fusions = nn.ModuleList(CrossFusion(dim, heads, dropout) for _ in dims)
        self.classifier = nn.Sequential(
            nn.Linear(2 * dim, dim), nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, classes)
        )

    def forward(self, batch: Mapping[str, Padded]) -> Tensor:
        """Logits [n, C] of sequences by modality."""
        one, other = (
            Padded(branch(*batch[view]), batch[view].mask) for view, branch in self.branches.items()
        )
        first, second = self.fusions
        return self.classifier(torch.cat([first(one, other), second(other, one)], 1))


class CrossAttentionFusion(AttendingSystem):
    """Cross-attention fusion of the sequences of two modalities."""

    section = "cadf"
    schema = with_epochs(params.Cadf)
    of = Cadf
