"""Training learns, is repeatable to the byte, chooses its epoch and stops where it diverges."""

import itertools
import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from stages.fdan import training
from stages.fdan.batches import batch_indices, make_generator
from stages.fdan.inference import Bank, bank_states, predict
from stages.fdan.network import FDAN, Losses, Outputs
from stages.fdan.stacking import Stack
from stages.fdan.training import Epoch, Inputs, Replica, Settings, Validation, train_replicas
from stages.systems.contract import Samples
from tests.fdan.by_definition import (
    cross_entropy,
    joint_states,
    linear,
    one_sided,
    random_features,
    unweighted_recall,
    weights_of,
    with_random_parameters,
)

NETWORK = {"dim": 16, "ffn_dim": 16, "layers": 1, "cross_attention": True, "acoustic_only": False}
SETTINGS = Settings(
    classes=3,
    alpha=1e-3,
    learning_rate=0.02,
    momentum=0.9,
    weight_decay=1e-3,
    batch_size=8,
    epochs=12,
    network=NETWORK,
    lmmd={"kernels": 5, "ratio": 2.0, "bandwidth": "mean", "classes": "all"},
    select="last",
)
DIM, FACES, VOICES = 6, 48, 32
CPU = torch.device("cpu")

# layers, cross_attention, acoustic_only
CONFIGURATIONS = list(product([1, 2, 3], [True, False], [True, False]))


def toy(n: int, modality: int, seed: int = 0, noise: float = 0.3) -> Samples:
    """Three classes around centres that differ between the modalities."""
    centres = torch.randn(3, DIM, generator=torch.Generator().manual_seed(100 + modality))
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    return Samples(2 * centres[y] + noise * torch.randn(n, DIM, generator=generator), y)


def noisy_voices(n: int = 30, seed: int = 9) -> Samples:
    """Voices that no network recognises all."""
    return toy(n, 1, seed, noise=3)


def toy_bank() -> Bank:
    return Bank(toy(8, 0).x, toy(8, 1).x)


def train(
    seed: int = 0,
    faces: int = FACES,
    held_out: Samples | None = None,
    bank: Bank | None = None,
    **changes: Any,
) -> Replica:
    """Train on the toy; `changes` are of the settings or of the network."""
    of_network = {name: changes.pop(name) for name in NETWORK if name in changes}
    settings = replace(SETTINGS, network=NETWORK | of_network, **changes)
    visual = None if settings.network["acoustic_only"] else toy(faces, 0)
    return train_one(Inputs(visual, toy(VOICES, 1), held_out, bank, seed), settings)


def train_one(inputs: Inputs, settings: Settings) -> Replica:
    return train_replicas([inputs], settings, CPU)[0]


def validate(network: FDAN, held_out: Samples, bank: Bank | None) -> Epoch:
    """How well one network recognises the utterances."""
    inputs = [Inputs(None, held_out, held_out, bank, 0)]
    settings = replace(SETTINGS, classes=network.classifier.out_features)
    validation = Validation(inputs, settings, Stack([network], CPU), CPU)
    validation.evaluate()
    return validation.read_epoch()[0]


def state_bytes(network: torch.nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values())


class Step(NamedTuple):
    """What the loss of one batch was computed from, and what it was."""

    outputs: Outputs
    y_v: Tensor | None
    y_a: Tensor
    losses: Losses


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """All steps of all trainings in a test, in their order."""
    kept: list[Step] = []

    def keeping(outputs: Outputs, y_v: Tensor | None, y_a: Tensor, *rest: Any) -> Losses:
        labels = (None if y is None else y.argmax(1) for y in (y_v, y_a))
        kept.append(Step(outputs, *labels, original(outputs, y_v, y_a, *rest)))
        return kept[-1].losses

    original = training.fdan_loss
    monkeypatch.setattr(training, "fdan_loss", keeping)
    return kept


@pytest.fixture
def inputs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor | None, Tensor]]:
    """All batches of faces and of voices that networks were trained on in a test."""
    kept: list[tuple[Tensor | None, Tensor]] = []

    def keeping(self: FDAN, x_v: Tensor | None, x_a: Tensor) -> Outputs:
        kept.append((x_v, x_a))
        return original(self, x_v, x_a)

    original = FDAN.forward
    monkeypatch.setattr(FDAN, "forward", keeping)
    return kept


class SpiedSGD(torch.optim.SGD):
    """Remembers the last optimiser made, and its parameters as they were then."""

    def __init__(self, parameters: Iterable[Tensor], *arguments: Any, **options: Any):
        super().__init__(parameters, *arguments, **options)
        self.all = self.param_groups[0]["params"]
        self.before = [p.detach().clone() for p in self.all]
        type(self).last = self


@pytest.fixture
def sgd(monkeypatch: pytest.MonkeyPatch) -> type[SpiedSGD]:
    monkeypatch.setattr(torch.optim, "SGD", SpiedSGD)
    return SpiedSGD


def test_learns_a_separable_task():
    history = train().history
    assert history[-1]["acoustic_uar"] > 0.95 and history[-1]["visual_uar"] > 0.95
    assert history[-1]["acoustic_loss"] < 0.3 < history[0]["acoustic_loss"]


@pytest.mark.parametrize(
    "changes", [{}, {"cross_attention": False}, {"acoustic_only": True}, {"layers": 3}]
)
def test_recognises_voices_that_it_has_not_seen(changes: dict[str, Any]):
    network, unseen = train(**changes).network, toy(60, 1, seed=7)
    faces = None if changes.get("acoustic_only") else bank_states(network, toy_bank())[0]
    assert (predict(network, unseen.x, faces).argmax(1) == unseen.y).float().mean() > 0.95


def test_alpha_draws_the_modalities_together():
    without, with_it = train(alpha=0.0).history, train(alpha=1.0).history
    assert with_it[-1]["lmmd_1"] < 0.7 * without[-1]["lmmd_1"]


def test_weight_decay_shrinks_the_weights():
    light, heavy = (
        train(weight_decay=decay).network.classifier.weight.norm() for decay in (0, 0.1)
    )
    assert heavy < 0.9 * light


@pytest.mark.parametrize("layers, cross_attention, acoustic_only", CONFIGURATIONS)
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_one_step_moves_every_parameter_of_the_network(
    layers: int, cross_attention: bool, acoustic_only: bool, alpha: float, sgd: type[SpiedSGD]
):
    replica = train(
        layers=layers,
        cross_attention=cross_attention,
        acoustic_only=acoustic_only,
        alpha=alpha,
        batch_size=VOICES,
        epochs=1,
        weight_decay=0.0,
        learning_rate=1.0,
    )
    declared = dict(replica.network.named_parameters())
    assert len(sgd.last.all) == len(declared)
    for (name, value), now, before in zip(declared.items(), sgd.last.all, sgd.last.before):
        assert torch.equal(now, value) and not torch.equal(value, before), name


def test_the_optimiser_has_what_the_settings_say(sgd: type[SpiedSGD]):
    train(epochs=1, learning_rate=0.03, momentum=0.8, weight_decay=0.02)
    group = sgd.last.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.03, 0.8, 0.02)
    assert group["dampening"] == 0 and not group["nesterov"] and not group["maximize"]


@pytest.mark.parametrize("changes", [{}, {"layers": 2}, {"acoustic_only": True}])
def test_the_same_seed_gives_the_same_bytes(changes: dict[str, Any]):
    first, second = (train(held_out=noisy_voices(), select="uar", **changes) for _ in range(2))
    assert state_bytes(first.network) == state_bytes(second.network)
    assert (first.epoch, first.history) == (second.epoch, second.history)


def test_another_seed_gives_another_network_and_other_batches(inputs: list):
    first, second = train(seed=0, epochs=1), train(seed=1, epochs=1)
    assert state_bytes(first.network) != state_bytes(second.network)
    (x_v, x_a), (y_v, y_a) = inputs[0], inputs[len(inputs) // 2]
    assert not torch.equal(x_v, y_v) and not torch.equal(x_a, y_a)


def test_another_seed_starts_from_other_parameters(sgd: type[SpiedSGD]):
    train(seed=0, epochs=1)
    before = sgd.last.before
    train(seed=1, epochs=1)
    drawn = [
        not torch.equal(one, other) for one, other in zip(before, sgd.last.before) if one.ndim == 2
    ]
    assert drawn and all(drawn)


def test_neither_depends_on_the_global_random_state_nor_touches_it():
    expected = state_bytes(train().network)
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    assert state_bytes(train().network) == expected
    assert torch.equal(torch.random.get_rng_state(), before)


@given(st.integers(0, 1000))
def test_the_streams_of_a_seed_and_of_its_neighbours_differ(seed: int):
    drawn = {
        tuple(torch.randperm(30, generator=make_generator(s, number)).tolist())
        for s in (seed, seed + 1)
        for number in range(3)
    }
    assert len(drawn) == 6


@pytest.mark.parametrize(
    "changes",
    [
        {"acoustic_only": True},
        {"faces": 20},
        {"layers": 3},
        {"cross_attention": False},
        {"alpha": 0.0},
    ],
)
def test_the_batches_of_voices_depend_on_the_seed_alone(changes: dict[str, Any], inputs: list):
    train(seed=3)
    expected = [x_a for _, x_a in inputs]
    inputs.clear()
    train(seed=3, **changes)
    assert len(inputs) == len(expected)
    assert all(torch.equal(x_a, x) for (_, x_a), x in zip(inputs, expected))


def test_faces_and_voices_are_not_drawn_in_step(steps: list[Step]):
    """As many of both, in the same order of classes: one stream would draw the same labels."""
    train(faces=VOICES, epochs=1)
    assert any(not torch.equal(step.y_v, step.y_a) for step in steps)


def test_without_faces_the_network_is_given_none(inputs: list):
    network = train(acoustic_only=True).network
    assert all(x_v is None for x_v, _ in inputs)
    assert not any("visual" in name for name, _ in network.named_parameters())


def test_faces_change_nothing_of_a_network_that_sees_none():
    settings = replace(SETTINGS, network=NETWORK | {"acoustic_only": True})
    with_faces = train_one(Inputs(toy(20, 0), toy(VOICES, 1), None, None, 0), settings)
    assert state_bytes(with_faces.network) == state_bytes(train(acoustic_only=True).network)


@pytest.mark.parametrize("voices, batch_size, count", [(32, 8, 4), (33, 8, 4), (5, 8, 1)])
def test_an_epoch_is_one_pass_over_the_voices(
    voices: int, batch_size: int, count: int, steps: list[Step]
):
    settings = replace(SETTINGS, batch_size=batch_size, epochs=3)
    history = train_one(Inputs(toy(48, 0), toy(voices, 1), None, None, 0), settings).history
    assert [len(step.y_a) for step in steps] == [min(batch_size, voices)] * count * 3
    assert [len(step.y_v) for step in steps] == [batch_size] * count * 3
    assert len(history) == 3


def names_of(layers: int, faces: bool, held_out: bool) -> set[str]:
    names = {"acoustic_loss", "acoustic_uar"}
    if faces:
        names |= {"visual_loss", "visual_uar", "shared_classes"}
        names |= {f"lmmd_{i + 1}" for i in range(layers)}
    return names | ({f"validation_{of}" for of in ("loss", "uar", "war")} if held_out else set())


@pytest.mark.parametrize("layers, cross_attention, acoustic_only", CONFIGURATIONS)
@pytest.mark.parametrize("held_out", [None, noisy_voices()], ids=["alone", "held out"])
def test_the_history_of_every_epoch_tells_what_there_is(
    layers: int, cross_attention: bool, acoustic_only: bool, held_out: Samples | None
):
    bank = None if acoustic_only else toy_bank()
    history = train(
        held_out=held_out,
        bank=bank,
        epochs=2,
        layers=layers,
        cross_attention=cross_attention,
        acoustic_only=acoustic_only,
    ).history
    expected = names_of(layers, not acoustic_only, held_out is not None)
    assert [set(epoch) for epoch in history] == [expected] * 2
    assert all(type(value) is float for epoch in history for value in epoch.values())


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_the_history_is_of_all_batches_of_an_epoch(layers: int, alpha: float, steps: list[Step]):
    history = train(epochs=2, layers=layers, alpha=alpha, batch_size=4).history
    second = steps[len(steps) // 2 :]
    expected = {
        "acoustic_loss": [step.losses.acoustic.item() for step in second],
        "visual_loss": [step.losses.visual.item() for step in second],
        "shared_classes": [len({*step.y_v.tolist()} & {*step.y_a.tolist()}) for step in second],
    } | {f"lmmd_{i + 1}": [step.losses.lmmd[i].item() for step in second] for i in range(layers)}
    assert len(set(expected["shared_classes"])) > 1
    for name, values in expected.items():
        assert history[1][name] == pytest.approx(np.mean(values), rel=1e-5)
    for side, logits, y in [
        ("acoustic", [step.outputs.acoustic for step in second], [step.y_a for step in second]),
        ("visual", [step.outputs.visual for step in second], [step.y_v for step in second]),
    ]:
        recall = unweighted_recall(torch.cat(logits).detach().numpy(), torch.cat(y).numpy())
        assert history[1][f"{side}_uar"] == pytest.approx(recall, rel=1e-6)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", ["bank", "none", "FDAN_1", "acoustic only"])
def test_validation_equals_a_computation_in_numpy(layers: int, kind: str):
    """Of the fourth class there is no voice: it counts in no recall and is never predicted."""
    options = {"cross_attention": kind != "FDAN_1", "acoustic_only": kind == "acoustic only"}
    network = with_random_parameters(FDAN(4, DIM, 4, **NETWORK | {"layers": layers} | options))
    x_v, x_a = random_features(6, 4, 1), random_features(8, DIM, 2)
    held_out = Samples(random_features(30, DIM, 3), torch.arange(30) ** 2 % 7 % 3)
    w, faces = weights_of(network), None
    if kind in ("bank", "FDAN_1"):
        faces = [z_v for z_v, _ in joint_states(w, x_v.numpy(), x_a.numpy(), layers)]
    bank = None if faces is None else Bank(x_v, x_a)
    y = held_out.y.numpy()
    logits = linear(one_sided(w, "acoustic", held_out.x.numpy(), layers, faces), w, "classifier")
    logits[:, 3] = -1e9
    assert validate(network, held_out, bank) == pytest.approx(
        {
            "validation_loss": cross_entropy(logits, y),
            "validation_uar": unweighted_recall(logits, y),
            "validation_war": np.mean(logits.argmax(1) == y),
        },
        rel=1e-6,
    )


@pytest.mark.parametrize(
    "changes", [{}, {"layers": 2}, {"cross_attention": False}, {"acoustic_only": True}]
)
@pytest.mark.parametrize("select", ["uar", "war"])
def test_the_network_has_the_parameters_of_the_best_epoch(select: str, changes: dict[str, Any]):
    held_out = noisy_voices()
    bank = None if changes.get("acoustic_only") else toy_bank()
    replica = train(held_out=held_out, bank=bank, select=select, epochs=20, **changes)
    history, measure = replica.history, f"validation_{select}"
    best = min(
        range(20),
        key=lambda i: (-round(history[i][measure], 6), round(history[i]["validation_loss"], 2), i),
    )
    assert len(history) == 20 and replica.epoch == best + 1 < 20
    again = validate(replica.network, held_out, bank)
    assert again == {name: history[best][name] for name in again}
    assert again["validation_loss"] != history[-1]["validation_loss"]


@pytest.mark.parametrize("changes", [{}, {"acoustic_only": True}])
def test_the_network_kept_is_the_one_that_training_had_after_that_epoch(changes: dict[str, Any]):
    replica = train(held_out=noisy_voices(), select="uar", **changes)
    stopped = train(epochs=replica.epoch, **changes)
    assert replica.epoch < SETTINGS.epochs
    assert state_bytes(replica.network) == state_bytes(stopped.network)


@pytest.mark.parametrize(
    "recalls, losses, select, expected",
    [
        ([0.5, 0.7, 0.6, 0.4], [4, 3, 2, 1], "uar", 2),
        ([0.5, 0.7, 0.6, 0.4], [4, 3, 2, 1], "last", 4),
        ([0.5, 0.7, 0.7, 0.7], [1, 4, 2, 3], "uar", 3),
        ([0.5, 0.7, 0.7, 0.7], [1, 2, 2, 2], "uar", 2),
        ([0.7, 0.7, 0.5, 0.7], [2, 3, 1, 2], "uar", 1),
        ([0.0, 0.0, 0.0, 0.0], [4, 3, 5, 3], "uar", 2),
        ([0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4], "uar", 4),
        ([0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4], "war", 1),
        ([0.7, 0.7, 0.7, 0.7], [0.5, 0.4999995, 0.4989, 0.4981], "uar", 1),
        ([0.7, 0.7, 0.7, 0.7], [0.5, 0.4999995, 0.49, 0.4899], "uar", 3),
    ],
)
def test_of_the_best_epochs_the_one_with_the_lowest_loss_is_kept_then_the_earliest(
    recalls: list[float],
    losses: list[float],
    select: str,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
):
    scripted = iter(
        {"validation_uar": recall, "validation_war": 1 - recall, "validation_loss": float(loss)}
        for recall, loss in zip(recalls, losses)
    )
    monkeypatch.setattr(Validation, "read_epoch", lambda _: [next(scripted)])
    replica = train(held_out=noisy_voices(), select=select, epochs=4)
    assert replica.epoch == expected and len(replica.history) == 4
    assert state_bytes(replica.network) == state_bytes(train(epochs=expected).network)


def test_recalls_that_differ_by_their_rounding_are_equal(monkeypatch: pytest.MonkeyPatch):
    recalls = [np.mean([2 / 3, 1 / 2, 1 / 7, 1 / 3]), np.mean([1 / 3, 1 / 7, 2 / 3, 1 / 2])]
    assert recalls[0] != recalls[1] == pytest.approx(recalls[0], rel=1e-12)
    scripted = iter(
        {"validation_uar": recall, "validation_loss": loss}
        for recall, loss in zip(sorted(recalls), [1.0, 2.0])
    )
    monkeypatch.setattr(Validation, "read_epoch", lambda _: [next(scripted)])
    assert train(held_out=noisy_voices(), select="uar", epochs=2).epoch == 1


@pytest.mark.parametrize("relative", [0, 1e-6, 1e-4])
def test_rounding_does_not_choose_the_epoch(relative: float, monkeypatch: pytest.MonkeyPatch):
    """Around the lowest loss, in epoch 9, the losses differ by less than rounding changes them."""
    chosen = set()
    for seed in range(10):
        noise = iter(1 + relative * np.random.default_rng(seed).normal(size=20))
        losses = (0.641 + 1e-7 * (number - 9) ** 2 for number in range(1, 21))
        scripted = (
            {"validation_uar": 0.7, "validation_loss": loss * next(noise)} for loss in losses
        )
        monkeypatch.setattr(Validation, "read_epoch", lambda _, of=scripted: [next(of)])
        chosen.add(train(held_out=noisy_voices(), select="uar", epochs=20).epoch)
    assert chosen == {1}


def test_the_rounding_of_features_does_not_choose_the_epoch():
    voices, chosen = noisy_voices(), set()
    for seed in range(8):
        noise = torch.randn(voices.x.shape, generator=torch.Generator().manual_seed(seed))
        rounded = voices._replace(x=voices.x * (1 + 1e-6 * noise))
        chosen.add(train(held_out=rounded, select="uar", epochs=30, learning_rate=0.003).epoch)
    assert len(chosen) == 1 and chosen < {*range(2, 30)}


@pytest.mark.parametrize(
    "patience, made, kept",
    [(0, 8, 7), (1, 2, 1), (2, 5, 3), (3, 6, 3), (4, 8, 7), (8, 8, 7), (100, 8, 7)],
)
def test_a_replica_ends_after_so_many_epochs_that_are_no_better(
    patience: int, made: int, kept: int, monkeypatch: pytest.MonkeyPatch
):
    recalls = [0.5, 0.4, 0.6, 0.6, 0.5, 0.6, 0.7, 0.5]
    scripted = iter({"validation_uar": recall, "validation_loss": 1.0} for recall in recalls)
    monkeypatch.setattr(Validation, "read_epoch", lambda _: [next(scripted)])
    replica = train(held_out=noisy_voices(), select="uar", epochs=8, patience=patience)
    assert (len(replica.history), replica.epoch) == (made, kept)
    assert state_bytes(replica.network) == state_bytes(train(epochs=kept).network)


def test_without_a_choice_of_the_epoch_no_patience_ends_a_replica():
    replica = train(held_out=noisy_voices(), select="last", patience=1)
    assert len(replica.history) == replica.epoch == SETTINGS.epochs


@pytest.mark.parametrize(
    "faces, voices, missing", [(2, 2, [2]), (3, 2, []), (2, 3, []), (1, 1, [1, 2])]
)
def test_a_class_that_no_training_sample_has_is_never_predicted(
    faces: int, voices: int, missing: list[int]
):
    """Faces and voices are of the first classes, and the held-out voices of all three."""
    visual, acoustic = toy(FACES, 0), toy(VOICES, 1)
    visual, acoustic = (
        Samples(part.x[part.y < count], part.y[part.y < count])
        for part, count in [(visual, faces), (acoustic, voices)]
    )
    settings = replace(SETTINGS, select="uar")
    replica = train_one(Inputs(visual, acoustic, toy(30, 1, 3), toy_bank(), 0), settings)
    probabilities = predict(replica.network, 9 * torch.randn(200, DIM), None)
    never = [label for label in range(3) if (probabilities[:, label] == 0).all()]
    assert never == missing and torch.allclose(probabilities.sum(1), torch.ones(200))
    kept = replica.history[replica.epoch - 1]
    assert kept["validation_loss"] < 10 and kept["validation_war"] <= 1 - len(missing) / 3


@pytest.mark.parametrize("changes", [{}, {"layers": 2}, {"acoustic_only": True}])
def test_voices_that_are_held_out_do_not_train(changes: dict[str, Any]):
    alone = train(**changes)
    bank = None if changes.get("acoustic_only") else toy_bank()
    for held_out in (noisy_voices(), noisy_voices(7, seed=1)):
        watched = train(held_out=held_out, bank=bank, **changes)
        assert state_bytes(watched.network) == state_bytes(alone.network)
        assert watched.epoch == alone.epoch == SETTINGS.epochs
        told = [{name: epoch[name] for name in alone.history[0]} for epoch in watched.history]
        assert told == alone.history


@pytest.mark.parametrize("learning_rate", [1e10, 1e30])
def test_a_loss_that_is_not_finite_names_its_epoch(learning_rate: float):
    with pytest.raises(FloatingPointError, match=r"epoch \d+$"):
        train(learning_rate=learning_rate)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("step, epoch", [(0, 1), (3, 1), (4, 2), (11, 3)])
def test_the_epoch_named_is_that_of_the_step_whose_loss_was_not_finite(
    step: int, epoch: int, value: float, monkeypatch: pytest.MonkeyPatch
):
    counter = itertools.count()

    def failing(*arguments: Any) -> Losses:
        losses = original(*arguments)
        return (
            losses._replace(acoustic=losses.acoustic * value) if next(counter) == step else losses
        )

    original = training.fdan_loss
    monkeypatch.setattr(training, "fdan_loss", failing)
    with pytest.raises(FloatingPointError, match=f"epoch {epoch}$"):
        train()


def test_a_validation_that_is_not_finite_names_its_epoch():
    with pytest.raises(FloatingPointError, match="epoch 1$"):
        train(held_out=noisy_voices(), learning_rate=1e30, batch_size=VOICES, epochs=1)


def first_batches(n: int, size: int, count: int, seed: int = 0) -> list[list[int]]:
    endless = batch_indices(n, size, torch.Generator().manual_seed(seed))
    return [drawn.tolist() for drawn in itertools.islice(endless, count)]


@given(n=st.integers(1, 40), size=st.integers(1, 45), seed=st.integers(0, 2**31))
def test_a_pass_draws_no_sample_twice(n: int, size: int, seed: int):
    batches_in_a_pass = max(1, n // size)
    drawn = first_batches(n, size, 2 * batches_in_a_pass, seed)
    for batches_of_a_pass in (drawn[:batches_in_a_pass], drawn[batches_in_a_pass:]):
        seen = sum(batches_of_a_pass, [])
        assert len(seen) == len(set(seen)) == batches_in_a_pass * min(n, size)


@given(n=st.integers(1, 40), size=st.integers(1, 45))
def test_every_batch_is_full_or_holds_all_there_are(n: int, size: int):
    assert {len(batch) for batch in first_batches(n, size, 9)} == {min(n, size)}


def test_what_one_pass_leaves_out_comes_in_later_ones():
    drawn = sum(first_batches(10, 4, 20), [])
    assert set(drawn) == set(range(10))


def test_passes_differ_from_one_another():
    first, second = first_batches(20, 20, 2)
    assert first != second
