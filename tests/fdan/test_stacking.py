"""Replicas trained at once come out as replicas trained one by one, to rounding."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any
from unittest.mock import Mock

import hypothesis
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from stages.fdan import stacking
from stages.fdan.batches import ACOUSTIC, BANK, batch_indices, make_generator
from stages.fdan.inference import Bank, draw_bank, prototypes
from stages.fdan.stacking import Stack, capture
from stages.fdan.training import (
    DivergedError,
    Inputs,
    Replica,
    Settings,
    Training,
    Validation,
    initial_network,
    steps_of_epoch,
    train_replicas,
)
from stages.runtime.device import require_determinism
from stages.systems.contract import Samples

CPU = torch.device("cpu")
CLASSES, D_V, D_A = 4, 7, 5
NETWORK = {"dim": 12, "ffn_dim": 10, "layers": 1, "cross_attention": True, "acoustic_only": False}
LMMD = {"kernels": 5, "ratio": 2.0, "bandwidth": "mean", "classes": "all"}
SETTINGS = Settings(
    classes=CLASSES,
    alpha=0.5,
    learning_rate=0.02,
    momentum=0.9,
    weight_decay=1e-3,
    batch_size=8,
    epochs=4,
    network=NETWORK,
    lmmd=LMMD,
    select="uar",
)
# Training faces, training voices and held-out voices of each fold: 4, 4, 3, 5 and 1 steps an epoch.
SIZES = [(40, 32, 12), (43, 35, 9), (37, 31, 13), (60, 40, 12), (30, 9, 1)]


@pytest.fixture
def float64() -> Iterator[None]:
    """Networks and samples in double precision, where rounding hides no difference of method."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def samples(n: int, dim: int, seed: int) -> Samples:
    """Classes that overlap, so that there is something to choose between epochs."""
    centres = torch.randn(CLASSES, dim, generator=make_generator(99, dim))
    generator = make_generator(seed, dim)
    y = torch.randint(CLASSES, (n,), generator=generator)
    return Samples(centres[y] + torch.randn(n, dim, generator=generator), y)


def some_inputs(
    settings: Settings,
    inference: str = "bank",
    seeds: int = 1,
    sizes: list[tuple[int, int, int]] = SIZES,
) -> list[Inputs]:
    """Every fold with every seed; the seeds of a fold share its samples."""
    network, inputs = settings.network, []
    for fold, (faces, voices, held) in enumerate(sizes):
        visual, acoustic = samples(faces, D_V, fold), samples(voices, D_A, fold)
        held_out = samples(held, D_A, 1000 + fold)
        for seed in range(seeds):
            bank = None
            if inference == "bank":
                chosen, heard = (
                    draw_bank(part.y, settings.batch_size, make_generator(seed, BANK))
                    for part in (visual, acoustic)
                )
                bank = Bank(visual.x[chosen], acoustic.x[heard])
            elif inference == "prototypes":
                bank = Bank(prototypes(*visual), prototypes(*acoustic))
            if network["acoustic_only"] or not network["cross_attention"]:
                bank = None
            seen = None if network["acoustic_only"] else visual
            inputs.append(Inputs(seen, acoustic, held_out, bank, seed))
    return inputs


def with_changes(changes: dict[str, Any]) -> Settings:
    """SETTINGS with changes to them, to the network or to LMMD."""
    network, kernel = (
        {key: value for key, value in changes.items() if key in of} for of in (NETWORK, LMMD)
    )
    others = {key: value for key, value in changes.items() if key not in network | kernel}
    return replace(SETTINGS, network=NETWORK | network, lmmd=LMMD | kernel, **others)


def prepared(
    inputs: list[Inputs], settings: Settings, device: torch.device
) -> tuple[Training, Validation]:
    """Both halves of an epoch of a stack, before the first."""
    stack = Stack([initial_network(of_one, settings) for of_one in inputs], device)
    return Training(inputs, settings, stack, device), Validation(inputs, settings, stack, device)


def one_by_one(inputs: list[Inputs], settings: Settings) -> list[Replica]:
    return [train_replicas([of_one], settings, CPU)[0] for of_one in inputs]


def assert_agree(found: list[Replica], expected: list[Replica], tolerance: float) -> None:
    """The same epochs kept, and the same parameters and histories up to the tolerance."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert one.epoch == other.epoch
        assert [list(epoch) for epoch in one.history] == [list(epoch) for epoch in other.history]
        for epoch, of_other in zip(one.history, other.history):
            assert all(type(value) is float for value in epoch.values())
            assert epoch == pytest.approx(of_other, rel=tolerance, abs=tolerance)
        assert not one.network.training
        torch.testing.assert_close(
            dict(one.network.state_dict()),
            dict(other.network.state_dict()),
            rtol=tolerance,
            atol=tolerance,
        )


# All that changes what is computed in a step or at the end of an epoch.
CHANGES: list[dict[str, Any]] = [
    {"layers": layers, "cross_attention": cross_attention, "alpha": alpha, "select": select}
    for layers, cross_attention, (alpha, select) in product(
        [1, 2], [True, False], [(0.0, "last"), (0.5, "uar"), (0.5, "war")]
    )
]
CHANGES += [
    {"acoustic_only": True, "layers": layers, "select": select}
    for layers, select in [(1, "last"), (2, "uar")]
]
CHANGES += [
    {"bandwidth": bandwidth, "classes": classes, "layers": 2}
    for bandwidth, classes in product(["mean", "median", 3.7], ["all", "common"])
]
CHANGES += [{"momentum": 0.0}, {"weight_decay": 0.0}, {"kernels": 4, "ratio": 3.5}]
each_change = pytest.mark.parametrize("changes", CHANGES, ids=str)


@each_change
def test_a_stack_gives_what_its_replicas_give_one_by_one(changes: dict[str, Any], float64: None):
    """Rounding of 1e-16 a step grows to less than 1e-12 here; a difference of method shows."""
    settings = with_changes(changes)
    inputs = some_inputs(settings)
    assert_agree(train_replicas(inputs, settings, CPU), one_by_one(inputs, settings), 1e-10)


@pytest.mark.parametrize("inference", ["bank", "prototypes", "none"])
@pytest.mark.parametrize("layers", [1, 2])
def test_it_does_so_however_a_voice_is_judged(inference: str, layers: int, float64: None):
    settings = with_changes({"layers": layers})
    inputs = some_inputs(settings, inference, seeds=2)
    found = train_replicas(inputs, settings, CPU)
    assert_agree(found, one_by_one(inputs, settings), 1e-10)
    validated = {of_one.history[-1]["validation_loss"] for of_one in found}
    assert len(validated) == len(inputs)


def test_in_single_precision_it_agrees_to_rounding():
    """Measured: 1e-7 relative in the first epochs, 6e-7 in the parameters after 40."""
    settings = with_changes({"epochs": 40})
    inputs = some_inputs(settings)
    found, expected = train_replicas(inputs, settings, CPU), one_by_one(inputs, settings)
    assert_agree(found, expected, 1e-5)
    for one, other in zip(found, expected):
        for epoch, of_other in zip(one.history[:3], other.history):
            assert epoch == pytest.approx(of_other, rel=1e-6)


@given(st.data())
@hypothesis.settings(max_examples=15)
def test_it_does_so_for_any_sizes_and_in_any_order(data: st.DataObject):
    """Folds with fewer samples than a batch, with one voice, with few held out, all in one run."""
    sizes = data.draw(
        st.lists(
            st.tuples(st.integers(1, 30), st.integers(1, 30), st.integers(1, 9)),
            min_size=1,
            max_size=4,
        )
    )
    settings = with_changes({"epochs": 2, "layers": 2, "batch_size": 5})
    inference = data.draw(st.sampled_from(["bank", "prototypes", "none"]))
    inputs = data.draw(st.permutations(some_inputs(settings, inference, seeds=2, sizes=sizes)))
    assert_agree(train_replicas(inputs, settings, CPU), one_by_one(inputs, settings), 1e-4)


@pytest.mark.parametrize("without", [[0, 1, 2, 3, 4], [1, 3]])
def test_folds_without_held_out_voices_keep_the_last_epoch(without: list[int], float64: None):
    settings = with_changes({"select": "last"})
    inputs = [
        of_one._replace(validation=None) if place in without else of_one
        for place, of_one in enumerate(some_inputs(settings))
    ]
    found = train_replicas(inputs, settings, CPU)
    assert_agree(found, one_by_one(inputs, settings), 1e-10)
    assert ["validation_uar" in of_one.history[0] for of_one in found] == [
        place not in without for place in range(5)
    ]


def test_the_samples_of_a_fold_are_stored_once():
    inputs = some_inputs(SETTINGS, seeds=3)
    batches = prepared(inputs, SETTINGS, CPU)[0].batches
    assert len(batches["acoustic"].y) == sum(n for _, n, _ in SIZES)
    assert len(batches["visual"].y) == sum(n for n, _, _ in SIZES)


@pytest.mark.parametrize("place", [0, 1, 4])
def test_a_replica_that_diverges_is_named_with_its_epoch(place: int):
    """Spoiled is a voice that the first epoch leaves out, where it leaves out any."""
    settings = with_changes({"epochs": 9})
    inputs = some_inputs(settings)
    (x, y), steps = inputs[place].acoustic, steps_of_epoch(inputs[place].acoustic, settings)
    drawn = batch_indices(len(y), settings.batch_size, make_generator(inputs[place].seed, ACOUSTIC))
    first = torch.cat(list(itertools.islice(drawn, steps))).tolist()
    left_out = [voice for voice in range(len(y)) if voice not in first]
    spoiled = x.clone()
    spoiled[left_out[0] if left_out else first[0]] = math.inf
    inputs[place] = inputs[place]._replace(acoustic=Samples(spoiled, y), bank=inputs[0].bank)
    with pytest.raises(FloatingPointError) as alone:
        one_by_one([inputs[place]], settings)
    with pytest.raises(DivergedError) as caught:
        train_replicas(inputs, settings, CPU)
    assert caught.value.place == place and str(caught.value) == str(alone.value)
    assert str(caught.value).endswith("epoch 1") == (not left_out)


def test_every_epoch_of_every_replica_is_reported():
    settings = with_changes({"epochs": 3})
    sizes = [*SIZES, (40, 5, 4)]  # of 5 voices is no batch of 8: a stack of its own
    told: dict[int, list[tuple]] = {place: [] for place in range(6)}
    inputs = some_inputs(settings, sizes=sizes)
    found = train_replicas(inputs, settings, CPU, lambda place, *rest: told[place].append(rest))
    for place, replica in enumerate(found):
        assert told[place] == list(zip([1, 2, 3], replica.history, [False, False, True]))


def test_replicas_of_a_stack_end_as_they_do_alone(float64: None):
    settings = with_changes({"epochs": 40, "patience": 3})
    inputs = some_inputs(settings, seeds=2)
    found, expected = train_replicas(inputs, settings, CPU), one_by_one(inputs, settings)
    assert_agree(found, expected, 1e-10)
    lengths = {len(replica.history) for replica in found}
    assert len(lengths) > 1 and max(lengths) < 40
    assert all(len(replica.history) == replica.epoch + 3 for replica in found)


def test_a_stack_makes_no_epoch_after_the_last_replica_has_ended(monkeypatch: pytest.MonkeyPatch):
    made = []
    original = Training.train_one_epoch
    monkeypatch.setattr(Training, "train_one_epoch", lambda *of: made.append(1) or original(*of))
    settings = with_changes({"epochs": 40, "patience": 3})
    found = train_replicas(some_inputs(settings), settings, CPU)
    assert len(made) == max(len(replica.history) for replica in found)


def test_what_diverges_after_its_end_stops_nothing(monkeypatch: pytest.MonkeyPatch):
    """The first replica is best in epoch 1 and ends in epoch 2, the others go on to the last."""
    epochs = itertools.count(1)

    def scripted(self: Validation) -> list[dict[str, float]]:
        number = next(epochs)
        first = {"validation_uar": 1 / number, "validation_loss": 1.0 if number < 3 else math.nan}
        return [first] + [{"validation_uar": number / 9, "validation_loss": 1.0}] * 4

    monkeypatch.setattr(Validation, "read_epoch", scripted)
    settings = with_changes({"patience": 1})
    found = train_replicas(some_inputs(settings), settings, CPU)
    assert [len(replica.history) for replica in found] == [2, 4, 4, 4, 4]
    assert [replica.epoch for replica in found] == [1, 4, 4, 4, 4]


def without(labels: list[int], part: Samples) -> Samples:
    """The samples that have none of these labels."""
    kept = ~torch.isin(part.y, torch.tensor(labels))
    return Samples(part.x[kept], part.y[kept])


@pytest.mark.parametrize("acoustic_only", [False, True])
def test_in_a_stack_every_replica_has_the_classes_of_its_own_samples(
    acoustic_only: bool, float64: None
):
    settings = with_changes({"acoustic_only": acoustic_only})
    missing: list[list[int]] = [[], [0], [1, 3], [2], []]
    inputs = [
        of_one._replace(
            acoustic=without(labels, of_one.acoustic),
            visual=of_one.visual and without(labels, of_one.visual),
        )
        for labels, of_one in zip(missing, some_inputs(settings, "none"))
    ]
    found = train_replicas(inputs, settings, CPU)
    assert_agree(found, one_by_one(inputs, settings), 1e-10)
    lowest = torch.finfo(torch.float64).min
    for labels, replica in zip(missing, found):
        assert torch.nonzero(replica.network.classifier.bias == lowest).flatten().tolist() == labels


class Operations(TorchDispatchMode):
    """Notes what cannot be part of a CUDA graph, or is not deterministic on CUDA."""

    READ_BACK = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim"}
    # Of some torch.use_deterministic_algorithms makes sorts, which may read back as well.
    UNORDERED = {
        "index_put",
        "index_put_",
        "scatter_add",
        "scatter_add_",
        "index_add",
        "index_add_",
        "median",
        "kthvalue",
        "nll_loss2d_forward",
        "cumsum",
        "histc",
    }
    # The other, scatter.value, writes one value everywhere.
    SCATTER = torch.ops.aten.scatter.src

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.refused: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        self.seen.add(name)
        by_mask = name == "index" and any(
            index is not None and index.dtype == torch.bool for index in args[1]
        )
        if by_mask or name in self.READ_BACK | self.UNORDERED or function is self.SCATTER:
            self.refused.add(str(function))
        return function(*args, **kwargs or {})


@pytest.mark.parametrize("seeds", [1, 2])
@each_change
def test_a_step_has_only_operations_that_a_graph_can_hold(changes: dict[str, Any], seeds: int):
    settings = with_changes(changes)
    inputs = some_inputs(settings, seeds=seeds, sizes=SIZES[:1])
    training, validation = prepared(inputs, settings, CPU)
    training.step()
    with Operations() as operations:
        training.step()
        validation.evaluate()
    assert {"_fused_sgd_", "native_layer_norm_backward"} <= operations.seen
    assert operations.refused == set()


@each_change
def test_what_a_graph_reads_and_writes_stays_where_it_is(changes: dict[str, Any]):
    """A tensor that is bound anew would leave a graph working on the old one, unnoticed."""
    settings = with_changes(changes)
    training, validation = prepared(some_inputs(settings, seeds=2), settings, CPU)
    places = []
    for _ in range(3):
        training.train_one_epoch(training.draw_epoch())
        validation.evaluate()
        read = [*training.changed(), *validation.given, validation.losses, validation.predicted]
        for batches in training.batches.values():
            read += [batches.indices, batches.x, batches.y]
        read += [parameter.data for parameter in training.stack.parameters]
        places.append([tensor.data_ptr() for tensor in read])
    assert len(places[0]) > 20 and places[0] == places[1] == places[2]


@each_change
def test_a_step_keeps_to_its_device(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    """Meta tensors refuse company on the host, as CUDA's do, and have no values to read back."""
    # fused SGD is not for meta tensors
    monkeypatch.setattr(torch.optim, "SGD", lambda *_, **__: Mock(state={}))
    settings, device = with_changes(changes), torch.device("meta")
    training, validation = prepared(some_inputs(settings), settings, device)
    training.train_one_epoch(training.draw_epoch())
    validation.evaluate()
    parts = [*training.changed(), validation.losses, validation.predicted, *validation.given]
    assert {part.device for part in parts} == {device}


@pytest.mark.parametrize(
    "forbidden",
    [
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        torch.nonzero,
        lambda x: x.median(0),
        lambda x: x.scatter_add(0, torch.zeros(3, dtype=torch.long), torch.ones(3)),
    ],
)
def test_that_test_notices_what_a_graph_cannot_hold(forbidden: Callable[[Tensor], Any]):
    with Operations() as operations:
        forbidden(torch.tensor([1.0, -2.0, 3.0]))
    assert operations.refused


def test_on_the_cpu_a_step_is_called_as_it_is():
    step = [].clear
    assert capture(step, CPU, list) == step


class FakeCuda:
    """What `capture` uses of torch.cuda: what is called while a graph records is not done.

    A step adds 1 to `value`, and so does a replay, but for `wrong` more.
    """

    OutOfMemoryError = torch.OutOfMemoryError

    def __init__(self, wrong: float = 0.0, fails: Exception | None = None) -> None:
        self.wrong, self.fails, self.recording = wrong, fails, False
        self.value = torch.zeros(1)
        self.done: list[str] = []

    def step(self) -> None:
        if not self.recording:
            self.done.append("step")
            self.value += 1
        elif self.fails is not None:
            raise self.fails

    def replay(self) -> None:
        self.done.append("replay")
        self.value += 1 + self.wrong

    def Stream(self) -> Mock:  # noqa: N802
        return Mock()

    current_stream = Stream

    def synchronize(self) -> None:
        pass

    @contextlib.contextmanager
    def stream(self, side: Mock) -> Iterator[None]:
        """The side stream starts after what was queued before."""
        assert side.wait_stream.called
        yield

    @contextlib.contextmanager
    def graph(self, graph: Mock, stream: Mock) -> Iterator[None]:
        self.recording = True
        try:
            yield
        except Exception as error:  # as torch's: what ends the recording fails as well
            raise RuntimeError("capture failed due to a previous error") from error
        finally:
            self.recording = False

    def CUDAGraph(self) -> Mock:  # noqa: N802
        return Mock(replay=self.replay)


def captured(fake: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    monkeypatch.setattr(torch, "cuda", fake)
    monkeypatch.setattr(stacking, "_side_stream", fake.Stream)
    return capture(fake.step, torch.device("cuda"), lambda: [fake.value])


@pytest.mark.parametrize("calls", range(8))
def test_on_cuda_every_call_makes_one_step_and_the_fourth_checks_the_graph(
    calls: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    fake = FakeCuda()
    step = captured(fake, monkeypatch)
    for _ in range(calls):
        step()
    assert fake.value == calls and capsys.readouterr().err == ""
    checked = ["step"] * 3 + ["replay", "step"] + ["replay"] * 3
    assert fake.done == checked[: calls + (calls > 3)]


@pytest.mark.parametrize(
    "fake, reason",
    [
        (FakeCuda(wrong=0.5), "a replay of it gives other values"),
        (FakeCuda(fails=RuntimeError("operation not permitted")), "capture failed"),
    ],
)
def test_where_a_graph_fails_steps_are_made_as_they_are(
    fake: FakeCuda,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    step = captured(fake, monkeypatch)
    for _ in range(7):
        step()
    assert fake.value == 7 and fake.done[-3:] == ["step"] * 3
    said = capsys.readouterr().err
    assert reason in said and len(said.splitlines()) == 1


def test_memory_that_ends_while_a_graph_is_recorded_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch,
):
    step = captured(FakeCuda(fails=torch.OutOfMemoryError("2 GiB")), monkeypatch)
    for _ in range(3):
        step()
    with pytest.raises(torch.OutOfMemoryError, match="2 GiB"):
        step()


@pytest.fixture
def cuda() -> Iterator[torch.device]:
    if not torch.cuda.is_available():
        pytest.skip("no GPU that PyTorch sees")
    require_determinism()
    yield torch.device("cuda")
    torch.use_deterministic_algorithms(False)


@each_change
def test_on_a_gpu_a_stack_gives_what_its_replicas_give_on_the_cpu(
    changes: dict[str, Any], cuda: torch.device, float64: None
):
    settings = with_changes(changes)
    inputs = some_inputs(settings, seeds=2)
    found = train_replicas(inputs, settings, cuda)
    assert_agree(found, one_by_one(inputs, settings), 1e-10)
    again = train_replicas(inputs, settings, cuda)
    for one, other in zip(found, again):
        assert (one.epoch, one.history) == (other.epoch, other.history)
        assert all(map(torch.equal, one.network.parameters(), other.network.parameters()))


def test_on_a_gpu_it_agrees_in_single_precision(cuda: torch.device, capsys: pytest.CaptureFixture):
    """Losses to what rounding grows to in 40 epochs; of the epochs kept nothing is said."""
    settings = with_changes({"epochs": 40})
    inputs = some_inputs(settings, seeds=2)
    found = train_replicas(inputs, settings, cuda)
    for one, other in zip(found, one_by_one(inputs, settings)):
        for epoch, of_other in zip(one.history, other.history):
            for name in ("acoustic_loss", "visual_loss", "lmmd_1", "validation_loss"):
                assert epoch[name] == pytest.approx(of_other[name], rel=1e-3, abs=1e-3)
    assert "CUDA graph" not in capsys.readouterr().err
