"""Augmented copies of voices: what is asked for is measured in them."""

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from stages.media.audio import clip_waveform, waveform_settings
from stages.media.augmentation import (
    MASKED,
    augmented,
    copied_mel,
    copied_waveform,
    masked,
    voice_augmentation,
)
from stages.media.spectrogram import clip_mel, log_mel
from tests.media.test_spectrogram import CLIP, make_wav, noise, tone

RATE = 16000
OFF: dict[str, Any] = {
    "copies": 1,
    "seed": 0,
    "noise_db": [],
    "pitch": 0.0,
    "speed": 0.0,
    "time_mask": 0.0,
    "mel_mask": 0.0,
}
HEARD = waveform_settings(CLIP, RATE)


def setting(**changes: Any) -> dict[str, Any]:
    return voice_augmentation(OFF | changes)


def drawing(share: float) -> Any:
    """In the place of a generator: draws that lie at a share of their range."""
    random = np.random.default_rng(0)
    return SimpleNamespace(
        uniform=lambda low, high: low + share * (high - low),
        integers=lambda low, high, endpoint: round(low + share * (high - low)),
        standard_normal=random.standard_normal,
    )


def loudest(wave: np.ndarray) -> float:
    """The frequency in Hz with the most power."""
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1 << 19))
    return spectrum.argmax() * RATE / (1 << 19)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    make_wav(path, noise(RATE, 3))
    return path


@pytest.mark.parametrize("share, snr", [(0.0, 10.0), (0.5, 15.0), (1.0, 20.0)])
def test_the_signal_to_noise_ratio_is_the_one_that_is_drawn(share: float, snr: float):
    wave = tone(300, 2)
    found = augmented(wave, RATE, setting(noise_db=[10.0, 20.0]), drawing(share))
    assert found.dtype == np.float32 and len(found) == len(wave)
    added = found.astype(np.float64) - wave
    ratio = 10 * np.log10(np.mean(wave.astype(np.float64) ** 2) / np.mean(added**2))
    assert ratio == pytest.approx(snr, abs=1e-3)
    # It is white: no tenth of the spectrum has more than its share, but by chance.
    power = np.add.reduceat(np.abs(np.fft.rfft(added)) ** 2, np.arange(0, len(wave) // 2, 1600))
    assert power.max() / power.min() < 1.3


@pytest.mark.parametrize("share, semitones", [(0.0, -2.0), (0.75, 1.0), (1.0, 2.0)])
def test_the_pitch_is_shifted_by_what_is_drawn(share: float, semitones: float):
    found = augmented(tone(440, 2), RATE, setting(pitch=2.0), drawing(share))
    assert len(found) == 2 * RATE
    assert 12 * np.log2(loudest(found) / 440) == pytest.approx(semitones, abs=0.02)


@pytest.mark.parametrize("share, factor", [(0.0, 0.9), (0.75, 1.05), (1.0, 1.1)])
def test_another_speed_changes_length_and_pitch(share: float, factor: float):
    found = augmented(tone(440, 2), RATE, setting(speed=0.1), drawing(share))
    assert len(found) == pytest.approx(2 * RATE / factor, abs=1)
    assert loudest(found) / 440 == pytest.approx(factor, rel=1e-3)


def test_what_is_shorter_than_a_window_can_be_shifted():
    wave = tone(440, 0.1)
    found = augmented(wave, RATE, setting(pitch=2.0), drawing(1.0))
    assert len(found) == len(wave) and np.isfinite(found).all()


def test_what_is_off_leaves_the_voice_as_it_is():
    wave = tone(440, 2)
    assert np.array_equal(augmented(wave, RATE, OFF, drawing(1.0)), wave)
    mel = np.random.default_rng(0).normal(size=(50, 20)).astype("f4")
    assert np.array_equal(masked(mel, OFF, drawing(1.0)), mel)
    assert setting() == {}


@pytest.mark.parametrize("key", MASKED)
def test_a_mask_has_the_size_and_the_place_that_are_drawn(key: str):
    mel = np.random.default_rng(0).normal(size=(50, 20)).astype("f4")
    axis = MASKED.index(key)
    for share, width, start in [(1.0, 0.2, 0.8), (0.5, 0.1, 0.45), (0.0, 0.0, 0.0)]:
        found = masked(mel, OFF | {key: 0.2}, drawing(share))
        first, length = round(start * mel.shape[axis]), round(width * mel.shape[axis])
        expected = mel.copy()
        expected.swapaxes(0, axis)[first : first + length] = mel.mean()
        assert length == (0 if share == 0 else round(share * 0.2 * mel.shape[axis]))
        np.testing.assert_array_equal(found, expected)


def test_masks_and_draws_cover_their_range():
    mel = np.random.default_rng(0).normal(size=(40, 20)).astype("f4")
    random = np.random.default_rng(0)
    sizes = {
        int((masked(mel, OFF | {"time_mask": 0.1}, random) != mel).any(1).sum()) for _ in range(100)
    }
    assert sizes == {0, 1, 2, 3, 4}


EVERYTHING = {
    "noise_db": [5.0, 25.0],
    "pitch": 3.0,
    "speed": 0.2,
    "time_mask": 0.3,
    "mel_mask": 0.3,
}


def test_a_copy_follows_from_the_clip_its_number_and_the_seed(clip: Path):
    again = Path(shutil.copy(clip, clip.with_name("under_another_name.wav")))
    other = clip.with_name("other.wav")
    make_wav(other, noise(RATE, 4))
    settings = setting(**EVERYTHING)

    def mel(path: Path = clip, copy: int = 1, **changes: Any) -> bytes:
        np.random.seed(len(changes))
        augmentation = settings | changes.pop("augmentation", {})
        found = copied_mel(path, augmentation, copy, **CLIP, **changes).values
        assert found.dtype == np.float32 and np.isfinite(found).all()
        return found.tobytes()

    assert mel() == mel() == mel(again)
    differing = [
        mel(), mel(other), mel(copy=2), mel(augmentation={"seed": 1}), mel(span=(0.1, 0.9)),
        clip_mel(clip, **CLIP).values.tobytes(),
    ]  # fmt: skip
    assert len(set(differing)) == len(differing)


def test_two_utterances_of_one_recording_have_copies_of_their_own(tmp_path: Path):
    path = make_wav(tmp_path / "twice.wav", np.tile(noise(RATE // 2, 5), 2))
    settings = setting(noise_db=[5.0, 25.0])
    spans = [(0.0, 0.5), (0.5, 1.0)]
    one, other = (copied_waveform(path, settings, 1, span, **HEARD).values for span in spans)
    assert len(one) == len(other) and not np.array_equal(one, other)
    plain = [clip_waveform(path, span=span, **HEARD).values for span in spans]
    assert np.array_equal(*plain)


def test_an_encoder_of_speech_hears_what_the_spectrogram_shows(clip: Path):
    settings = setting(noise_db=[5.0, 25.0], pitch=3.0, speed=0.2)
    wave = copied_waveform(clip, settings, 2, **HEARD).values
    own = {key: value for key, value in CLIP.items() if key not in HEARD}
    found = copied_mel(clip, settings, 2, **CLIP).values
    np.testing.assert_array_equal(found, log_mel(wave, sample_rate=RATE, **own))
    # At another sample rate it is faster by as much: the length in seconds is the same.
    slow = copied_waveform(clip, settings, 2, **waveform_settings(CLIP, 8000)).values
    assert len(slow) / 8000 == pytest.approx(len(wave) / RATE, abs=1e-3)


def test_a_slower_copy_is_no_longer_than_a_clip_may_be(clip: Path):
    settings = setting(speed=0.2)
    longest = HEARD | {"max_seconds": 0.5}
    lengths = {len(copied_waveform(clip, settings, n, **longest).values) for n in range(1, 9)}
    assert max(lengths) == RATE // 2 and min(lengths) > RATE // 3
    assert len(clip_waveform(clip, **longest).values) == RATE // 2


@pytest.mark.parametrize("key, value", EVERYTHING.items())
def test_any_of_them_makes_copies(key: str, value: Any):
    found = setting(copies=3, **{key: value})
    assert found["copies"] == 3 and found[key] == value
    assert voice_augmentation(OFF | {"copies": 3, "flip": True, "colour": 0.5}) == {}
