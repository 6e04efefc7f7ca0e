"""A prediction depends on the clip and the model alone, and survives being saved."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.fdan.inference import SpeechClassifier, bank_states, draw_bank, predict
from stages.fdan.network import FDAN

CLASSES, VISUAL_DIM, ACOUSTIC_DIM, BANK = 4, 6, 5, 8


def random(n: int, dim: int, seed: int) -> Tensor:
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(seed))


def make_network(layers: int, seed: int = 0) -> FDAN:
    torch.manual_seed(seed)
    return FDAN(VISUAL_DIM, ACOUSTIC_DIM, CLASSES, dim=16, ffn_dim=24, layers=layers)


def make_classifier(layers: int, seed: int = 0) -> SpeechClassifier:
    network = make_network(layers, seed)
    states = bank_states(network, random(BANK, VISUAL_DIM, seed), random(BANK, ACOUSTIC_DIM, seed))
    mean, std = random(1, ACOUSTIC_DIM, seed)[0], 1 + random(1, ACOUSTIC_DIM, seed)[0].abs()
    return SpeechClassifier(network, mean, std, states)


def draw(labels: list[int], size: int, seed: int = 0) -> list[int]:
    return draw_bank(torch.tensor(labels), size, torch.Generator().manual_seed(seed)).tolist()


label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=60)


@given(labels=label_lists, size=st.integers(1, 70), seed=st.integers(0, 2**31))
def test_a_bank_has_as_many_different_samples_as_asked_for_and_there_are(
    labels: list[int], size: int, seed: int
):
    bank = draw(labels, size, seed)
    assert bank == sorted(set(bank))
    assert len(bank) == min(size, len(labels)) and bank[-1] < len(labels)


@given(labels=label_lists, size=st.integers(1, 70), seed=st.integers(0, 2**31))
def test_a_bank_is_as_balanced_as_its_classes_allow(labels: list[int], size: int, seed: int):
    available = Counter(labels)
    drawn = Counter(labels[i] for i in draw(labels, size, seed))
    most = max(drawn.values())
    assert all(drawn[label] >= min(most - 1, available[label]) for label in available)


@given(labels=label_lists, size=st.integers(1, 70), seed=st.integers(0, 2**31))
def test_the_same_seed_draws_the_same_bank(labels: list[int], size: int, seed: int):
    assert draw(labels, size, seed) == draw(labels, size, seed)


def test_another_seed_draws_another_bank():
    assert draw([0, 1] * 50, 10, seed=0) != draw([0, 1] * 50, 10, seed=1)


def test_every_sample_of_a_class_can_be_drawn():
    assert {i for seed in range(60) for i in draw([0] * 5 + [1] * 5, 2, seed)} == set(range(10))


@pytest.mark.parametrize("layers", [1, 3])
def test_a_prediction_is_bitwise_the_same_alone_and_in_any_batch(layers: int):
    classifier, x = make_classifier(layers), random(23, ACOUSTIC_DIM, 5)
    together = classifier(x)
    for size in (1, 2, 5):
        assert torch.equal(torch.cat([classifier(part) for part in x.split(size)]), together)


@pytest.mark.parametrize("layers", [1, 3])
def test_a_prediction_is_bitwise_the_same_in_any_order(layers: int):
    classifier, x = make_classifier(layers), random(23, ACOUSTIC_DIM, 5)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(2))
    assert torch.equal(classifier(x[order]), classifier(x)[order])


@pytest.mark.parametrize("layers", [1, 3])
def test_the_voices_of_the_bank_are_predicted_as_the_network_itself_judges_them(layers: int):
    network, x_v, x_a = make_network(layers), random(9, VISUAL_DIM, 1), random(7, ACOUSTIC_DIM, 2)
    found = predict(network, x_a, bank_states(network, x_v, x_a))
    torch.testing.assert_close(found, torch.softmax(network(x_v, x_a).acoustic, dim=1))


def test_with_one_layer_a_prediction_does_not_depend_on_the_voices_of_the_bank():
    network, x_v, x = make_network(1), random(9, VISUAL_DIM, 1), random(4, ACOUSTIC_DIM, 3)
    one, other = (bank_states(network, x_v, random(7, ACOUSTIC_DIM, seed)) for seed in (4, 5))
    assert torch.equal(predict(network, x, one), predict(network, x, other))


@pytest.mark.parametrize("layers", [1, 3])
def test_there_is_one_state_of_the_bank_a_layer(layers: int):
    states = bank_states(make_network(layers), random(9, VISUAL_DIM, 1), random(7, ACOUSTIC_DIM, 2))
    assert [state.shape for state in states] == [(9, 16)] * layers


def test_the_bank_matters():
    network, x = make_network(1), random(4, ACOUSTIC_DIM, 3)
    one, other = (bank_states(network, random(9, VISUAL_DIM, s), random(9, ACOUSTIC_DIM, s))
                  for s in (1, 2))
    assert not torch.allclose(predict(network, x, one), predict(network, x, other))


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_probabilities_sum_to_1(scale: float):
    probabilities = make_classifier(2)(scale * random(40, ACOUSTIC_DIM, 6))
    assert probabilities.shape == (40, CLASSES) and (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(40))


def test_no_voice_gives_no_prediction():
    assert make_classifier(1)(torch.empty(0, ACOUSTIC_DIM)).shape == (0, CLASSES)


def test_the_classifier_standardises_with_its_own_mean_and_standard_deviation():
    classifier, x = make_classifier(1), random(3, ACOUSTIC_DIM, 4)
    expected = predict(classifier.network, (x - classifier.mean) / classifier.std,
                       list(classifier.bank))
    assert torch.equal(classifier(x), expected)


@pytest.mark.parametrize("layers", [1, 3])
def test_a_classifier_predicts_the_same_after_a_round_trip_through_a_file(
    layers: int, tmp_path: Path
):
    original, x = make_classifier(layers), random(5, ACOUSTIC_DIM, 8)
    save_file(original.state_dict(), tmp_path / "model.safetensors")
    restored = make_classifier(layers, seed=1)
    assert not torch.equal(restored(x), original(x))
    restored.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(restored(x), original(x))
