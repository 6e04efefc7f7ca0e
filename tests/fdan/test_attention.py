"""Cross-attention against Eq. (2) to (4) written out in NumPy, float64."""

import pytest
import torch
from torch import Tensor

from stages.fdan.attention import CrossAttention
from tests.fdan import by_definition
from tests.fdan.by_definition import assert_equal, weights_of, with_random_parameters

DIM, FFN_DIM = 6, 10


def make_layer(attends: bool = True) -> CrossAttention:
    return with_random_parameters(CrossAttention(DIM, FFN_DIM, attends))


def random_features(n: int, seed: int) -> Tensor:
    return by_definition.random_features(n, DIM, seed)


@pytest.mark.parametrize("n, m", [(7, 4), (3, 9), (5, 5), (1, 6), (6, 1), (32, 32)])
def test_the_receiving_take_from_the_giving_as_in_equations_2_and_3(n: int, m: int):
    layer, receiving, giving = make_layer(), random_features(n, 1), random_features(m, 2)
    expected = by_definition.delta(receiving.numpy(), giving.numpy(), weights_of(layer))
    assert_equal(layer.delta(receiving, giving), expected)


@pytest.mark.parametrize("n, m", [(7, 4), (3, 9), (5, 5), (1, 6), (6, 1), (32, 32)])
def test_a_layer_is_equations_2_to_4(n: int, m: int):
    layer, receiving, giving = make_layer(), random_features(n, 1), random_features(m, 2)
    expected = by_definition.layer(receiving.numpy(), giving.numpy(), weights_of(layer))
    assert_equal(layer(receiving, giving), expected)


def test_the_projections_are_square_and_without_bias():
    shapes = {name: tuple(value.shape) for name, value in make_layer().state_dict().items()}
    projections = {f"{name}.weight": (DIM, DIM) for name in ("query", "key", "value")}
    assert projections.items() <= shapes.items()
    assert not any(f"{name}.bias" in shapes for name in ("query", "key", "value"))


def test_without_givers_there_is_no_delta():
    layer, receiving = make_layer(), random_features(5, 1)
    expected = by_definition.update(receiving.numpy(), 0.0, weights_of(layer))
    assert_equal(layer(receiving, None), expected)


def test_a_layer_that_does_not_attend_takes_nothing_from_the_giving():
    layer, receiving, giving = make_layer(False), random_features(5, 1), random_features(4, 2)
    expected = by_definition.update(receiving.numpy(), 0.0, weights_of(layer))
    assert_equal(layer(receiving, giving), expected)


def test_a_layer_that_does_not_attend_lacks_the_projections_and_nothing_else():
    attending, skipping = (set(make_layer(attends).state_dict()) for attends in (True, False))
    assert attending - skipping == {"query.weight", "key.weight", "value.weight"}
    assert skipping < attending


def test_permuting_the_receivers_permutes_the_result():
    layer, receiving, giving = make_layer(), random_features(5, 1), random_features(4, 2)
    order = torch.tensor([3, 0, 4, 1, 2])
    expected = layer(receiving, giving)[order].detach().numpy()
    assert_equal(layer(receiving[order], giving), expected)


def test_permuting_the_givers_changes_nothing():
    layer, receiving, giving = make_layer(), random_features(5, 1), random_features(4, 2)
    order = torch.tensor([2, 0, 3, 1])
    assert_equal(layer(receiving, giving[order]), layer(receiving, giving).detach().numpy())


def test_a_receiver_does_not_see_the_other_receivers():
    layer, receiving, giving = make_layer(), random_features(5, 1), random_features(4, 2)
    alone = torch.cat([layer(row, giving) for row in receiving.split(1)])
    assert_equal(layer(receiving, giving), alone.detach().numpy())


def test_every_giver_matters_to_every_receiver():
    layer = make_layer()
    receiving, giving = random_features(3, 1), random_features(4, 2).requires_grad_()
    for row in layer(receiving, giving):
        (gradient,) = torch.autograd.grad(row.square().sum(), giving, retain_graph=True)
        assert gradient.abs().sum(1).gt(0).all()


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e15])
def test_a_layer_is_finite_for_features_of_any_size(scale: float):
    torch.manual_seed(0)
    layer = CrossAttention(DIM, FFN_DIM)
    receiving, giving = (scale * random_features(n, n).float() for n in (3, 4))
    assert torch.isfinite(layer(receiving, giving)).all()
