"""SDT against its equations, in float64, and its size against that of the published network."""

import math

import pytest
import torch
from torch import Tensor

from stages.systems.neural import Padded
from stages.systems.sdt import Exchange, Sdt, SelfDistillation, sdt_loss
from tests.systems.sequences import DIMS, batch_of, dialogue

DIM, HEADS = 8, 2
SIZES = {"dim": DIM, "heads": HEADS, "dropout": 0.0}
MELD = {"linguistic": 1024, "acoustic": 300, "visual": 342}


def of_published_size(trained_gates: bool) -> int:
    with torch.device("meta"):
        network = Sdt(
            MELD, 7, dim=1024, heads=8, speakers=9, trained_gates=trained_gates, dropout=0.5
        )
    return sum(value.numel() for value in network.parameters())


def test_it_has_as_many_parameters_as_the_published_network():
    # Without its first LayerNorms, which it never used, and the speaker of padding.
    unused, padding = 9 * 2 * 1024, 1024
    assert of_published_size(True) + unused + padding == 78_386_204
    assert of_published_size(False) + unused + padding == 78_386_204 - 9 * 1024**2
    assert round(of_published_size(True) / 1e6, 1) == 78.4
    assert round(of_published_size(False) / 1e6, 1) == 68.9


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    y = torch.einsum("...i,oi->...o", x, weight)
    return y if bias is None else y + bias


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * weight + bias


def attend(target: Tensor, source: Tensor, state: dict[str, Tensor]) -> Tensor:
    """All turns [T, d] of the target, by each head of each turn, one at a time."""
    weight, bias = state["attention.in_proj_weight"], state["attention.in_proj_bias"]
    q, k, v = (
        linear(x, weight[i * DIM : i * DIM + DIM], bias[i * DIM : i * DIM + DIM])
        for i, x in enumerate((target, source, source))
    )
    told, width = torch.zeros_like(target), DIM // HEADS
    for head in range(HEADS):
        part = slice(head * width, head * width + width)
        for i in range(len(target)):
            scores = torch.stack([q[i, part] @ key[part] / math.sqrt(width) for key in k]).exp()
            told[i, part] = sum(s * value[part] for s, value in zip(scores / scores.sum(), v))
    return linear(told, state["attention.out_proj.weight"], state["attention.out_proj.bias"])


def by_definition(
    state: dict[str, Tensor], views: dict[str, Tensor], speakers: Tensor
) -> list[tuple[Tensor, list[Tensor]]]:
    """Logits of the whole and of the modalities, of every turn of a dialogue without gaps."""

    def of(prefix: str) -> dict[str, Tensor]:
        return {k[len(prefix) + 1 :]: v for k, v in state.items() if k.startswith(f"{prefix}.")}

    turns = {}
    for view, x in views.items():
        z = linear(x, state[f"project.{view}.weight"])
        for t in range(len(z)):
            for i in range(0, DIM, 2):
                angle = t / 10000 ** (i / DIM)
                z[t, i] += math.sin(angle)
                z[t, i + 1] += math.cos(angle)
            z[t] += state["speakers.weight"][speakers[t]]
        turns[view] = z
    fused = []
    for target in views:
        parts = []
        for source in views:
            own = of(f"exchanges.{source}_{target}")
            z = turns[target] + attend(turns[target], turns[source], own)
            h = layer_norm(z, own["feed_forward.0.weight"], own["feed_forward.0.bias"])
            h = linear(h, own["feed_forward.1.weight"], own["feed_forward.1.bias"])
            h = 0.5 * h * (1 + torch.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3)))
            z = z + linear(h, own["feed_forward.4.weight"], own["feed_forward.4.bias"])
            gate = state.get(f"gates.{source}_{target}.weight", torch.eye(DIM).double())
            parts.append(z / (1 + (-linear(z, gate)).exp()))
        own = of(f"reduce.{target}")
        fused.append(linear(torch.cat(parts, 1), own["weight"], own["bias"]))
    powers = [linear(z, state["fusion.weight"]).exp() for z in fused]
    whole = sum(power * z for power, z in zip(powers, fused)) / sum(powers)
    own = of("whole")
    single = [
        linear(z.clamp(min=0), state[f"single.{view}.2.weight"], state[f"single.{view}.2.bias"])
        for view, z in zip(views, fused)
    ]
    whole = linear(whole, own["weight"], own["bias"])
    return [(whole[t], [logits[t] for logits in single]) for t in range(len(whole))]


@pytest.mark.parametrize("trained_gates", [True, False])
@pytest.mark.parametrize(
    "views", [["acoustic", "linguistic", "visual"], ["visual", "acoustic"], ["linguistic"]]
)
def test_it_is_the_network_of_its_equations(views: list[str], trained_gates: bool):
    torch.manual_seed(0)
    dims = {view: DIMS[view] for view in views}
    network = Sdt(dims, 7, speakers=2, trained_gates=trained_gates, **SIZES).double().eval()
    length = 5
    clips = [dialogue(3, length, turn) for turn in range(length)]
    batch = batch_of([*clips, dialogue(4, 8, 1)])  # beside a longer one
    batch = {
        name: of if name in ("turn", "speakers") else Padded(of.x.double(), of.mask)
        for name, of in batch.items()
    }
    found, *others = network.heads(batch)
    expected = by_definition(
        network.state_dict(), {v: clips[0][v].double() for v in views}, clips[0]["speakers"]
    )
    for t, (whole, single) in enumerate(expected):
        torch.testing.assert_close(found[t], whole, rtol=0, atol=1e-12)
        for other, one in zip(others, single, strict=True):
            torch.testing.assert_close(other[t], one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 8.0])
def test_the_loss_is_that_of_its_equations(temperature: float):
    generator = torch.Generator().manual_seed(1)
    whole, *single = 3 * torch.randn(4, 6, 7, generator=generator, dtype=torch.float64)
    y = [0, 3, 6, 2, 2, 5]
    expected = 0.0
    for i, label in enumerate(y):
        for logits in (whole, *single):
            expected -= logits[i, label] - logits[i].exp().sum().log()
        p = (whole[i] / temperature).exp() / (whole[i] / temperature).exp().sum()
        for logits in single:
            q = (logits[i] / temperature).exp() / (logits[i] / temperature).exp().sum()
            expected += (p * (p / q).log()).sum()
    found = sdt_loss([whole, *single], torch.tensor(y), temperature)
    torch.testing.assert_close(found, expected / len(y), rtol=1e-12, atol=0)


def test_in_training_every_head_learns_at_the_temperature():
    torch.manual_seed(0)
    network = Sdt(DIMS, 7, speakers=2, trained_gates=False, **SIZES)
    batch, y = batch_of([dialogue(1, 6, 2), dialogue(2, 3, 0)]), torch.tensor([1, 4])
    whole, *single = network(batch)
    loss = SelfDistillation().loss(whole, y, {"temperature": 8.0}, *single)
    torch.testing.assert_close(loss, sdt_loss(network.heads(batch), y, 8.0))
    loss.backward()
    assert all(value.grad.abs().sum() > 0 for value in network.single.parameters())


def test_the_whole_learns_from_the_modalities_too():
    """As published the teacher is not detached."""
    whole = torch.zeros(1, 7, requires_grad=True)
    sdt_loss([whole, torch.arange(7.0)[None]], torch.tensor([0]), 1.0).backward()
    alone = torch.zeros(1, 7, requires_grad=True)
    torch.nn.functional.cross_entropy(alone, torch.tensor([0])).backward()
    assert (whole.grad - alone.grad).abs().max() > 0.1


def test_what_is_said_later_and_by_whom_tells_too():
    torch.manual_seed(0)
    network = Sdt(DIMS, 7, speakers=2, trained_gates=True, **SIZES).eval()
    one = dialogue(1, 6, 2)
    base = network(batch_of([one]))
    later = one["linguistic"].clone()
    later[5] += 1
    others = one["speakers"].clone()
    others[2] = 1 - others[2]
    for change in ({"linguistic": later}, {"speakers": others}):
        assert (network(batch_of([{**one, **change}])) - base).abs().max() > 1e-3


def test_a_modality_that_no_turn_has_adds_nothing():
    torch.manual_seed(0)
    exchange = Exchange(DIM, HEADS, 0.0).eval()
    query, keys = torch.randn(2, DIM), torch.randn(2, 3, DIM)
    found = exchange(query, keys, torch.zeros(2, 3, dtype=torch.bool))
    torch.testing.assert_close(found, query + exchange.feed_forward(query))


def test_speakers_beyond_those_told_apart_are_one():
    torch.manual_seed(0)
    network = Sdt(DIMS, 7, speakers=3, trained_gates=True, **SIZES).eval()
    one = dialogue(1, 4, 0)
    found = [
        network(batch_of([{**one, "speakers": torch.tensor([0, 1, *rest])}]))
        for rest in ([2, 2], [2, 3], [7, 2], [1, 2])
    ]
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    assert (found[0] - found[3]).abs().max() > 1e-4
