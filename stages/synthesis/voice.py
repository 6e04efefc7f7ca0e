"""A small source-filter speech synthesiser after Klatt (1980).

Glottal pulses (Rosenberg 1971) with jitter and shimmer, plus breath, run through eight formants in
cascade; frication noise runs through one resonator of its own. The speech is nonsense: syllables of
a consonant (after the loci of Klatt) and a vowel (the male means of Peterson & Barney 1952).
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import gaussian_filter1d
from scipy.signal import butter, lfilter, sosfilt

SAMPLE_RATE = 44_100  # Hz
FRAME = 220  # samples between two settings of the filters, 5 ms
SILENCE = 0.12  # s, before and after the speech
UPPER_FORMANTS = (3500, 4500, 5500, 6500, 7500)  # Hz, of an adult man
BANDWIDTHS = (70, 100, 150, 250, 300, 400, 500, 600)  # Hz, F1 to F8


class Voice(NamedTuple):
    """What a speaker's voice is like, whatever the emotion."""

    pitch: float  # Hz, mean F0 of neutral speech
    tract: float  # factor on the formants: 1 for an adult man, about 1.17 for a woman


class Delivery(NamedTuple):
    """How one utterance is said, by any speaker."""

    pitch: float  # semitones from the speaker's neutral voice
    span: float  # semitones, height of a pitch accent
    slope: float  # semitones from the first to the last sound
    rate: float  # factor on the speed
    level: float  # dB re full scale, of the RMS
    bright: float  # octaves above 1 kHz from where the glottal source falls by 6 dB more an octave
    breath: float  # dB of breath relative to the voiced sound
    jitter: float  # % of a period by which a pulse is early or late
    formants: float  # factor on all formants: spread lips raise them


# What an emotion does to the voice. The directions follow Murray & Arnott (1993, Table I), Banse &
# Scherer (1996) and Juslin & Laukka (2003, Table 7); the sizes are chosen, not measured.
DELIVERIES = {
    #                 pitch span slope rate level bright breath jitter formants
    "anger": Delivery(3.5, 4.0, -4.0, 1.14, -24.0, 2.0, -16.0, 1.8, 1.0),
    "disgust": Delivery(-3.0, 2.5, -7.0, 0.84, -37.5, -0.5, -18.0, 5.0, 0.88),
    "fear": Delivery(8.0, 1.0, 0.5, 1.36, -35.0, 0.8, 0.0, 2.2, 1.04),
    "happiness": Delivery(5.5, 7.0, -1.0, 1.12, -28.0, 1.6, -18.0, 0.5, 1.12),
    "neutral": Delivery(-0.5, 1.2, -3.0, 1.0, -34.5, 0.0, -18.0, 0.7, 1.0),
    "sadness": Delivery(-1.0, 0.8, -4.0, 0.7, -46.0, -1.8, -26.0, 0.9, 0.99),
    "surprise": Delivery(8.0, 8.0, 10.0, 0.86, -31.5, -0.4, 2.0, 0.7, 1.0),
}
# Standard deviations of the same numbers from one utterance to the next: emotions overlap.
SPREAD = Delivery(0.5, 0.4, 0.8, 0.035, 0.5, 0.1, 1.0, 0.1, 0.01)

# F1 to F3 in Hz of an adult man.
VOWELS = {
    "IY": (270, 2290, 3010), "EH": (530, 1840, 2480), "AE": (660, 1720, 2410),
    "AA": (730, 1090, 2440), "AO": (570, 840, 2410), "UW": (300, 870, 2240),
}  # fmt: skip
# Seconds; F1 to F3; gains of voice, breath and frication; Hz of the frication. A plosive is its
# closure, then its release.
CONSONANTS: dict[str, list[tuple[float, ...]]] = {
    "M": [(0.070, 270, 1100, 2150, 0.35, 0, 0, 4000)],
    "N": [(0.065, 270, 1500, 2500, 0.35, 0, 0, 4000)],
    "L": [(0.065, 310, 1050, 2880, 0.55, 0, 0, 4000)],
    "S": [(0.100, 320, 1390, 2530, 0, 0, 0.4, 6200)],
    "SH": [(0.100, 300, 1840, 2750, 0, 0, 0.45, 3000)],
    "B": [(0.055, 200, 1100, 2150, 0.12, 0, 0, 900), (0.014, 200, 1100, 2150, 0, 0, 0.5, 900)],
    "T": [(0.055, 400, 1600, 2600, 0, 0, 0, 4500), (0.04, 400, 1600, 2600, 0, 0.5, 0.2, 4500)],
    "K": [(0.055, 300, 1990, 2850, 0, 0, 0, 2000), (0.04, 300, 1990, 2850, 0, 0.5, 0.2, 2000)],
}


def make_voice(female: bool, rng: np.random.Generator) -> Voice:
    """A voice of no one in particular, within the range of adult women or men."""
    low = (175, 1.09) if female else (105, 0.97)
    high = (215, 1.15) if female else (138, 1.04)
    return Voice(*rng.uniform(low, high).tolist())


def make_sentence(rng: np.random.Generator) -> np.ndarray:
    """Segments [n, 9] of four to six syllables; the last column is 1 in the two accented vowels."""
    rows = []
    for accented in rng.permuted([1, 1, 0, 0, 0, 0][: rng.integers(4, 7)]):
        rows += [(*row, 0) for row in CONSONANTS[rng.choice(list(CONSONANTS))]]
        rows.append((0.12, *VOWELS[rng.choice(list(VOWELS))], 1, 0, 0, 4000, accented))
    return np.array(rows, float)


def vary(delivery: Delivery, rng: np.random.Generator) -> Delivery:
    """The delivery of one utterance: every number off by its `SPREAD`, twice that at the most."""
    off = np.clip(rng.standard_normal(len(SPREAD)), -2, 2)
    return Delivery(*(np.array(delivery) + off * np.array(SPREAD)).tolist())


def speak(
    voice: Voice, delivery: Delivery, sentence: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Synthesise one utterance, float32 [samples], full scale 1, with `SILENCE` at both ends."""
    lengths = sentence[:, 0] * (1 + 0.25 * sentence[:, 8]) / delivery.rate
    lengths[-1] *= 1.4  # final lengthening
    edges = SILENCE + np.cumsum([0.0, *lengths])
    frames = int((edges[-1] + SILENCE) * SAMPLE_RATE / FRAME)
    time = (np.arange(frames) + 0.5) * FRAME / SAMPLE_RATE

    # Targets hold for a segment; smoothed over time, one sound glides into the next.
    tracks = sentence[np.clip(np.searchsorted(edges, time) - 1, 0, len(sentence) - 1), 1:8]
    tracks[(time < edges[0]) | (time > edges[-1]), 3:6] = 0
    tracks = gaussian_filter1d(tracks, 2.5, axis=0)
    formants = np.hstack([tracks[:, :3], np.tile(UPPER_FORMANTS, (frames, 1))])
    formants *= voice.tract * delivery.formants

    middles = (edges[:-1] + edges[1:])[sentence[:, 8] > 0] / 2
    stress = np.exp(-(((time[:, None] - middles) * delivery.rate / 0.11) ** 2)).sum(axis=1)
    position = np.clip((time - edges[0]) / (edges[-1] - edges[0]), 0, 1)
    contour = delivery.span * stress + delivery.slope * position
    f0 = voice.pitch * 2 ** ((delivery.pitch + contour - contour.mean()) / 12)
    gains = tracks[:, 3:6] * ((1 + 0.5 * stress) * (1 - 0.5 * position**2))[:, None]
    voicing, aspiration, frication = np.repeat(gains, FRAME, axis=0).T

    flow = voicing * pulses(f0, delivery.jitter / 100, rng)
    low_pass = butter(1, 1000 * 2**delivery.bright, fs=SAMPLE_RATE)
    noise = rng.standard_normal((3, flow.size))
    breath = aspiration / 4 + flow * 10 ** (delivery.breath / 20)
    source = 40 * lfilter(*low_pass, np.diff(flow, prepend=0)) + breath * noise[0]
    # Differenced twice, since a resonator passes what is below its frequency.
    hiss = frication * np.diff(noise[1], 2, prepend=[0, 0])
    mouth = resonate(source, formants, BANDWIDTHS) + resonate(hiss, tracks[:, 6:], [1200]) / 2
    level = 10 ** (delivery.level / 20)
    return (mouth * level / np.sqrt(np.mean(mouth**2)) + 1e-4 * noise[2]).astype(np.float32)


def pulses(f0: np.ndarray, jitter: float, rng: np.random.Generator) -> np.ndarray:
    """Rosenberg's glottal flow [frames * FRAME], 0 to about 1, for F0 [frames] in Hz."""
    phase = np.cumsum(np.repeat(f0, FRAME)) / SAMPLE_RATE
    count = np.arange(int(phase[-1]) + 2)
    early, strength = jitter * np.clip(rng.standard_normal((2, count.size)), -3, 3)
    cycle = np.interp(phase, count + early, count)
    opened = cycle % 1 / 0.6  # the glottis is open for 60 % of a period
    rise, fall = np.minimum(opened / 0.66, 1), np.clip((opened - 0.66) / 0.34, 0, 1)
    return (3 * rise**2 - 2 * rise**3 - fall**2) * (1 + 3 * strength[cycle.astype(int)])


def resonate(sound: np.ndarray, frequencies: np.ndarray, bandwidths: ArrayLike) -> np.ndarray:
    """Run sound [frames * FRAME] through Klatt's resonators, [frames, n] and [n] Hz, in cascade."""
    radius = np.exp(-np.pi * np.array(bandwidths) / SAMPLE_RATE)
    sections = np.zeros((*frequencies.shape, 6))  # b0 b1 b2 a0 a1 a2
    sections[..., 3] = 1
    sections[..., 4] = -2 * radius * np.cos(2 * np.pi * frequencies / SAMPLE_RATE)
    sections[..., 5] = radius**2
    sections[..., 0] = sections[..., 3:].sum(axis=-1)  # gain 1 at 0 Hz
    state, parts = np.zeros((len(radius), 2)), []
    for part, section in zip(sound.reshape(-1, FRAME), sections):
        part, state = sosfilt(section, part, zi=state)
        parts.append(part)
    return np.concatenate(parts)
