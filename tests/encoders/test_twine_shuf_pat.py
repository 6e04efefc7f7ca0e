"""The patterns of INCA's sound: bit by bit, and of a clip alone."""

import numpy as np
import pytest

from stages.encoders.speech import SpeechEncoder, load
from stages.encoders.tqwt import levels_at_most, tqwt
from stages.encoders.twine_shuf_pat import (
    BLOCK,
    LEVELS,
    SHORTEST,
    SHUFFLE,
    Q,
    R,
    patterns,
)

SIGN, ABOVE, BELOW = range(3)


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return load("twine_shuf_pat", {}, "cpu")


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, samples).astype(np.float32)


def one_by_one(signal: np.ndarray) -> np.ndarray:
    """Shares of the codes, block by block and bit by bit."""
    counts = np.zeros((3, 2, 256))
    threshold = 0.5 * signal.std()
    for start in range(len(signal) - 15):
        block = signal[start : start + 16]
        shuffled = block[list(SHUFFLE)]
        for half in range(2):
            codes = [0, 0, 0]
            for bit in range(8):
                one, other = block[8 * half + bit], shuffled[8 * half + bit]
                codes[SIGN] += 2**bit * int(one >= other)
                codes[ABOVE] += 2**bit * int(one - other > threshold)
                codes[BELOW] += 2**bit * int(other - one > threshold)
            for rule in range(3):
                counts[rule, half, codes[rule]] += 1
    return counts / (len(signal) - 15)


def test_the_shuffle_mixes_as_fast_as_twines():
    """It is one of those for which all 16 nibbles follow from each after 8 rounds, not before.

    T. Suzaki, K. Minematsu, "Improving the generalized Feistel", FSE 2010. Within a round each odd
    nibble is added what is computed from the even one before it.
    """
    assert sorted(SHUFFLE) == list(range(16))
    rests_on = [{h} for h in range(16)]
    for number in range(1, 9):
        for h in range(0, 16, 2):
            rests_on[h + 1] = rests_on[h + 1] | rests_on[h]
        moved = list(rests_on)
        for h, place in enumerate(SHUFFLE):
            moved[place] = rests_on[h]
        rests_on = moved
        assert all(len(of) == 16 for of in rests_on) == (number == 8)


@pytest.mark.parametrize("samples", [16, 17, 400])
def test_the_codes_are_those_of_each_block(samples: int):
    signal = np.random.default_rng(1).normal(size=samples)
    np.testing.assert_allclose(patterns(signal), one_by_one(signal), atol=1e-15)


def test_a_rising_ramp_has_the_bits_that_the_shuffle_gives():
    found = patterns(np.arange(32.0))
    bits = [int(h > place) for h, place in enumerate(SHUFFLE)]
    low, high = (sum(bit << n for n, bit in enumerate(part)) for part in (bits[:8], bits[8:]))
    assert found[SIGN, 0, low] == found[SIGN, 1, high] == 1
    # Its standard deviation is 9.2: what lies nearer than half of that is neither above nor below.
    far = [int(h - place > 4.6) for h, place in enumerate(SHUFFLE)]
    assert 0 < sum(far) < sum(bits)
    assert found[ABOVE, 0, sum(bit << n for n, bit in enumerate(far[:8]))] == 1


def test_the_vector_is_the_signal_and_all_its_sub_bands(encoder: SpeechEncoder):
    wave = noise(4001)
    signal = np.append(wave.astype(np.float64), 0)
    parts = [signal, *tqwt(signal, Q, R, LEVELS)]
    expected = np.concatenate([one_by_one(part).ravel() for part in parts])
    found = encoder(wave)
    assert encoder.dim == len(expected) == 16_896 and found.pooled.dtype == np.float32
    np.testing.assert_allclose(found.pooled, expected, atol=1e-7)
    assert found.sequence.shape == (1, 16_896) and found.sequence.dtype == np.float16


def test_loudness_changes_nothing_and_length_is_no_feature(encoder: SpeechEncoder):
    wave = noise(6000)
    np.testing.assert_allclose(encoder(4 * wave).pooled, encoder(wave).pooled, atol=0.002)
    for samples in (2000, 6000):
        sums = encoder(noise(samples)).pooled.reshape(-1, 256).sum(1)
        np.testing.assert_allclose(sums, 1, atol=1e-5)


def test_a_clip_depends_on_no_other(encoder: SpeechEncoder):
    clips = [noise(samples, samples) for samples in (900, 5001, 16_000)]
    first = [encoder(clip).pooled.tobytes() for clip in clips]
    again = [encoder(clip).pooled.tobytes() for clip in reversed(clips)]
    assert first == again[::-1] and len(set(first)) == 3


def test_a_short_clip_is_padded_to_one_block_of_the_lowest_sub_band(encoder: SpeechEncoder):
    assert levels_at_most(SHORTEST, Q, R) >= LEVELS
    assert min(len(band) for band in tqwt(np.ones(SHORTEST), Q, R, LEVELS)) == BLOCK
    padded = np.pad(noise(100), (0, SHORTEST - 100))
    assert encoder(noise(100)).pooled.tobytes() == encoder(padded).pooled.tobytes()


def test_silence_has_finite_features(encoder: SpeechEncoder):
    found = encoder(np.zeros(16_000, np.float32)).pooled.reshape(-1, 3, 2, 256)
    assert (found[:, SIGN, :, 255] == 1).all() and (found[:, ABOVE:, :, 0] == 1).all()
