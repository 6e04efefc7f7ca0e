"""Fine-tuned networks of pictures: published weights under a new last layer."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torchvision
from torch import Tensor

from stages.encoders import efficientnet_lite0, torchvision_models
from stages.encoders.pictures import normalise, spectrogram_images
from stages.systems.contract import MELS
from stages.systems.finetuned import AveragePool, FineTuned, FineTuning, published
from tests.feature_files import logits
from tests.helpers import user_error

# With ImageNet's 1000 classes, as torchvision's documentation has them, and what enters the last
# layer.
PARAMETERS = {
    "vgg16": (138_357_544, 4096),
    "vgg19": (143_667_240, 4096),
    "resnet18": (11_689_512, 512),
    "resnet34": (21_797_672, 512),
    "resnet50": (25_557_032, 2048),
    "efficientnet_lite0": (4_652_008, 1280),
}


def grey(count: int = 2, length: int = 64) -> Tensor:
    return torch.rand(count, length, length, generator=torch.Generator().manual_seed(0))


def in_colour(pictures: Tensor) -> Tensor:
    return pictures[:, None].expand(-1, 3, -1, -1)


@pytest.mark.parametrize("name, known", PARAMETERS.items())
def test_it_is_the_published_network_with_a_new_last_layer(name: str, known: tuple[int, int]):
    total, dim = known
    with torch.device("meta"):
        made = FineTuned(name, 7)
        assert logits(made.eval(), grey().to("meta")).shape == (2, 7)
    assert made.last.in_features == dim
    count = sum(parameter.numel() for parameter in made.parameters())
    assert count == total - 1000 * (dim + 1) + 7 * (dim + 1)


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file where torch.hub keeps ResNet-18's, with other values than any seed gives."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(5)
    path = tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    model = torchvision.models.resnet18()
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.normal_()
    torch.save(model.state_dict(), path)
    return path


IMAGENET = {"weights": "imagenet"}


@torch.no_grad()
def test_published_weights_are_those_of_the_frozen_encoder(weights: Path):
    made = FineTuned("resnet18", 7).eval()
    last = made.last.weight.clone()
    FineTuning("resnet18").initial(made, {"weights": "random"})
    frozen = torchvision_models.load("resnet18", "imagenet", 0)
    expected = frozen.network(normalise(in_colour(grey()), frozen.mean, frozen.std))
    assert not torch.allclose(logits(made, grey()), made.last(expected))
    FineTuning("resnet18").initial(made, IMAGENET)
    torch.testing.assert_close(logits(made, grey()), made.last(expected))
    assert torch.equal(made.last.weight, last)
    assert all(parameter.requires_grad for parameter in made.parameters())


@pytest.mark.skipif(
    find_spec(efficientnet_lite0.WEIGHTS.module) is None,
    reason=f"{efficientnet_lite0.WEIGHTS.package} is not installed",
)
@torch.no_grad()
def test_the_weights_of_the_package_are_those_of_the_frozen_encoder():
    made = FineTuned(efficientnet_lite0.NAME, 7).eval()
    FineTuning(efficientnet_lite0.NAME).initial(made, IMAGENET)
    frozen = efficientnet_lite0.load(efficientnet_lite0.NAME, "imagenet", 0)
    expected = frozen.network(normalise(in_colour(grey()), frozen.mean, frozen.std))
    torch.testing.assert_close(logits(made, grey()), made.last(expected))
    assert all(parameter.requires_grad for parameter in made.parameters())


def test_damaged_weights_are_one_line(weights: Path):
    weights.write_bytes(weights.read_bytes()[:1000])
    message = user_error(published, "resnet18")
    assert f"{weights} is damaged" in message


def picture(mels: Tensor, size: int) -> Tensor:
    settings = {"db_min": -70.0, "db_max": 30.0, "size": size}
    return FineTuning("resnet18").prepare({MELS: mels}, settings)[MELS]


def test_the_picture_is_that_of_the_frozen_encoders():
    mels = torch.rand(150, 128) * 120 - 90
    expected = spectrogram_images([mels.numpy()], -70.0, 30.0)
    assert torch.equal(picture(mels, 224).expand(3, -1, -1), expected[0])
    small = picture(mels, 64)
    assert small.shape == (64, 64) and 0 <= small.min() < small.max() <= 1
    lower = mels - 1000 * (torch.arange(128) >= 64)  # the high frequencies are silent
    assert picture(lower, 64)[:31].max() == 0  # above


@pytest.mark.parametrize("length", [2, 7, 8, 14, 20])
def test_the_pool_of_vgg_is_that_of_torchvision_with_its_gradient(length: int):
    """Whose gradient PyTorch refuses on a GPU where all must be deterministic."""
    x = torch.randn(2, 3, length, length, requires_grad=True)
    own, usual = AveragePool(7)(x), torch.nn.AdaptiveAvgPool2d(7)(x)
    torch.testing.assert_close(own, usual)
    directions = torch.randn(own.shape)
    gradients = [torch.autograd.grad((of * directions).sum(), x)[0] for of in (own, usual)]
    torch.testing.assert_close(*gradients)
    with torch.device("meta"):
        pools = [type(part) for part in FineTuned("vgg16", 7).modules()]
    assert AveragePool in pools and torch.nn.AdaptiveAvgPool2d not in pools
