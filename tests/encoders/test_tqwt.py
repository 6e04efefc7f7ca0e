"""The tunable-Q wavelet transform: nothing is lost, and the signal can be had back."""

import numpy as np
import pytest

from stages.encoders.tqwt import levels_at_most, tqwt

CASES = [(640, 1.0, 3.0, 9), (4098, 2.5, 4.0, 10), (5000, 3.0, 3.0, 12), (16_002, 1.0, 3.0, 9)]


def back(bands: list[np.ndarray], samples: int, q: float, r: float) -> np.ndarray:
    """The signal, from whole spectra, as Selesnick's toolbox makes it of its sub-bands."""
    beta = 2 / (q + 1)
    alpha = 1 - beta / r
    lengths = [2 * round(alpha**level * samples / 2) for level in range(len(bands))]
    low = np.fft.fft(bands[-1], norm="ortho")
    for level in range(len(bands) - 1, 0, -1):
        high = np.fft.fft(bands[level - 1], norm="ortho")
        n, n_low, n_high = lengths[level - 1], len(low), len(high)
        assert n_low == lengths[level]
        assert n_high == 2 * round(beta * alpha ** (level - 1) * samples / 2)
        passed, width, stopped = (n - n_high) // 2, (n_low + n_high - n) // 2 - 1, (n - n_low) // 2
        v = np.arange(1, width + 1) / (width + 1) * np.pi
        theta = (1 + np.cos(v)) * np.sqrt(2 - np.cos(v)) / 2
        spectrum = np.zeros(n, complex)
        spectrum[0] = low[0]
        for sign in (1, -1):  # positive and negative frequencies
            for k in range(1, passed + 1):
                spectrum[sign * k] = low[sign * k]
            for k in range(1, width + 1):
                spectrum[sign * (passed + k)] += low[sign * (passed + k)] * theta[k - 1]
                spectrum[sign * (passed + k)] += high[sign * k] * theta[width - k]
            for k in range(1, stopped + 1):
                spectrum[sign * (passed + width + k)] = high[sign * (width + k)]
        spectrum[n // 2] = high[n_high // 2]
        low = spectrum
    signal = np.fft.ifft(low, norm="ortho")
    np.testing.assert_allclose(signal.imag, 0, atol=1e-12)
    return signal.real


@pytest.mark.parametrize("samples, q, r, levels", CASES)
def test_the_signal_can_be_had_back_and_no_energy_is_lost(
    samples: int, q: float, r: float, levels: int
):
    signal = np.random.default_rng(0).normal(size=samples)
    bands = tqwt(signal, q, r, levels)
    assert len(bands) == levels + 1
    np.testing.assert_allclose(back(bands, samples, q, r), signal, atol=1e-12)
    energy = sum(float(np.sum(band**2)) for band in bands)
    assert energy == pytest.approx(float(np.sum(signal**2)), rel=1e-12)


@pytest.mark.parametrize("q, r", [(3.0, 3.0), (5.0, 4.0)])
def test_a_tone_is_in_the_sub_band_of_its_frequency(q: float, r: float):
    beta = 2 / (q + 1)
    alpha = 1 - beta / r
    for level in (2, 5, 8):
        frequency = alpha**level * (2 - beta) / (4 * alpha)  # of the sampling rate
        tone = np.cos(2 * np.pi * frequency * np.arange(8000))
        energies = [float(np.sum(band**2)) for band in tqwt(tone, q, r, 9)]
        assert int(np.argmax(energies)) == level - 1


def test_levels_end_where_a_sub_band_would_have_no_transition_band():
    """J_max = floor(log(beta N / 8) / log(1 / alpha)), Selesnick 2011, equation (27)."""
    assert levels_at_most(640, 1.0, 3.0) == 10
    most = levels_at_most(100, 1.0, 3.0)
    assert min(len(band) for band in tqwt(np.ones(100), 1.0, 3.0, most)) >= 4
