"""Cross-attention against Eq. (2) to (4) written out in NumPy, float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from stages.fdan.attention import Attend, CrossAttention

DIM, FFN_DIM = 6, 10
Weights = dict[str, np.ndarray]


def make_layer(seed: int = 0) -> CrossAttention:
    """A layer in float64 in which no parameter has a special value, those of LN included."""
    layer = CrossAttention(DIM, FFN_DIM).double()
    generator = torch.Generator().manual_seed(seed)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return layer


def random_features(n: int, seed: int) -> Tensor:
    return torch.randn(n, DIM, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def weights_of(module: Attend) -> Weights:
    return {name: value.numpy() for name, value in module.state_dict().items()}


def layer_norm(z: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Every row to mean 0 and variance 1 over its entries, then scaled and shifted."""
    centred = z - z.mean(1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * weight + bias


def delta_by_definition(q_from: np.ndarray, k_from: np.ndarray, w: Weights) -> np.ndarray:
    """softmax(Q^T K / sqrt(d)) V^T of Eq. (3), with the paper's columns: Q = W^Q Z^T."""
    q = w["query.weight"] @ q_from.T
    k = w["key.weight"] @ k_from.T
    v = w["value.weight"] @ k_from.T
    scores = q.T @ k / math.sqrt(DIM)
    exponentials = np.exp(scores)
    return exponentials / exponentials.sum(1, keepdims=True) @ v.T


def update_by_definition(z: np.ndarray, delta: np.ndarray, w: Weights) -> np.ndarray:
    """Both steps of Eq. (4) for one modality."""
    z = layer_norm(z + delta, w["norm_attended.weight"], w["norm_attended.bias"])
    hidden = np.maximum(z @ w["ffn.0.weight"].T + w["ffn.0.bias"], 0)
    forward = hidden @ w["ffn.2.weight"].T + w["ffn.2.bias"]
    return layer_norm(z + forward, w["norm_out.weight"], w["norm_out.bias"])


def assert_equal(found: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_v, n_a", [(7, 4), (3, 9), (5, 5), (1, 6), (6, 1)])
def test_voices_take_from_faces_as_in_equations_2_to_4(n_v: int, n_a: int):
    layer, z_v, z_a = make_layer(), random_features(n_v, 1), random_features(n_a, 2)
    w = weights_of(layer.acoustic_from_visual)
    delta = delta_by_definition(z_a.numpy(), z_v.numpy(), w)
    _, found = layer(z_v, z_a)
    assert_equal(found, update_by_definition(z_a.numpy(), delta, w))


@pytest.mark.parametrize("n_v, n_a", [(7, 4), (3, 9), (5, 5), (1, 6), (6, 1)])
def test_faces_take_from_voices_as_they_were_before_the_layer(n_v: int, n_a: int):
    layer, z_v, z_a = make_layer(), random_features(n_v, 1), random_features(n_a, 2)
    w = weights_of(layer.visual_from_acoustic)
    delta = delta_by_definition(z_v.numpy(), z_a.numpy(), w)
    found, _ = layer(z_v, z_a)
    assert_equal(found, update_by_definition(z_v.numpy(), delta, w))


def test_the_projections_are_square_and_without_bias():
    module = Attend(DIM, FFN_DIM)
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    projections = {f"{name}.weight": (DIM, DIM) for name in ("query", "key", "value")}
    assert projections.items() <= shapes.items()
    assert not any(f"{name}.bias" in shapes for name in ("query", "key", "value"))


def test_the_two_directions_share_no_parameter():
    layer = CrossAttention(DIM, FFN_DIM)
    of_v = {id(p) for p in layer.visual_from_acoustic.parameters()}
    assert of_v.isdisjoint(id(p) for p in layer.acoustic_from_visual.parameters())


def test_permuting_the_receivers_permutes_the_result():
    module = make_layer().acoustic_from_visual
    receiving, giving = random_features(5, 1), random_features(4, 2)
    order = torch.tensor([3, 0, 4, 1, 2])
    expected = module(receiving, giving)[order].detach().numpy()
    assert_equal(module(receiving[order], giving), expected)


def test_permuting_the_givers_changes_nothing():
    module = make_layer().acoustic_from_visual
    receiving, giving = random_features(5, 1), random_features(4, 2)
    order = torch.tensor([2, 0, 3, 1])
    assert_equal(module(receiving, giving[order]), module(receiving, giving).detach().numpy())


def test_a_receiver_does_not_see_the_other_receivers():
    module = make_layer().acoustic_from_visual
    receiving, giving = random_features(5, 1), random_features(4, 2)
    alone = torch.cat([module(row, giving) for row in receiving.split(1)])
    assert_equal(module(receiving, giving), alone.detach().numpy())


def test_every_giver_matters_to_every_receiver():
    module = make_layer().acoustic_from_visual
    receiving, giving = random_features(3, 1), random_features(4, 2).requires_grad_()
    for row in module(receiving, giving):
        (gradient,) = torch.autograd.grad(row.square().sum(), giving, retain_graph=True)
        assert gradient.abs().sum(1).gt(0).all()
