"""Histograms of a local pattern of the waveform and its wavelet sub-bands, in the manner of INCA's.

Nothing is learned: `system: inca` selects among the 16,896 features, and no other needs so many.

Paper: T. Tuncer, S. Dogan, U. R. Acharya, "Automated accurate speech emotion recognition system
using twine shuffle pattern and iterative neighborhood component analysis techniques",
Knowledge-Based Systems 211, 2021. There is no public code, and of the text only the abstract was at
hand. From it is that the sound is decomposed by the tunable-Q wavelet transform in several levels,
and that of each part a pattern is taken that follows the shuffle of the block cipher TWINE.

Not known are the parameters of the transform, how long a block is, how its bits are made and
whether the counts are scaled. Here, as is usual in the authors' other papers or else our choice:
blocks of 16 samples, one at each sample; a sample is compared with the one that TWINE moves to its
place, by the sign of the difference and by whether it lies above or below half a standard deviation
of the part; the 16 bits are two numbers of 8; histograms are shares of the blocks, so that the
length of a clip does not count. Q = 1 and r = 3 with 9 levels, for 16 kHz, whose centres fall from
4 kHz to 156 Hz.

Licence: this file is all there is to it (MIT).
"""

import numpy as np

from stages.encoders.speech import Encoded, SpeechEncoder
from stages.encoders.tqwt import tqwt

NAME = "twine_shuf_pat"
Q, R, LEVELS = 1.0, 3.0, 9
# Of TWINE (Suzaki et al. 2012, Table 2): the nibble h of 16 goes to the place SHUFFLE[h].
SHUFFLE = (5, 0, 1, 4, 7, 12, 3, 8, 13, 6, 9, 2, 15, 10, 11, 14)
BLOCK = len(SHUFFLE)
THRESHOLD = 0.5  # standard deviations
RULES = 3  # sign, above and below
CODES = 256
DIM = (1 + LEVELS + 1) * RULES * 2 * CODES
SHORTEST = 640  # samples: the lowest part then has one block


def load() -> SpeechEncoder:
    """The histograms as the pooled vector [16896], and as a sequence of one."""
    source = f"{NAME} 1: Q {Q:g}, r {R:g}, {LEVELS} levels, threshold {THRESHOLD:g}"
    return SpeechEncoder(NAME, source, "MIT", DIM, SHORTEST, encode)


def encode(wave: np.ndarray) -> Encoded:
    """Of float32 [samples], at least `SHORTEST`, the patterns of the signal and of its sub-bands.

    An odd number of samples gets a zero at the end, which the transform needs.
    """
    signal = np.pad(wave.astype(np.float64), (0, len(wave) % 2))
    parts = [signal, *tqwt(signal, Q, R, LEVELS)]
    pooled = np.concatenate([patterns(part).ravel() for part in parts]).astype(np.float32)
    return Encoded(pooled, pooled[None].astype(np.float16))


def patterns(signal: np.ndarray) -> np.ndarray:
    """Shares float64 [rules, halves, 256] of the codes of all blocks of a signal float64 [samples].

    Bit h of the 16 of a block tells of the samples h and SHUFFLE[h] whether the first is not less
    (rule 0), is more by the threshold (1) or is less by it (2). Bits 0 to 7 are the first half,
    the lowest bit first.
    """
    blocks = len(signal) - BLOCK + 1
    threshold = THRESHOLD * signal.std()
    codes = np.zeros((RULES, 2, blocks), np.uint8)
    for h, partner in enumerate(SHUFFLE):
        difference = signal[h : h + blocks] - signal[partner : partner + blocks]
        bits = (difference >= 0, difference > threshold, difference < -threshold)
        for rule, bit in enumerate(bits):
            codes[rule, h // 8] |= bit.view(np.uint8) << np.uint8(h % 8)
    counts = [[np.bincount(half, minlength=CODES) for half in rule] for rule in codes]
    return np.array(counts) / blocks
