"""Log-Mel spectrograms against their definition, written out in float64."""

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.media.spectrogram import clip_mel, log_mel
from stages.runtime.errors import ClipError
from tests.media_files import write_sound

SETTINGS = {
    "sample_rate": 16000,
    "n_fft": 1024,
    "win_length": 400,
    "hop_length": 160,
    "n_mels": 128,
    "fmin": 20.0,
    "fmax": 8000.0,
    "ref": 1.0,
    "amin": 1e-10,
}
CLIP = {"surround": "mean", "min_seconds": 0.1, "max_seconds": 60.0, **SETTINGS}


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def tone(hertz: float, seconds: float = 1.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(16000 * seconds) / 16000)).astype("float32")


def slaney_hertz(mel: np.ndarray) -> np.ndarray:
    """Slaney's scale: 200/3 Hz a mel up to 1 kHz (mel 15), then 27 mels to each factor of 6.4."""
    return np.where(mel < 15, mel * 200 / 3, 1000 * 6.4 ** ((mel - 15) / 27))


def slaney_mel(hertz: float) -> float:
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def filter_bank(sample_rate: int, n_fft: int, n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """Triangles of unit area (in Hz), equally wide in mels: [n_mels, n_fft // 2 + 1]."""
    edges = slaney_hertz(np.linspace(slaney_mel(fmin), slaney_mel(fmax), n_mels + 2))
    bins = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    bank = np.zeros((n_mels, len(bins)))
    for i, (low, centre, high) in enumerate(zip(edges, edges[1:], edges[2:])):
        rising, falling = (bins - low) / (centre - low), (high - bins) / (high - centre)
        bank[i] = np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)
    return bank


def log_mel_by_definition(
    signal: np.ndarray,
    sample_rate: int,
    n_fft: int,
    win_length: int,
    hop_length: int,
    n_mels: int,
    fmin: float,
    fmax: float,
    ref: float,
    amin: float,
) -> np.ndarray:
    """Power of centred Hann windows, summed by the filters, 10 log10(max(amin, power) / ref)."""
    window = np.zeros(n_fft)
    start = (n_fft - win_length) // 2
    window[start : start + win_length] = 0.5 - 0.5 * np.cos(
        2 * np.pi * np.arange(win_length) / win_length
    )
    padded = np.pad(signal.astype(np.float64), n_fft // 2)
    starts = range(0, len(padded) - n_fft + 1, hop_length)
    power = np.array([np.abs(np.fft.rfft(window * padded[t : t + n_fft])) ** 2 for t in starts])
    mel = power @ filter_bank(sample_rate, n_fft, n_mels, fmin, fmax).T
    return 10 * np.log10(np.maximum(amin, mel) / max(amin, ref))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"n_mels": 40, "fmin": 300.0, "fmax": 4000.0},
        {"win_length": 1024, "hop_length": 512},
        {"n_fft": 512, "n_mels": 64, "ref": 0.01},
        {"sample_rate": 44100, "n_fft": 2048, "fmax": 20000.0, "amin": 1e-5},
    ],
)
def test_equals_the_definition(changes: dict[str, Any]):
    settings = SETTINGS | changes
    expected = log_mel_by_definition(noise(9000), **settings)
    np.testing.assert_allclose(log_mel(noise(9000), **settings), expected, atol=2e-3)


@pytest.mark.parametrize("samples, steps", [(16000, 101), (1024, 7), (16159, 101), (16160, 102)])
def test_there_is_one_row_every_hop_and_one_column_a_filter(samples: int, steps: int):
    mel = log_mel(noise(samples), **SETTINGS)
    assert (mel.shape, mel.dtype) == ((steps, 128), np.float32)


@pytest.mark.parametrize("samples", [0, 1, 100, 1023])
def test_a_wave_shorter_than_a_window_is_padded_to_one(samples: int):
    mel = log_mel(noise(samples), **SETTINGS)
    assert mel.shape == (7, 128) and np.isfinite(mel).all()


def test_silence_is_the_floor():
    mel = log_mel(np.zeros(8000, np.float32), **SETTINGS)
    np.testing.assert_allclose(mel, -100, atol=1e-3)


def test_twice_the_amplitude_is_six_decibels_more():
    gain = log_mel(2 * noise(8000), **SETTINGS) - log_mel(noise(8000), **SETTINGS)
    np.testing.assert_allclose(gain, 20 * np.log10(2), atol=1e-3)


def test_a_loud_moment_does_not_change_the_rest():
    quiet, loud = noise(16000) * 1e-3, noise(16000) * 1e-3
    loud[:1600] *= 1000
    np.testing.assert_array_equal(log_mel(quiet, **SETTINGS)[20:], log_mel(loud, **SETTINGS)[20:])


def test_a_higher_tone_lies_in_a_higher_column():
    columns = [log_mel(tone(hertz), **SETTINGS)[50].argmax() for hertz in (200, 800, 3000, 7000)]
    assert columns == sorted(set(columns))


def make_wav(path: Path, samples: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((samples * 32768).astype("<i2").tobytes())
    return path


def test_a_clip_is_the_spectrogram_of_its_samples(tmp_path: Path):
    samples = np.round(noise(12000) * 32768) / np.float32(32768)
    found = clip_mel(make_wav(tmp_path / "a.wav", samples), **CLIP)
    np.testing.assert_allclose(found.values, log_mel(samples, **SETTINGS), atol=1e-3)


def test_a_long_clip_is_cut_at_max_seconds(tmp_path: Path):
    found = clip_mel(make_wav(tmp_path / "a.wav", noise(32000)), **(CLIP | {"max_seconds": 1.0}))
    assert len(found.values) == 101


@pytest.mark.parametrize("samples, code", [(np.zeros(16000), "silent"), (noise(800), "too_short")])
def test_a_clip_without_speech_is_refused(samples: np.ndarray, code: str, tmp_path: Path):
    with pytest.raises(ClipError) as caught:
        clip_mel(make_wav(tmp_path / "a.wav", samples), **CLIP)
    assert caught.value.code == code


@pytest.mark.parametrize("samples", [0, 1, 511, 512, 513, 1344])
def test_a_voice_of_any_length_is_refused_or_padded_to_a_window(samples: int, tmp_path: Path):
    path = make_wav(tmp_path / "a.wav", noise(samples))
    for min_seconds in (0.0, 0.05, 0.1):
        settings = CLIP | {"min_seconds": min_seconds}
        if samples and samples / 16000 >= min_seconds:
            padded = np.pad(np.round(noise(samples) * 32768) / 32768, (0, max(0, 1024 - samples)))
            expected = log_mel_by_definition(padded, **SETTINGS)
            found = clip_mel(path, **settings).values
            assert len(found) == max(samples, 1024) // 160 + 1
            np.testing.assert_allclose(found, expected, atol=0.02)
        else:
            with pytest.raises(ClipError) as caught:
                clip_mel(path, **settings)
            assert caught.value.code == "too_short" if samples else "unreadable"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_voice_that_is_not_finite_is_refused(value: float, tmp_path: Path):
    samples = noise(16000)[None].copy()
    samples[0, 8000] = value
    with pytest.raises(ClipError) as caught:
        clip_mel(write_sound(tmp_path / "a.wav", samples, 16000, "pcm_f32le"), **CLIP)
    assert caught.value.code == "nonfinite"


@pytest.mark.parametrize(
    "bits, codec",
    [
        (8, "pcm_u8"),
        (16, "pcm_s16le"),
        (16, "pcm_s24le"),
        (16, "pcm_s32le"),
        (16, "pcm_f32le"),
        (16, "flac"),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("surround", ["mean", "centre"])
def test_the_same_samples_give_the_same_spectrogram_in_every_format(
    bits: int, codec: str, channels: int, surround: str, tmp_path: Path
):
    step = 2.0 ** (1 - bits)
    samples = (np.round(noise(8000) / step) * step).astype(np.float32)
    path = tmp_path / ("a.flac" if codec == "flac" else "a.wav")
    write_sound(path, np.repeat(samples[None], channels, axis=0), 16000, codec)
    found = clip_mel(path, **(CLIP | {"surround": surround})).values
    np.testing.assert_allclose(found, log_mel(samples, **SETTINGS), atol=1e-3)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_every_sample_rate_gives_the_same_spectrogram_of_what_it_can_hold(
    rate: int, tmp_path: Path
):
    def sweep(rate: int) -> np.ndarray:
        """From 100 Hz to 3.1 kHz in a second, with soft ends: [1, rate]."""
        time = np.arange(rate) / rate
        wave = 0.5 * np.sin(2 * np.pi * (100 * time + 1500 * time**2)) * np.hanning(rate)
        return wave.astype(np.float32)[None]

    path = write_sound(tmp_path / "a.wav", sweep(rate), rate, "pcm_f32le")
    found, expected = clip_mel(path, **CLIP).values, log_mel(sweep(16000)[0], **SETTINGS)
    assert found.shape == expected.shape
    heard = expected > expected.max() - 40
    np.testing.assert_allclose(found[heard], expected[heard], atol=0.05)


def test_a_voice_of_five_minutes_is_capped(tmp_path: Path):
    path = make_wav(tmp_path / "a.wav", np.tile(noise(16000), 305))
    assert len(clip_mel(path, **CLIP).values) == 6001
