"""Systems learned by gradient descent over epochs: the one training loop of all of them but FDAN.

A system gives the network, its optimiser and what is done to a clip before; batches, schedule,
validation, the epoch that is kept, seeds, curves and the use of cores are here. On CPUs the
replicas are trained side by side, in processes of one thread each; on a GPU one after another.
"""

import math
import os
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import joblib
import torch
from pydantic import BaseModel, Field, create_model
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence

from stages.corpora.emotions import EMOTIONS
from stages.runtime.command import end_with
from stages.runtime.device import enough_memory, pick_device, require_determinism
from stages.runtime.errors import UserError
from stages.runtime.params import Learned, Params
from stages.systems.board import Reporter, board
from stages.systems.contract import (
    Clip,
    Layout,
    Live,
    Reader,
    Standardizer,
    System,
    Task,
    Trained,
    emotions_of,
    fit_standardizer,
    median_epoch,
    parts,
    weights_of,
)
from stages.systems.pooled import found_of
from stages.systems.selection import score_of


class Padded(NamedTuple):
    """A view of several utterances: x float32 [n, T, D], mask bool [n, T], True where x counts."""

    x: Tensor
    mask: Tensor


Batch = dict[str, Padded]


def with_epochs(section: type[Learned]) -> type[BaseModel]:
    """The schema of a system's settings: its section of params.yaml, and what is added to it."""
    added: dict[str, Any] = {
        "select": (Literal["last", "uar", "war"], ...),
        "patience": (int, Field(ge=0)),
        "planned": (int, Field(ge=1)),
    }
    return create_model(f"{section.__name__}Settings", __base__=section, **added)


class NeuralSystem(System):
    """A network and how it is trained.

    Attributes:
        standardised: whether views are scaled by mean and deviation of the training part, a column
            at a time.
        clip_norm: of gradients, at most; None: as they are.
    """

    by_epochs = True
    chooses: tuple[str, ...] = ("epoch",)
    standardised = True
    clip_norm: float | None = None

    @abstractmethod
    def network(
        self, dims: Mapping[str, int], classes: int, settings: Mapping[str, Any]
    ) -> nn.Module:
        """The network with its initial parameters, drawn from torch's generator.

        It takes a `Batch` and gives logits [n, classes], which depend neither on padding nor on
        what else is in the batch. In training it may give a tuple, of them and of what else
        `loss` is given.

        Args:
            dims: widths D of the views.
        """

    def initial(self, network: nn.Module, settings: Mapping[str, Any]) -> None:
        """Before training, give the network parameters that are not drawn, as published ones."""

    def widths(self, dims: Mapping[str, int], settings: Mapping[str, Any]) -> Mapping[str, int]:
        """The widths D of the views of prepared clips, by those of what is read."""
        return dims

    def prepare(self, clip: Clip, settings: Mapping[str, Any]) -> Clip:
        """What the network is given of a clip, before it is standardised."""
        return clip

    def augment(self, clip: Clip, settings: Mapping[str, Any], generator: torch.Generator) -> Clip:
        """What it is given of a training clip, each time."""
        return clip

    def optimizer(self, network: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
        """AdamW, unless a system has another."""
        return torch.optim.AdamW(
            network.parameters(),
            lr=settings["learning_rate"],
            weight_decay=settings["weight_decay"],
        )

    def rate(self, step: int, steps: int, settings: Mapping[str, Any]) -> float:
        """By what the learning rate is multiplied in a step (from 0) of all that were planned."""
        return 1.0

    def loss(self, logits: Tensor, y: Tensor, settings: Mapping[str, Any]) -> Tensor:
        """The mean over utterances of the cross-entropy, unless a system has another."""
        return cross_entropy(logits, y)

    def weighted_loss(
        self,
        logits: Tensor,
        y: Tensor,
        weights: Tensor,
        settings: Mapping[str, Any],
        *further: Tensor,
    ) -> Tensor:
        """The mean over utterances of `loss` times the weights [n], which are those of classes."""
        found = []
        for label in y.unique():
            of = y == label
            loss = self.loss(logits[of], y[of], settings, *(value[of] for value in further))
            found.append(weights[of].sum() * loss)
        return torch.stack(found).sum() / len(y)

    def settings(self, params: Params, classes: Sequence[str]) -> dict[str, Any]:
        """Its section, and `planned`, the epochs that the schedule of the rate is made for."""
        found = super().settings(params, classes)
        return found | {"planned": found["epochs"]}

    def settle(
        self, settings: Mapping[str, Any], chosen: Sequence[Mapping[str, float]]
    ) -> dict[str, Any]:
        """With the median of the epochs that the folds kept, the last of which is kept."""
        return median_epoch(settings, chosen)

    def train_all(
        self, task: Task, folds: int, seeds: Sequence[int], label: str, live: Live | None = None
    ) -> list[Trained]:
        """Train every fold with every seed, in this order."""
        pairs = [(fold, seed) for fold in range(folds) for seed in seeds]
        device = pick_device()
        jobs = 1 if device == "cuda" else min(len(pairs), joblib.cpu_count())
        parallel = joblib.Parallel(jobs, initializer=end_with, initargs=(os.getpid(),))
        epochs = task.settings["epochs"]
        advice = f"lower batch_size ({task.settings['batch_size']})"
        with (
            enough_memory(label, advice),
            board(label, len(pairs), epochs, ["acoustic_loss"], live) as reporter,
        ):
            return list(
                parallel(
                    joblib.delayed(self._train)(task, *pair, device, reporter.starting_at(place))
                    for place, pair in enumerate(pairs)
                )
            )

    def _train(self, task: Task, fold: int, seed: int, device: str, report: Reporter) -> Trained:
        """One replica.

        Raises:
            UserError: a loss is no longer finite, or no utterance is left to choose the epoch by.
        """
        torch.set_num_threads(1)  # the last bits of a sum depend on the number of threads
        require_determinism()
        settings, started = task.settings, time.perf_counter()
        reader = Reader(self, settings, task.features, task.rows)
        trained, y, watched, watched_y = parts(reader, task, fold)
        emotions = emotions_of(y)
        if settings["select"] != "last" and not any(EMOTIONS[k] in emotions for k in watched_y):
            raise UserError(
                f"params.yaml: selection: fold {fold} has no {task.watched} voice to choose the "
                "epoch by; set selection: last"
            )
        trained = [self.prepare(clip, settings) for clip in trained]
        watched = [self.prepare(clip, settings) for clip in watched]
        read = task.features.dims(self.views(settings), self.sequences)
        dims = self.widths(read, settings)
        scales = self._scales(trained, dims)
        with torch.random.fork_rng():  # of all devices: dropout draws there
            torch.manual_seed(seed)
            network = self.network(dims, len(EMOTIONS), settings)
            self.initial(network, settings)
            classifier = NeuralClassifier(self, settings, network, scales, y.unique()).to(device)
            weights = weights_of(y) if task.class_balance == "weights" else None
            name = f"fold {fold}, seed {seed}"
            history, kept, state = self._epochs(
                classifier, trained, y, weights, watched, watched_y, name, report
            )
        return Trained(
            fold,
            seed,
            state,
            [],
            emotions,
            {"epoch": kept},
            history[kept - 1],
            history,
            time.perf_counter() - started,
        )

    def _epochs(
        self,
        classifier: "NeuralClassifier",
        trained: Sequence[Clip],
        y: Tensor,
        weights: Tensor | None,
        watched: Sequence[Clip],
        watched_y: Tensor,
        name: str,
        report: Reporter,
    ) -> tuple[list[dict[str, float]], int, dict[str, Tensor]]:
        """What is known of every epoch, the epoch that is kept (from 1), and its state."""
        device, settings = classifier.known.device, classifier.settings
        generator = torch.Generator().manual_seed(torch.initial_seed())
        optimizer = self.optimizer(classifier.network, settings)
        size, n = settings["batch_size"], len(y)
        per_epoch = math.ceil(n / size)
        planned = per_epoch * settings["planned"]
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: self.rate(step, planned, settings)
        )
        history: list[dict[str, float]] = []
        best, kept, state = (-math.inf, -math.inf), settings["epochs"], None
        for number in range(1, settings["epochs"] + 1):
            classifier.train()
            total, shares = 0.0, torch.empty(n, len(EMOTIONS))
            for chosen in torch.randperm(n, generator=generator).split(size):
                clips = [self.augment(trained[i], settings, generator) for i in chosen.tolist()]
                given = classifier.network(classifier.batch(clips, device))
                logits, *further = given if isinstance(given, tuple) else (given,)
                logits = classifier.masked(logits)
                labels = y[chosen].to(device)
                if weights is None:
                    loss = self.loss(logits, labels, settings, *further)
                else:
                    of_batch = weights[chosen].to(device)
                    loss = self.weighted_loss(logits, labels, of_batch, settings, *further)
                optimizer.zero_grad()
                loss.backward()
                if self.clip_norm:
                    nn.utils.clip_grad_norm_(classifier.network.parameters(), self.clip_norm)
                optimizer.step()
                schedule.step()
                total += float(loss.detach()) * len(chosen)
                shares[chosen] = torch.softmax(logits.detach().float().cpu(), 1)
            epoch = found_of(shares, y, "acoustic") | {"acoustic_loss": total / n}
            if watched:
                logits = classifier.logits_of(watched)
                epoch |= found_of(torch.softmax(logits, 1), watched_y, "validation")
                # Emotions that were not trained on are errors, and have no part in the loss. It is
                # that of logits, since a probability may be rounded to 0.
                told = classifier.known.cpu()[watched_y] > 0
                if told.any():
                    loss = cross_entropy(logits[told], watched_y[told])
                    epoch["validation_loss"] = float(loss)
            if not all(map(math.isfinite, epoch.values())):
                raise UserError(
                    f"train: {name}: the loss is not finite in epoch {number}; lower "
                    f"{self.section}.learning_rate"
                )
            history.append(epoch)
            if settings["select"] != "last":
                if (score := score_of(epoch, settings["select"])) > best:
                    best, kept, state = score, number, classifier.copy_of_state()
            ended = number == settings["epochs"] or 0 < settings["patience"] <= number - kept
            report(0, number, epoch, ended)
            if ended:
                break
        return history, kept, classifier.copy_of_state() if state is None else state

    def _scales(self, clips: Sequence[Clip], dims: Mapping[str, int]) -> dict[str, Standardizer]:
        """What the views are standardised by; rows that stand for nothing do not count."""
        scales = {}
        for view, dim in dims.items() if self.standardised else ():
            rows = [
                clip[view][clip[f"{view}_there"]] if f"{view}_there" in clip else clip[view]
                for clip in clips
                if view in clip
            ]
            scales[view] = fit_standardizer(torch.cat(rows).reshape(-1, dim))
        return scales

    def layout(self, facts: Mapping[str, Any]) -> Layout:
        """The network, the classes known, and what views are standardised by."""
        dims = self.widths(facts["dims"], facts["settings"])
        with torch.device("meta"):  # which takes no memory, whatever the description says
            network = self.network(dims, len(EMOTIONS), facts["settings"])
        layout: Layout = {
            f"network.{name}": tuple(value.shape)
            for name, value in network.state_dict().items()
            if value.is_floating_point()
        }
        for view, dim in dims.items() if self.standardised else ():
            layout |= {f"{view}_mean": (dim,), f"{view}_std": (dim,)}
        return layout | {"known": (len(EMOTIONS),)}

    def restore(self, facts: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
        """The classifier with a state that has this layout."""
        dims = self.widths(facts["dims"], facts["settings"])
        with torch.random.fork_rng(devices=[]):
            network = self.network(dims, len(EMOTIONS), facts["settings"])
        scales = {
            view: Standardizer(state[f"{view}_mean"].clone(), state[f"{view}_std"].clone())
            for view in (dims if self.standardised else ())
        }
        known = state["known"].nonzero()[:, 0]
        classifier = NeuralClassifier(self, facts["settings"], network, scales, known)
        classifier.load_state_dict(dict(state), strict=False)
        return classifier.eval()

    def probabilities(self, classifier: nn.Module, clips: Sequence[Clip]) -> Tensor:
        """Of each utterance alone."""
        assert isinstance(classifier, NeuralClassifier)
        rows = [classifier(clip) for clip in clips]
        return torch.stack(rows) if rows else torch.empty(0, len(EMOTIONS))


class NeuralClassifier(nn.Module):
    """A network, what its views are standardised by, and the classes that it was trained on."""

    known: Tensor

    def __init__(
        self,
        system: NeuralSystem,
        settings: Mapping[str, Any],
        network: nn.Module,
        scales: Mapping[str, Standardizer],
        classes: Tensor,
    ):
        super().__init__()
        self.system, self.settings, self.network = system, settings, network
        self.scaled = list(scales)
        for view, scale in scales.items():
            self.register_buffer(f"{view}_mean", scale.mean)
            self.register_buffer(f"{view}_std", scale.std)
        known = torch.zeros(len(EMOTIONS))
        known[classes] = 1
        self.register_buffer("known", known)

    def batch(self, clips: Sequence[Clip], device: torch.device) -> Batch:
        """Prepared clips as one batch on a device, standardised.

        A view that some of them lack is there for all, without a row that counts; one that all lack
        is a row of zeros that does not count, if it is standardised, or else absent.
        """
        found: Batch = {}
        for view in dict.fromkeys(name for clip in clips for name in clip):
            if view.endswith("_there"):
                continue
            like = next(clip[view] for clip in clips if view in clip)
            values = [clip.get(view, like[:0]) for clip in clips]
            there = [
                clip.get(f"{view}_there", torch.ones(len(v)).bool())
                for clip, v in zip(clips, values)
            ]
            x = pad_sequence(list(values), batch_first=True).to(device)
            mask = pad_sequence(list(there), batch_first=True).to(device)
            if view in self.scaled:
                scale = Standardizer(
                    self.get_buffer(f"{view}_mean"), self.get_buffer(f"{view}_std")
                )
                x = scale.apply(x).where(mask[..., None], 0.0)
            found[view] = Padded(x, mask)
        absent = torch.zeros(len(clips), 1, device=device)
        for view in self.scaled:
            dim = len(self.get_buffer(f"{view}_mean"))
            nothing = Padded(absent[..., None].expand(-1, -1, dim), absent.bool())
            found.setdefault(view, nothing)
        return found

    def masked(self, logits: Tensor) -> Tensor:
        """Logits, the lowest there are for classes without training samples."""
        return logits.masked_fill(self.known == 0, torch.finfo(logits.dtype).min)

    @torch.inference_mode()
    def forward(self, clip: Clip) -> Tensor:
        """Class probabilities float32 [C] of one utterance."""
        return self.of_prepared([self.system.prepare(clip, self.settings)])[0]

    @torch.inference_mode()
    def of_prepared(self, clips: Sequence[Clip]) -> Tensor:
        """Class probabilities float32 [n, C] on the CPU of prepared clips, one at a time."""
        return torch.softmax(self.logits_of(clips), 1)

    @torch.inference_mode()
    def logits_of(self, clips: Sequence[Clip]) -> Tensor:
        """Logits float32 [n, C] on the CPU of prepared clips, one at a time."""
        self.eval()
        device = self.known.device
        rows = [self.masked(self.network(self.batch([clip], device))) for clip in clips]
        return torch.cat(rows).float().cpu()

    def copy_of_state(self) -> dict[str, Tensor]:
        """What a checkpoint holds: the numbers of its state, on the CPU."""
        return {
            name: value.detach().cpu().clone()
            for name, value in self.state_dict().items()
            if value.is_floating_point()
        }
