"""Training learns, is repeatable to the byte, and stops where it diverges."""

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.fdan import training
from stages.fdan.inference import bank_states, predict
from stages.fdan.training import Samples, Settings, batches, standardise, train_replica

SETTINGS = Settings(
    classes=3, alpha=1e-3, learning_rate=0.02, momentum=0.9, weight_decay=1e-3, batch_size=8,
    epochs=12, dim=16, ffn_dim=16, layers=1, kernels=5, ratio=2.0,
)
DIM = 6


def toy(n: int, modality: int, seed: int = 0, noise: float = 0.3) -> Samples:
    """Three classes around centres that differ between the modalities."""
    centres = torch.randn(3, DIM, generator=torch.Generator().manual_seed(100 + modality))
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 3
    return Samples(2 * centres[y] + noise * torch.randn(n, DIM, generator=generator), y)


def train(seed: int = 0, **changes: float) -> tuple:
    settings = replace(SETTINGS, **changes)
    return train_replica(toy(48, 0), toy(32, 1), settings, seed)


def state_bytes(network: torch.nn.Module) -> bytes:
    return b"".join(value.numpy().tobytes() for value in network.state_dict().values())


def numbered(n: int) -> Samples:
    """Samples that carry their own number."""
    return Samples(torch.arange(n)[:, None].float(), torch.arange(n))


def first_batches(n: int, size: int, count: int, seed: int = 0) -> list[list[int]]:
    """The numbers of the samples in the first batches; features and labels must agree."""
    drawn = []
    endless = batches(numbered(n), size, torch.Generator().manual_seed(seed))
    for x, y in itertools.islice(endless, count):
        assert x[:, 0].tolist() == y.tolist()
        drawn.append(y.tolist())
    return drawn


def test_learns_a_separable_task():
    _, history = train()
    assert history[-1].acoustic_accuracy > 0.95 and history[-1].visual_accuracy > 0.95
    assert history[-1].acoustic_loss < 0.3 < history[0].acoustic_loss


def test_recognises_voices_that_it_has_not_seen():
    network, _ = train()
    unseen = toy(60, 1, seed=7)
    states = bank_states(network, toy(8, 0).x, toy(8, 1).x)
    assert (predict(network, unseen.x, states).argmax(1) == unseen.y).float().mean() > 0.95


def test_alpha_draws_the_modalities_together():
    without, with_it = train(alpha=0.0)[1], train(alpha=1.0)[1]
    assert with_it[-1].lmmd < 0.7 * without[-1].lmmd


def test_weight_decay_shrinks_the_weights():
    light, heavy = (train(weight_decay=decay)[0].classifier.weight.norm() for decay in (0, 0.1))
    assert heavy < 0.9 * light


def test_the_same_seed_gives_the_same_bytes():
    (first, history), (second, again) = train(), train()
    assert state_bytes(first) == state_bytes(second) and history == again


def test_another_seed_gives_another_network():
    assert state_bytes(train(seed=0)[0]) != state_bytes(train(seed=1)[0])


def test_neither_depends_on_the_global_random_state_nor_touches_it():
    expected = state_bytes(train()[0])
    torch.manual_seed(123)
    before = torch.random.get_rng_state()
    assert state_bytes(train()[0]) == expected
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("voices, batch_size, steps", [(32, 8, 4), (33, 8, 4), (5, 8, 1)])
def test_an_epoch_is_one_pass_over_the_voices(
    voices: int, batch_size: int, steps: int, monkeypatch: pytest.MonkeyPatch
):
    sizes = []

    def counting(outputs, *rest):
        sizes.append(len(outputs.acoustic))
        return original(outputs, *rest)

    original = training.fdan_loss
    monkeypatch.setattr(training, "fdan_loss", counting)
    settings = replace(SETTINGS, batch_size=batch_size, epochs=3)
    _, history = train_replica(toy(48, 0), toy(voices, 1), settings, 0)
    assert sizes == [min(batch_size, voices)] * steps * 3
    assert len(history) == 3


def test_the_history_is_the_mean_over_the_batches_of_an_epoch(monkeypatch: pytest.MonkeyPatch):
    losses = []

    def keeping(*arguments):
        losses.append(original(*arguments))
        return losses[-1]

    original = training.fdan_loss
    monkeypatch.setattr(training, "fdan_loss", keeping)
    _, history = train(epochs=2)
    second = losses[len(losses) // 2:]
    mean = sum(loss.acoustic.item() for loss in second) / len(second)
    assert history[1].acoustic_loss == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize("learning_rate", [1e10, 1e30])
def test_a_loss_that_is_not_finite_names_its_epoch(learning_rate: float):
    with pytest.raises(FloatingPointError, match=r"epoch \d+$"):
        train(learning_rate=learning_rate)


@given(n=st.integers(1, 40), size=st.integers(1, 45), seed=st.integers(0, 2**31))
def test_a_pass_draws_no_sample_twice(n: int, size: int, seed: int):
    batches_in_a_pass = max(1, n // size)
    drawn = sum(first_batches(n, size, batches_in_a_pass, seed), [])
    assert len(drawn) == len(set(drawn)) == batches_in_a_pass * min(n, size)


@given(n=st.integers(1, 40), size=st.integers(1, 45))
def test_every_batch_is_full_or_holds_all_there_are(n: int, size: int):
    assert {len(batch) for batch in first_batches(n, size, 9)} == {min(n, size)}


def test_what_one_pass_leaves_out_comes_in_later_ones():
    drawn = sum(first_batches(10, 4, 20), [])
    assert set(drawn) == set(range(10))


def test_passes_differ_from_one_another():
    first, second = first_batches(20, 20, 2)
    assert first != second


def test_standardised_features_have_mean_0_and_standard_deviation_1():
    x = 5 + 3 * torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    mean, std = standardise(x)
    z = (x - mean) / std
    torch.testing.assert_close(z.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(4))


@pytest.mark.parametrize("n", [1, 7, 480, 1000])
@pytest.mark.parametrize("level", [0.0, 0.1, 1 / 3, -12.7, 1e4])
def test_a_constant_feature_is_left_at_its_scale(level: float, n: int):
    mean, std = standardise(torch.full((n, 2), level))
    assert std.tolist() == [1, 1]
    torch.testing.assert_close(mean, torch.full((2,), level))
