"""torchaudio's speech networks: small ones of the same classes, with random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchaudio import pipelines
from torchaudio.models import wav2vec2_model, wavlm_model
from torchaudio.pipelines._wav2vec2.utils import _extend_model

from stages.encoders.speech import SpeechEncoder, load
from stages.encoders.wav2vec2 import encoder_of
from stages.io.files import file_sha256
from tests.helpers import user_error

DEPTH, WIDTH = 3, 24
CONVOLUTIONS = [(16, 10, 5), *[(16, 3, 2)] * 4, *[(16, 2, 2)] * 2]  # the strides of all of them
LAST: dict[str, Any] = {"layer": "last", "pool": "mean"}


def sizes(large: bool) -> dict[str, Any]:
    """What torchaudio makes a small network of; large ones differ in where they normalise."""
    return {
        "extractor_mode": "layer_norm" if large else "group_norm",
        "extractor_conv_layer_config": CONVOLUTIONS,
        "extractor_conv_bias": large,
        "encoder_embed_dim": WIDTH,
        "encoder_projection_dropout": 0.1,
        "encoder_pos_conv_kernel": 16,
        "encoder_pos_conv_groups": 4,
        "encoder_num_layers": DEPTH,
        "encoder_num_heads": 4,
        "encoder_attention_dropout": 0.1,
        "encoder_ff_interm_features": 32,
        "encoder_ff_interm_dropout": 0.1,
        "encoder_dropout": 0.1,
        "encoder_layer_norm_first": large,
        "encoder_layer_drop": 0.1,
        "aux_num_out": None,
    }


WAVLM = {"encoder_num_buckets": 32, "encoder_max_distance": 80}


def bundle(kind: str, large: bool) -> pipelines.Wav2Vec2Bundle:
    params = sizes(large) | (WAVLM if kind == "WavLM" else {})
    return pipelines.Wav2Vec2Bundle("small.pth", params, 16_000, large, kind)


def network(kind: str, large: bool) -> torch.nn.Module:
    """A small network whose LayerNorms change what they are given."""
    torch.manual_seed(0)
    made = wavlm_model(**sizes(large), **WAVLM) if kind == "WavLM" else wav2vec2_model(
        **sizes(large)
    )  # fmt: skip
    for module in made.modules():
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -1, 1)
    return made.eval()


def voice(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


@pytest.fixture(params=[("Wav2Vec2", False), ("Wav2Vec2", True), ("WavLM", False), ("WavLM", True)])
def published(request, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """A network whose weights torch.hub's cache holds, as the pipeline SMALL."""
    kind, large = request.param
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(pipelines, "SMALL", bundle(kind, large), raising=False)
    made = network(kind, large)
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save(made.state_dict(), tmp_path / "hub/checkpoints/small.pth")
    made.large = large
    return made


def small(settings: dict[str, Any] = LAST, device: str = "cpu") -> SpeechEncoder:
    return load("SMALL", settings, device)


def alone(model: Any, wave: np.ndarray) -> list[torch.Tensor]:
    """What the layers of torchaudio's model make of one clip, by its definition."""
    if model.large:
        wave = (wave - wave.mean()) / np.sqrt(wave.var() + 1e-5)
    with torch.inference_mode():
        return [state[0] for state in model.extract_features(torch.from_numpy(wave)[None])[0]]


def test_weights_come_from_the_cache_of_torch_hub(published, tmp_path: Path):
    encoder = small()
    path = tmp_path / "hub/checkpoints/small.pth"
    assert encoder.source == f"small.pth sha256 {file_sha256(path)}" and encoder.licence == "MIT"
    encoded = encoder(voice(16_000))
    assert encoded.pooled.shape == (encoder.dim,) == (WIDTH,)
    assert encoded.sequence.shape == (49, WIDTH)
    assert (encoded.pooled.dtype, encoded.sequence.dtype) == (np.float32, np.float16)
    assert len(encoder(voice(48_000)).sequence) == 149


def test_last_is_what_the_network_gives_with_its_final_layer_norm(published):
    wave = voice(8_000)
    states = alone(published, wave)
    with torch.inference_mode():
        if published.large:
            given = torch.nn.functional.layer_norm(torch.from_numpy(wave), wave.shape)
            expected = published(given[None])[0][0]
            assert not torch.allclose(expected, states[-1], atol=0.1)  # torchaudio's list lacks it
        else:
            expected = published(torch.from_numpy(wave)[None])[0][0]
            assert torch.equal(expected, states[-1])
    for settings in (LAST, LAST | {"layer": DEPTH}):
        found = small(settings)(wave)
        np.testing.assert_allclose(found.pooled, expected.mean(0), atol=1e-5)
        np.testing.assert_allclose(found.sequence, expected, atol=2e-3)


def test_a_layer_by_its_number_and_the_mean_of_all(published):
    wave = voice(8_000)
    states = alone(published, wave)
    for number in range(1, DEPTH):
        found = small(LAST | {"layer": number})(wave)
        np.testing.assert_allclose(found.pooled, states[number - 1].mean(0), atol=1e-5)
    last = small()(wave).pooled
    expected = (sum(state.mean(0).numpy() for state in states[:-1]) + last) / DEPTH
    found = small(LAST | {"layer": "mean"})(wave)
    np.testing.assert_allclose(found.pooled, expected, atol=1e-5)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_clip_depends_on_no_other(published, device: str):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    clips = [voice(samples, seed) for seed, samples in enumerate((8_000, 16_000, 5_000))]
    encoder = small(device=device)
    found = [encoder(clip) for clip in clips]
    for order in ((2, 1, 0), (1, 1, 2)):
        encoder = small(device=device)
        for number in order:
            again = encoder(clips[number])
            assert [x.tobytes() for x in again] == [x.tobytes() for x in found[number]]


def test_padding_would_change_the_vectors_of_a_clip():
    """As a batch is usually made, with the lengths of its clips: where they normalise over time."""
    changes = {}
    clip, longer = voice(8_000), voice(16_000, 1)
    batch = torch.from_numpy(np.stack([np.pad(clip, (0, 8_000)), longer]))
    for large in (False, True):
        model = network("Wav2Vec2", large)
        with torch.inference_mode():
            states, lengths = model.extract_features(batch, torch.tensor([8_000, 16_000]))
        found = encoder_of(model, "", "", LAST | {"layer": 1}, "cpu")(clip).pooled
        padded = states[0][0, : lengths[0]].mean(0).numpy()
        changes[large] = np.linalg.norm(padded - found) / np.linalg.norm(found)
    assert changes[False] > 0.01 and changes[True] < 1e-4


@pytest.mark.parametrize("kind", ["Wav2Vec2", "WavLM"])
def test_a_clip_is_normalised_by_itself_where_a_pipeline_wants_it(kind: str):
    """The layers of large models keep loudness; torchaudio takes it from a whole batch at once."""
    wave = voice(8_000)
    model = network(kind, True)
    plain = encoder_of(model, "", "", LAST | {"layer": 1}, "cpu")
    within = encoder_of(_extend_model(model, True), "", "", LAST | {"layer": 1}, "cpu")
    found = within(wave).pooled
    assert np.abs(plain(wave).pooled - found).max() > 0.05
    np.testing.assert_allclose(within(3 * wave).pooled, found, atol=1e-3)
    np.testing.assert_allclose(plain(wave / wave.std()).pooled, found, atol=0.01)
    with torch.inference_mode():
        batch = torch.from_numpy(np.stack([wave, 10 * wave]))
        states, _ = _extend_model(model, True).extract_features(batch)
    assert np.abs(states[0][0].mean(0).numpy() - found).max() > 0.05


def test_wavlm_takes_no_lengths():
    with pytest.raises(AssertionError):
        network("WavLM", False).extract_features(torch.zeros(1, 8_000), torch.tensor([8_000]))


@pytest.mark.parametrize("samples", [1, 399, 400])
def test_a_clip_too_short_for_a_vector_is_padded_to_one(published, samples: int):
    wave = voice(400)[:samples]
    encoder = small()
    found = encoder(wave)
    assert len(found.sequence) == 1
    assert found.pooled.tobytes() == encoder(np.pad(wave, (0, 400 - samples))).pooled.tobytes()


def test_mean_and_standard_deviation_over_time(published):
    encoder = small(LAST | {"layer": 1, "pool": "mean_std"})
    wave = voice(8_000)
    state = alone(published, wave)[0].numpy()
    found = encoder(wave)
    assert found.pooled.shape == (encoder.dim,) == (2 * WIDTH,)
    expected = np.concatenate([state.mean(0), state.std(0)])
    np.testing.assert_allclose(found.pooled, expected, atol=1e-5)
    assert (encoder(voice(400)).pooled[WIDTH:] == 0).all()  # of one vector


@pytest.mark.parametrize("layer", [0, DEPTH + 1, -1, "first"])
def test_a_layer_that_is_not_there(published, layer: object):
    message = user_error(small, LAST | {"layer": layer})
    assert f"encoders.acoustic.layer: {layer!r}" in message
    assert f"1 to {DEPTH}, last or mean" in message


def test_weights_that_cannot_be_had(published, tmp_path: Path, monkeypatch):
    (tmp_path / "hub/checkpoints/small.pth").unlink()
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    message = user_error(small)
    assert "https://download.pytorch.org/torchaudio/models/small.pth: cannot be" in message
    assert f"put it at {tmp_path}/hub/checkpoints/small.pth" in message


@pytest.mark.parametrize("content", [b"no weights", None])
def test_weights_that_are_damaged_or_of_another_network(published, tmp_path: Path, content):
    path = tmp_path / "hub/checkpoints/small.pth"
    torch.save({"weight": torch.zeros(3)}, path)
    if content:
        path.write_bytes(content)
    assert f"{path} is damaged" in user_error(small)


@pytest.mark.parametrize("name", ["HUBERT_ASR_LARGE", "hubert", "Wav2Vec2Bundle", "get_model"])
def test_a_pipeline_that_there_is_not(name: str):
    message = user_error(load, name, LAST, "cpu")
    assert f"{name!r} is not known" in message and "WAVLM_BASE_PLUS" in message


def test_values_that_float16_cannot_hold():
    model = network("Wav2Vec2", False)
    model.encoder.transformer.layers[-1].final_layer_norm.weight.data.fill_(1e6)
    message = user_error(encoder_of(model, "NET", "", LAST, "cpu"), voice(8_000))
    assert message.startswith("NET: gives values that are not finite or above 65504")
