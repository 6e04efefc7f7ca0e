"""The tunable-Q wavelet transform of a signal, computed with the discrete Fourier transform.

Paper: I. Selesnick, "Wavelet Transform With Tunable Q-Factor", IEEE Trans. Signal Processing 59,
2011, and its toolbox. At each level the spectrum is parted into a low and a high one, which overlap
in a transition band where the squares of their gains add up to 1. The high one is a sub-band, the
low one goes to the next level. So no energy is lost, and the signal can be had back.
"""

import math

import numpy as np
import scipy.fft


def levels_at_most(samples: int, q: float, r: float) -> int:
    """How many levels a signal of so many samples allows."""
    beta = 2 / (q + 1)
    return math.floor(math.log(beta * samples / 8) / -math.log(1 - beta / r))


def tqwt(signal: np.ndarray, q: float, r: float, levels: int) -> list[np.ndarray]:
    """The sub-bands of a signal, the highest first, and last what is below all of them.

    Args:
        signal: float64 [samples], an even number of them, which allow so many levels.
        q: the Q-factor, at least 1: the centre frequency of a sub-band over its width.
        r: the redundancy, above 1: about how many coefficients come of a sample.
        levels: the number of sub-bands.

    Returns:
        levels + 1 arrays float64; the sum of their squares is that of the signal.
    """
    beta = 2 / (q + 1)
    alpha = 1 - beta / r
    samples = len(signal)
    low = scipy.fft.rfft(signal, norm="ortho")  # bins 0 to n / 2, as of all spectra below
    bands = []
    for level in range(1, levels + 1):
        n = 2 * (len(low) - 1)
        n_low = 2 * round(alpha**level * samples / 2)
        n_high = 2 * round(beta * alpha ** (level - 1) * samples / 2)
        first = (n - n_high) // 2  # where the transition band begins; it ends before n_low / 2
        v = np.arange(1, n_low // 2 - first) / (n_low // 2 - first) * np.pi
        falling = (1 + np.cos(v)) * np.sqrt(2 - np.cos(v)) / 2
        high = low[first:].copy()
        high[0] = 0
        high[1 : len(v) + 1] *= falling[::-1]
        bands.append(scipy.fft.irfft(high, n_high, norm="ortho"))
        low = low[: n_low // 2 + 1].copy()
        low[first + 1 : -1] *= falling
        low[-1] = 0
    return [*bands, scipy.fft.irfft(low, 2 * (len(low) - 1), norm="ortho")]
