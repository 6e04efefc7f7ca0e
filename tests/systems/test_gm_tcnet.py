"""GM-TCNet: the published network, by its definition, its number of parameters and its causes."""

import torch
from torch import Tensor
from torch.nn.functional import conv1d, leaky_relu, pad

from stages.systems.gm_tcnet import GatedLevel, GMTCNet
from tests.feature_files import logits

DILATIONS = [1, 2, 4, 8, 16, 32, 64]


def network(classes: int = 7, seed: int = 0) -> GMTCNet:
    torch.manual_seed(seed)
    return GMTCNet(classes).eval()


def mfccs(count: int = 3, frames: int = 188) -> Tensor:
    return torch.randn(count, frames, 39, generator=torch.Generator().manual_seed(1))


def test_it_has_as_many_parameters_as_published():
    assert sum(parameter.numel() for parameter in network().parameters()) == 260_644


@torch.no_grad()
def test_it_is_what_its_definition_says():
    """Branch by branch: six convolutions a level, two levels a block, seven blocks."""
    made = network()
    for level in (part for part in made.modules() if isinstance(part, GatedLevel)):
        torch.nn.init.normal_(level.bias)

    def causal(x: Tensor, weight: Tensor, bias: Tensor, dilation: int) -> Tensor:
        return conv1d(pad(x, (dilation, 0)), weight, bias, dilation=dilation).relu()

    def gated(x: Tensor, level: GatedLevel, dilation: int) -> Tensor:
        layers = list(zip(level.weight.split(39), level.bias.split(39)))
        branches = [
            causal(x, *value, dilation) * causal(x, *gate, dilation).sigmoid()
            for value, gate in zip(layers[:3], layers[3:])
        ]
        return (branches[0] + branches[1] + branches[2]) / 3

    x = conv1d(mfccs().transpose(1, 2), made.first.weight, made.first.bias)
    total = torch.zeros_like(x)
    for dilation, block in zip(DILATIONS, made.blocks, strict=True):
        skip = gated(gated(x, block[0], dilation), block[1], 2 * dilation)
        x, total = x + skip, total + skip
    expected = leaky_relu(total, 0.05).mean(2) @ made.last.weight.T + made.last.bias
    torch.testing.assert_close(logits(made, mfccs()), expected, rtol=1e-5, atol=1e-4)


@torch.no_grad()
def test_a_frame_knows_the_381_before_it_and_none_after():
    made, heard = network().double(), mfccs(1, 600).double()
    changed = heard.clone()
    changed[0, 100] += 1
    before, after = made.skipped(heard)[0], made.skipped(changed)[0]
    differ = (before != after).any(0).nonzero().flatten()
    assert differ.min() == 100 and differ.max() == 100 + 381


@torch.no_grad()
def test_no_gate_closes_by_more_than_half():
    level = GatedLevel(1)
    level.weight[3 * 39 :], level.bias[3 * 39 :] = 0, -1000
    values = conv1d(
        pad(mfccs().transpose(1, 2), (1, 0)), level.weight[: 3 * 39], level.bias[: 3 * 39]
    )
    expected = values.relu().unflatten(1, (3, 39)).mean(1) / 2
    torch.testing.assert_close(level(mfccs().transpose(1, 2)), expected)


def test_it_begins_as_keras_would():
    first, again, other = network(), network(), network(seed=1)
    bound = (6 / (2 * 39 + 2 * 39)) ** 0.5
    for level in (part for part in first.modules() if isinstance(part, GatedLevel)):
        for branch in level.weight.split(39):
            assert 0.99 * bound < branch.abs().max() <= bound
        assert not level.bias.any()
    assert 0.95 * (6 / (39 + 7)) ** 0.5 < first.last.weight.abs().max() <= (6 / (39 + 7)) ** 0.5
    pairs = zip(first.parameters(), again.parameters(), other.parameters())
    for one, same, another in pairs:
        assert torch.equal(one, same)
        assert not one.any() or not torch.equal(one, another)
