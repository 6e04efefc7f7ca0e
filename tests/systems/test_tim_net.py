"""TIM-Net: attention forwards and backwards in time, fused over scales."""

import torch
from torch import Tensor

from stages.systems.tim_net import TemporalAwareBlock, TIMNet
from tests.feature_files import logits


def network(blocks: int = 8) -> TIMNet:
    """In eval mode, with batch norms that have seen something."""
    torch.manual_seed(0)  # of parameters and dropout
    made = TIMNet(7, blocks, 0.1)
    with torch.no_grad():
        for _ in range(20):
            logits(made, mfccs(8))
    return made.eval()


def mfccs(count: int = 3, frames: int = 60) -> Tensor:
    return torch.randn(count, frames, 39, generator=torch.Generator().manual_seed(1))


def test_it_has_as_many_parameters_as_its_head_says():
    convolution, norm = 39 * 39 * 2 + 39, 2 * 39
    direction = 39 * 39 + 39 + 8 * 2 * (convolution + norm)
    expected = 2 * direction + 8 + 39 * 7 + 7
    assert sum(parameter.numel() for parameter in network().parameters()) == expected == 104_496


@torch.no_grad()
def test_attention_knows_what_was_and_keeps_at_least_half():
    block = TemporalAwareBlock(4, 0.1).eval()
    x = mfccs(1).transpose(1, 2)
    changed = x.clone()
    changed[0, :, 30] += 1
    differ = (block(x) != block(changed))[0].any(0).nonzero().flatten().tolist()
    assert differ == [30, 34, 38]  # twice a kernel of 2
    attention = block(x) / x
    assert 0.5 - 1e-6 <= attention.min() < attention.max() < 1


@torch.no_grad()
def test_both_directions_are_alike():
    """What one says of a clip the other says of the clip backwards."""
    made, mirrored = network(), network()
    mirrored.past, mirrored.future = mirrored.future, mirrored.past
    found = logits(mirrored, mfccs().flip(1))
    torch.testing.assert_close(found, logits(made, mfccs()))
    assert not torch.allclose(logits(made, mfccs().flip(1)), found, atol=1e-3)


@torch.no_grad()
def test_the_scales_are_summed_with_learned_weights():
    made = network(3)
    x = mfccs().transpose(1, 2)
    scales = made.past(x) + made.future(x.flip(2))
    assert scales.shape == (3, 3, 39)
    torch.testing.assert_close(logits(made, mfccs()), made.last(scales.mean(1)))
    made.fusion.copy_(torch.tensor([0.0, 2.0, 0.0]))
    torch.testing.assert_close(logits(made, mfccs()), made.last(2 * scales[:, 1]))


def test_dropout_takes_whole_channels():
    block = TemporalAwareBlock(1, 0.5).train()
    torch.manual_seed(0)
    x = torch.ones(64, 39, 20)
    off = block(x) == 0.5  # the sigmoid of a channel that was dropped
    assert 0.3 < off.all(2).float().mean() < 0.8
