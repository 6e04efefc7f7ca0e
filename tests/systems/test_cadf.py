"""Cross-attention fusion: both modalities reach both halves, and weighted regions by definition."""

import torch

from stages.systems.cadf import Cadf, CrossFusion
from stages.systems.neural import Padded

SIZES = {"dim": 16, "kernel": 3, "heads": 4, "ffn_dim": 24, "layers": 1, "dropout": 0.0}


def sequences(seed: int, *lengths: int) -> Padded:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(len(lengths), max(lengths), 16, generator=generator, dtype=torch.float64)
    return Padded(x, torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])


def test_the_regions_are_weighted_as_defined():
    torch.manual_seed(0)
    fusion = CrossFusion(16, 4, 0.0).double()
    receiving, giving = sequences(1, 5, 2), sequences(2, 3, 4)
    found = fusion(receiving, giving)
    weight, bias = fusion.attention.in_proj_weight, fusion.attention.in_proj_bias
    for i, (n, m) in enumerate([(5, 3), (2, 4)]):
        x, y = receiving.x[i, :n], giving.x[i, :m]
        q, k, v = (
            (of @ weight[j * 16 : j * 16 + 16].T + bias[j * 16 : j * 16 + 16]).view(-1, 4, 4)
            for j, of in enumerate((x, y, y))
        )
        told = torch.cat([torch.softmax(q[:, h] @ k[:, h].T / 2, 1) @ v[:, h] for h in range(4)], 1)
        z = fusion.norm(x + fusion.attention.out_proj(told))
        scores = (z @ fusion.region.weight[0] + fusion.region.bias).exp()
        torch.testing.assert_close(found[i], (scores[:, None] * z).sum(0) / scores.sum())


def test_an_utterance_that_lacks_a_modality_is_told_by_the_other():
    fusion = CrossFusion(16, 4, 0.0).double()
    full, empty = sequences(1, 5), sequences(2, 3)
    empty = empty._replace(mask=torch.zeros_like(empty.mask))
    assert not fusion(empty, full).any()
    z = fusion.norm(full.x)
    expected = (fusion.region(z).softmax(1) * z).sum(1)  # nothing is added to it
    torch.testing.assert_close(fusion(full, empty), expected)


def test_each_half_hears_of_both():
    torch.manual_seed(0)
    of = Cadf({"acoustic": 16, "linguistic": 16}, 7, **SIZES).double()
    batch = {"acoustic": sequences(1, 5), "linguistic": sequences(2, 3)}
    for view in batch:
        batch[view].x.requires_grad_()
    halves: list[torch.Tensor] = []
    of.classifier.register_forward_pre_hook(lambda _, given: halves.extend(given[0].split(16, 1)))
    of(batch)
    for half in halves:
        grads = torch.autograd.grad(
            half.square().sum(), [o.x for o in batch.values()], retain_graph=True
        )
        assert all(grad.abs().amax(2).min() > 0 for grad in grads)  # every step of both


def test_parameters_are_those_of_the_parts():
    d, ffn = 256, 512
    attention = 4 * (d * d + d)
    branch = sum(3 * d * width + d for width in (768, d)) + 2 * d
    branch += attention + 2 * d * ffn + ffn + d + 4 * d + 2 * d
    fusion = attention + 2 * d + d + 1
    with torch.device("meta"):
        of = Cadf(
            {"acoustic": 768, "linguistic": 768}, 7, dim=d, kernel=3, heads=8, ffn_dim=ffn,
            layers=1, dropout=0.1,
        )  # fmt: skip
    count = sum(value.numel() for value in of.parameters())
    assert count == 2 * (branch + fusion) + (2 * d * d + d) + 7 * d + 7 == 3_291_145
