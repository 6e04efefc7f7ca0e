"""The log-Mel spectrogram of the voice of one clip.

Paper: Section 3.2, "we extract the Mel spectrograms as the features of the acoustic signals".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from librosa import filters
from numpy.lib.stride_tricks import sliding_window_view

from stages.corpora.span import Span
from stages.io.arrays import Layout
from stages.media.audio import clip_waveform


def log_mel(
    wave: np.ndarray,
    *,
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
    """Log-Mel spectrogram in dB against the fixed reference `ref`, float32 [T, n_mels].

    A fixed reference, and no `top_db`, keeps loudness comparable between clips and silence low.

    Args:
        wave: float32 [samples] in [-1, 1]; padded with zeros up to one window.
    """
    wave = np.pad(wave, (0, max(0, n_fft - len(wave))))
    left = (n_fft - win_length) // 2
    window = filters.get_window("hann", win_length)
    window = np.pad(window, (left, n_fft - win_length - left))
    frames = sliding_window_view(np.pad(wave, n_fft // 2), n_fft)[::hop_length]
    # As librosa.feature.melspectrogram, to the bit, which compiles itself for 15 s when first used.
    power = np.abs(np.fft.rfft(frames * window).astype(np.complex64)) ** 2
    weights = filters.mel(sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=fmin, fmax=fmax)
    mel = np.einsum("tf,mf->mt", power, weights, optimize=True)
    decibels = 10 * np.log10(np.maximum(amin, mel)) - 10 * np.log10(max(amin, ref))
    return decibels.T.astype(np.float32)


class Mel(NamedTuple):
    """The log-Mel spectrogram of one clip, float32 [T, n_mels] in dB."""

    values: np.ndarray

    @staticmethod
    def layout(settings: Mapping[str, Any]) -> Layout:
        """What the cache of clips holds of it."""
        return {"values": ("float32", (None, settings.get("n_mels")))}


def clip_mel(
    path: Path,
    surround: str,
    min_seconds: float,
    max_seconds: float,
    sample_rate: int,
    span: Span | None = None,
    **settings: Any,
) -> Mel:
    """Read the voice of a clip or a span of it, at most `max_seconds`, as a log-Mel spectrogram.

    Raises:
        ClipError: the clip cannot be decoded or holds no speech.
    """
    heard = clip_waveform(path, surround, min_seconds, max_seconds, sample_rate, span)
    return Mel(log_mel(heard.values, sample_rate=sample_rate, **settings))
