"""Source-filter speech: a glottal source and noise through moving formant resonators.

The synthesiser is a small one after Klatt (1980): Rosenberg (1971)
glottal pulses with jitter and shimmer, plus aspiration, run through eight formants in
cascade; frication noise runs through one resonator of its own. A sentence is a list of
ARPAbet phones, each phone one or more segments with formant targets (vowels: the male
means of Peterson & Barney 1952; consonants: after the loci of Klatt 1980).

What an emotion does to the voice is the table `DELIVERIES`. Its directions follow
Murray & Arnott (1993, Table I), Banse & Scherer (1996) and Juslin & Laukka (2003,
Table 7); its numbers are chosen, not measured:

    anger      higher, wider, faster, much louder, pressed and bright
    disgust    lower, slow, falling, somewhat soft, creaky, the tract lengthened
    fear       much higher, narrow, fastest, breathy, trembling
    happiness  higher, wide, fast, loud, bright, formants raised by the smile (Tartter 1980)
    neutral    the speaker's own middle
    sadness    lower, narrow, slowest, softest, dull, falling
    surprise   high, widest, rising to the end, open, breathy

`SPREAD` is how much one utterance differs from the next, so that emotions overlap.
"""

from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import irfft, rfft
from scipy.signal import lfilter, resample_poly

SAMPLE_RATE = 44_100  # Hz
FRAME = 220  # samples between two settings of the filters, 5 ms
FFT = 2048  # points: two frames and the filters' ringing
NEUTRAL_LEVEL = -34.0  # dB re full scale, RMS of neutral speech
OVERSAMPLING = 2  # of the glottal source, whose corners would alias
UPPER_FORMANTS = (3500.0, 4500.0, 5500.0, 6500.0, 7500.0)  # Hz, of a tract of scale 1
BANDWIDTHS = (70.0, 100.0, 150.0, 250.0, 300.0, 400.0, 500.0, 600.0)  # Hz, F1 to F8
SILENCE = 0.12  # s, before and after the speech


@dataclass(frozen=True)
class Voice:
    """What a speaker's voice is like, whatever is felt."""

    pitch: float  # Hz, mean F0 of neutral speech
    tract: float  # formant scale: 1 for an adult man, about 1.17 for a woman
    tilt: float  # dB by which the source is weaker at 3 kHz
    breath: float  # dB, aspiration relative to the voice
    open_quotient: float  # part of the period in which the glottis is open
    jitter: float  # relative standard deviation of the period
    level: float  # dB, habitual loudness relative to other speakers


@dataclass(frozen=True)
class Delivery:
    """How one utterance is said, relative to the speaker's neutral voice."""

    pitch: float = 0.0  # semitones
    span: float = 2.5  # semitones, height of a pitch accent
    slope: float = -2.0  # semitones from the first to the last sound
    final: float = -1.0  # semitones added over the last syllable
    rate: float = 1.0  # speed, relative
    level: float = 0.0  # dB
    tilt: float = 0.0  # dB at 3 kHz; negative is brighter
    breath: float = 0.0  # dB of aspiration
    jitter: float = 1.0  # factor on the speaker's own
    tremor: float = 0.0  # semitones, slow shake of the pitch
    formants: float = 1.0  # factor on all formants
    opening: float = 1.0  # factor on F1, which rises with the jaw
    stress: float = 2.0  # dB by which an accented sound is louder


#                        pitch span slope final rate level  tilt breath jitt trem form  open stress
DELIVERIES = {
    "anger":     Delivery(3.5, 4.0, -2.0, -2.0, 1.14, +10., -9.5, -8.0, 2.5, 0.0, 1.00, 1.20, 4.0),
    "disgust":   Delivery(-3.0, 2.5, -5.0, -3.0, 0.84, -3.5, 3.0, -5.0, 7.0, 0.0, 0.86, 1.05, 6.0),
    "fear":      Delivery(8.5, 1.0, 0.0, 0.5, 1.36, -1.0, -4.0, 8.0, 3.0, 1.2, 1.04, 0.90, 0.5),
    "happiness": Delivery(5.5, 7.0, -1.0, 0.0, 1.12, +6.0, -8.0, -10., 0.7, 0.0, 1.14, 1.00, 9.0),
    "neutral":   Delivery(-0.5, 1.2, -2.0, -1.0, 1.00, -0.5, 0.0, -6.0, 1.0, 0.0, 1.00, 1.00, 1.0),
    "sadness":   Delivery(-1.0, 0.8, -3.0, -1.0, 0.70, -12., 10., -6.0, 1.3, 0.2, 0.99, 0.95, 0.5),
    "surprise":  Delivery(8.5, 9.0, 5.0, 9.0, 0.86, +2.5, 2.0, 10., 1.0, 0.0, 1.00, 1.16, 4.0),
}  # fmt: skip

# Standard deviations of the same numbers from one utterance to the next.
SPREAD = Delivery(0.5, 0.4, 0.7, 0.7, 0.035, 0.5, 0.7, 1.0, 0.2, 0.1, 0.008, 0.02, 0.4)

VOICES = {
    "F1": Voice(202.0, 1.14, 11.0, -6.0, 0.62, 0.006, 0.0),
    "M1": Voice(116.0, 1.00, 9.5, -9.0, 0.55, 0.008, 0.3),
    "F2": Voice(182.0, 1.10, 10.0, -8.0, 0.58, 0.007, 0.3),
    "M2": Voice(133.0, 1.03, 11.5, -7.0, 0.60, 0.006, -0.3),
}


@dataclass(frozen=True)
class Segment:
    """A stretch of sound with one set of targets."""

    seconds: float
    formants: tuple[float, float, float]  # Hz, F1 to F3 of a tract of scale 1
    voicing: float = 1.0  # linear gains of the three sources
    aspiration: float = 0.0
    frication: float = 0.0
    centre: float = 4000.0  # Hz, of the frication


def _vowel(*targets: tuple[float, float, float], seconds: float = 0.11) -> tuple[Segment, ...]:
    return tuple(Segment(seconds / len(targets), target) for target in targets)


def _plosive(
    formants: tuple[float, float, float], centre: float, voiced: bool
) -> tuple[Segment, ...]:
    closure = Segment(0.055, formants, voicing=0.12 if voiced else 0.0)
    burst = Segment(0.014, formants, voicing=0.0, frication=0.5, centre=centre)
    release = Segment(0.03, formants, voicing=0.0, aspiration=0.8)
    return (closure, burst) if voiced else (closure, burst, release)


_IY = (270, 2290, 3010)
_EH = (530, 1840, 2480)
_AA = (730, 1090, 2440)
_AO = (570, 840, 2410)
_UH = (440, 1020, 2240)

PHONES = {
    "IY": _vowel(_IY),
    "IH": _vowel((390, 1990, 2550), seconds=0.08),
    "EH": _vowel(_EH),
    "AE": _vowel((660, 1720, 2410), seconds=0.13),
    "AA": _vowel(_AA, seconds=0.13),
    "AO": _vowel(_AO, seconds=0.13),
    "UW": _vowel((300, 870, 2240)),
    "AH": _vowel((640, 1190, 2390), seconds=0.075),
    "ER": _vowel((490, 1350, 1690)),
    "EY": _vowel(_EH, _IY, seconds=0.15),
    "AY": _vowel(_AA, _IY, seconds=0.17),
    "AW": _vowel(_AA, _UH, seconds=0.17),
    "OW": _vowel(_AO, _UH, seconds=0.15),
    "W": (Segment(0.065, (290, 610, 2150), voicing=0.6),),
    "Y": (Segment(0.06, (260, 2070, 3020), voicing=0.6),),
    "R": (Segment(0.065, (310, 1060, 1380), voicing=0.6),),
    "L": (Segment(0.065, (310, 1050, 2880), voicing=0.55),),
    "M": (Segment(0.07, (270, 1100, 2150), voicing=0.35),),
    "N": (Segment(0.065, (270, 1500, 2500), voicing=0.35),),
    "HH": (Segment(0.06, (500, 1500, 2500), voicing=0.0, aspiration=1.0),),
    "F": (Segment(0.09, (340, 1100, 2080), voicing=0.0, frication=0.15, centre=7000),),
    "V": (Segment(0.06, (220, 1100, 2080), voicing=0.4, frication=0.1, centre=7000),),
    "DH": (Segment(0.05, (270, 1290, 2540), voicing=0.4, frication=0.1, centre=6500),),
    "S": (Segment(0.10, (320, 1390, 2530), voicing=0.0, frication=0.4, centre=6200),),
    "Z": (Segment(0.075, (240, 1390, 2530), voicing=0.35, frication=0.2, centre=6200),),
    "SH": (Segment(0.10, (300, 1840, 2750), voicing=0.0, frication=0.45, centre=3000),),
    "P": _plosive((400, 1100, 2150), 900, voiced=False),
    "B": _plosive((200, 1100, 2150), 900, voiced=True),
    "T": _plosive((400, 1600, 2600), 4500, voiced=False),
    "D": _plosive((200, 1600, 2600), 4500, voiced=True),
    "K": _plosive((300, 1990, 2850), 2000, voiced=False),
    "G": _plosive((200, 1990, 2850), 2000, voiced=True),
}

# A phone followed by 1 carries a pitch accent.
SENTENCES = (
    "W IY W ER AH W EY1 AO L Y IH R",  # we were away all year
    "SH OW1 M IY DH AH R EH D M AE1 P",  # show me the red map
    "N OW1 W AH N S EH D AH N EY1 M",  # no one said a name
    "T EY1 K IH T B AE K T UW D EY1",  # take it back today
    "M AY1 S IH S T ER L EH F T S UW1 N",  # my sister left soon
    "DH IH S IH Z HH AW1 W IY G OW1 AA N",  # this is how we go on
)


def make_voice(female: bool, rng: np.random.Generator) -> Voice:
    """A voice of no one in particular, within the range of adult men or women."""
    return Voice(
        pitch=rng.uniform(175, 215) if female else rng.uniform(105, 138),
        tract=rng.uniform(1.09, 1.15) if female else rng.uniform(0.97, 1.04),
        tilt=rng.uniform(9.5, 11.5),
        breath=rng.uniform(-9, -6),
        open_quotient=rng.uniform(0.53, 0.63),
        jitter=rng.uniform(0.005, 0.009),
        level=rng.uniform(-0.4, 0.4),
    )


def make_sentence(rng: np.random.Generator) -> str:
    """Five syllables of a consonant and a vowel, two of them accented."""
    vowels = [name for name in PHONES if name[0] in "AEIOU"]
    consonants = [name for name in PHONES if name not in vowels]
    accented = rng.choice(5, 2, replace=False)
    return " ".join(
        f"{rng.choice(consonants)} {rng.choice(vowels)}{'1' if i in accented else ''}"
        for i in range(5)
    )


def vary(delivery: Delivery, rng: np.random.Generator) -> Delivery:
    """The delivery of one utterance: every number off by its `SPREAD`, two at the most."""
    mean, spread = np.array(astuple(delivery)), np.array(astuple(SPREAD))
    varied = mean + spread * np.clip(rng.standard_normal(mean.size), -2, 2)
    return Delivery(*(float(value) for value in varied))


def speak(voice: Voice, delivery: Delivery, sentence: str, rng: np.random.Generator) -> np.ndarray:
    """Synthesise one utterance.

    Args:
        sentence: ARPAbet phones of `PHONES`, separated by spaces.

    Returns:
        float32 [samples] at `SAMPLE_RATE`, full scale 1, `SILENCE` at both ends.
        Its RMS is `NEUTRAL_LEVEL` plus the levels of the voice and the delivery.
    """
    segments, accents = _segments(sentence, delivery.rate)
    edges = SILENCE + np.cumsum([0.0] + [segment.seconds for segment in segments])
    frames = int((edges[-1] + SILENCE) * SAMPLE_RATE / FRAME)
    time = (np.arange(frames) + 0.5) * FRAME / SAMPLE_RATE
    accent_times = [(edges[i] + edges[i + 1]) / 2 for i in accents]

    contour = pitch_contour(time, edges[0], edges[-1], accent_times, delivery, rng)
    f0 = voice.pitch * 2 ** ((delivery.pitch + contour) / 12)
    voicing, aspiration, frication = _gains(time, edges, segments, accent_times, delivery.stress)
    formants = _formants(time, edges, segments) * voice.tract * delivery.formants
    formants[:, 0] *= delivery.opening

    glottal = _glottis(voice, delivery, f0, voicing, aspiration, rng)
    mouth = _resonate(glottal, formants, np.array(BANDWIDTHS))
    # Twice differenced, since a resonator passes what is below its frequency.
    noise = np.diff(rng.standard_normal(glottal.size), 2, prepend=0, append=0)
    hiss = noise * np.repeat(frication, FRAME)
    centres = np.array([segment.centre for segment in segments])[_index(time, edges)]
    mouth += _resonate(hiss, centres[:, None] * voice.tract**0.5, np.array([1200.0])) * 0.5

    level = NEUTRAL_LEVEL + voice.level + delivery.level
    speech = mouth * 10 ** (level / 20) / np.sqrt(np.mean(mouth**2))
    room = lfilter([1], [1, -0.95], rng.standard_normal(speech.size)) * 1e-4
    return (speech + room).astype(np.float32)


def pitch_contour(
    time: np.ndarray,
    start: float,
    end: float,
    accents: list[float],
    delivery: Delivery,
    rng: np.random.Generator,
) -> np.ndarray:
    """Semitones [frames] about the mean pitch of the speech between `start` and `end`.

    Declination, a bump of `delivery.span` at every accent, the last syllable's fall or
    rise, and a tremor.
    """
    position = np.clip((time - start) / (end - start), 0, 1)
    contour = delivery.slope * position
    for accent in accents:
        height = delivery.span * rng.uniform(0.75, 1.25)
        width = 0.11 / delivery.rate
        contour += height * np.exp(-(((time - accent) / width) ** 2))
    contour += delivery.final * np.clip((position - 0.75) / 0.25, 0, 1) ** 2
    contour += delivery.tremor * np.sin(2 * np.pi * (rng.uniform(6, 8) * time + rng.random()))
    return contour - contour[(time >= start) & (time <= end)].mean()


def _segments(sentence: str, rate: float) -> tuple[list[Segment], list[int]]:
    """The segments of a sentence, and which of them carry an accent."""
    segments: list[Segment] = []
    accents = []
    for phone in sentence.split():
        if phone.endswith("1"):
            accents.append(len(segments))
        stretch = (1.25 if phone.endswith("1") else 1.0) / rate
        for part in PHONES[phone.rstrip("1")]:
            segments.append(replace(part, seconds=part.seconds * stretch))
    segments[-1] = replace(segments[-1], seconds=segments[-1].seconds * 1.4)  # final lengthening
    return segments, accents


def _index(time: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The segment of every frame; the nearest one before and after the speech."""
    return np.clip(np.searchsorted(edges, time, side="right") - 1, 0, len(edges) - 2)


def _smooth(track: np.ndarray, frames: int) -> np.ndarray:
    """Running Hann average of a track [frames, ...] along time."""
    window = np.hanning(frames + 2)[1:-1]
    padded = np.pad(track, [(frames // 2, frames // 2), (0, 0)], mode="edge")
    columns = [np.convolve(column, window / window.sum(), mode="valid") for column in padded.T]
    return np.stack(columns, axis=1)


def _gains(
    time: np.ndarray,
    edges: np.ndarray,
    segments: list[Segment],
    accents: list[float],
    stress: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Linear gains [frames] of voicing, aspiration and frication."""
    table = np.array([[s.voicing, s.aspiration, s.frication] for s in segments])
    spoken = (time >= edges[0]) & (time <= edges[-1])
    gains = _smooth(table[_index(time, edges)] * spoken[:, None], 5)
    accented = sum(np.exp(-(((time - accent) / 0.1) ** 2)) for accent in accents)
    fade = 1 - 0.5 * np.clip((time - edges[0]) / (edges[-1] - edges[0]), 0, 1) ** 2
    return tuple((gains * (fade * 10 ** (stress * accented / 20))[:, None]).T)


def _formants(time: np.ndarray, edges: np.ndarray, segments: list[Segment]) -> np.ndarray:
    """Formant frequencies [frames, 8] in Hz of a tract of scale 1.

    A target holds for the middle half of its segment; between two middles the
    formants glide.
    """
    lengths = np.diff(edges)
    knots = np.stack([edges[:-1] + lengths / 4, edges[1:] - lengths / 4], axis=1).ravel()
    targets = np.repeat(np.array([s.formants for s in segments]), 2, axis=0)
    lower = np.stack([np.interp(time, knots, target) for target in targets.T], axis=1)
    return np.hstack([_smooth(lower, 7), np.tile(UPPER_FORMANTS, (time.size, 1))])


def _glottis(
    voice: Voice,
    delivery: Delivery,
    f0: np.ndarray,
    voicing: np.ndarray,
    aspiration: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """The sound of the glottis [samples], voice and aspiration, from tracks [frames].

    Rosenberg's pulse of type B: the flow of the open phase is 3x^2 - 2x^3 up, then a
    quadratic fall; what radiates is its derivative.
    """
    rate = SAMPLE_RATE * OVERSAMPLING
    samples = f0.size * FRAME * OVERSAMPLING
    time = np.arange(samples) / rate
    frame_time = (np.arange(f0.size) + 0.5) * FRAME / SAMPLE_RATE

    epochs = [0.0]
    while epochs[-1] < time[-1]:
        period = 1 / f0[min(int(epochs[-1] * SAMPLE_RATE / FRAME), f0.size - 1)]
        wobble = voice.jitter * delivery.jitter * np.clip(rng.standard_normal(), -3, 3)
        epochs.append(epochs[-1] + period * (1 + wobble))
    cycle = np.interp(time, epochs, np.arange(len(epochs)))
    shimmer = 1 + 3 * voice.jitter * delivery.jitter * rng.standard_normal(len(epochs))

    opened = cycle % 1 / voice.open_quotient
    rise, fall = np.clip(opened / 0.66, 0, 1), np.clip((opened - 0.66) / 0.34, 0, 1)
    flow = np.where(opened < 0.66, 3 * rise**2 - 2 * rise**3, 1 - fall**2)
    flow *= shimmer[cycle.astype(int)] * np.interp(time, frame_time, voicing)
    flow = resample_poly(flow, 1, OVERSAMPLING)

    # One pole that is `tilt` dB down at 3 kHz (Klatt's TL); less than 0 dB is none.
    tilt = max(voice.tilt + delivery.tilt, 0.1)
    pole = _tilt_pole(tilt)
    voiced = lfilter([1 - pole], [1, -pole], np.diff(flow, prepend=0.0)) * 40
    breath = 10 ** ((voice.breath + delivery.breath) / 20)
    gain = np.repeat(aspiration, FRAME) * 0.25 + np.abs(flow) * breath
    return voiced + gain * rng.standard_normal(gain.size)


def _tilt_pole(decibels: float) -> float:
    """The pole of the one-pole low-pass that is `decibels` down at 3 kHz."""
    power, cosine = 10 ** (decibels / 10), np.cos(2 * np.pi * 3000 / SAMPLE_RATE)
    # |1 - p e^-jw|^2 = power (1 - p)^2, solved for the p inside the unit circle
    a, b = power - 1, power - cosine
    return float((b - np.sqrt(b * b - a * a)) / a)


def _resonate(sound: np.ndarray, frequencies: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """Run sound [frames * FRAME] through Klatt's resonators [frames, n] in cascade.

    Each frame goes through its own filter under a Hann window and the frames are
    overlapped and added: recursive filters would click where their settings change.
    """
    radius = np.exp(-np.pi * bandwidths / SAMPLE_RATE)
    second = -2 * radius * np.cos(2 * np.pi * frequencies / SAMPLE_RATE)
    third = np.broadcast_to(radius**2, second.shape)
    delay = np.exp(-2j * np.pi * np.arange(FFT // 2 + 1) / FFT)
    response = np.ones((len(frequencies), delay.size), complex)
    for b, c in zip(second.T[..., None], third.T[..., None], strict=True):
        response *= (1 + b + c) / (1 + delay * (b + c * delay))  # gain 1 at 0 Hz

    padded = np.pad(sound, (FRAME // 2, FRAME))
    blocks = sliding_window_view(padded, 2 * FRAME)[::FRAME][: len(frequencies)]
    window = np.sin(np.pi * (np.arange(2 * FRAME) + 0.5) / (2 * FRAME)) ** 2
    filtered = irfft(rfft(blocks * window, FFT) * response, FFT)
    output = np.zeros(padded.size + FFT)
    for i, block in enumerate(filtered):
        output[i * FRAME : i * FRAME + FFT] += block
    return output[FRAME // 2 :][: sound.size]
