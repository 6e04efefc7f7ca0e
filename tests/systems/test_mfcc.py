"""MFCCs: those of librosa, of one length, and of the clip alone."""

import librosa
import numpy as np
import pytest
import torch
from torch import Tensor

from stages.media.spectrogram import log_mel
from stages.systems.mfcc import mfcc

RATE = 22_050
LIBROSA = {
    "sample_rate": RATE,
    "n_fft": 2048,
    "win_length": 2048,
    "hop_length": 512,
    "n_mels": 128,
    "fmin": 0.0,
    "fmax": RATE / 2,
    "ref": 1.0,
    "amin": 1e-10,
}
SILENCE = -100.0


def sound(samples: int = 96_000, silent: slice = slice(40_000, 60_000)) -> np.ndarray:
    """A rising tone in a little noise, and a while without any sound."""
    seconds = np.arange(samples) / RATE
    tone = np.sin(2 * np.pi * (200 + 100 * seconds) * seconds)
    wave = 0.3 * tone + 1e-3 * np.random.default_rng(0).standard_normal(samples)
    wave[silent] = 0
    return wave.astype(np.float32)


def mels(wave: np.ndarray) -> Tensor:
    return torch.from_numpy(log_mel(wave, **LIBROSA))


def of_librosa(wave: np.ndarray) -> np.ndarray:
    return librosa.feature.mfcc(y=wave, n_mfcc=39).T


def test_they_are_those_of_librosa_with_its_defaults():
    found = mfcc(mels(sound()), 188, SILENCE)
    assert found.dtype == torch.float32 and found.shape == (188, 39)
    np.testing.assert_allclose(found, of_librosa(sound()), rtol=0, atol=1e-4)


def test_a_longer_clip_is_cut_to_its_middle():
    """Whole hops, so that librosa's frames lie where ours do; those at the edges hear more."""
    wave = sound(96_000 + 2 * 20 * 512)
    found = mfcc(mels(wave), 188, SILENCE)
    expected = of_librosa(wave[20 * 512 :][:96_000])
    np.testing.assert_allclose(found[2:-2], expected[2:-2], rtol=0, atol=1e-4)


@pytest.mark.parametrize("frames", [118, 119])
def test_a_shorter_clip_has_silence_around_it(frames: int):
    part = mels(sound((frames - 1) * 512, slice(0, 0)))
    found = mfcc(part, 188, SILENCE)
    before = (188 - frames) // 2
    silent = torch.zeros(39)
    silent[0] = float(part.max() - 80) * 128**0.5
    for frame in (*found[:before], *found[before + frames :]):
        torch.testing.assert_close(frame, silent, rtol=0, atol=1e-3)
    alone = mfcc(part, frames, SILENCE)
    assert torch.equal(found[before : before + frames], alone)


def test_nothing_but_silence_is_finite():
    found = mfcc(torch.full((3, 128), SILENCE), 5, SILENCE)
    torch.testing.assert_close(found[:, 0], torch.full((5,), SILENCE * 128**0.5))
    torch.testing.assert_close(found[:, 1:], torch.zeros(5, 38), rtol=0, atol=1e-4)
