"""What a system is, and what every system is given and gives back.

A system learns from the training utterances of a fold and tells the emotions of others. It names
what it looks at and brings the training and the prediction; nothing else is its own. Folds, seeds,
leak checks, checkpoints, scoring, statistics, calibration and plots are of all systems alike.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from stages.corpora.emotions import EMOTIONS
from stages.runtime.errors import UserError
from stages.runtime.params import Params
from stages.splits.dataset import Features, labels, number_of, select_rows
from stages.splits.leaks import check_faces_at_test
from stages.splits.protocols import TRAIN, VALIDATION, Rows

ACOUSTIC, VISUAL, LINGUISTIC = "acoustic", "visual", "linguistic"
MELS = "mels"  # log-Mel spectrograms, for what learns from them without a frozen encoder
MODALITIES = (ACOUSTIC, VISUAL, LINGUISTIC)
# What may be looked at of one utterance, float32 [T, D] by view (a modality, or MELS): of voice and
# text the pooled vector [1, D], or the sequence for a system that reads `sequences`; of the picture
# its usable faces; the spectrogram in dB. What there is not, or must not be seen, is absent.
# For a system that reads whole dialogues every view has a row a turn, zeros where a turn has none;
# then there are "turn" int64 [1], the row of the utterance, "speakers" int64 [turns], numbered
# within the dialogue, and "<view>_there" bool [turns].
Clip = Mapping[str, Tensor]
# What is known of the epochs made: by name, float64 [replicas, epochs], NaN where an entry is
# absent or the epoch is not made yet. Live is shown them every few seconds.
Histories = Mapping[str, np.ndarray]
Live = Callable[[Histories], None]
# Name and shape of each tensor of a classifier; None for a number of samples.
Layout = dict[str, tuple[int | None, ...]]


class Samples(NamedTuple):
    """Features float32 [n, D] and labels int64 [n]."""

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


def fit_standardizer_where_known(x: Tensor) -> Standardizer:
    """The same of features that are NaN where they are not known; 0 and 1 where none is."""
    known = ~x.isnan()
    if known.all():
        return fit_standardizer(x)
    n = known.sum(0).clamp(min=1)
    mean = x.nansum(0) / n
    std = (((x - mean) ** 2).nansum(0) / n).sqrt()
    return Standardizer(mean, torch.where(std > 1e-12, std, 1.0))


class Task(NamedTuple):
    """What all replicas share.

    Attributes:
        rows: data/split.csv.
        settings: of the system.
        watched: role of the utterances that choose between what was learned: "validation"; "test"
            only for the figure that is labelled as optimistic.
        class_balance: of params.yaml; by "sampler" `even` is meant, by "weights" `weights_of`.
    """

    features: Features
    rows: Rows
    protocol: str
    settings: Any
    watched: str = VALIDATION
    class_balance: str = "none"

    def training_rows(self, fold: int, views: Sequence[str]) -> Rows:
        """The acoustic rows that are learned from in a fold, those of no copies first.

        The only ones that stand for augmented copies, of the views that are read.
        """
        rows = select_rows(self.rows, ACOUSTIC, fold, TRAIN)
        rows = self.features.with_copies(rows, views)
        if self.class_balance == "sampler":
            rows = [rows[i] for i in even(torch.from_numpy(labels(rows))).tolist()]
        return rows

    def acoustic(self, rows: Rows) -> Samples:
        """The acoustic samples of rows, of which there is at least one."""
        x, y, _ = self.features.acoustic_samples(rows)
        return Samples(torch.from_numpy(x), torch.from_numpy(y))


def even(y: Tensor) -> Tensor:
    """Indices int64 of samples of classes y int64 [n], by which all classes are as many.

    All samples, and after them those of rarer classes once more or as often as it takes, at equal
    distances in their order.
    """
    counts = y.bincount()
    found = [torch.arange(len(y))]
    for label, count in enumerate(counts.tolist()):
        lacking = int(counts.max()) - count
        if count and lacking:
            found.append((y == label).nonzero()[:, 0][torch.arange(lacking) * count // lacking])
    return torch.cat(found)


def weights_of(y: Tensor) -> Tensor:
    """Weights float32 [n] of samples of classes y int64 [n], by which all classes weigh as much.

    Inverse to the frequency of the class, with a mean of 1.
    """
    counts = y.bincount()
    return len(y) / ((counts > 0).sum() * counts[y])


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

    Attributes:
        section: of params.yaml that holds its settings; "" where it has none.
        schema: of its settings as a checkpoint holds them.
        chooses: the names of what its validation part chooses.
        by_epochs: whether it learns by epochs, and so has curves, and settings `select` and
            `patience` as FDAN has (`stages.fdan.training.Settings`).
        sequences: whether it reads what was encoded before pooling, where that is kept.
        in_dialogue: whether it reads the whole dialogue of an utterance.
        may_lack: whether it tells an utterance of which it sees fewer modalities than it learned
            from.
    """

    section = ""
    schema: type[BaseModel]
    chooses: tuple[str, ...] = ()
    by_epochs = False
    sequences = False
    in_dialogue = False
    may_lack = False

    def settings(self, params: Params, classes: Sequence[str]) -> dict[str, Any]:
        """Its settings in params.yaml, for a task of these emotions."""
        found = getattr(params, self.section).model_dump() if self.section else {}
        if self.by_epochs:
            select = {"validation": "uar", "last": "last"}[params.selection]
            found |= {"select": select, "patience": params.patience}
        return found

    def views(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """What it learns from of an utterance."""
        return (ACOUSTIC,)

    def modalities(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The modalities that these are of."""
        views = [ACOUSTIC if view == MELS else view for view in self.views(settings)]
        return tuple(dict.fromkeys(views))

    def tested_on(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The modalities by which it tells an utterance where params.yaml has no others."""
        return self.modalities(settings)

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

    @abstractmethod
    def probabilities(self, classifier: nn.Module, clips: Sequence[Clip]) -> Tensor:
        """Probabilities float32 [n, C] of utterances, by what is there of each.

        One at a time, so that not even rounding depends on what else is predicted.
        """


def median_epoch(
    settings: Mapping[str, Any], chosen: Sequence[Mapping[str, float]]
) -> dict[str, Any]:
    """`System.settle` of what learns by epochs: as many as the folds kept, the last of which is."""
    epochs = int(np.median([of["epoch"] for of in chosen]))
    return {**settings, "epochs": epochs, "select": "last", "patience": 0}


class Reader:
    """What a system looks at of the utterances of a split.

    Args:
        rows: data/split.csv.
        modalities: those that may be seen; None: all that the system learns from.
    """

    def __init__(
        self,
        system: System,
        settings: Mapping[str, Any],
        features: Features,
        rows: Rows,
        modalities: Sequence[str] | None = None,
    ):
        self.system, self.features = system, features
        self.views = [
            view
            for view in system.views(settings)
            if modalities is None or (ACOUSTIC if view == MELS else view) in modalities
        ]
        self.dialogues: dict[str, Rows] = {}
        if system.in_dialogue:
            for row in rows:
                if row["modality"] == ACOUSTIC:
                    self.dialogues.setdefault(row["dialogue"] or row["id"], []).append(row)
            for turns in self.dialogues.values():
                turns.sort(key=lambda row: int(row["turn"] or 0))

    def clips(self, rows: Rows) -> list[Clip]:
        """What may be seen of the utterances of these rows."""
        if self.system.in_dialogue:
            return [self._in_dialogue(row) for row in rows]
        return [
            {
                view: torch.from_numpy(values)
                for view, values in self.features.views(
                    row["id"], self.views, self.system.sequences, number_of(row)
                ).items()
            }
            for row in rows
        ]

    def classify(self, classifier: nn.Module, rows: Rows) -> np.ndarray:
        """Probabilities float32 [n, C] of the utterances of these rows."""
        return self.system.probabilities(classifier, self.clips(rows)).numpy()

    def _in_dialogue(self, row: dict[str, str]) -> Clip:
        turns = self.dialogues[row["dialogue"] or row["id"]]
        there = [self.features.views(turn["id"], self.views, copy=number_of(row)) for turn in turns]
        place = [turn["id"] for turn in turns].index(row["id"])
        return in_dialogue(there, [turn["speaker"] for turn in turns], place)


def in_dialogue(
    turns: Sequence[Mapping[str, np.ndarray]], speakers: Sequence[str], place: int
) -> Clip:
    """A clip as a system that reads whole dialogues is given it.

    Args:
        turns: what there is of each, [T, D] by view.
        speakers: of each.
        place: of the utterance among them.
    """
    clip: dict[str, Tensor] = {}
    for view in dict.fromkeys(name for turn in turns for name in turn):
        like = next(turn[view] for turn in turns if view in turn)
        nothing = np.zeros(like.shape[1], np.float32)
        values = [turn[view].mean(0) if view in turn else nothing for turn in turns]
        clip[view] = torch.from_numpy(np.stack(values))
        clip[f"{view}_there"] = torch.tensor([view in turn for turn in turns])
    known = list(dict.fromkeys(speakers))
    clip["speakers"] = torch.tensor([known.index(name) for name in speakers])
    clip["turn"] = torch.tensor([place])
    return clip


def modalities_of_test(
    asked: str | Sequence[str],
    system: System,
    settings: Mapping[str, Any],
    rows: Rows,
    folds: int,
) -> tuple[str, ...]:
    """The modalities by which utterances are told at test.

    Args:
        asked: `test_modalities` of params.yaml.

    Raises:
        UserError: the system does not learn from one of them, cannot do without another, or (of
            faces) a test speaker's face is trained on.
    """
    learned = system.modalities(settings)
    seen = system.tested_on(settings) if isinstance(asked, str) else tuple(asked)
    key = f"params.yaml: test_modalities: {', '.join(seen)}"
    if extra := set(seen) - set(learned):
        raise UserError(f"{key}: the system learns nothing from {', '.join(sorted(extra))}")
    if not system.may_lack and set(seen) != set(learned):
        raise UserError(f"{key}: the system needs {', '.join(learned)}; set default")
    if VISUAL in seen:
        check_faces_at_test(rows, folds)
    return seen


def parts(reader: Reader, task: Task, fold: int) -> tuple[list[Clip], Tensor, list[Clip], Tensor]:
    """The clips and labels int64 [n] of a fold's training part, and of what is watched."""
    found: list[Any] = []
    watched = select_rows(task.rows, ACOUSTIC, fold, task.watched)
    for rows in (task.training_rows(fold, reader.views), watched):
        found += [reader.clips(rows), torch.from_numpy(labels(rows))]
    return tuple(found)


def emotions_of(y: Tensor) -> list[str]:
    """The emotions of labels int64 [n], in their order."""
    return [EMOTIONS[label] for label in y.unique()]
