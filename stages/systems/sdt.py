"""SDT: every utterance attends to its whole dialogue, in every pair of modalities.

H. Ma et al., "A transformer-based model with self-distillation for multimodal emotion recognition
in conversations", IEEE Transactions on Multimedia 26, 2024 (arXiv 2310.20494).

The paper's: a 1x1 convolution of each modality, positions and speakers added; a one-layer
transformer for every pair of modalities, nine of three, in which one attends to the other; gates,
first of each of these and then of the modalities; a head for each modality that learns from the
labels and from what the whole says (self-distillation). An utterance attends to all of its
dialogue, **also to what is said after it**: this is no recognition while people speak.

Its code (butterfliesss/SDT) does otherwise: on MELD the first gates are fixed, x * sigmoid(x); and
the epoch is the best on the test part. Its features are not of a frozen encoder: text of RoBERTa
fine-tuned, sounds of a network that was trained on MELD's emotions.

Ours: **the features are those of this pipeline's frozen encoders**, so its figures are not to be
expected; smaller sizes (`params.yaml`; 78.4 million parameters as published); any subset of the
modalities; speakers numbered within their dialogue, since others are tested; an utterance is a
sample, of whose dialogue only what tells about it is computed, where a sample was a dialogue. A
turn that lacks a modality is not attended to in it. PyTorch's own initialisation of attention.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, kl_div, pad

from stages.runtime import params
from stages.systems.neural import Padded, with_epochs
from stages.systems.transformer import AttendingSystem, ignored, sinusoids

EPS = 1e-6  # of LayerNorm


class Exchange(nn.Module):
    """A transformer of one layer: what one modality of an utterance learns from its dialogue.

    As published LayerNorm stands before the feed-forward network alone.
    """

    def __init__(self, dim: int, heads: int, dropout: float):
        super().__init__()
        self.attention = nn.MultiheadAttention(dim, heads, dropout, batch_first=True)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim, EPS),
            nn.Linear(dim, dim),
            nn.GELU("tanh"),
            nn.Dropout(dropout),
            nn.Linear(dim, dim),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """The utterances [n, d] after they have attended to the turns [n, T, d] of the mask."""
        told, _ = self.attention(
            query[:, None], keys, keys, key_padding_mask=ignored(mask), need_weights=False
        )
        z = query + self.dropout(told[:, 0] * mask.any(1, keepdim=True))
        return z + self.feed_forward(z)


class Sdt(nn.Module):
    """The network of SDT on the modalities of `dims`.

    Args:
        dims: widths of the features, by modality.
        speakers: how many are told apart in a dialogue; all further ones are one.
        trained_gates: whether the gates of single transformers are learned, as on IEMOCAP, or
            fixed, as on MELD.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        classes: int,
        *,
        dim: int,
        heads: int,
        speakers: int,
        trained_gates: bool,
        dropout: float,
    ):
        super().__init__()
        pairs = [f"{source}_{target}" for target in dims for source in dims]
        self.project = nn.ModuleDict(
            {view: nn.Linear(features, dim, bias=False) for view, features in dims.items()}
        )
        self.speakers = nn.Embedding(speakers, dim)
        self.dropout = nn.Dropout(dropout)
        self.exchanges = nn.ModuleDict({pair: Exchange(dim, heads, dropout) for pair in pairs})
        self.gates = nn.ModuleDict(
            {
                pair: nn.Linear(dim, dim, bias=False) if trained_gates else nn.Identity()
                for pair in pairs
            }
        )
        self.reduce = nn.ModuleDict({view: nn.Linear(len(dims) * dim, dim) for view in dims})
        self.fusion = nn.Linear(dim, dim, bias=False)
        self.single = nn.ModuleDict(
            {
                view: nn.Sequential(nn.ReLU(), nn.Dropout(dropout), nn.Linear(dim, classes))
                for view in dims
            }
        )
        self.whole = nn.Linear(dim, classes)

    def forward(self, batch: Mapping[str, Padded]) -> Tensor | tuple[Tensor, ...]:
        """Logits [n, C] of one utterance of each dialogue; in training those of `heads`."""
        heads = self.heads(batch)
        return tuple(heads) if self.training else heads[0]

    def heads(self, batch: Mapping[str, Padded]) -> list[Tensor]:
        """Logits [n, C] of one utterance of each dialogue, of the whole and of each modality.

        Args:
            batch: the turns [n, T, D] of the dialogues by modality, "speakers" int64 [n, T] from 0
                and "turn" int64 [n, 1], which of them the utterance is.
        """
        numbers, turn = batch["speakers"].x, batch["turn"].x[:, 0]
        rows = torch.arange(len(turn), device=turn.device)
        speaker = self.speakers(numbers.clamp(max=self.speakers.num_embeddings - 1))
        turns, masks = {}, {}
        for view, project in self.project.items():
            x, mask = batch[view]
            more = numbers.shape[1] - x.shape[1]  # turns of dialogues that lack it
            masks[view] = pad(mask, (0, more))
            z = project(pad(x * mask[:, :, None], (0, 0, 0, more)))
            turns[view] = z + sinusoids(z) + speaker
        fused = []
        for target in turns:
            parts = []
            for source in turns:
                pair = f"{source}_{target}"
                keys = self.dropout(turns[source])
                query = keys if source == target else self.dropout(turns[target])
                z = self.exchanges[pair](query[rows, turn], keys, masks[source])
                parts.append(z * self.gates[pair](z).sigmoid())
            fused.append(self.reduce[target](torch.cat(parts, 1)))
        of_all = torch.stack(fused, 1)  # [n, modalities, d]
        whole = (self.fusion(of_all).softmax(1) * of_all).sum(1)
        single = [self.single[view](z) for view, z in zip(turns, fused)]
        return [self.whole(whole), *single]


def sdt_loss(heads: Sequence[Tensor], y: Tensor, temperature: float) -> Tensor:
    """The mean over utterances of what the heads lose, with all weights (gamma) 1, as published.

    Cross-entropy of the whole and of every modality with the labels y int64 [n], and for every
    modality KL(whole || modality) at the temperature. The whole learns from the latter, too.
    """
    whole, *single = heads
    teacher = (whole / temperature).softmax(1)
    loss = cross_entropy(whole, y)
    for logits in single:
        student = (logits / temperature).log_softmax(1)
        loss = loss + cross_entropy(logits, y)
        loss = loss + kl_div(student, teacher, reduction="batchmean")
    return loss


class SelfDistillation(AttendingSystem):
    """SDT on the dialogues of utterances, with the optimiser of its code at one learning rate."""

    section = "sdt"
    schema = with_epochs(params.Sdt)
    of = Sdt
    sequences = False
    in_dialogue = True
    clip_norm = None

    def optimizer(self, network: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
        """Adam, with weight decay as an L2 penalty."""
        return torch.optim.Adam(
            network.parameters(),
            lr=settings["learning_rate"],
            weight_decay=settings["weight_decay"],
        )

    def rate(self, step: int, steps: int, settings: Mapping[str, Any]) -> float:
        """Always the same."""
        return 1.0

    def loss(
        self, logits: Tensor, y: Tensor, settings: Mapping[str, Any], *single: Tensor
    ) -> Tensor:
        """With self-distillation from the whole to the modalities."""
        return sdt_loss([logits, *single], y, settings["temperature"])
