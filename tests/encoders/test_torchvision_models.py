"""Models of torchvision: frozen, repeatable, and its features are what enters its classifier."""

from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor, nn

from stages.encoders.pictures import for_inference, normalise
from stages.encoders.torchvision_models import load
from stages.io.files import file_sha256
from stages.runtime.errors import UserError

# Where torchvision's families keep their classifier.
HEADS = {
    "resnet18": "fc",
    "resnet34": "fc",
    "squeezenet1_1": "classifier",
    "mobilenet_v3_small": "classifier",
    "alexnet": "classifier",
}
SMALL = "squeezenet1_1"


def pictures(n: int = 2, size: int = 64) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def features(name: str, seed: int = 0, size: int = 64) -> Tensor:
    model = load(name, "random", seed).network
    with torch.inference_mode():
        return model(pictures(size=size))


def entering(model: nn.Module, head: str, images: Tensor) -> Tensor:
    """What the classifier of an untouched model is given, averaged over space if it has any."""
    caught = []
    getattr(model, head).register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    with torch.inference_mode():
        model.eval()(images)
    (found,) = caught
    return found.mean((2, 3)) if found.ndim == 4 else found


def untouched(name: str) -> nn.Module:
    torch.manual_seed(0)
    # GoogLeNet's own initialisation takes a minute and does not matter here.
    quick = {"init_weights": False} if name == "googlenet" else {}
    return torchvision.models.get_model(name, weights=None, **quick)


@pytest.mark.parametrize("name, head", HEADS.items())
def test_features_are_what_enters_the_classifier(name: str, head: str):
    expected = entering(untouched(name), head, pictures())
    torch.testing.assert_close(features(name), expected)


def test_transformers_give_what_enters_their_heads(monkeypatch: pytest.MonkeyPatch):
    def small(name: str = "vit", weights: None = None) -> nn.Module:
        torch.manual_seed(0)
        model = torchvision.models.VisionTransformer(32, 16, 1, 2, 24, 48)
        nn.init.normal_(model.heads.head.weight)
        return model

    expected = entering(small(), "heads", pictures(size=32))
    monkeypatch.setattr(torchvision.models, "get_model", small)
    torch.testing.assert_close(features("vit_b_16", size=32), expected)


@pytest.mark.parametrize("name, head", [("vgg11", "classifier"), ("swin_t", "head")])
def test_features_of_large_models_are_what_enters_the_classifier(name: str, head: str):
    expected = entering(untouched(name), head, pictures(size=224))
    torch.testing.assert_close(features(name, size=224), expected)


def test_resnet34_gives_512_features_a_picture():
    assert features("resnet34").shape == (2, 512)


def test_is_frozen_and_in_eval_mode():
    model = load("resnet18", "random", 0).network
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


def test_pictures_do_not_change_it():
    model = load("resnet18", "random", 0).network
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(pictures())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_same_seed_gives_the_same_features():
    assert torch.equal(features(SMALL, seed=3), features(SMALL, seed=3))


def test_another_seed_gives_other_features():
    assert not torch.allclose(features(SMALL, seed=3), features(SMALL, seed=4))


def test_the_source_of_random_weights_is_their_seed():
    assert load(SMALL, "random", 3).source == "seed 3"


def test_random_weights_do_not_touch_the_global_random_state():
    before = torch.random.get_rng_state()
    load(SMALL, "random", 3)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("name", ["resnet35", "lraspp_mobilenet_v3_large", "raft_small", "nn"])
def test_an_unknown_name_is_refused(name: str):
    with pytest.raises(UserError, match=f"^'{name}' is not a torchvision"):
        load(name, "random", 0)


def test_a_model_without_the_published_weights_asked_for_is_refused(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(torchvision.models, "get_model", lambda name, weights: nn.Sequential())
    with pytest.raises(UserError, match="vit_h_14"):
        load("vit_h_14", "imagenet", 0)


def put_into_cache(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Save untrained weights where torch.hub keeps those of IMAGENET1K_V1."""
    monkeypatch.setenv("TORCH_HOME", str(folder))
    entry = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"]
    path = folder / "hub/checkpoints" / entry.url.rsplit("/", 1)[1]
    path.parent.mkdir(parents=True)
    torch.save(untouched(name).state_dict(), path)
    return path


def test_published_weights_are_read_from_the_cache_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    path = put_into_cache(SMALL, tmp_path, monkeypatch)
    encoder = load(SMALL, "imagenet", 5)
    with torch.inference_mode():
        assert torch.equal(encoder.network(pictures()), features(SMALL, seed=0))
    assert encoder.source == f"{path.name} sha256 {file_sha256(path)}"
    assert "does not begin with the hash" in capsys.readouterr().err


def test_published_weights_that_do_not_fit_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = put_into_cache(SMALL, tmp_path, monkeypatch)
    torch.save(untouched("resnet18").state_dict(), path)
    with pytest.raises(UserError, match=f"{path} is damaged"):
        load(SMALL, "imagenet", 0)


def test_a_model_whose_published_weights_want_another_normalisation_gets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """torchvision sets `transform_input` where this model is made with its weights."""
    put_into_cache("googlenet", tmp_path, monkeypatch)
    assert load("googlenet", "imagenet", 0).network.transform_input is True


def test_normalised_pictures_have_the_mean_and_deviation_of_imagenet():
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = torch.tensor([mean, [a + b for a, b in zip(mean, std)]]).view(2, 3, 1, 1)
    expected = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    encoder = load(SMALL, "random", 0)
    found = normalise(images.expand(2, 3, 4, 4), encoder.mean, encoder.std)
    torch.testing.assert_close(found, expected)


def picture(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(5, 3, 224, 224, generator=generator).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["resnet34", "squeezenet1_1", "densenet121", "vit_b_16"])
def test_a_network_for_inference_gives_the_same_features(name: str):
    model = load(name, "random", 0).network
    with torch.inference_mode():
        expected = model(picture())
        found = for_inference(model, torch.float32)(picture())
    assert torch.nn.functional.cosine_similarity(expected, found).min() >= 0.999999
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * float(expected.abs().max()))


def test_no_batch_norm_of_resnet_is_left_and_the_model_stays_as_it_is():
    model = load("resnet34", "random", 0).network
    norms = [type(part) for part in model.modules()].count(torch.nn.BatchNorm2d)
    network = for_inference(model, torch.float32)
    assert norms == 36
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in network.modules())
    assert [type(part) for part in model.modules()].count(torch.nn.BatchNorm2d) == norms
    assert model.conv1.weight.is_contiguous()


def test_bfloat16_keeps_what_matters():
    model = load("resnet34", "random", 0).network
    with torch.inference_mode():
        expected = model(picture())
        found = for_inference(model, torch.bfloat16)(picture().bfloat16()).float()
    assert torch.nn.functional.cosine_similarity(expected, found).min() >= 0.999


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_do_not_depend_on_the_rest_of_the_batch(dtype: torch.dtype):
    network = for_inference(load("resnet34", "random", 0).network, dtype)
    pictures = picture().to(dtype)
    with torch.inference_mode():
        whole = network(pictures)
        parts = [network(pictures[:1]), network(pictures[1:3]), network(pictures[3:])]
    assert torch.equal(torch.cat(parts), whole)
