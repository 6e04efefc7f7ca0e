"""Training of many replicas at once, for a GPU, which one replica leaves idle.

The parameters of the replicas are stacked, [R, ...], and every step is one step of each: the
functions of `stages.fdan.training` under `torch.func.vmap`. On CUDA a step is a CUDA graph, so that
it costs one launch, and nothing is read back before the end of an epoch. Replica r gives what
`train_replica` gives, to rounding.

What differs between replicas:

- Samples. Each replica draws its own batches, with the generators of `train_replica`, as indices
  for a whole epoch. The samples of a fold lie on the device once, however many seeds it has, and a
  step gathers [R, batch, D] from them. They were standardised by fold, so that every fold has a
  table of its own: 84 MB for MELD's 41,124 faces of 512 float32. Beside them a replica holds four
  times its parameters (gradient, momentum, best epoch), 15 MB at d = 256, and its held-out voices.
- Steps an epoch, where the numbers of samples of two folds lie either side of a multiple of the
  batch size. A replica whose epoch is over is set aside, and put back when the longest has ended.
- Held-out voices are padded to the largest number; what comes out for padding is not read. A
  voice is judged without regard to the others.
- The shape of a step (a fold with fewer samples than a batch) or of the bank (a fold that lacks a
  class of faces), which is rare: such replicas are stacked apart, and the stacks trained in turn.
"""

import copy
import gc
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from stages.fdan.inference import Bank
from stages.fdan.lmmd import shared_classes
from stages.fdan.network import FDAN, fdan_loss
from stages.fdan.training import (
    FACES,
    VOICES,
    Epoch,
    Replica,
    Samples,
    Settings,
    confusion_of,
    draws,
    initial_network,
    judge,
    make_optimiser,
    random_stream,
    score_of,
    steps_of_epoch,
    told_by,
)
from stages.scoring.metrics import confusion_matrix, uar, war

WARM_UP = 3  # calls before a graph is captured, as PyTorch's notes on CUDA graphs ask


class Inputs(NamedTuple):
    """What `train_replica` is given for one replica."""

    visual: Samples | None
    acoustic: Samples
    held_out: Samples | None
    bank: Bank | None
    seed: int


class Diverged(FloatingPointError):
    """The loss of a replica, by its place among the inputs, is no longer finite."""

    def __init__(self, place: int, epoch: int):
        super().__init__(f"the loss is not finite in epoch {epoch}")
        self.place = place


def train_stacked(
    inputs: Sequence[Inputs],
    settings: Settings,
    device: torch.device,
    watch: Callable[[range], Iterable[int]] = iter,
) -> list[Replica]:
    """Train as `train_replica` does, all replicas at once; the results are on the CPU.

    Args:
        inputs: on the CPU. The replicas of a fold should share their samples, which the device
            then holds once.
        watch: sees the epochs of a stack go by.

    Raises:
        Diverged: the loss is no longer finite; the message names the epoch.
    """
    stacks: dict[tuple, list[int]] = {}
    for place, replica in enumerate(inputs):
        samples = [part for part in (replica.acoustic, replica.visual) if part is not None]
        batch = [min(settings.batch_size, len(part.y)) for part in samples]
        shape = (*batch, *map(len, replica.bank or ()), replica.held_out is None)
        stacks.setdefault(shape, []).append(place)
    trained = {}
    for places in stacks.values():
        replicas = train_stack([inputs[place] for place in places], settings, device, watch, places)
        trained |= zip(places, replicas)
    return [trained[place] for place in range(len(inputs))]


def train_stack(
    inputs: Sequence[Inputs],
    settings: Settings,
    device: torch.device,
    watch: Callable[[range], Iterable[int]],
    places: Sequence[int],
) -> list[Replica]:
    """`train_stacked` of replicas whose steps and banks have the same shapes."""
    stack = Stack(inputs, settings, device)
    listeners = None if inputs[0].held_out is None else Listeners(inputs, stack)
    histories: list[list[Epoch]] = [[] for _ in inputs]
    scores = [(-math.inf, -math.inf)] * len(inputs)
    kept = [settings.epochs] * len(inputs)
    best = {name: value.clone() for name, value in stack.params.items()}
    indices = stack.draw_epoch()
    for number in watch(range(1, settings.epochs + 1)):
        stack.train_one_epoch(indices)
        indices = stack.draw_epoch()  # of the next epoch, while the device is at work
        epochs = stack.read_epoch()
        if listeners is not None:
            epochs = [old | new for old, new in zip(epochs, listeners.validate())]
        for place, history, epoch in zip(places, histories, epochs):
            if not all(map(math.isfinite, epoch.values())):
                raise Diverged(place, number)
            history.append(epoch)
        if settings.select == "last":
            continue
        of_epoch = [score_of(epoch, settings.select) for epoch in epochs]
        better = [r for r, (new, old) in enumerate(zip(of_epoch, scores)) if new > old]
        for r in better:
            scores[r], kept[r] = of_epoch[r], number
        rows = torch.tensor(better, dtype=torch.long, device=device)
        for name, value in stack.params.items():
            best[name].index_copy_(0, rows, value[rows])
    params = stack.params if settings.select == "last" else best
    for r, network in enumerate(stack.networks):
        network.load_state_dict({name: value[r] for name, value in params.items()})
    return [Replica(*parts) for parts in zip(map(nn.Module.eval, stack.networks), kept, histories)]


class Batches:
    """The batches of one modality, of all replicas.

    Attributes:
        chosen: the indices [R, batch] of the next batch, into the samples of all folds. A graph
            reads them where they lie, so that they are only ever overwritten.
    """

    def __init__(
        self,
        parts: Sequence[Samples],
        seeds: Sequence[int],
        stream: int,
        size: int,
        device: torch.device,
    ):
        tables = {id(part.x): part for part in parts}
        starts = dict(
            zip(
                tables, itertools.accumulate((len(table.y) for table in tables.values()), initial=0)
            )
        )
        self.samples = Samples(*(torch.cat(part).to(device) for part in zip(*tables.values())))
        self.starts = [starts[id(part.x)] for part in parts]
        self.draws = [
            draws(len(part.y), size, random_stream(seed, stream))
            for part, seed in zip(parts, seeds)
        ]
        shape = len(parts), min(size, len(parts[0].y))
        self.chosen = torch.zeros(shape, dtype=torch.long, device=device)

    def draw_epoch(self, steps: Sequence[int]) -> Tensor:
        """Indices [longest, R, batch] of an epoch in which replica r makes steps[r] steps.

        Its last batch fills up what it does not reach.
        """
        of_replicas = []
        for draw, start, count in zip(self.draws, self.starts, steps):
            own = torch.stack(list(itertools.islice(draw, count))) + start
            of_replicas.append(own[torch.arange(max(steps)).clamp(max=count - 1)])
        return torch.stack(of_replicas, 1)

    def gather(self) -> Samples:
        """The batch: features [R, batch, D] and labels [R, batch]."""
        return Samples(self.samples.x[self.chosen], self.samples.y[self.chosen])


class Stack:
    """The networks of R replicas, their optimiser, and sums over the batches of an epoch.

    Attributes:
        networks: the replicas one by one, as they were before training.
        network: one of them without values, for `functional_call`.
        params: [R, ...] by name.
        totals: sums [R, ...] over the batches of an epoch, by name.
    """

    def __init__(self, inputs: Sequence[Inputs], settings: Settings, device: torch.device):
        self.settings, self.device = settings, device
        self.networks = [
            initial_network(replica.visual, replica.acoustic, settings, replica.seed)
            for replica in inputs
        ]
        self.network = copy.deepcopy(self.networks[0]).to("meta")
        stacked = stack_module_state(self.networks)[0]
        self.params = {name: value.detach().to(device) for name, value in stacked.items()}
        for value in self.params.values():
            value.grad = torch.empty_like(value)
        self.optimiser = make_optimiser(self.params.values(), settings)
        self.totals: dict[str, Tensor] = {}
        seeds = [replica.seed for replica in inputs]
        parts = [(VOICES, [replica.acoustic for replica in inputs])]
        if not self.network.acoustic_only:
            parts.append((FACES, [replica.visual for replica in inputs]))
        self.batches = [
            Batches(samples, seeds, stream, settings.batch_size, device)
            for stream, samples in parts
        ]
        self.steps = [steps_of_epoch(replica.acoustic, settings) for replica in inputs]
        self.gradients = vmap(grad_and_value(self._loss, has_aux=True))
        self.step = capture(self._step, self.device)

    def draw_epoch(self) -> list[Tensor]:
        """For each modality the indices of all batches of the next epoch, on the host."""
        return [batches.draw_epoch(self.steps) for batches in self.batches]

    def train_one_epoch(self, indices: list[Tensor]) -> None:
        """Make the steps of `training.train_one_epoch`; on CUDA they are only queued."""
        for total in self.totals.values():
            total.zero_()
        indices = [of_modality.to(self.device) for of_modality in indices]
        aside = []
        for number in range(1, max(self.steps) + 1):
            for batches, of_modality in zip(self.batches, indices):
                batches.chosen.copy_(of_modality[number - 1])
            self.step()
            if number in self.steps and number < max(self.steps):
                over = [r for r, steps in enumerate(self.steps) if steps == number]
                rows = torch.tensor(over, device=self.device)
                aside.append((rows, [value[rows] for value in self._state()]))
        for rows, values in aside:
            for value, old in zip(self._state(), values):
                value.index_copy_(0, rows, old)

    def read_epoch(self) -> list[Epoch]:
        """What `training.train_one_epoch` returns, for every replica."""
        totals = {name: total.cpu() for name, total in self.totals.items()}
        confusions = {
            name.replace("confusion", "uar"): totals.pop(name)
            for name in list(totals)
            if name.endswith("_confusion")
        }
        return [
            {name: float(total[r]) / steps for name, total in totals.items()}
            | {name: float(uar(counts[r].numpy())) for name, counts in confusions.items()}
            for r, steps in enumerate(self.steps)
        ]

    def _step(self) -> None:
        batch = [batches.gather() for batches in self.batches]
        gradients, (_, told) = self.gradients(self.params, *batch)
        for name, value in self.params.items():
            value.grad.copy_(gradients[name])  # fused SGD on CUDA asks for equal strides
        self.optimiser.step()
        for name, value in told.items():
            if name not in self.totals:
                self.totals[name] = torch.zeros_like(value, dtype=torch.float64)
            self.totals[name] += value

    def _loss(
        self, params: dict[str, Tensor], acoustic: Samples, visual: Samples | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Eq. (9) of one replica, and what its batch adds to the totals."""
        (x_a, y_a), (x_v, y_v) = acoustic, visual or (None, None)
        outputs = functional_call(self.network, params, (x_v, x_a))
        loss = fdan_loss(outputs, y_v, y_a, self.settings.alpha, self.settings.lmmd)
        told = told_by(loss)
        told["acoustic_confusion"] = confusion_of(outputs.acoustic, y_a)
        if outputs.visual is not None:
            told["shared_classes"] = shared_classes(y_v, y_a, self.settings.classes).sum()
            told["visual_confusion"] = confusion_of(outputs.visual, y_v)
        return loss.total, told

    def _state(self) -> list[Tensor]:
        """All that a step changes, [R, ...] each; complete after the first step."""
        moving = [velocity for velocity in self.optimiser.velocities if velocity is not None]
        return [*self.params.values(), *moving, *self.totals.values()]


class Judge(nn.Module):
    """`training.judge` as a module, for `functional_call`."""

    def __init__(self, network: FDAN):
        super().__init__()
        self.network = network

    def forward(self, x_a: Tensor, bank: Bank | None) -> Tensor:
        return judge(self.network, x_a, bank)


class Listeners:
    """The held-out voices of all replicas of a stack, and what they attend to."""

    def __init__(self, inputs: Sequence[Inputs], stack: Stack):
        self.judge, self.params = Judge(stack.network), stack.params
        self.classes = stack.settings.classes
        self.labels = [replica.held_out.y.numpy() for replica in inputs]
        self.voices = Samples(
            *(
                nn.utils.rnn.pad_sequence(part, batch_first=True).to(stack.device)
                for part in zip(*(replica.held_out for replica in inputs))
            )
        )
        banks = [replica.bank for replica in inputs if replica.bank is not None]
        self.bank = [torch.stack(part).to(stack.device) for part in zip(*banks)]
        self.losses = torch.empty_like(self.voices.y, dtype=self.voices.x.dtype)
        self.predicted = torch.empty_like(self.voices.y)
        self.listen = capture(self._listen, stack.device)

    def validate(self) -> list[Epoch]:
        """What `training.validate` returns, for every replica."""
        self.listen()
        epochs = []
        for y, losses, predicted in zip(self.labels, self.losses.cpu(), self.predicted.cpu()):
            n = len(y)
            confusion = confusion_matrix(y, predicted[:n].numpy(), self.classes)
            epochs.append(
                {
                    "validation_loss": float(losses[:n].mean()),
                    "validation_uar": float(uar(confusion)),
                    "validation_war": float(war(confusion)),
                }
            )
        return epochs

    @torch.inference_mode()
    def _listen(self) -> None:
        losses, predicted = vmap(self._of_one)(self.params, *self.voices, *self.bank)
        self.losses.copy_(losses)
        self.predicted.copy_(predicted)

    def _of_one(
        self, params: dict[str, Tensor], x: Tensor, y: Tensor, *bank: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Losses [n] and predicted classes [n] of the held-out voices of one replica."""
        named = {f"network.{name}": value for name, value in params.items()}
        logits = functional_call(self.judge, named, (x, Bank(*bank) if bank else None))
        return cross_entropy(logits, y, reduction="none"), logits.argmax(1)


def capture(step: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """`step` itself on the CPU; on CUDA, from the fourth call on, the replay of a graph of it.

    A graph must be warmed up on a side stream, for which the first calls serve. `step` must find
    and leave its values in the same tensors every time, and read nothing back to the host.
    """
    if device.type != "cuda":
        return step

    def calls() -> Iterator[None]:
        side = torch.cuda.Stream()
        for _ in range(WARM_UP):
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                step()
            torch.cuda.current_stream().wait_stream(side)
            yield
        gc.collect()  # or what an earlier stack held might be freed while this one is recorded
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()  # is recorded, not done
        while True:
            graph.replay()
            yield

    made = calls()
    return lambda: next(made)
