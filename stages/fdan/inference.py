"""Prediction from speech alone: what an utterance attends to when no face is given.

In training an acoustic sample attends to visual samples of other utterances (Eq. 3), so that one to
be predicted needs some as well. Those of the other utterances of a test batch would make a
prediction depend on its batch. The paper does not say what it does here. Three answers, param
`inference`:

- "bank": a class-balanced draw of as many visual training samples as a training batch has, stored
  with the model;
- "prototypes": the mean visual training sample of each class;
- "none": the attention is skipped (Delta Z = 0), as the published code does.
"""

from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stages.fdan.network import FDAN, States
from stages.systems.contract import Standardizer


class Bank(NamedTuple):
    """Standardised training samples to attend to: visual [m, D_v] and acoustic [m', D_a]."""

    x_v: Tensor
    x_a: Tensor


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


def prototypes(x: Tensor, labels: Tensor) -> Tensor:
    """The mean of the features x [n, D] of each class that has samples, [C', D]."""
    return torch.stack([x[labels == label].mean(0) for label in labels.unique()])


@torch.inference_mode()
def bank_states(network: FDAN, bank: Bank) -> tuple[list[Tensor], list[Tensor]]:
    """What the acoustic modality attends to in every layer, and what the visual one does.

    Returns:
        Z_v^0 .. Z_v^(l-1), each [m, d], and Z_a^0 .. Z_a^(l-1), each [m', d].
    """
    states = islice(network.states(bank.x_v, bank.x_a), len(network.visual_layers))
    visual, acoustic = zip(*states)
    return list(visual), list(acoustic)


@torch.inference_mode()
def predict(network: FDAN, x_a: Tensor, visual: States | None) -> Tensor:
    """Class probabilities [n, C] of standardised x_a [n, D_a] that attend to `visual`.

    One utterance at a time, so that not even rounding depends on what else is predicted.
    """
    rows = [
        torch.softmax(network.classifier(network.encode_acoustic(x, visual)), 1)
        for x in x_a.split(1)
    ]
    return torch.cat(rows) if rows else torch.empty(0, network.classifier.out_features)


class SpeechClassifier(nn.Module):
    """All that turns the acoustic features of a clip into class probabilities.

    Holds the trained network, the standardizers of the training samples, and the bank. Its state is
    what a model file stores.

    Args:
        visual: None for a network without the visual modality.
        bank: None where the attention is skipped.
    """

    # Buffers; without the visual modality or without a bank theirs are absent.
    acoustic_mean: Tensor
    acoustic_std: Tensor
    visual_mean: Tensor
    visual_std: Tensor
    bank_x_v: Tensor
    bank_x_a: Tensor

    def __init__(
        self, network: FDAN, acoustic: Standardizer, visual: Standardizer | None, bank: Bank | None
    ):
        super().__init__()
        self.network = network
        for name, value in acoustic._asdict().items():
            self.register_buffer(f"acoustic_{name}", value)
        for name, value in (visual._asdict() if visual else {}).items():
            self.register_buffer(f"visual_{name}", value)
        for name, value in (bank._asdict() if bank else {}).items():
            self.register_buffer(f"bank_{name}", value)
        self.has_bank = bank is not None

    @torch.inference_mode()
    def forward(self, x_a: Tensor) -> Tensor:
        """Class probabilities [n, C] of raw acoustic features [n, D_a]."""
        visual, _ = self._states()
        return predict(self.network, self._standardized(x_a), visual)

    @torch.inference_mode()
    def with_faces(self, x_v: Tensor, x_a: Tensor | None) -> Tensor:
        """Class probabilities [C] of one clip of which faces are seen.

        Ours, not the paper's: the clip's own faces stand in the place of the bank, its voice in
        that of the voices, both modalities vote, and of the faces the mean. Without a voice the
        faces attend to the voices of the bank.

        Args:
            x_v: raw visual features [k, D_v] of its frames.
            x_a: raw acoustic features [1, D_a]; None where there is no voice.
        """
        if x_a is None:
            visual = torch.softmax(self.network.classifier(self.embed_visual(x_v)), 1)
            return visual.mean(0)
        outputs = self.network(self._standardized_faces(x_v), self._standardized(x_a))
        votes = [torch.softmax(logits, 1).mean(0) for logits in (outputs.visual, outputs.acoustic)]
        return torch.stack(votes).mean(0)

    @torch.inference_mode()
    def embed_acoustic(self, x_a: Tensor) -> Tensor:
        """Z_a^l [n, d] of raw acoustic features [n, D_a]: what the classifier sees."""
        visual, _ = self._states()
        return self.network.encode_acoustic(self._standardized(x_a), visual)

    @torch.inference_mode()
    def embed_visual(self, x_v: Tensor) -> Tensor:
        """Z_v^l [n, d] of raw visual features [n, D_v], attending to the bank."""
        _, acoustic = self._states()
        return self.network.encode_visual(self._standardized_faces(x_v), acoustic)

    def _standardized(self, x_a: Tensor) -> Tensor:
        return Standardizer(self.acoustic_mean, self.acoustic_std).apply(x_a)

    def _standardized_faces(self, x_v: Tensor) -> Tensor:
        return Standardizer(self.visual_mean, self.visual_std).apply(x_v)

    def _states(self) -> tuple[States | None, States | None]:
        if not self.has_bank:
            return None, None
        return bank_states(self.network, Bank(self.bank_x_v, self.bank_x_a))
