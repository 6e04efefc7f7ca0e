"""The network is Eq. (1) to (4), its loss Eq. (9), and all of it is trained by that."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from stages.fdan.lmmd import lmmd
from stages.fdan.network import FDAN, Losses, Outputs, fdan_loss
from tests.fdan import by_definition
from tests.fdan.by_definition import (
    assert_equal,
    joint_states,
    linear,
    one_sided,
    random_features,
    weights_of,
    with_random_parameters,
)

CLASSES, VISUAL_DIM, ACOUSTIC_DIM, DIM = 3, 5, 4, 8
Y_V, Y_A = torch.tensor([0, 1, 2, 0, 1, 2, 2]), torch.tensor([0, 1, 2, 1])
KERNEL = {"kernels": 4, "ratio": 3.0, "bandwidth": "median", "classes": "common"}


def rows(y: Tensor) -> Tensor:
    """Labels as one-hot rows."""
    return functional.one_hot(y, CLASSES).double()


def make_network(layers: int, **options: bool) -> FDAN:
    torch.manual_seed(0)
    return FDAN(VISUAL_DIM, ACOUSTIC_DIM, CLASSES, dim=DIM, ffn_dim=12, layers=layers, **options)


def make_double(layers: int, **options: bool) -> FDAN:
    return with_random_parameters(make_network(layers, **options))


def faces(seed: int = 1) -> Tensor:
    return random_features(len(Y_V), VISUAL_DIM, seed)


def voices(seed: int = 2) -> Tensor:
    return random_features(len(Y_A), ACOUSTIC_DIM, seed)


def losses_of(network: FDAN, alpha: float) -> Losses:
    """Those of seven faces and four voices, in the precision of the network."""
    x_v, x_a = (x.to(network.classifier.weight.dtype) for x in (faces(), voices()))
    return fdan_loss(network(x_v, x_a), rows(Y_V), rows(Y_A), alpha, KERNEL)


def gradients_of(network: FDAN, loss: Tensor) -> dict[str, Tensor]:
    names, parameters = zip(*network.named_parameters())
    return dict(zip(names, torch.autograd.grad(loss, parameters, allow_unused=True)))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cross_attention", [True, False])
def test_both_modalities_pass_all_layers_as_in_equations_1_to_4(layers: int, cross_attention: bool):
    network = make_double(layers, cross_attention=cross_attention)
    w, outputs = weights_of(network), network(faces(), voices())
    expected = joint_states(w, faces().numpy(), voices().numpy(), layers)
    assert len(outputs.layers) == layers
    for found, pair in zip(outputs.layers, expected[1:]):
        assert_equal(found[0], pair[0])
        assert_equal(found[1], pair[1])
    assert_equal(outputs.visual, linear(expected[-1][0], w, "classifier"))
    assert_equal(outputs.acoustic, linear(expected[-1][1], w, "classifier"))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_without_faces_a_voice_passes_equation_4_alone(layers: int):
    network = make_double(layers, acoustic_only=True)
    w, outputs = weights_of(network), network(None, voices())
    z_a = one_sided(w, "acoustic", voices().numpy(), layers)
    assert_equal(outputs.acoustic, linear(z_a, w, "classifier"))
    assert outputs.visual is None and outputs.layers == []


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_hear_and_see_attend_to_the_states_that_they_are_given(layers: int):
    network, seen = make_double(layers), [random_features(6, DIM, 10 + i) for i in range(layers)]
    w, states = weights_of(network), [z.numpy() for z in seen]
    assert_equal(
        network.encode_acoustic(voices(), seen),
        one_sided(w, "acoustic", voices().numpy(), layers, states),
    )
    assert_equal(
        network.encode_visual(faces(), seen),
        one_sided(w, "visual", faces().numpy(), layers, states),
    )


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_hear_and_see_without_states_skip_the_attention(layers: int):
    network = make_double(layers)
    w = weights_of(network)
    assert_equal(
        network.encode_acoustic(voices()), one_sided(w, "acoustic", voices().numpy(), layers)
    )
    assert_equal(network.encode_visual(faces()), one_sided(w, "visual", faces().numpy(), layers))


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_fdan_1_judges_a_modality_whatever_the_other_is(layers: int):
    network = make_network(layers, cross_attention=False).double()
    outputs = network(faces(), voices())
    assert torch.equal(network(faces(8), voices()).acoustic, outputs.acoustic)
    assert torch.equal(network(faces()[:2], voices()).acoustic, outputs.acoustic)
    assert torch.equal(network(faces(), voices(9)).visual, outputs.visual)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_fdan_judges_a_modality_by_the_other_too(layers: int):
    network = make_network(layers).double()
    outputs = network(faces(), voices())
    assert not torch.allclose(network(faces(8), voices()).acoustic, outputs.acoustic)
    assert not torch.allclose(network(faces(), voices(9)).visual, outputs.visual)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_an_ablation_declares_no_parameter_that_it_does_not_use(layers: int):
    full, fdan_1, without_faces = (
        set(make_network(layers, **options).state_dict())
        for options in ({}, {"cross_attention": False}, {"acoustic_only": True})
    )
    projections = {name for name in full if name.split(".")[-2] in ("query", "key", "value")}
    assert len(projections) == 2 * 3 * layers and full - projections == fdan_1
    assert without_faces == {name for name in fdan_1 if "visual" not in name} < fdan_1


@pytest.mark.parametrize("layers", [1, 3])
def test_no_parameter_is_shared_but_those_of_the_classifier(layers: int):
    parameters = list(make_network(layers).parameters())
    assert len({p.data_ptr() for p in parameters}) == len(parameters)
    directions = 2 * layers * (3 + 2 + 4 + 2)  # W^Q W^K W^V, LN, FFN, LN
    assert len(parameters) == directions + 2 * 2 + 2  # two projections and one classifier


@pytest.mark.parametrize(
    "layers, cross_attention, acoustic_only, alpha",
    list(product([1, 2, 3], [True, False], [True, False], [0.0, 0.5])),
)
def test_every_parameter_receives_a_gradient(
    layers: int, cross_attention: bool, acoustic_only: bool, alpha: float
):
    network = make_network(layers, cross_attention=cross_attention, acoustic_only=acoustic_only)
    gradients = gradients_of(network, losses_of(network, alpha).total)
    assert [name for name, g in gradients.items() if g is None or not g.any()] == []


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cross_attention", [True, False])
def test_lmmd_is_taken_after_every_layer(layers: int, cross_attention: bool):
    network = make_double(layers, cross_attention=cross_attention)
    states = joint_states(weights_of(network), faces().numpy(), voices().numpy(), layers)[1:]
    expected = [
        float(lmmd(torch.from_numpy(z_v), rows(Y_V), torch.from_numpy(z_a), rows(Y_A), **KERNEL))
        for z_v, z_a in states
    ]
    found = [value.item() for value in losses_of(network, 0.1).lmmd]
    assert len(found) == layers and found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(
    "name, value", [("kernels", 2), ("ratio", 1.5), ("bandwidth", 0.1), ("classes", "all")]
)
def test_every_option_of_lmmd_reaches_it(name: str, value: Any):
    outputs, y_v = make_double(1)(faces(), voices()), Y_V.clamp(max=1)
    ours, theirs = (
        fdan_loss(outputs, rows(y_v), rows(Y_A), 0.1, kernel).lmmd[0].item()
        for kernel in (KERNEL, KERNEL | {name: value})
    )
    z_v, z_a = outputs.layers[0]
    expected = lmmd(z_v, rows(y_v), z_a, rows(Y_A), **(KERNEL | {name: value})).item()
    assert theirs == pytest.approx(expected, rel=1e-9) and theirs != pytest.approx(ours, rel=1e-3)


def test_both_cross_entropies_are_means_over_their_own_samples():
    outputs = make_double(1)(faces(), voices())
    losses = fdan_loss(outputs, rows(Y_V), rows(Y_A), 0.1, KERNEL)
    for found, logits, y in [
        (losses.acoustic, outputs.acoustic, Y_A),
        (losses.visual, outputs.visual, Y_V),
    ]:
        expected = by_definition.cross_entropy(logits.detach().numpy(), y.numpy())
        assert found.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("alpha", [0.0, 1e-3, 2.0])
def test_the_total_is_both_cross_entropies_and_alpha_times_the_sum_of_lmmd(
    layers: int, alpha: float
):
    losses = losses_of(make_double(layers), alpha)
    discrepancy = sum(value.item() for value in losses.lmmd)
    expected = losses.acoustic.item() + losses.visual.item() + alpha * discrepancy
    assert discrepancy > 0.1
    assert losses.total.item() == pytest.approx(expected, rel=1e-12)


def test_without_faces_the_total_is_the_cross_entropy_of_the_voices():
    losses = losses_of(make_double(2, acoustic_only=True), 2.0)
    assert losses.total.item() == losses.acoustic.item()
    assert losses.visual is None and losses.lmmd == []


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("cross_attention", [True, False])
def test_with_alpha_0_the_gradients_are_those_of_cross_entropy_alone(
    layers: int, cross_attention: bool
):
    network = make_double(layers, cross_attention=cross_attention)
    outputs = network(faces(), voices())
    alone = functional.cross_entropy(outputs.acoustic, Y_A) + functional.cross_entropy(
        outputs.visual, Y_V
    )
    expected = gradients_of(network, alone)
    found, with_lmmd = (
        gradients_of(network, losses_of(network, alpha).total) for alpha in (0.0, 0.5)
    )
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-12)
    assert any(not torch.allclose(with_lmmd[name], found[name]) for name in found)


@pytest.mark.parametrize("layers", [1, 3])
def test_with_alpha_0_lmmd_is_measured_all_the_same(layers: int):
    measured, acting = (losses_of(make_double(layers), alpha).lmmd for alpha in (0.0, 0.5))
    assert [v.item() for v in measured] == [v.item() for v in acting]
    assert len(measured) == layers and min(v.item() for v in measured) > 0


@pytest.mark.parametrize("layers", [1, 3])
def test_the_gradient_of_the_whole_loss_is_that_of_finite_differences(layers: int):
    """With a bandwidth that is a number, since that of a batch is held constant."""
    network, kernel = make_double(layers), KERNEL | {"bandwidth": 10.0}

    def total() -> Tensor:
        outputs: Outputs = network(faces(), voices())
        return fdan_loss(outputs, rows(Y_V), rows(Y_A), 0.5, kernel).total

    gradients, rng, step = gradients_of(network, total()), np.random.default_rng(0), 1e-6
    for name, parameter in network.named_parameters():
        direction = torch.from_numpy(rng.normal(size=parameter.shape))
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter += sign * step * direction
                ends.append(total().item())
                parameter -= sign * step * direction
        slope = (ends[0] - ends[1]) / (2 * step)
        expected = (gradients[name] * direction).sum().item()
        assert slope == pytest.approx(expected, rel=1e-4, abs=1e-7)
