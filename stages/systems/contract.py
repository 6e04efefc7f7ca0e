"""What a system is, and what every system is given and gives back.

A system learns from the training utterances of a fold and tells the emotions of others. It names
its modalities and brings `fit` and `predict`; nothing else is its own. Folds, seeds, leak checks,
standardisation, checkpoints, scoring, statistics, calibration and plots are of all systems alike.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from stages.corpora.emotions import EMOTIONS
from stages.runtime.progress import track
from stages.scoring.calibration import log_loss
from stages.scoring.metrics import confusion_matrix, uar, war
from stages.splits.dataset import Features, select_rows
from stages.splits.protocols import TRAIN, VALIDATION, Rows

ACOUSTIC, VISUAL = "acoustic", "visual"
# What is known of the epochs made: by name, float64 [replicas, epochs], NaN where an entry is
# absent or the epoch is not made yet. Live is shown them every few seconds.
Histories = Mapping[str, np.ndarray]
Live = Callable[[Histories], None]
# Name and shape of each tensor of a classifier; None for a number of samples.
Layout = dict[str, tuple[int | None, ...]]


class Samples(NamedTuple):
    """Features float32 [n, D] and labels int64 [n] of one modality."""

    x: Tensor
    y: Tensor


class Standardizer(NamedTuple):
    """Mean and standard deviation [D] of training features, by which all features are scaled."""

    mean: Tensor
    std: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """Features [n, D] with mean 0 and standard deviation 1 over the training samples."""
        return (x - self.mean) / self.std


def fit_standardizer(x: Tensor) -> Standardizer:
    """Mean and deviation of training features x [n, D]; constants get a deviation of 1."""
    std = x.std(0, correction=0)
    return Standardizer(x.mean(0), torch.where(std > 1e-12, std, 1.0))


class Task(NamedTuple):
    """What all replicas share.

    Attributes:
        rows: data/split.csv.
        settings: of the system.
        watched: role of the utterances that choose between what was learned: "validation"; "test"
            only for the figure that is labelled as optimistic.
    """

    features: Features
    rows: Rows
    protocol: str
    settings: Any
    watched: str = VALIDATION

    def acoustic(self, fold: int, role: str) -> tuple[Samples, Rows]:
        """The acoustic samples that have a role in a fold, and their rows; at least one."""
        rows = select_rows(self.rows, ACOUSTIC, fold, role)
        x, y, _ = self.features.acoustic_samples(rows)
        return Samples(torch.from_numpy(x), torch.from_numpy(y)), rows


class Trained(NamedTuple):
    """One replica: a system trained for one fold with one seed.

    Attributes:
        state: of its classifier.
        bank: ids of the utterances whose visual samples it keeps to attend to at test.
        emotions: those of its training samples, which are all that it predicts.
        chosen: by name what the validation part chose, e.g. {"epoch": 83} or {"c": 0.1}.
        kept: losses and recalls of what was chosen, as train.json names them.
        history: the same of every epoch; [] for a system that does not learn by epochs.
        seconds: how long the training took, on a GPU that of all replicas.
    """

    fold: int
    seed: int
    state: dict[str, Tensor]
    bank: list[str]
    emotions: list[str]
    chosen: dict[str, float]
    kept: dict[str, float]
    history: list[dict[str, float]]
    seconds: float


class System(ABC):
    """What the stages ask of any system.

    Its classifiers are modules that give the probabilities float32 [n, C] of raw acoustic features
    [n, D], of one utterance at a time, so that not even rounding depends on what else is predicted.

    Attributes:
        schema: of its settings as a checkpoint holds them.
        chooses: the names of what its validation part chooses.
        by_epochs: whether it learns by epochs, and so has curves, and settings `select` and
            `patience` as FDAN has (`stages.fdan.training.Settings`).
    """

    schema: type[BaseModel]
    chooses: tuple[str, ...] = ()
    by_epochs = False

    def modalities(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """Those whose samples it is trained on."""
        return (ACOUSTIC,)

    @abstractmethod
    def train_all(
        self, task: Task, folds: int, seeds: Sequence[int], label: str, live: Live | None = None
    ) -> list[Trained]:
        """Train a replica for every fold and seed, in this order.

        Args:
            live: is shown how far training by epochs is.

        Raises:
            UserError: it cannot be trained so.
        """

    @abstractmethod
    def settle(
        self, settings: Mapping[str, Any], chosen: Sequence[Mapping[str, float]]
    ) -> dict[str, Any]:
        """The settings to train on all utterances with, where none are left to choose by.

        Args:
            chosen: by the replicas of the folds.
        """

    @abstractmethod
    def layout(self, facts: Mapping[str, Any]) -> Layout:
        """The tensors of a classifier of which `facts` (`checkpoint.Classifiers`) are known."""

    @abstractmethod
    def restore(self, facts: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
        """The classifier with a state that has this layout."""


class Training(NamedTuple):
    """The training part of a fold: standardised acoustic samples, their rows, and the protocol."""

    samples: Samples
    rows: Rows
    protocol: str


class PooledSystem(System):
    """A system that learns from one vector of acoustic features an utterance, not by epochs.

    It is all in `fit`, `predict` and `shapes`.

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
        """Probabilities float64 [C] of the standardised features float64 [D] of one utterance.

        Emotions that no training utterance has get exactly 0.
        """

    @abstractmethod
    def shapes(self, classes: int, dim: int) -> Layout:
        """The tensors that `fit` returns and `predict` needs; None for a number of samples."""

    def train_all(
        self, task: Task, folds: int, seeds: Sequence[int], label: str, live: Live | None = None
    ) -> list[Trained]:
        """`fit` for every fold and, where something is random, every seed."""
        torch.set_num_threads(1)  # the last bits of a sum depend on the number of threads
        with threadpool_limits(1):
            return [
                replica
                for fold in track(range(folds), folds, label, "folds")
                for replica in self._train_fold(task, fold, seeds)
            ]

    def _train_fold(self, task: Task, fold: int, seeds: Sequence[int]) -> Iterator[Trained]:
        raw, rows = task.acoustic(fold, TRAIN)
        scale = fit_standardizer(raw.x)
        training = Training(Samples(scale.apply(raw.x), raw.y), rows, task.protocol)
        watched = validation = None
        if select_rows(task.rows, ACOUSTIC, fold, task.watched):
            watched, _ = task.acoustic(fold, task.watched)
            validation = Samples(scale.apply(watched.x), watched.y)
        for seed in seeds:
            started = time.perf_counter()
            if self.seeded or seed == seeds[0]:
                tensors, chosen = self.fit(training, validation, task.settings, seed)
                classifier = PooledClassifier(self, task.settings, scale, tensors)
                kept = found_of(classifier, raw, "acoustic")
                if watched:
                    kept |= found_of(classifier, watched, "validation")
            yield Trained(
                fold,
                seed,
                # A checkpoint takes no tensor under two names.
                {name: value.clone() for name, value in classifier.state_dict().items()},
                [],
                [EMOTIONS[label] for label in raw.y.unique()],
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
        """What `shapes` says, and what the features are standardised by."""
        dim = facts["acoustic_dim"]
        return {
            "acoustic_mean": (dim,),
            "acoustic_std": (dim,),
            **self.shapes(len(EMOTIONS), dim),
        }

    def restore(self, facts: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
        """The classifier with a state that has this layout."""
        tensors = {name: value.clone() for name, value in state.items()}
        scale = Standardizer(tensors.pop("acoustic_mean"), tensors.pop("acoustic_std"))
        return PooledClassifier(self, facts["settings"], scale, tensors).eval()


class PooledClassifier(nn.Module):
    """What a pooled system has learned, with what its features are standardised by."""

    acoustic_mean: Tensor
    acoustic_std: Tensor

    def __init__(
        self,
        system: PooledSystem,
        settings: Mapping[str, Any],
        scale: Standardizer,
        tensors: Mapping[str, Tensor],
    ):
        super().__init__()
        self.system, self.settings, self.names = system, settings, list(tensors)
        scales = {"acoustic_mean": scale.mean, "acoustic_std": scale.std}
        for name, value in {**tensors, **scales}.items():
            self.register_buffer(name, value)

    @torch.inference_mode()
    def forward(self, x: Tensor) -> Tensor:
        """Class probabilities float32 [n, C] of raw acoustic features [n, D], one at a time."""
        scaled = Standardizer(self.acoustic_mean, self.acoustic_std).apply(x).double()
        tensors = {name: self.get_buffer(name) for name in self.names}
        rows = [self.system.predict(tensors, one, self.settings) for one in scaled]
        return torch.stack(rows).float() if rows else torch.empty(0, len(EMOTIONS))


def found_of(classifier: nn.Module, samples: Samples, part: str) -> dict[str, float]:
    """Recalls and loss of a classifier on a part, by name; no loss where it would be infinite."""
    probabilities, true = classifier(samples.x).numpy(), samples.y.numpy()
    confusion = confusion_matrix(true, probabilities.argmax(1), len(EMOTIONS))
    found = {f"{part}_uar": float(uar(confusion)), f"{part}_war": float(war(confusion))}
    loss = log_loss(probabilities, true)
    return found | {f"{part}_loss": loss} if np.isfinite(loss) else found
