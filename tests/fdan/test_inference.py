"""A prediction depends on the clip and the model alone, and survives being saved."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.fdan.inference import (
    Bank,
    SpeechClassifier,
    bank_states,
    draw_bank,
    predict,
    prototypes,
)
from stages.fdan.network import FDAN
from stages.systems.contract import Standardizer, fit_standardizer
from tests.fdan.by_definition import (
    assert_equal,
    joint_states,
    linear,
    one_sided,
    random_features,
    softmax,
    weights_of,
    with_random_parameters,
)

CLASSES, VISUAL_DIM, ACOUSTIC_DIM, DIM = 4, 6, 5, 16
KINDS = ["bank", "prototypes", "none"]


def random(n: int, dim: int, seed: int) -> Tensor:
    return random_features(n, dim, seed, torch.float32)


def make_network(layers: int, seed: int = 0, **options: bool) -> FDAN:
    torch.manual_seed(seed)
    return FDAN(VISUAL_DIM, ACOUSTIC_DIM, CLASSES, dim=DIM, ffn_dim=24, layers=layers, **options)


def make_bank(kind: str = "bank", seed: int = 0) -> Bank | None:
    """Nine faces and seven voices, a mean of either a class, or nothing."""
    x_v, x_a = random(9, VISUAL_DIM, seed), random(7, ACOUSTIC_DIM, seed + 1)
    if kind == "prototypes":
        return Bank(
            prototypes(x_v, torch.arange(9) % CLASSES), prototypes(x_a, torch.arange(7) % CLASSES)
        )
    return Bank(x_v, x_a) if kind == "bank" else None


def make_moments(dim: int, seed: int) -> Standardizer:
    return Standardizer(random(1, dim, seed)[0], 1 + random(1, dim, seed + 1)[0].abs())


def make_classifier(layers: int, kind: str = "bank", seed: int = 0) -> SpeechClassifier:
    moments = make_moments(ACOUSTIC_DIM, seed), make_moments(VISUAL_DIM, seed + 2)
    return SpeechClassifier(make_network(layers, seed), *moments, make_bank(kind, seed))


def draw(labels: list[int], size: int, seed: int = 0) -> list[int]:
    return draw_bank(torch.tensor(labels), size, torch.Generator().manual_seed(seed)).tolist()


def test_standardised_features_have_mean_0_and_standard_deviation_1():
    x = 5 + 3 * random(200, 4, 0)
    z = fit_standardizer(x).apply(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(4), rtol=0, atol=1e-5)
    torch.testing.assert_close(z.std(0, correction=0), torch.ones(4))


def test_other_features_are_scaled_by_the_moments_and_not_by_their_own():
    x, other = 5 + 3 * random(200, 4, 0), 9 + random(20, 4, 1)
    expected = (other.numpy() - x.numpy().mean(0)) / x.numpy().std(0)
    np.testing.assert_allclose(fit_standardizer(x).apply(other).numpy(), expected, rtol=1e-4)


@pytest.mark.parametrize("n", [1, 7, 480, 1000])
@pytest.mark.parametrize("level", [0.0, 0.1, 1 / 3, -12.7, 1e4])
def test_a_constant_feature_is_left_at_its_scale(level: float, n: int):
    mean, std = fit_standardizer(torch.full((n, 2), level))
    assert std.tolist() == [1, 1]
    torch.testing.assert_close(mean, torch.full((2,), level))


def test_a_feature_that_hardly_varies_is_not_blown_up():
    assert fit_standardizer(torch.tensor([[0.0], [1e-14]])).std.tolist() == [1]


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


@given(labels=label_lists, seed=st.integers(0, 2**31))
def test_a_prototype_is_the_mean_of_its_class_and_an_absent_class_has_none(
    labels: list[int], seed: int
):
    x = random_features(len(labels), 3, seed)
    expected = [
        np.mean([row for row, label in zip(x.numpy(), labels) if label == c], axis=0)
        for c in range(7)
        if c in labels
    ]
    assert_equal(prototypes(x, torch.tensor(labels)), np.array(expected))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"cross_attention": False}], ids=["FDAN", "FDAN_1"])
def test_the_bank_is_seen_in_every_layer_as_in_equations_1_to_4(layers: int, options: dict):
    network = with_random_parameters(make_network(layers, **options))
    x_v, x_a = random_features(9, VISUAL_DIM, 1), random_features(7, ACOUSTIC_DIM, 2)
    faces, voices = bank_states(network, Bank(x_v, x_a))
    expected = joint_states(weights_of(network), x_v.numpy(), x_a.numpy(), layers)[:-1]
    assert len(faces) == len(voices) == layers
    for z_v, z_a, pair in zip(faces, voices, expected):
        assert_equal(z_v, pair[0])
        assert_equal(z_a, pair[1])


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_bank_is_what_the_layers_of_the_network_itself_are_given(layers: int):
    network, bank, given_to = make_network(layers), make_bank(), {"v": [], "a": []}
    for side, modules in [("v", network.visual_layers), ("a", network.acoustic_layers)]:
        for module in modules:
            module.register_forward_pre_hook(
                lambda _, arguments, side=side: given_to[side].append(arguments[1])
            )
    faces, voices = bank_states(network, bank)
    assert len(faces) == layers
    assert all(map(torch.equal, faces, given_to["a"]))
    assert all(map(torch.equal, voices, given_to["v"]))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("attends", [True, False])
def test_a_prediction_is_equations_1_to_4_with_the_faces_given(layers: int, attends: bool):
    network, x_a = with_random_parameters(make_network(layers)), random_features(5, ACOUSTIC_DIM, 3)
    faces = [random_features(6, DIM, 10 + i) for i in range(layers)] if attends else None
    w, states = weights_of(network), [z.numpy() for z in faces] if faces else None
    z_a = one_sided(w, "acoustic", x_a.numpy(), layers, states)
    assert_equal(predict(network, x_a, faces), softmax(linear(z_a, w, "classifier")))


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_is_bitwise_the_same_alone_and_in_any_batch(layers: int, kind: str):
    classifier, x = make_classifier(layers, kind), random(23, ACOUSTIC_DIM, 5)
    together = classifier(x)
    for size in (1, 2, 5):
        assert torch.equal(torch.cat([classifier(part) for part in x.split(size)]), together)


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_is_bitwise_the_same_in_any_order_and_company(layers: int, kind: str):
    classifier, x = make_classifier(layers, kind), random(23, ACOUSTIC_DIM, 5)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(2))
    assert torch.equal(classifier(x[order]), classifier(x)[order])
    company = torch.cat([x[:3], 1e3 * random(40, ACOUSTIC_DIM, 6)])
    assert torch.equal(classifier(company)[:3], classifier(x)[:3])


@pytest.mark.parametrize("layers", [1, 3])
def test_the_voices_of_the_bank_are_predicted_as_the_network_itself_judges_them(layers: int):
    network, bank = make_network(layers), make_bank()
    found = predict(network, bank.x_a, bank_states(network, bank)[0])
    torch.testing.assert_close(found, torch.softmax(network(*bank).acoustic, dim=1))


def test_with_one_layer_a_prediction_does_not_depend_on_the_voices_of_the_bank():
    network, x_v, x = make_network(1), random(9, VISUAL_DIM, 1), random(4, ACOUSTIC_DIM, 3)
    one, other = (
        bank_states(network, Bank(x_v, random(7, ACOUSTIC_DIM, seed)))[0] for seed in (4, 5)
    )
    assert torch.equal(predict(network, x, one), predict(network, x, other))


@pytest.mark.parametrize("layers", [1, 3])
def test_the_faces_of_the_bank_matter(layers: int):
    network, x_a, x = make_network(layers), random(7, ACOUSTIC_DIM, 1), random(4, ACOUSTIC_DIM, 3)
    one, other = (
        bank_states(network, Bank(random(9, VISUAL_DIM, seed), x_a))[0] for seed in (4, 5)
    )
    assert not torch.allclose(predict(network, x, one), predict(network, x, other))


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("kind", KINDS)
def test_probabilities_sum_to_1(scale: float, kind: str):
    probabilities = make_classifier(2, kind)(scale * random(40, ACOUSTIC_DIM, 6))
    assert probabilities.shape == (40, CLASSES) and (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(40))


@pytest.mark.parametrize("kind", KINDS)
def test_no_voice_gives_no_prediction(kind: str):
    assert make_classifier(1, kind)(torch.empty(0, ACOUSTIC_DIM)).shape == (0, CLASSES)


@pytest.mark.parametrize("kind", KINDS)
def test_the_classifier_standardises_with_its_own_moments_and_attends_to_its_own_bank(kind: str):
    classifier, x = make_classifier(2, kind), random(3, ACOUSTIC_DIM, 4)
    standardised = make_moments(ACOUSTIC_DIM, 0).apply(x)
    faces = None if kind == "none" else bank_states(classifier.network, make_bank(kind))[0]
    assert torch.equal(classifier(x), predict(classifier.network, standardised, faces))


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_classifier_of_the_network_turns_represented_voices_into_predictions(
    layers: int, kind: str
):
    classifier, x = make_classifier(layers, kind), random(23, ACOUSTIC_DIM, 5)
    z_a = classifier.embed_acoustic(x)
    assert z_a.shape == (23, DIM)
    expected = softmax(linear(z_a.numpy(), weights_of(classifier.network), "classifier"))
    np.testing.assert_allclose(classifier(x).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_the_bank_is_represented_as_the_network_itself_sees_it(layers: int):
    classifier, bank = make_classifier(layers), make_bank()
    expected_v, expected_a = classifier.network(*bank).layers[-1]
    visual, acoustic = make_moments(VISUAL_DIM, 2), make_moments(ACOUSTIC_DIM, 0)
    raw_v, raw_a = bank.x_v * visual.std + visual.mean, bank.x_a * acoustic.std + acoustic.mean
    near = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(classifier.embed_visual(raw_v), expected_v, **near)
    torch.testing.assert_close(classifier.embed_acoustic(raw_a), expected_a, **near)


@pytest.mark.parametrize("layers", [1, 3])
def test_without_a_bank_voices_and_faces_are_represented_by_themselves(layers: int):
    classifier = make_classifier(layers, "none")
    w = weights_of(classifier.network)
    x_v, x_a = random(5, VISUAL_DIM, 7), random(4, ACOUSTIC_DIM, 8)
    visual, acoustic = make_moments(VISUAL_DIM, 2), make_moments(ACOUSTIC_DIM, 0)
    for found, name, x in [
        (classifier.embed_visual(x_v), "visual", visual.apply(x_v)),
        (classifier.embed_acoustic(x_a), "acoustic", acoustic.apply(x_a)),
    ]:
        expected = one_sided(w, name, x.numpy(), layers)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_classifier_predicts_the_same_after_a_round_trip_through_a_file(
    layers: int, kind: str, tmp_path: Path
):
    original, restored = (make_classifier(layers, kind, seed) for seed in (0, 1))
    x, x_v = random(5, ACOUSTIC_DIM, 8), random(5, VISUAL_DIM, 9)
    assert not torch.equal(restored(x), original(x))
    save_file(original.state_dict(), tmp_path / "model.safetensors")
    restored.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(restored(x), original(x))
    assert torch.equal(restored.embed_acoustic(x), original.embed_acoustic(x))
    assert torch.equal(restored.embed_visual(x_v), original.embed_visual(x_v))


def test_a_network_without_faces_predicts_and_stores_nothing_of_faces():
    network, moments = make_network(2, acoustic_only=True), make_moments(ACOUSTIC_DIM, 0)
    classifier, x = SpeechClassifier(network, moments, None, None), random(4, ACOUSTIC_DIM, 3)
    expected = torch.softmax(network(None, moments.apply(x)).acoustic, 1)
    torch.testing.assert_close(classifier(x), expected)
    of_network = {f"network.{name}" for name in network.state_dict()}
    assert set(classifier.state_dict()) - of_network == {"acoustic_mean", "acoustic_std"}


def test_all_that_a_prediction_needs_is_in_the_state():
    moments = {f"{side}_{name}" for side in ("acoustic", "visual") for name in ("mean", "std")}
    for kind in KINDS:
        classifier = make_classifier(1, kind)
        of_network = {f"network.{name}" for name in classifier.network.state_dict()}
        of_bank = set() if kind == "none" else {"bank_x_v", "bank_x_a"}
        assert set(classifier.state_dict()) - of_network == moments | of_bank


def test_a_prediction_leaves_no_gradient_and_takes_none():
    classifier = make_classifier(2)
    assert not classifier(random(3, ACOUSTIC_DIM, 1).requires_grad_()).requires_grad
    assert all(p.grad is None for p in classifier.parameters())
