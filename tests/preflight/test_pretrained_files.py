"""Weights that are neither in the cache nor to be fetched are named before anything is decoded."""

from pathlib import Path

import pytest

from stages.preflight import pretrained_files
from stages.preflight.pretrained_files import backbone_weights, frame_weights, weight_problems
from tests.file_server import Served, serving
from tests.helpers import user_error

NOWHERE = "http://127.0.0.1:9/net-0123abcd.pth"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path / "hub/checkpoints"


def test_what_the_settings_ask_for() -> None:
    assert frame_weights("haar", False) == backbone_weights("resnet34", "random") == []
    [(what, url)] = frame_weights("haar", True)
    assert what == "frames.align" and url.startswith("https://")
    assert [what for what, _ in frame_weights("blazeface", False)] == [
        "frames.detector blazeface"
    ] * 2
    [(what, url)] = backbone_weights("resnet34", "imagenet")
    assert what == "features.backbone resnet34" and url.endswith("/resnet34-b627a593.pth")


@pytest.mark.parametrize("weights", ["random", "imagenet"])
def test_a_backbone_that_there_is_not_is_named(weights: str) -> None:
    message = user_error(backbone_weights, "resnet35", weights)
    assert message.startswith("params.yaml: features.backbone: 'resnet35' is not a torchvision")


def test_what_cannot_be_fetched_is_told_with_where_to_put_it(cache: Path) -> None:
    [problem] = weight_problems([("features.backbone resnet34", NOWHERE)])
    assert problem.startswith(
        f"params.yaml: features.backbone resnet34: not in the cache, and {NOWHERE} cannot be "
        "fetched ("
    )
    assert problem.endswith(
        f"); fetch it where there is a network and put it at {cache / 'net-0123abcd.pth'}"
    )


def test_what_is_in_the_cache_is_not_asked_for(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "net-0123abcd.pth").touch()
    assert weight_problems([("x", NOWHERE)]) == []


def test_what_can_be_fetched_is_no_problem_and_is_not_fetched(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving() as server:
        server.served["/net-0123abcd.pth"] = Served(b"weights")
        url = f"{server.address}/net-0123abcd.pth"
        assert weight_problems([("x", url)]) == []
    said = f"x: not in the cache; will be fetched from {url} to {cache / 'net-0123abcd.pth'}\n"
    assert capsys.readouterr().out == said and not cache.exists()


def test_a_server_that_does_not_answer_does_not_hold_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained_files, "REPLY_SECONDS", 0.2)
    with serving() as server:
        server.served["/net.pth"] = Served(b"weights", seconds=60)
        [problem] = weight_problems([("x", f"{server.address}/net.pth")])
    assert "timed out" in problem
