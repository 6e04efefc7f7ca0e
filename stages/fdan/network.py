"""The FDAN network on cached backbone features. Paper: Fig. 1 and Eq. (1), (9)."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stages.fdan.attention import CrossAttention
from stages.fdan.lmmd import lmmd

# What one modality attends to of the other in each layer: Z^0 .. Z^(l-1), or None for no attention.
States = Sequence[Tensor | None]


class Outputs(NamedTuple):
    """Logits [n, C] of both modalities, and (Z_v^i, Z_a^i) after every layer i = 1 .. l.

    Without the visual modality `visual` is None and `layers` is empty.
    """

    visual: Tensor | None
    acoustic: Tensor
    layers: list[tuple[Tensor, Tensor]]


class FDAN(nn.Module):
    """Projection of each modality, l cross-attention layers, one classifier for both.

    The projections bring both modalities to the common dimension d that Eq. (2) asks for
    ("note that d_a = d_v"); the paper says no more about them.

    Args:
        cross_attention: false is FDAN_1 of Section 3.7.
        acoustic_only: true leaves out the visual modality and all that belongs to it; what remains
            of a layer is LN and FFN of Eq. (4). A baseline that the paper lacks.
    """

    def __init__(
        self,
        visual_dim: int,
        acoustic_dim: int,
        classes: int,
        *,
        dim: int,
        ffn_dim: int,
        layers: int,
        cross_attention: bool = True,
        acoustic_only: bool = False,
    ):
        super().__init__()
        attends = cross_attention and not acoustic_only
        self.project_acoustic = nn.Linear(acoustic_dim, dim)
        self.acoustic_layers = nn.ModuleList(
            CrossAttention(dim, ffn_dim, attends) for _ in range(layers)
        )
        self.classifier = nn.Linear(dim, classes)
        if not acoustic_only:
            self.project_visual = nn.Linear(visual_dim, dim)
            self.visual_layers = nn.ModuleList(
                CrossAttention(dim, ffn_dim, attends) for _ in range(layers)
            )
        self.acoustic_only = acoustic_only

    def forward(self, x_v: Tensor | None, x_a: Tensor) -> Outputs:
        """Visual x_v [n_v, D_v] and acoustic x_a [n_a, D_a], not always of the same utterances."""
        if self.acoustic_only:
            return Outputs(None, self.classifier(self.encode_acoustic(x_a)), [])
        assert x_v is not None, "no visual samples"
        _, *states = self.states(x_v, x_a)
        z_v, z_a = states[-1]
        return Outputs(self.classifier(z_v), self.classifier(z_a), states)

    def states(self, x_v: Tensor, x_a: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(Z_v^i, Z_a^i) for i = 0 .. l, each computed when it is asked for.

        In every layer both modalities are updated from what the other was before the layer.
        """
        z_v, z_a = self.project_visual(x_v), self.project_acoustic(x_a)
        yield z_v, z_a
        for visual, acoustic in zip(self.visual_layers, self.acoustic_layers):
            z_v, z_a = visual(z_v, z_a), acoustic(z_a, z_v)
            yield z_v, z_a

    def encode_acoustic(self, x_a: Tensor, visual: States | None = None) -> Tensor:
        """Z_a^l [n, d] of x_a [n, D_a], which attends to `visual` in the layers, if given."""
        z_a = self.project_acoustic(x_a)
        visual = visual or [None] * len(self.acoustic_layers)
        for layer, z_v in zip(self.acoustic_layers, visual, strict=True):
            z_a = layer(z_a, z_v)
        return z_a

    def encode_visual(self, x_v: Tensor, acoustic: States | None = None) -> Tensor:
        """Z_v^l [n, d] of x_v [n, D_v], which attends to `acoustic` in the layers, if given."""
        z_v = self.project_visual(x_v)
        acoustic = acoustic or [None] * len(self.visual_layers)
        for layer, z_a in zip(self.visual_layers, acoustic, strict=True):
            z_v = layer(z_v, z_a)
        return z_v


class Losses(NamedTuple):
    """The terms of Eq. (9), LMMD layer by layer, and their sum; `visual` may be absent."""

    acoustic: Tensor
    visual: Tensor | None
    lmmd: list[Tensor]
    total: Tensor


def fdan_loss(
    outputs: Outputs, y_v: Tensor | None, y_a: Tensor, alpha: float, kernel: dict[str, Any]
) -> Losses:
    """Eq. (9): cross-entropy of both modalities, and alpha times LMMD summed over the layers.

    Args:
        y_v, y_a: true labels as one-hot rows [n_v, C] and [n_a, C], times the weight of the sample
            in its cross-entropy. By index, the gradient of the cross-entropy of stacked replicas is
            a sum in no fixed order on a GPU.
        alpha: with 0 (FDAN_2 of Section 3.7) LMMD is measured and does not act.
        kernel: the options of `lmmd`.
    """
    acoustic = cross_entropy(outputs.acoustic, y_a)
    if outputs.visual is None:
        return Losses(acoustic, None, [], acoustic)
    assert y_v is not None, "visual samples without labels"
    visual = cross_entropy(outputs.visual, y_v)
    there_v, there_a = y_v.sign(), y_a.sign()  # without weights
    discrepancies = [lmmd(z_v, there_v, z_a, there_a, **kernel) for z_v, z_a in outputs.layers]
    total = acoustic + visual
    if alpha > 0:
        total = total + alpha * sum(discrepancies)
    return Losses(acoustic, visual, discrepancies, total)
