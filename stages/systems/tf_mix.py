"""TF-Mix: three networks on hand-made features, and the weighted average of their probabilities.

Paper: Wang et al., "TF-Mix", Applied Acoustics 218, 2024. There is no public code, and its text was
not at hand: this is in the manner of it. Known of it are augmented voices, several hand-made
features fused, three networks (1-D CNN and fully connected layers, "FC"; CNN, BiLSTM and FC; CNN,
BiLSTM, transformer and FC) and the weighted average of the three. That the averages over time are
one vector, which the CNNs take for a signal, and blocks of convolution, batch normalisation and
max-pooling are those of a close relative with an open text: R. Ahmed et al., arXiv:2112.05666.

Not known are all sizes, rates and epochs, how the weights are found, how voices are divided, and
whether they are augmented before that: if so, as is usual in such papers, copies of one utterance
are on both sides.

Ours: all of these; see `tf_mix` in params.yaml. The features and the copies are those of the
encoder `hand_features` (with `encoders.acoustic.sequences: true`). Voices are divided first, and of
an utterance of the training part each epoch draws the clip itself or one of its copies; validated
and tested is by the clip itself alone. The three networks learn side by side, each by its own
cross-entropy, and keep the same epoch. Their weights, tenths of at least one, or a third each, are
those that tell the validation part best in this epoch; a third each where there is none.
"""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, create_model
from torch import Tensor, nn
from torch.nn.functional import nll_loss

from stages.runtime.errors import UserError
from stages.runtime.params import Params, TfMix
from stages.systems.board import Reporter
from stages.systems.contract import ACOUSTIC, Clip, Live, Task, Trained
from stages.systems.neural import Batch, NeuralClassifier, NeuralSystem, with_epochs
from stages.systems.pooled import found_of
from stages.systems.selection import best_of

ROWS = 4  # of a clip with its copies, the clip first
NETWORKS = ("cnn", "bilstm", "transformer")
EQUAL = (1 / 3, 1 / 3, 1 / 3)
TENTHS = [tenths for tenths in product(range(1, 9), repeat=3) if sum(tenths) == 10]
WEIGHTS = [EQUAL, *(tuple(part / 10 for part in tenths) for tenths in TENTHS)]
KERNEL, BLOCKS, HEADS = 5, 3, 2


class LocalFeatures(nn.Sequential):
    """A vector [n, D] as a signal of one channel to [n, 2 channels, ceil(D / 8)]."""

    def __init__(self, channels: int):
        widths = (1, channels, 2 * channels, 2 * channels)
        layers: list[nn.Module] = [nn.Unflatten(1, (1, -1))]
        for before, after in zip(widths, widths[1:]):
            layers += [
                nn.Conv1d(before, after, KERNEL, padding="same"),
                nn.BatchNorm1d(after),
                nn.ReLU(),
                nn.MaxPool1d(2, ceil_mode=True),
            ]
        super().__init__(*layers)


def fully_connected(dim: int, width: int, classes: int, dropout: float) -> nn.Sequential:
    """[n, dim] to logits [n, classes]."""
    return nn.Sequential(
        nn.Linear(dim, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, classes)
    )


class Cnn(nn.Module):
    """1-D CNN and fully connected layers."""

    def __init__(self, dim: int, classes: int, channels: int, dropout: float):
        super().__init__()
        width = 2 * channels
        self.local = LocalFeatures(channels)
        self.head = fully_connected(-(-dim // 2**BLOCKS) * width, width, classes, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors [n, D] to logits [n, C]."""
        return self.head(self.local(x).flatten(1))


class CnnBiLstm(nn.Module):
    """CNN, BiLSTM, whose last states of both directions are taken, and fully connected layers."""

    def __init__(self, classes: int, channels: int, dropout: float):
        super().__init__()
        width = 2 * channels
        self.local = LocalFeatures(channels)
        self.lstm = nn.LSTM(width, channels, batch_first=True, bidirectional=True)
        self.head = fully_connected(width, width, classes, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors [n, D] to logits [n, C]."""
        _, (last, _) = self.lstm(self.local(x).transpose(1, 2))
        return self.head(last.transpose(0, 1).flatten(1))


class CnnBiLstmTransformer(nn.Module):
    """CNN, BiLSTM, one layer of a transformer, the mean over the signal, fully connected layers."""

    def __init__(self, classes: int, channels: int, dropout: float):
        super().__init__()
        width = 2 * channels
        self.local = LocalFeatures(channels)
        self.lstm = nn.LSTM(width, channels, batch_first=True, bidirectional=True)
        self.attending = nn.TransformerEncoderLayer(
            width, HEADS, 2 * width, dropout, batch_first=True
        )
        self.head = fully_connected(width, width, classes, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Vectors [n, D] to logits [n, C]."""
        found, _ = self.lstm(self.local(x).transpose(1, 2))
        return self.head(self.attending(found).mean(1))


def averaged(told: Tensor, weights: Tensor) -> Tensor:
    """Logs of the weighted average of probabilities whose logs are [..., 3, C]; weights [3]."""
    return (told + weights.log()[:, None]).logsumexp(-2)


class Ensemble(nn.Module):
    """The three networks, and the weights float32 [3] of their probabilities."""

    weights: Tensor

    def __init__(self, dim: int, classes: int, channels: int, dropout: float):
        super().__init__()
        self.cnn = Cnn(dim, classes, channels, dropout)
        self.bilstm = CnnBiLstm(classes, channels, dropout)
        self.transformer = CnnBiLstmTransformer(classes, channels, dropout)
        self.register_buffer("weights", torch.tensor(EQUAL))

    def told(self, batch: Batch) -> Tensor:
        """Logs of the probabilities [n, 3, C] by each network, of row 0 of every utterance."""
        x = batch[ACOUSTIC].x[:, 0]
        logits = [network(x) for network in (self.cnn, self.bilstm, self.transformer)]
        return torch.stack(logits, 1).log_softmax(2)

    def forward(self, batch: Batch) -> Tensor:
        """Logs of the probabilities [n, C]; in training the mean of the three networks' logs.

        The latter has the mean of their losses for its loss, so that each learns by its own.
        """
        told = self.told(batch)
        return told.mean(1) if self.training else averaged(told, self.weights)


class Mixture(NeuralSystem):
    """TF-Mix as params.yaml has it."""

    section = "tf_mix"
    schema: type[BaseModel] = create_model(
        "TfMixWeighted", __base__=with_epochs(TfMix), weights=(tuple[float, float, float], ...)
    )
    chooses = ("epoch", *(f"weight_{name}" for name in NETWORKS))
    sequences = True

    def settings(self, params: Params, classes: Sequence[str]) -> dict[str, Any]:
        """Its section, and the weights where there is nothing to choose them by."""
        return super().settings(params, classes) | {"weights": EQUAL}

    def network(
        self, dims: Mapping[str, int], classes: int, settings: Mapping[str, Any]
    ) -> nn.Module:
        """The ensemble, with the weights of the settings."""
        found = Ensemble(dims[ACOUSTIC], classes, settings["channels"], settings["dropout"])
        found.weights = torch.tensor(settings["weights"])
        return found

    def prepare(self, clip: Clip, settings: Mapping[str, Any]) -> Clip:
        """As it is.

        Raises:
            UserError: it has rows that are no copies of an utterance.
        """
        if len(clip[ACOUSTIC]) not in (1, ROWS):
            raise UserError(
                f"params.yaml: system: tf_mix: the acoustic sequences have {len(clip[ACOUSTIC])} "
                "rows, and are no copies of a voice; set encoders.acoustic.name: hand_features, "
                "or sequences: false"
            )
        return clip

    def augment(self, clip: Clip, settings: Mapping[str, Any], generator: torch.Generator) -> Clip:
        """The utterance itself or one of its copies, each as often."""
        row = int(torch.randint(len(clip[ACOUSTIC]), (), generator=generator))
        return {ACOUSTIC: clip[ACOUSTIC][row : row + 1]}

    def loss(self, logits: Tensor, y: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The mean of the three networks' cross-entropies."""
        return nll_loss(logits, y)

    def train_all(
        self, task: Task, folds: int, seeds: Sequence[int], label: str, live: Live | None = None
    ) -> list[Trained]:
        """Train every fold with every seed, and say where there are no copies to train on."""
        if not task.features.sequences(ACOUSTIC):
            print(
                f"{label}: tf_mix trains without augmented copies, which the features have with "
                "encoders.acoustic.name: hand_features and sequences: true"
            )
        return super().train_all(task, folds, seeds, label, live)

    def settle(
        self, settings: Mapping[str, Any], chosen: Sequence[Mapping[str, float]]
    ) -> dict[str, Any]:
        """With the mean weights of the folds, too."""
        weights = tuple(np.mean([of[f"weight_{name}"] for of in chosen]) for name in NETWORKS)
        return super().settle(settings, chosen) | {"weights": tuple(map(float, weights))}

    def _train(self, task: Task, fold: int, seed: int, device: str, report: Reporter) -> Trained:
        """One replica, with the weights among what was chosen."""
        trained = super()._train(task, fold, seed, device, report)
        weights = trained.state["network.weights"].tolist()
        named = {f"weight_{name}": weight for name, weight in zip(NETWORKS, weights)}
        return trained._replace(chosen=trained.chosen | named)

    def _epochs(
        self,
        classifier: NeuralClassifier,
        trained: Sequence[Clip],
        y: Tensor,
        weights: Tensor | None,
        watched: Sequence[Clip],
        watched_y: Tensor,
        name: str,
        report: Reporter,
    ) -> tuple[list[dict[str, float]], int, dict[str, Tensor]]:
        """As always with equal weights; then the weights of the epoch that was kept are chosen.

        What is known of this epoch is what the ensemble with its weights tells.
        """
        history, kept, state = super()._epochs(
            classifier, trained, y, weights, watched, watched_y, name, report
        )
        if classifier.settings["select"] == "last":
            return history, kept, state
        classifier.load_state_dict(state, strict=False)
        best = best_of(probabilities_by_weights(classifier, watched), [watched_y])
        state["network.weights"] = torch.tensor(best)
        classifier.load_state_dict(state, strict=False)
        found = found_of(classifier.of_prepared(watched), watched_y, "validation")
        history[kept - 1] |= found
        return history, kept, state


@torch.inference_mode()
def probabilities_by_weights(
    classifier: NeuralClassifier, clips: Sequence[Clip]
) -> dict[tuple[float, ...], list[Tensor]]:
    """The probabilities [C] of each prepared clip, by the weights of the ensemble."""
    classifier.eval()
    ensemble, device = classifier.network, classifier.known.device
    assert isinstance(ensemble, Ensemble)
    told = [ensemble.told(classifier.batch([clip], device))[0] for clip in clips]
    return {
        weights: [
            torch.softmax(classifier.masked(averaged(one, one.new_tensor(weights))), 0).cpu()
            for one in told
        ]
        for weights in WEIGHTS
    }
