"""Hugging Face's speech models: small ones with random weights, in folders and in the cache."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.encoders.speech import SpeechEncoder, load
from stages.encoders.wav2vec2 import encoder_of
from stages.io.files import file_sha256
from tests.helpers import user_error

DEPTH, WIDTH = 3, 24
LAST: dict[str, Any] = {"layer": "last", "pool": "mean"}
SIZES: dict[str, Any] = {
    "vocab_size": 5,
    "hidden_size": WIDTH,
    "num_hidden_layers": DEPTH,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "num_buckets": 32,
    "max_bucket_distance": 80,
}
MODELS = [(kind, large) for kind in ("Wav2Vec2", "Hubert", "WavLM") for large in (False, True)]


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers")


def write(transformers: Any, folder: Path, kind: str, large: bool, **changes: Any) -> Path:
    """A model with its preprocessor; large ones differ in where they normalise."""
    where = {
        "do_stable_layer_norm": large,
        "feat_extract_norm": "layer" if large else "group",
        "conv_bias": large,
    }
    config = getattr(transformers, f"{kind}Config")(**SIZES | where | changes)
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}Model")(config)
    for module in model.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -1, 1)
    model.save_pretrained(folder)
    extractor = transformers.Wav2Vec2FeatureExtractor(
        do_normalize=large, return_attention_mask=large
    )
    extractor.save_pretrained(folder)
    return folder


def voice(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def of_folder(folder: Path, settings: dict[str, Any] = LAST) -> SpeechEncoder:
    return load(str(folder), settings, "cpu")


def same(found: Any, expected: Any) -> bool:
    return [x.tobytes() for x in found] == [x.tobytes() for x in expected]


def test_without_transformers_a_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    message = user_error(load, "facebook/hubert-base-ls960", LAST, "cpu")
    assert message.endswith("pip install transformers==5.24.0")


@pytest.mark.parametrize("kind, large", MODELS)
def test_the_layers_are_those_of_torchaudio(transformers, tmp_path: Path, kind: str, large: bool):
    """Which has the same networks, HuBERT's under the name of wav2vec 2.0's."""
    from torchaudio.models.wav2vec2.utils import import_huggingface_model
    from torchaudio.pipelines._wav2vec2.utils import _extend_model

    folder = write(transformers, tmp_path, kind, large)
    original = transformers.AutoModel.from_pretrained(folder)
    if kind == "Hubert":
        original.__class__.__name__ = "Wav2Vec2Model"
    network: Any = import_huggingface_model(original)
    if large:
        network = _extend_model(network, True)
    # Of variance 1, to which the two add 1e-7 and 1e-5 before they divide by it.
    for wave in (10 * voice(16_000), 10 * voice(400)):
        for layer in (1, DEPTH, "last", "mean"):
            settings = {"layer": layer, "pool": "mean_std"}
            found = of_folder(folder, settings)(wave)
            expected = encoder_of(network, "", "", settings, "cpu")(wave)
            np.testing.assert_allclose(found.pooled, expected.pooled, rtol=1e-3, atol=1e-4)
            assert found.sequence.shape == expected.sequence.shape


def test_a_clip_is_normalised_where_its_preprocessor_says_so(transformers, tmp_path: Path):
    for normalise in (False, True):
        folder = write(transformers, tmp_path / str(normalise), "Wav2Vec2", True)
        extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=normalise)
        extractor.save_pretrained(folder)
        encoder = of_folder(folder, LAST | {"layer": 1})
        soft, loud = encoder(voice(8_000)).pooled, encoder(5 * voice(8_000)).pooled
        assert np.allclose(soft, loud, atol=1e-3) == normalise


def test_a_clip_depends_on_no_other(transformers, tmp_path: Path):
    folder = write(transformers, tmp_path, "WavLM", False)
    clips = [voice(samples, seed) for seed, samples in enumerate((8_000, 16_000, 399, 1))]
    encoder = of_folder(folder)
    found = [encoder(clip) for clip in clips]
    assert [len(item.sequence) for item in found] == [24, 49, 1, 1]
    for number in (3, 2, 1, 0, 1):
        assert same(of_folder(folder)(clips[number]), found[number])


def test_by_name_from_the_cache_without_a_network(transformers, tmp_path: Path, monkeypatch):
    """As huggingface_hub keeps it; a name that is not there is refused in one line."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    made = tmp_path / "models--org--small"
    write(transformers, made / "snapshots/0123", "Hubert", False)
    (made / "refs").mkdir()
    (made / "refs/main").write_text("0123")
    monkeypatch.setattr(transformers.utils.hub.constants, "HF_HUB_CACHE", str(tmp_path))
    encoder = load("org/small", LAST, "cpu")
    digest = file_sha256(made / "snapshots/0123/model.safetensors")
    by = f"transformers {transformers.__version__}"
    assert encoder.source == f"org/small, model.safetensors sha256 {digest}, {by}"
    assert encoder.licence == "that of its model card" and encoder.dim == WIDTH
    assert same(encoder(voice(8_000)), of_folder(made / "snapshots/0123")(voice(8_000)))
    message = user_error(load, "org/other", LAST, "cpu")
    assert message.startswith("org/other: cannot be loaded")
    assert "(hf download org/other)" in message


def test_weights_in_float16_are_computed_with_in_float32(transformers, tmp_path: Path):
    folder = write(transformers, tmp_path, "Wav2Vec2", False)
    path = folder / "model.safetensors"
    halves = {name: values.half() for name, values in load_file(path).items()}
    save_file({name: values.float() for name, values in halves.items()}, path, {"format": "pt"})
    expected = of_folder(folder)(voice(8_000))
    save_file(halves, path, {"format": "pt"})
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"dtype": "float32"', '"dtype": "float16"'))
    assert "float16" in config.read_text()
    assert same(of_folder(folder)(voice(8_000)), expected)


def test_weights_that_are_not_all_there_are_refused(transformers, tmp_path: Path):
    """transformers would make them up; the vector that masks speech in training is none of them."""
    folder = write(transformers, tmp_path, "Wav2Vec2", False)
    path = folder / "model.safetensors"
    tensors = load_file(path)
    del tensors["masked_spec_embed"]
    save_file(tensors, path, {"format": "pt"})
    of_folder(folder)
    for name in ("encoder.layers.1.attention.k_proj.weight", "encoder.layer_norm.bias"):
        del tensors[name]
    save_file(tensors, path, {"format": "pt"})
    message = user_error(of_folder, folder)
    assert message == f"{folder}: its weights lack 2 tensors, as encoder.layer_norm.bias"


@pytest.mark.parametrize("lost", ["model.safetensors", "preprocessor_config.json", "config.json"])
def test_a_folder_that_is_not_whole_is_refused(transformers, tmp_path: Path, lost: str):
    folder = write(transformers, tmp_path, "Wav2Vec2", False)
    (folder / lost).unlink()
    assert user_error(of_folder, folder).startswith(f"{folder}: cannot be loaded")


def test_damaged_weights_are_refused(transformers, tmp_path: Path):
    folder = write(transformers, tmp_path, "Wav2Vec2", False)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    assert user_error(of_folder, folder).startswith(f"{folder}: cannot be loaded")


def test_models_that_encode_something_else_are_refused(transformers, tmp_path: Path):
    folder = write(transformers, tmp_path / "8k", "Wav2Vec2", False)
    transformers.Wav2Vec2FeatureExtractor(sampling_rate=8_000).save_pretrained(folder)
    text = tmp_path / "text"
    transformers.BertModel(
        transformers.BertConfig(
            vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1
        )
    ).save_pretrained(text)
    transformers.Wav2Vec2FeatureExtractor().save_pretrained(text)
    translator = tmp_path / "translator"
    transformers.WhisperModel(
        transformers.WhisperConfig(
            vocab_size=9, d_model=8, encoder_layers=1, decoder_layers=1,
            encoder_attention_heads=1, decoder_attention_heads=1,
            pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        )
    ).save_pretrained(translator)  # fmt: skip
    transformers.WhisperFeatureExtractor().save_pretrained(translator)
    for refused in (folder, text, translator):
        message = user_error(of_folder, refused)
        assert f"{refused} is no encoder of speech at 16 kHz" in message


def test_a_layer_that_is_not_there(transformers, tmp_path: Path):
    folder = write(transformers, tmp_path, "Wav2Vec2", False)
    message = user_error(of_folder, folder, LAST | {"layer": DEPTH + 1})
    assert f"no layer of {folder}; give 1 to {DEPTH}" in message
