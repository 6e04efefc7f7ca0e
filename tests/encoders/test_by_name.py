"""Encoders by their names: where their weights come from, and whose name it is."""

import pytest

from stages.encoders import by_name, egemaps, whisper
from stages.encoders.by_name import is_speech, published
from stages.encoders.efficientnet_lite0 import WEIGHTS
from stages.encoders.weights import Published
from tests.helpers import user_error


@pytest.mark.parametrize(
    "name, speech",
    [
        ("resnet34", False),
        ("efficientnet_lite0", False),
        ("regnet_y_16gf", False),
        ("resnet-34", False),  # which there is not
        ("whisper-tiny.en", True),
        ("eGeMAPSv02", True),
        ("twine_shuf_pat", True),
        ("hand_features", True),
        ("HUBERT_BASE", True),
        ("facebook/hubert-base-ls960", True),
    ],
)
def test_a_name_tells_what_an_encoder_takes(name: str, speech: bool):
    assert is_speech(name) == speech


def test_weights_are_looked_for_where_they_are_loaded_from(monkeypatch: pytest.MonkeyPatch):
    assert published("visual", "efficientnet_lite0", "imagenet") is WEIGHTS
    assert published("visual", "efficientnet_lite0", "random") is None
    assert published("acoustic", "whisper-tiny.en", "published") is whisper.WEIGHTS
    address = "https://download.pytorch.org/torchaudio/models/hubert_fairseq_base_ls960.pth"
    assert published("acoustic", "HUBERT_BASE", "published") == Published(address)
    monkeypatch.setattr(egemaps, "load", lambda: None)
    assert published("acoustic", "eGeMAPSv02", "published") is None
    assert published("acoustic", "twine_shuf_pat", "published") is None
    assert published("acoustic", "hand_features", "published") is None
    monkeypatch.setattr(by_name, "find_spec", lambda name: name)
    assert published("acoustic", "facebook/hubert-base-ls960", "published") is None


@pytest.mark.parametrize(
    "name, said",
    [
        ("resnet-34", "encoders.acoustic.weights: resnet-34 has no weights 'published'; "),
        ("HUBERT_BAS", "encoders.acoustic.name: 'HUBERT_BAS' is not known; choose "),
        ("a/b", "encoders.acoustic.name: a/b needs transformers; pip install transformers=="),
        ("eGeMAPSv02", "encoders.acoustic.name: eGeMAPSv02: openSMILE cannot be loaded ("),
    ],
)
def test_what_cannot_be_had_is_told_before_anything_is_decoded(
    name: str, said: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(by_name, "find_spec", lambda name: None)

    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(egemaps, "import_module", absent)
    assert user_error(published, "acoustic", name, "published").startswith(f"params.yaml: {said}")
