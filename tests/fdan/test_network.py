"""The network's loss is Eq. (9), and all of the network is trained by it."""

import math

import pytest
import torch
from torch import Tensor

from stages.fdan.lmmd import lmmd
from stages.fdan.network import FDAN, Outputs, fdan_loss

CLASSES = 3
Y_V, Y_A = torch.tensor([0, 1, 2, 0, 1, 2, 2]), torch.tensor([0, 1, 2, 1])


def make_network(layers: int) -> FDAN:
    torch.manual_seed(0)
    return FDAN(visual_dim=5, acoustic_dim=4, classes=CLASSES, dim=8, ffn_dim=12, layers=layers)


def run_network(layers: int) -> tuple[FDAN, Outputs]:
    """A network and what it says of seven faces and four voices."""
    network = make_network(layers)
    generator = torch.Generator().manual_seed(1)
    faces, voices = (torch.randn(n, d, generator=generator) for n, d in [(7, 5), (4, 4)])
    return network, network(faces, voices)


def cross_entropy_by_definition(logits: Tensor, labels: Tensor) -> float:
    """Mean of -log p(true class)."""
    losses = [
        math.log(sum(math.exp(v) for v in row)) - row[label]
        for row, label in zip(logits.tolist(), labels.tolist())
    ]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_every_parameter_receives_a_gradient(layers: int, alpha: float):
    network, outputs = run_network(layers)
    fdan_loss(outputs, Y_V, Y_A, alpha, 5, 2.0).total.backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@pytest.mark.parametrize("layers", [1, 3])
def test_lmmd_is_summed_over_the_states_after_every_layer(layers: int):
    _, outputs = run_network(layers)
    losses = fdan_loss(outputs, Y_V, Y_A, 0.1, 4, 3.0)
    expected = sum(lmmd(z_v, Y_V, z_a, Y_A, CLASSES, 4, 3.0) for z_v, z_a in outputs.layers)
    assert float(losses.lmmd.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_both_cross_entropies_are_means_over_their_own_samples():
    _, outputs = run_network(1)
    losses = fdan_loss(outputs, Y_V, Y_A, 0.1, 5, 2.0)
    acoustic = cross_entropy_by_definition(outputs.acoustic, Y_A)
    visual = cross_entropy_by_definition(outputs.visual, Y_V)
    assert (losses.acoustic.item(), losses.visual.item()) == pytest.approx((acoustic, visual))


@pytest.mark.parametrize("alpha", [0.0, 1e-3, 2.0])
def test_the_total_is_both_cross_entropies_and_alpha_times_lmmd(alpha: float):
    _, outputs = run_network(2)
    losses = fdan_loss(outputs, Y_V, Y_A, alpha, 5, 2.0)
    expected = losses.acoustic.item() + losses.visual.item() + alpha * losses.lmmd.item()
    assert losses.total.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_there_is_one_pair_of_states_a_layer(layers: int):
    _, outputs = run_network(layers)
    assert [(z_v.shape, z_a.shape) for z_v, z_a in outputs.layers] == [((7, 8), (4, 8))] * layers


@pytest.mark.parametrize("layers", [1, 3])
def test_one_classifier_judges_the_last_states_of_both_modalities(layers: int):
    network, outputs = run_network(layers)
    z_v, z_a = outputs.layers[-1]
    torch.testing.assert_close(network.classifier(z_v), outputs.visual)
    torch.testing.assert_close(network.classifier(z_a), outputs.acoustic)


def test_each_layer_starts_from_the_states_after_the_one_before():
    network, outputs = run_network(2)
    again = network.layers[1](*outputs.layers[0])
    torch.testing.assert_close(again, outputs.layers[1])
