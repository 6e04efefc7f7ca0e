"""The FDAN network on cached backbone features. Paper: Fig. 1 and Eq. (1), (9)."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stages.fdan.attention import CrossAttention
from stages.fdan.lmmd import lmmd


class Outputs(NamedTuple):
    """Logits [n, C] of both modalities, and (Z_v^i, Z_a^i) after every layer i = 1 .. l."""

    visual: Tensor
    acoustic: Tensor
    layers: list[tuple[Tensor, Tensor]]


class FDAN(nn.Module):
    """Projection of each modality, l cross-attention layers, one classifier for both.

    The projections bring both modalities to the common dimension d that Eq. (2) asks for
    ("note that d_a = d_v"); the paper says no more about them.
    """

    def __init__(self, visual_dim: int, acoustic_dim: int, classes: int, dim: int, ffn_dim: int,
                 layers: int):
        super().__init__()
        self.project_visual = nn.Linear(visual_dim, dim)
        self.project_acoustic = nn.Linear(acoustic_dim, dim)
        self.layers = nn.ModuleList(CrossAttention(dim, ffn_dim) for _ in range(layers))
        self.classifier = nn.Linear(dim, classes)

    def forward(self, x_v: Tensor, x_a: Tensor) -> Outputs:
        """Faces x_v [n_v, D_v] and voices x_a [n_a, D_a], not necessarily of the same clips."""
        z_v, z_a = self.project_visual(x_v), self.project_acoustic(x_a)
        states = []
        for layer in self.layers:
            z_v, z_a = layer(z_v, z_a)
            states.append((z_v, z_a))
        return Outputs(self.classifier(z_v), self.classifier(z_a), states)


class Losses(NamedTuple):
    """The terms of Eq. (9), and their sum."""

    acoustic: Tensor
    visual: Tensor
    lmmd: Tensor
    total: Tensor


def fdan_loss(outputs: Outputs, y_v: Tensor, y_a: Tensor, alpha: float, kernels: int,
              ratio: float) -> Losses:
    """Eq. (9): cross-entropy of voices and of faces, and alpha times LMMD summed over the layers.

    Args:
        y_v, y_a: true labels [n_v] and [n_a].
    """
    classes = outputs.visual.shape[1]
    acoustic = cross_entropy(outputs.acoustic, y_a)
    visual = cross_entropy(outputs.visual, y_v)
    discrepancy = sum(lmmd(z_v, y_v, z_a, y_a, classes, kernels, ratio)
                      for z_v, z_a in outputs.layers)
    return Losses(acoustic, visual, discrepancy, acoustic + visual + alpha * discrepancy)
