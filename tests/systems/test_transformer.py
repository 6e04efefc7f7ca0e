"""What holds for every network that attends: masks, padding, and one utterance at a time."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.systems.cadf import Cadf
from stages.systems.query_tokens import EmotionQueries, QueryTokens
from stages.systems.sdt import Sdt, SelfDistillation
from stages.systems.transformer import Encoder, ignored, sinusoids
from tests.systems.sequences import DIMS, Clip, batch_of, clip, dialogue, without

CLASSES = 7
SMALL = {"dim": 16, "heads": 4, "dropout": 0.3}
TWO = {view: DIMS[view] for view in ("acoustic", "visual")}


def query_tokens(queries: int = 3) -> nn.Module:
    sizes = {"ffn_dim": 24, "layers": 2, "decoder_layers": 2, "masking": 0.5}
    return QueryTokens(DIMS, CLASSES, queries=queries, **SMALL, **sizes)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "query_tokens": query_tokens,
    "no_queries": lambda: query_tokens(0),
    "cadf": lambda: Cadf(TWO, CLASSES, kernel=3, ffn_dim=24, layers=1, **SMALL),
    "sdt": lambda: Sdt(DIMS, CLASSES, speakers=2, trained_gates=True, **SMALL),
    "sdt_fixed": lambda: Sdt(DIMS, CLASSES, speakers=2, trained_gates=False, **SMALL),
}
SEQUENCES = [
    clip(1, acoustic=9, linguistic=4, visual=3),
    clip(2, acoustic=2, linguistic=6, visual=1),
    clip(3, acoustic=5, linguistic=0, visual=3),
    clip(4, acoustic=7, linguistic=2, visual=0),
    clip(5, acoustic=0, linguistic=5, visual=2),
]
DIALOGUES = [
    dialogue(1, 6, 2),
    dialogue(2, 1, 0),
    dialogue(3, 4, 3, visual=[0, 3], linguistic=[1]),
    dialogue(4, 9, 0, acoustic=range(9)),
    without(dialogue(5, 12, 11), "visual"),
]


def network_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


def clips_of(name: str) -> list[Clip]:
    return DIALOGUES if name.startswith("sdt") else SEQUENCES


def logits(network: nn.Module, clips: list[Clip], **padding: float) -> Tensor:
    with torch.inference_mode():
        return network(batch_of(clips, **padding))


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_said_of_one_does_not_depend_on_padding_or_on_the_others(name: str):
    network, clips = network_of(name), clips_of(name)
    together = logits(network, clips)
    assert together.shape == (len(clips), CLASSES) and together.isfinite().all()
    alone = torch.cat([logits(network, [one]) for one in clips])
    padded = logits(network, clips, more=7, filled=1e4)
    backwards = logits(network, clips[::-1]).flip(0)
    for other in (alone, padded, backwards):
        torch.testing.assert_close(other, together, rtol=0, atol=1e-6)
    spread = (together[:, None] - together[None]).abs().amax(2) + torch.eye(len(clips))
    assert spread.min() > 1e-3  # they are told apart


@pytest.mark.parametrize("name", NETWORKS)
def test_to_mask_a_modality_is_not_to_give_it(name: str):
    network, (one, *_) = network_of(name), clips_of(name)
    batch = batch_of([one])
    for view in TWO if name == "cadf" else DIMS:
        masked = batch | {view: batch[view]._replace(mask=torch.zeros_like(batch[view].mask))}
        with torch.inference_mode():
            found = network(masked)
        lacking = without(one, view)
        torch.testing.assert_close(found, logits(network, [lacking]), rtol=0, atol=1e-6)
        beside = logits(network, [lacking, one])
        torch.testing.assert_close(beside[:1], found, rtol=0, atol=1e-6)
        assert (beside[1] - beside[0]).abs().max() > 1e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_of_nothing_the_same_is_said_whatever_it_is_padded_with(name: str):
    network = network_of(name)
    nothing = dict.fromkeys(DIMS, 0)
    one = without(DIALOGUES[0], *DIMS) if name.startswith("sdt") else clip(1, **nothing)
    found = logits(network, [one])
    assert found.isfinite().all()
    padded = logits(network, [one], more=5, filled=1e4)
    beside = logits(network, [clips_of(name)[0], one])[1:]
    for other in (padded, beside):
        torch.testing.assert_close(other, found, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_all_of_it_learns(name: str):
    network = network_of(name).train()
    found = network(batch_of(clips_of(name)))
    parts = found if isinstance(found, tuple) else [found]
    sum(part.square().sum() for part in parts).backward()
    idle = [of for of, value in network.named_parameters() if not value.grad.abs().sum() > 0]
    assert idle == []


@pytest.mark.parametrize("name", NETWORKS)
def test_the_order_of_steps_tells(name: str):
    network, (one, *_) = network_of(name), clips_of(name)
    if name.startswith("sdt"):
        turned = {of: x.roll(1, 0) if of == "acoustic" else x for of, x in one.items()}
    else:
        turned = {of: x.flip(0) for of, x in one.items()}
    changed = logits(network, [turned]) - logits(network, [one])
    assert changed.abs().max() > 1e-4


def test_positions_are_those_of_the_paper():
    like = torch.zeros(2, 50, 8, dtype=torch.float64)
    expected = [
        [
            (math.cos if i % 2 else math.sin)(t / 10000 ** ((i - i % 2) / 8))
            for i in range(8)
        ]
        for t in range(50)
    ]  # fmt: skip
    np.testing.assert_allclose(sinusoids(like), expected, atol=1e-12)
    assert sinusoids(like.float()).dtype == torch.float32


def test_a_key_is_ignored_outside_of_the_mask_and_one_is_left_where_there_is_none():
    mask = torch.tensor([[1, 1, 0], [0, 0, 1], [0, 0, 0]]).bool()
    assert ignored(mask).tolist() == [
        [False, False, True],
        [True, True, False],
        [False, True, True],
    ]


def test_the_learning_rate_rises_in_a_twentieth_of_the_steps_and_then_falls_to_nothing():
    rates = [EmotionQueries().rate(step, 100, {}) for step in range(101)]
    np.testing.assert_allclose(rates[:6], [0.2, 0.4, 0.6, 0.8, 1, 1])
    assert rates[5:] == sorted(rates[5:], reverse=True) and rates[100] == pytest.approx(0)
    assert rates[52] == pytest.approx(0.5, abs=0.01)
    assert [EmotionQueries().rate(step, 1, {}) for step in (0, 1)] == [1, 1]
    assert {SelfDistillation().rate(step, 100, {}) for step in range(100)} == {1}


def test_the_layers_of_an_encoder_start_apart():
    first, second = (layer.linear1.weight for layer in Encoder(8, 2, 8, 2, 0.0).layers)
    assert not torch.equal(first, second)
