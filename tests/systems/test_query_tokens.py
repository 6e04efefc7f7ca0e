"""Emotion query tokens: what is hidden in training, and what each ablation leaves out."""

import pytest
import torch

from stages.systems.query_tokens import QueryTokens, hide
from tests.systems.sequences import DIMS, batch_of, clip, without

SIZES = {
    "dim": 16, "heads": 4, "ffn_dim": 24, "layers": 1, "queries": 3, "decoder_layers": 2,
    "masking": 0.5, "dropout": 0.0,
}  # fmt: skip
CLIP = clip(1, acoustic=6, linguistic=4, visual=3)


def network(dims: dict[str, int] = DIMS, **changes: float) -> QueryTokens:
    torch.manual_seed(0)
    return QueryTokens(dims, 7, **SIZES | changes)


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("there", [(1, 1, 1), (1, 0, 1), (0, 1, 0)])
def test_modalities_are_hidden_as_often_as_asked_and_never_all(probability, there):
    torch.manual_seed(0)
    n = 20_000
    # Of each utterance two steps, of which the second is padding.
    masks = [torch.tensor([[bool(of), False]]).expand(n, 2) for of in there]
    left = hide(masks, probability)
    assert not any(mask[:, 1].any() for mask in left)
    kept = torch.stack([mask[:, 0] for mask in left], 1)
    assert kept.any(1).all() and not kept[:, [not of for of in there]].any()
    m = sum(there)
    rate = probability - probability**m / m  # where all were hidden one of m is left
    for column, of in zip(kept.T, there):
        if of:
            assert 1 - column.float().mean().item() == pytest.approx(rate, abs=0.015)
    if probability == 1:
        assert kept.sum(1).eq(1).all()


def test_what_is_hidden_in_training_is_what_is_missing_at_test():
    of = network(masking=1.0).train()  # one modality is left, one or another
    with torch.no_grad():
        seen = of(batch_of([CLIP] * 40))
        of.eval()
        alone = {
            view: of(batch_of([without(CLIP, *DIMS.keys() - {view})]))[0] for view in DIMS
        }  # fmt: skip
        gaps = torch.stack([(seen - one).abs().amax(1) for one in alone.values()])
        assert gaps.amin(0).max() < 1e-5 and gaps.amax(0).min() > 1e-3
        assert set(gaps.argmin(0).tolist()) == {0, 1, 2}
        assert (of(batch_of([CLIP])) - seen).abs().max() > 1e-3  # at test nothing is hidden


def test_with_nothing_hidden_training_sees_all():
    of = network(masking=0.0)
    batch = batch_of([CLIP, without(CLIP, "visual")])
    torch.testing.assert_close(of.train()(batch), of.eval()(batch), rtol=0, atol=1e-6)


def test_without_queries_the_mean_of_what_the_encoders_give_stands_in_their_place():
    of = network(queries=0).eval()
    names = {name.split(".")[0] for name, _ in of.named_parameters()}
    assert names == {"encoders", "classifier"}
    batch = batch_of([CLIP])
    refined = [of.encoders[view](*batch[view])[0] for view in DIMS]
    expected = of.classifier(torch.cat(refined).mean(0))
    torch.testing.assert_close(of(batch)[0], expected)


@pytest.mark.parametrize("views", [["visual"], ["acoustic", "linguistic"]])
def test_a_subset_of_the_modalities_has_nothing_of_the_others(views: list[str]):
    of = network({view: DIMS[view] for view in views}).eval()
    assert list(of.encoders) == views
    rest = DIMS.keys() - set(views)
    assert torch.equal(of(batch_of([CLIP])), of(batch_of([without(CLIP, *rest)])))


def test_queries_start_apart_and_learn_apart():
    of = network()
    of(batch_of([CLIP])).square().sum().backward()
    for queries in (of.queries.detach(), of.queries.grad):
        apart = (queries[:, None] - queries[None]).abs().amax(2) + torch.eye(3)
        assert apart.min() > 1e-6


def test_no_modality_reaches_the_encoder_of_another():
    of = network()
    batch = batch_of([CLIP])
    x = batch["acoustic"].x.requires_grad_()
    of.encoders["visual"](*batch["visual"]).sum().backward()
    assert x.grad is None


def test_parameters_are_those_of_the_parts():
    def attention(d: int) -> int:
        return 4 * (d * d + d)

    def network_size(dims: list[int], d: int, ffn: int, layers: int, decoder: int, n: int) -> int:
        feed = 2 * d * ffn + ffn + d
        encoder = layers * (attention(d) + feed + 4 * d) + 2 * d
        of_modalities = sum(width * d + d + 2 * d + d + encoder for width in dims)
        gathering = n * d + decoder * (2 * attention(d) + feed + 6 * d) + 2 * d
        return of_modalities + gathering + 7 * d + 7

    with torch.device("meta"):
        of = QueryTokens(
            {"acoustic": 768, "linguistic": 768}, 7, dim=256, heads=4, ffn_dim=1024, layers=2,
            queries=8, decoder_layers=2, masking=0.2, dropout=0.1,
        )  # fmt: skip
    count = sum(value.numel() for value in of.parameters())
    assert count == network_size([768, 768], 256, 1024, 2, 2, 8) == 5_666_567
