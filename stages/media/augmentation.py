"""Augmented copies of the voice of a clip, for the training part.

Speed perturbation (T. Ko et al., Interspeech 2015), pitch shift, white noise and the masks of
SpecAugment (D. Park et al., Interspeech 2019), without its time warping. What is drawn follows from
the clip, the number of the copy and the seed alone, and is the same whoever hears the copy: the
stage mels, or an encoder of speech at its own sample rate.

The pitch shift is librosa's: torchaudio's took 20 s and 4.6 GB for 3 s of sound, and this 0.01 s.
"""

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from stages.corpora.span import Span
from stages.io.files import file_sha256
from stages.media.audio import Waveform, clip_waveform, waveform_settings
from stages.media.spectrogram import Mel, log_mel

HEARD = ("noise_db", "pitch", "speed")  # in the waveform, and so by encoders of speech
MASKED = ("time_mask", "mel_mask")  # in the spectrogram
WINDOW = 2048  # samples, of the pitch shift


def voice_augmentation(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What params.yaml's `augmentation` says of voices; {} where nothing of it is on."""
    if not any(settings[key] for key in (*HEARD, *MASKED)):
        return {}
    found = {key: settings[key] for key in ("copies", "seed", *HEARD, *MASKED)}
    return found | {"libraries": [f"{name} {version(name)}" for name in ("librosa", "soxr")]}


def augmentation_heard(augmentation: Mapping[str, Any]) -> Mapping[str, Any]:
    """What of `voice_augmentation` is heard in the waveform; {} where masks are all there is."""
    return augmentation if any(augmentation.get(key) for key in HEARD) else {}


def copied_waveform(
    path: Path,
    augmentation: Mapping[str, Any],
    copy: int,
    span: Span | None = None,
    **settings: Any,
) -> Waveform:
    """A copy of the voice of a clip.

    Args:
        augmentation: `voice_augmentation`.
        copy: its number, from 1.
        settings: of `clip_waveform`.

    Raises:
        ClipError: as `clip_waveform`.
    """
    return Waveform(
        _heard(path, span, settings, augmentation, _draws(path, span, augmentation, copy))
    )


def copied_mel(
    path: Path,
    augmentation: Mapping[str, Any],
    copy: int,
    span: Span | None = None,
    **settings: Any,
) -> Mel:
    """The spectrogram of a copy of the voice of a clip.

    Args are those of `copied_waveform`, but `settings` those of `clip_mel`.

    Raises:
        ClipError: as `clip_mel`.
    """
    random = _draws(path, span, augmentation, copy)
    hearing = waveform_settings(settings, settings["sample_rate"])
    wave = _heard(path, span, hearing, augmentation, random)
    own = {key: value for key, value in settings.items() if key not in hearing}
    mel = log_mel(wave, sample_rate=settings["sample_rate"], **own)
    return Mel(masked(mel, augmentation, random))


def augmented(
    wave: np.ndarray,
    sample_rate: int,
    augmentation: Mapping[str, Any],
    random: np.random.Generator,
) -> np.ndarray:
    """A wave float32 [samples] at another speed, shifted in pitch and with noise, as drawn.

    As in Ko et al. speed changes pitch and length. The signal-to-noise ratio is that of the whole.
    """
    speed, pitch = augmentation["speed"], augmentation["pitch"]
    factor = random.uniform(1 - speed, 1 + speed)
    semitones = random.uniform(-pitch, pitch)
    snr = random.uniform(*augmentation["noise_db"]) if augmentation["noise_db"] else inf
    if speed or pitch:
        import librosa  # which takes seconds to load

        if speed:
            wave = librosa.resample(wave, orig_sr=sample_rate * factor, target_sr=sample_rate)
        if pitch:
            length = len(wave)
            wave = np.pad(wave, (0, max(0, WINDOW - length)))
            shifted = librosa.effects.pitch_shift(
                wave, sr=sample_rate, n_steps=semitones, n_fft=WINDOW
            )
            wave = shifted[:length]
    if snr < inf:
        noise = random.standard_normal(len(wave))
        power = np.mean(wave.astype(np.float64) ** 2) / np.mean(noise**2)
        wave = wave + noise * np.sqrt(power / 10 ** (snr / 10))
    return wave.astype(np.float32)


def masked(
    mel: np.ndarray, augmentation: Mapping[str, Any], random: np.random.Generator
) -> np.ndarray:
    """A spectrogram [T, n_mels] of which one span of frames and one of bands are its mean."""
    mel, mean = mel.copy(), mel.mean()
    for axis, key in enumerate(MASKED):
        length = mel.shape[axis]
        width = random.integers(0, int(augmentation[key] * length), endpoint=True)
        start = random.integers(0, length - width, endpoint=True)
        mel.swapaxes(0, axis)[start : start + width] = mean
    return mel


def _draws(
    path: Path, span: Span | None, augmentation: Mapping[str, Any], copy: int
) -> np.random.Generator:
    what = f"{file_sha256(path)} {span} {copy} {augmentation['seed']}"
    return np.random.default_rng(list(hashlib.sha256(what.encode()).digest()))


def _heard(
    path: Path,
    span: Span | None,
    settings: Mapping[str, Any],
    augmentation: Mapping[str, Any],
    random: np.random.Generator,
) -> np.ndarray:
    """The copy float32 [samples], no longer than a clip may be."""
    wave = clip_waveform(path, span=span, **settings).values
    wave = augmented(wave, settings["sample_rate"], augmentation, random)
    return wave[: int(settings["max_seconds"] * settings["sample_rate"])]
