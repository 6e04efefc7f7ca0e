"""Hand-made features: what they are, and what the copies of a clip are."""

from pathlib import Path

import librosa
import numpy as np
import pytest
from scipy.fft import dct
from threadpoolctl import threadpool_limits

from stages.encoders.frozen import freeze_acoustic
from stages.encoders.hand_features import copies, features
from stages.encoders.speech import SpeechEncoder, load

RATE = 16_000


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return load("hand_features", {}, "cpu")


def voiced(pitch: float = 150.0, samples: int = 16_000, seed: int = 0) -> np.ndarray:
    """A vowel of that pitch in Hz, with falling harmonics and a little noise."""
    time = np.arange(samples) / RATE
    wave = sum(np.cos(2 * np.pi * pitch * n * time) / n for n in range(1, 20))
    wave = wave + np.random.default_rng(seed).normal(0, 0.01, samples)
    return (0.2 * wave / np.abs(wave).max()).astype(np.float32)


def test_the_features_are_those_of_their_formulas():
    """In float64, from the frames themselves."""
    wave = voiced()
    padded = np.pad(wave.astype(np.float64), 1024)
    frames = np.stack([padded[i : i + 2048] for i in range(0, len(padded) - 2047, 512)])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(2048) / 2048)
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    db = 10 * np.log10(np.maximum(power @ librosa.filters.mel(sr=RATE, n_fft=2048).T, 1e-10))
    db = np.maximum(db, db.max() - 80)
    chroma = power @ librosa.filters.chroma(sr=RATE, n_fft=2048).T
    edges = np.pad(wave, 1024, mode="edge")
    crossings = [
        np.mean(np.abs(np.diff(np.signbit(edges[i : i + 2048]), prepend=np.signbit(edges[i]))))
        for i in range(0, len(edges) - 2047, 512)
    ]
    expected = [
        dct(db, norm="ortho")[:, :20].mean(0),
        db.mean(0),
        [np.mean(crossings)],
        (chroma / chroma.max(1, keepdims=True)).mean(0),
        [np.sqrt(np.mean(frames**2, 1)).mean()],
    ]
    found = features(wave)
    assert found.shape == (162,)
    bounds = np.cumsum([len(part) for part in expected])[:-1]
    for part, wanted in zip(np.split(found, bounds), expected, strict=True):
        np.testing.assert_allclose(part, wanted, rtol=2e-3, atol=2e-3)


def test_the_copies_have_noise_another_pitch_and_another_length():
    for seed in range(5):
        wave = voiced(seed=seed)
        noisy, shifted, stretched = copies(wave)
        added = noisy - wave
        snr = 10 * np.log10(np.mean(wave**2) / np.mean(added**2))
        assert snr == pytest.approx(20, abs=0.5)
        assert abs(np.corrcoef(added[1:], added[:-1])[0, 1]) < 0.05  # white
        assert len(noisy) == len(shifted) == len(wave)
        semitones = 12 * np.log2(pitch_of(shifted) / 150)
        assert 0.05 < abs(semitones) < 2.2
        assert len(wave) / 1.26 < len(stretched) < len(wave) * 1.26 and len(stretched) != len(wave)
        assert pitch_of(stretched) == pytest.approx(150, rel=0.02)


def pitch_of(wave: np.ndarray) -> float:
    """The lag of the highest autocorrelation between 75 and 300 Hz, between samples, in Hz."""
    middle = wave[2000:10_000].astype(np.float64)
    kept = np.fft.irfft(np.abs(np.fft.rfft(middle, 65_536)) ** 2)
    lag = 53 + int(np.argmax(kept[53:213]))
    left, top, right = kept[lag - 1 : lag + 2]
    return RATE / (lag + (left - right) / (2 * (left - 2 * top + right)))


def test_the_sequence_is_the_clip_and_its_copies(encoder: SpeechEncoder):
    wave = voiced()
    found = encoder(wave)
    assert encoder.dim == 162 and found.pooled.dtype == np.float32
    assert found.sequence.shape == (4, 162) and found.sequence.dtype == np.float16
    np.testing.assert_array_equal(found.sequence[0], found.pooled.astype(np.float16))
    for row, copy in zip(found.sequence[1:], copies(wave), strict=True):
        np.testing.assert_array_equal(row, features(copy).astype(np.float16))
        assert not np.array_equal(row, found.sequence[0])


def test_a_clip_and_its_copies_depend_on_no_other(encoder: SpeechEncoder):
    clips = [voiced(samples=samples, seed=samples) for samples in (900, 5001, 16_000)]
    first = [encoder(clip) for clip in clips]
    np.random.seed(7)
    again = [encoder(clip) for clip in reversed(clips)][::-1]
    for one, other in zip(first, again, strict=True):
        assert one.sequence.tobytes() == other.sequence.tobytes()
    # Nor is one clip's noise another's.
    drawn = [copies(clip)[0] - clip for clip in (clips[2], voiced(seed=1))]
    assert abs(np.corrcoef(*drawn)[0, 1]) < 0.05


def test_the_same_bytes_with_any_number_of_threads(tmp_path: Path, monkeypatch):
    settings = {"name": "hand_features", "weights": "published", "layer": "last", "pool": "mean"}
    settings |= {"sequences": True}
    waves = [(f"a/{seed}", voiced(samples=30_000, seed=seed)) for seed in range(4)]
    found = []
    for threads in (1, 2, 3):
        monkeypatch.setenv("FDAN_CACHE", str(tmp_path / f"{threads}"))
        with threadpool_limits(threads):
            encoded = freeze_acoustic(settings, "test").encode(waves)
            found.append(b"".join(part["sequence"].tobytes() for part in encoded))
    assert found[0] == found[1] == found[2]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("samples", [1, 400, 2047, 2560])
def test_a_short_clip_is_padded_until_its_shortest_copy_has_a_window(
    encoder: SpeechEncoder, samples: int
):
    found = encoder(voiced(samples=samples))
    padded = encoder(np.pad(voiced(samples=samples), (0, 2560 - samples)))
    assert found.sequence.tobytes() == padded.sequence.tobytes()


@pytest.mark.filterwarnings("error")
def test_silence_has_finite_features(encoder: SpeechEncoder):
    found = encoder(np.zeros(16_000, np.float32))
    assert np.isfinite(found.sequence).all()
    np.testing.assert_allclose(found.pooled[20:148], -100, rtol=1e-6)
