"""Systems that learn from one vector an utterance, and not by epochs: all that they share."""

import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from stages.corpora.emotions import EMOTIONS
from stages.runtime.progress import track
from stages.scoring.calibration import log_loss
from stages.scoring.metrics import confusion_matrix, uar, war
from stages.splits.protocols import Rows
from stages.systems.contract import (
    ACOUSTIC,
    Clip,
    Layout,
    Live,
    Reader,
    Samples,
    Standardizer,
    System,
    Task,
    Trained,
    emotions_of,
    fit_standardizer_where_known,
    parts,
)


class Training(NamedTuple):
    """The training part of a fold: standardised vectors, their rows, and the protocol.

    Attributes:
        weighted: whether all emotions are to weigh as much (`contract.weights_of`).
    """

    samples: Samples
    rows: Rows
    protocol: str
    weighted: bool = False


class PooledSystem(System):
    """It is all in `fit`, `predict` and `shapes`.

    The vectors of several modalities (`modalities` among its settings) stand one behind another,
    that of the faces being their mean. What an utterance has not is the mean of the training part.

    Attributes:
        seeded: whether anything in it is random; else one `fit` serves all seeds of a fold.
    """

    seeded = False

    @abstractmethod
    def fit(
        self,
        training: Training,
        validation: Samples | None,
        settings: Mapping[str, Any],
        seed: int,
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Learn from the training part, and choose on the validation part if there is something.

        Returns:
            Tensors float32 of the shapes `shapes`, and what was chosen, by name.
        """

    @abstractmethod
    def predict(
        self, tensors: Mapping[str, Tensor], x: Tensor, settings: Mapping[str, Any]
    ) -> Tensor:
        """Probabilities float64 [C] of the standardised vector float64 [D] of one utterance.

        Emotions that no training utterance has get exactly 0.
        """

    @abstractmethod
    def shapes(self, classes: int, dim: int) -> Layout:
        """The tensors that `fit` returns and `predict` needs; None for a number of samples."""

    def views(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Its `modalities`, or the voice alone."""
        return tuple(settings.get("modalities", (ACOUSTIC,)))

    def train_all(
        self, task: Task, folds: int, seeds: Sequence[int], label: str, live: Live | None = None
    ) -> list[Trained]:
        """`fit` for every fold and, where something is random, every seed."""
        torch.set_num_threads(1)  # the last bits of a sum depend on the number of threads
        reader = Reader(self, task.settings, task.features, task.rows)
        dims = task.features.dims(self.views(task.settings))
        with threadpool_limits(1):
            return [
                replica
                for fold in track(range(folds), folds, label, "folds")
                for replica in self._train_fold(task, reader, dims, fold, seeds)
            ]

    def _train_fold(
        self,
        task: Task,
        reader: Reader,
        dims: Mapping[str, int],
        fold: int,
        seeds: Sequence[int],
    ) -> Iterator[Trained]:
        trained, y, seen, watched_y = parts(reader, task, fold)
        raw, rows = Samples(vectors(trained, dims), y), task.training_rows(fold, reader.views)
        scale = fit_standardizer_where_known(raw.x)
        weighted = task.class_balance == "weights"
        scaled = Samples(standardised(scale, raw.x), raw.y)
        training = Training(scaled, rows, task.protocol, weighted)
        watched = validation = None
        if seen:
            watched = Samples(vectors(seen, dims), watched_y)
            validation = Samples(standardised(scale, watched.x), watched.y)
        for seed in seeds:
            started = time.perf_counter()
            if self.seeded or seed == seeds[0]:
                tensors, chosen = self.fit(training, validation, task.settings, seed)
                classifier = PooledClassifier(self, task.settings, dims, scale, tensors)
                kept = found_of(classifier(raw.x), raw.y, "acoustic")
                if watched:
                    kept |= found_of(classifier(watched.x), watched.y, "validation")
            yield Trained(
                fold,
                seed,
                # A checkpoint takes no tensor under two names.
                {name: value.clone() for name, value in classifier.state_dict().items()},
                [],
                emotions_of(raw.y),
                chosen,
                kept,
                [],
                time.perf_counter() - started,
            )

    def settle(
        self, settings: Mapping[str, Any], chosen: Sequence[Mapping[str, float]]
    ) -> dict[str, Any]:
        """As they are: nothing is chosen."""
        return dict(settings)

    def layout(self, facts: Mapping[str, Any]) -> Layout:
        """What `shapes` says, and what the vectors are standardised by."""
        dim = sum(facts["dims"].values())
        return {"input_mean": (dim,), "input_std": (dim,), **self.shapes(len(EMOTIONS), dim)}

    def restore(self, facts: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
        """The classifier with a state that has this layout."""
        tensors = {name: value.clone() for name, value in state.items()}
        scale = Standardizer(tensors.pop("input_mean"), tensors.pop("input_std"))
        return PooledClassifier(self, facts["settings"], facts["dims"], scale, tensors).eval()

    def probabilities(self, classifier: nn.Module, clips: Sequence[Clip]) -> Tensor:
        """Of each utterance by its vector."""
        assert isinstance(classifier, PooledClassifier)
        return classifier(vectors(clips, classifier.dims))


def vectors(clips: Sequence[Clip], dims: Mapping[str, int]) -> Tensor:
    """What there is of each utterance as one vector, float32 [n, D]; NaN where there is nothing."""
    rows = [
        torch.cat(
            [
                clip[view].mean(0) if view in clip else torch.full((dim,), torch.nan)
                for view, dim in dims.items()
            ]
        )
        for clip in clips
    ]
    return torch.stack(rows) if rows else torch.empty(0, sum(dims.values()))


def standardised(scale: Standardizer, x: Tensor) -> Tensor:
    """Vectors [n, D] with mean 0 and deviation 1; 0 where there is nothing."""
    return scale.apply(x).nan_to_num(0.0)


class PooledClassifier(nn.Module):
    """What a pooled system has learned, with what its vectors are standardised by."""

    input_mean: Tensor
    input_std: Tensor

    def __init__(
        self,
        system: PooledSystem,
        settings: Mapping[str, Any],
        dims: Mapping[str, int],
        scale: Standardizer,
        tensors: Mapping[str, Tensor],
    ):
        super().__init__()
        self.system, self.settings, self.dims = system, settings, dims
        self.names = list(tensors)
        for name, value in {**tensors, "input_mean": scale.mean, "input_std": scale.std}.items():
            self.register_buffer(name, value)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """Class probabilities float32 [n, C] of raw vectors [n, D], one at a time."""
        scaled = standardised(Standardizer(self.input_mean, self.input_std), x).double()
        tensors = {name: self.get_buffer(name) for name in self.names}
        rows = [self.system.predict(tensors, one, self.settings) for one in scaled]
        return torch.stack(rows).float() if rows else torch.empty(0, len(EMOTIONS))


def found_of(probabilities: Tensor, y: Tensor, part: str) -> dict[str, float]:
    """Recalls and loss of a part, by name; no loss where it would be infinite.

    Args:
        probabilities: [n, C].
        y: classes int64 [n].
    """
    shares, true = probabilities.numpy(), y.numpy()
    confusion = confusion_matrix(true, shares.argmax(1), len(EMOTIONS))
    found = {f"{part}_uar": float(uar(confusion)), f"{part}_war": float(war(confusion))}
    loss = log_loss(shares, true)
    return found | {f"{part}_loss": loss} if np.isfinite(loss) else found
