"""Prediction from speech alone: the voice attends to a fixed bank of training faces.

In training a voice attends to faces of other samples (Eq. 3), so a clip to be predicted needs
faces to attend to. Those of the other clips of a test batch would make a prediction depend on its
company. A bank of training samples, drawn once and stored with the model, does not. The paper
does not say what it does here; its published code leaves the attention out.
"""

import torch
from torch import Tensor, nn

from stages.fdan.network import FDAN


def draw_bank(labels: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Indices of `size` samples, the classes taken in turn: as balanced as the classes allow.

    Args:
        labels: integers [n]; only training samples.

    Returns:
        Sorted indices [min(size, n)] into `labels`.
    """
    shuffled = torch.randperm(len(labels), generator=generator)
    rank_in_class = torch.zeros(len(labels), dtype=torch.long)
    for label in labels.unique():
        of_class = shuffled[labels[shuffled] == label]
        rank_in_class[of_class] = torch.arange(len(of_class))
    by_rank = shuffled[torch.argsort(rank_in_class[shuffled], stable=True)]
    return by_rank[:size].sort().values


@torch.inference_mode()
def bank_states(network: FDAN, x_v: Tensor, x_a: Tensor) -> list[Tensor]:
    """What a voice sees of the bank in every layer: Z_v^0 .. Z_v^(l-1), each [m, d].

    Args:
        x_v, x_a: features of the bank's faces [m, D_v] and voices [m, D_a].
    """
    z_v = network.project_visual(x_v)
    return [z_v, *(state for state, _ in network(x_v, x_a).layers[:-1])]


@torch.inference_mode()
def predict(network: FDAN, x_a: Tensor, states: list[Tensor]) -> Tensor:
    """Class probabilities [n, C] of voices x_a [n, D_a].

    One voice at a time, so that not even rounding depends on what else is predicted.
    """
    rows = []
    for x in x_a.split(1):
        z_a = network.project_acoustic(x)
        for layer, z_v in zip(network.layers, states):
            z_a = layer.acoustic_from_visual(z_a, z_v)
        rows.append(torch.softmax(network.classifier(z_a), dim=1))
    return torch.cat(rows) if rows else torch.empty(0, network.classifier.out_features)


class SpeechClassifier(nn.Module):
    """All that turns the acoustic features of a clip into class probabilities.

    Holds the trained network, the mean and standard deviation of the training voices, and the
    bank. Its state is what a model file stores.
    """

    def __init__(self, network: FDAN, mean: Tensor, std: Tensor, bank: list[Tensor]):
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.register_buffer("bank", torch.stack(bank))  # [l, m, d]

    @torch.inference_mode()
    def forward(self, x_a: Tensor) -> Tensor:
        """Class probabilities [n, C] of raw acoustic features [n, D_a]."""
        return predict(self.network, (x_a - self.mean) / self.std, list(self.bank))
