"""openSMILE's functionals, where it is installed; elsewhere what is said of that."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from stages.encoders.speech import SpeechEncoder, load
from tests.helpers import user_error


@pytest.fixture(scope="module")
def egemaps() -> SpeechEncoder:
    pytest.importorskip("opensmile")
    return load("eGeMAPSv02", {}, "cpu")


def voiced(pitch: float, seconds: float = 1.0, peak: float = 0.5) -> np.ndarray:
    """A vowel of that pitch in Hz, with falling harmonics."""
    time = np.arange(round(16_000 * seconds)) / 16_000
    wave = sum(np.cos(2 * np.pi * pitch * n * time) / n for n in range(1, 20))
    return (peak * wave / np.abs(wave).max()).astype(np.float32)


def test_without_the_package_a_line_says_how_to_get_it_and_for_what(monkeypatch):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    message = user_error(load, "eGeMAPSv02", {}, "cpu")
    assert message.endswith("pip install opensmile==2.6.0 (not for commercial use)")


def test_a_full_scale_sample_does_not_wrap_around(monkeypatch):
    """openSMILE's wrapper takes 1.0 for -1.0 as it converts to 16 bits, and so any above."""
    seen = []

    class Smile:
        num_features = 2

        def __init__(self, features: str, level: str) -> None:
            self.level = level

        def __call__(self, wave: np.ndarray, rate: int) -> np.ndarray:
            seen.append((wave * 32768).astype(np.int16))
            return np.ones((1, 2, 1 if self.level == "F" else 3))

    fake = SimpleNamespace(
        Smile=Smile,
        FeatureSet=SimpleNamespace(eGeMAPSv02="02"),
        FeatureLevel=SimpleNamespace(Functionals="F", LowLevelDescriptors="L"),
        __version__="0",
    )
    monkeypatch.setitem(sys.modules, "opensmile", fake)
    encoder = load("eGeMAPSv02", {}, "cpu")
    encoded = encoder(np.array([1.0, 1.2, -1.0, -1.2, 0.5] * 200, np.float32))
    assert (encoded.pooled.shape, encoded.sequence.shape) == ((2,), (3, 2))
    for samples in seen:
        assert samples[:5].tolist() == [32767, 32767, -32768, -32768, 16384]
    assert len(seen) == 2


def test_what_it_is_and_what_may_be_done_with_it(egemaps):
    assert egemaps.dim == 88 and egemaps.source == "opensmile 2.6.0"
    assert "no commercial use" in egemaps.licence
    encoded = egemaps(voiced(200))
    assert encoded.pooled.shape == (88,) and encoded.pooled.dtype == np.float32
    assert encoded.sequence.shape == (96, 25) and encoded.sequence.dtype == np.float16


def test_the_first_functional_is_the_pitch(egemaps):
    """In semitones above 27.5 Hz: an octave is 12."""
    for pitch in (110.0, 220.0):
        expected = 12 * np.log2(pitch / 27.5)
        assert egemaps(voiced(pitch)).pooled[0] == pytest.approx(expected, abs=0.1)


def test_a_loud_clip_is_that_of_a_softer_one_but_louder(egemaps):
    """At full scale; the spectrum of one that wraps around is that of noise."""
    soft, loud = egemaps(voiced(110)).pooled, egemaps(voiced(110, peak=1.0)).pooled
    assert loud[0] == pytest.approx(soft[0], abs=0.1)
    assert loud[-1] - soft[-1] == pytest.approx(20 * np.log10(2), abs=0.1)  # the level in dB


def test_a_clip_depends_on_no_other(egemaps):
    clips = [voiced(110), voiced(220, 0.7), voiced(150, 2.0)]
    found = [egemaps(clip) for clip in clips]
    for number in (2, 1, 0, 1):
        again = load("eGeMAPSv02", {}, "cpu")(clips[number])
        assert [x.tobytes() for x in again] == [x.tobytes() for x in found[number]]


@pytest.mark.parametrize("samples", [1, 100, 959, 960])
def test_a_clip_too_short_for_opensmile_is_padded(egemaps, samples: int):
    wave = voiced(200)[:samples]
    found = egemaps(wave)
    assert np.isfinite(found.pooled).all() and len(found.sequence)
    padded = egemaps(np.pad(wave, (0, 960 - samples)))
    assert found.pooled.tobytes() == padded.pooled.tobytes()


def test_silence_has_finite_features(egemaps):
    assert np.isfinite(egemaps(np.zeros(16_000, np.float32)).pooled).all()
