"""Emotion query tokens, which gather from all modalities, and modalities hidden at random.

S. Wang, Y. Ma, Y. Ding, "Exploring complementary features in multi-modal speech emotion
recognition", ICASSP 2023 (IEEE 10096709).

The paper's, by its abstract: frozen features of pre-trained encoders; parallel uni-modal encoders
refine them; a group of learnable query tokens gathers from speech and text by cross-attention in a
transformer decoder; in training whole modalities are masked at random; IEMOCAP. By a third party's
table: HuBERT and MPNet features, one session left out at a time.

Its code was not published: every size, rate and probability is ours (`params.yaml`), and that one
decoder attends to all modalities side by side, each marked by a learned embedding. So are faces as
a third modality, and that what is hidden is masked in the keys of the decoder: what is hidden in
training and what is missing at test are the same to the network.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from stages.runtime import params
from stages.systems.neural import Padded, with_epochs
from stages.systems.transformer import AttendingSystem, Encoder, ignored, sinusoids


class UnimodalEncoder(nn.Module):
    """Refines the features [n, T, D] of one modality to [n, T, d], whatever the others are."""

    def __init__(self, features: int, dim: int, heads: int, ffn_dim: int, layers: int, drop: float):
        super().__init__()
        self.project = nn.Sequential(nn.Linear(features, dim), nn.LayerNorm(dim))
        self.modality = nn.Parameter(nn.init.normal_(torch.empty(dim), std=0.02))
        self.encoder = Encoder(dim, heads, ffn_dim, layers, drop)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Refined sequences [n, T, d]; of no meaning outside of the mask [n, T]."""
        z = self.project(x * mask[:, :, None])
        return self.encoder(z + sinusoids(z) + self.modality, mask)


class QueryTokens(nn.Module):
    """Parallel encoders of the modalities, queries that gather from all, and a linear classifier.

    Args:
        dims: widths of the features, by modality.
        layers: of the encoder of each modality.
        queries: how many; with 0 there is no decoder, and the mean of all that the encoders give
            stands in its place.
        decoder_layers: in each the queries attend to one another and to all modalities.
        masking: the probability with which a modality of an utterance is hidden in training; never
            are all of them.
    """

    def __init__(
        self,
        dims: Mapping[str, int],
        classes: int,
        *,
        dim: int,
        heads: int,
        ffn_dim: int,
        layers: int,
        queries: int,
        decoder_layers: int,
        masking: float,
        dropout: float,
    ):
        super().__init__()
        self.masking = masking
        self.encoders = nn.ModuleDict(
            {
                view: UnimodalEncoder(features, dim, heads, ffn_dim, layers, dropout)
                for view, features in dims.items()
            }
        )
        if queries:
            self.queries = nn.Parameter(nn.init.normal_(torch.empty(queries, dim), std=0.02))
            self.decoder = nn.ModuleList(
                nn.TransformerDecoderLayer(
                    dim, heads, ffn_dim, dropout, batch_first=True, norm_first=True
                )
                for _ in range(decoder_layers)
            )
            self.norm = nn.LayerNorm(dim)
        self.classifier = nn.Linear(dim, classes)

    def forward(self, batch: Mapping[str, Padded]) -> Tensor:
        """Logits [n, C] of sequences by modality.

        Of an utterance without any they are what the network says of a step of zeros.
        """
        memory = torch.cat([encoder(*batch[view]) for view, encoder in self.encoders.items()], 1)
        masks = [batch[view].mask for view in self.encoders]
        if self.training and self.masking:
            masks = hide(masks, self.masking)
        left_out = ignored(torch.cat(masks, 1))
        if not hasattr(self, "queries"):
            shares = ~left_out / (~left_out).sum(1, keepdim=True)
            return self.classifier((memory * shares[:, :, None]).sum(1))
        z = self.queries.expand(len(memory), -1, -1)
        for layer in self.decoder:
            z = layer(z, memory, memory_key_padding_mask=left_out)
        return self.classifier(self.norm(z).mean(1))


def hide(masks: list[Tensor], probability: float) -> list[Tensor]:
    """The masks [n, T] of the modalities, whole ones of which are hidden at random.

    Where chance would hide all that an utterance has, one of these is left, each as likely.
    """
    there = torch.stack([mask.any(1) for mask in masks], 1)
    draw = torch.rand(there.shape, device=there.device).masked_fill(~there, -1)
    kept = (draw >= probability) | (draw == draw.amax(1, keepdim=True))
    return [mask & keep[:, None] for mask, keep in zip(masks, kept.unbind(1))]


class EmotionQueries(AttendingSystem):
    """Emotion query tokens on the sequences of any modalities."""

    section = "query_tokens"
    schema = with_epochs(params.QueryTokens)
    of = QueryTokens
