"""What happens to voices and faces outside of a studio, each as a function of one clip alone.

What is random is drawn from a generator made of the content, so that a clip is distorted alike
whenever and wherever it is. A voice keeps its length, and its beginning stays where it was.
"""

import hashlib
import io
from collections.abc import Callable
from functools import partial
from math import gcd

import av
import cv2
import numpy as np
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

TELEPHONE_RATE, TELEPHONE_BAND = 8_000, (300, 3_400)  # Hz
MP3_RATE = 16_000  # Hz, at which MPEG-2 Layer III has 16 kbit/s
REVERBERATION = 0.6  # seconds until a room is 60 dB quieter (RT60), as in a living room
GREY = 127

Sound = Callable[[np.ndarray, int], np.ndarray]
Face = Callable[[np.ndarray], np.ndarray]


def noise(wave: np.ndarray, sample_rate: int, snr: float) -> np.ndarray:
    """Add stationary noise with the spectrum of the clip itself ("speech-shaped").

    It is the clip with random phases, and so masks all of its frequencies alike, as white or pink
    noise would not. The same clip has the same noise at every level.

    Args:
        wave: float32 [samples].
        snr: signal to noise in dB, of the powers of the whole clip.
    """
    spectrum = np.fft.rfft(wave.astype(np.float64))
    turned = spectrum * np.exp(2j * np.pi * _generator(wave).random(len(spectrum)))
    masker = np.fft.irfft(turned, len(wave))
    masker *= np.sqrt(_power(wave) / _power(masker) / 10 ** (snr / 10))
    return (wave + masker).astype(np.float32)


def telephone(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """What a telephone leaves of a voice: 300 to 3,400 Hz of 8 kHz, in 8 bits by the mu-law."""
    band = butter(6, TELEPHONE_BAND, "bandpass", output="sos", fs=TELEPHONE_RATE)
    narrow = sosfilt(band, _resample(wave, sample_rate, TELEPHONE_RATE))
    heard = decode(encode(narrow, TELEPHONE_RATE, "pcm_mulaw", "wav"))
    return _fitted(_resample(heard, TELEPHONE_RATE, sample_rate), wave)


def mp3(wave: np.ndarray, sample_rate: int, bit_rate: int) -> np.ndarray:
    """What is left of a voice that was an MP3 of so many bits a second (LAME's, one channel)."""
    at_its_rate = _resample(wave, sample_rate, MP3_RATE)
    heard = decode(encode(at_its_rate, MP3_RATE, "libmp3lame", "mp3", bit_rate))
    return _fitted(_resample(heard, MP3_RATE, sample_rate), wave)


def encode(
    wave: np.ndarray, sample_rate: int, codec: str, container: str, bit_rate: int = 0
) -> bytes:
    """A file with a wave [samples], by the names of FFmpeg; beyond [-1, 1] it is cut off."""
    file = io.BytesIO()
    samples = wave[None].clip(-1, 1).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = sample_rate
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=sample_rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        if bit_rate:
            stream.bit_rate = bit_rate
        for part in (frame, None):
            out.mux(stream.encode(part))
    return file.getvalue()


def decode(content: bytes) -> np.ndarray:
    """The wave float32 [samples] of a file that `encode` has made."""
    to_float = av.AudioResampler(format="fltp")
    with av.open(io.BytesIO(content), "r") as file:
        frames = [part for frame in file.decode(audio=0) for part in to_float.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames])


def gain(wave: np.ndarray, sample_rate: int, decibels: float) -> np.ndarray:
    """The same, louder or quieter."""
    return (wave * 10 ** (decibels / 20)).astype(np.float32)


def reverberation(wave: np.ndarray, sample_rate: int) -> np.ndarray:
    """The voice in a room, as loud as before: what is reflected has the power of what is direct.

    The response of the room is noise that decays exponentially, by 60 dB in `REVERBERATION` s.

    Source: J. D. Polack, La transmission de l'energie sonore dans les salles (1988).
    """
    times = np.arange(1, round(REVERBERATION * sample_rate)) / sample_rate
    tail = _generator(wave).normal(size=len(times)) * 10 ** (-3 * times / REVERBERATION)
    response = np.concatenate([[1], tail / np.linalg.norm(tail)])
    heard = fftconvolve(wave, response)[: len(wave)]
    return (heard * np.sqrt(_power(wave) / _power(heard))).astype(np.float32)


def dark(faces: np.ndarray) -> np.ndarray:
    """Faces uint8 [N, S, S, 3] with a quarter of their brightness."""
    return faces // 4


def blurred(faces: np.ndarray) -> np.ndarray:
    """Faces out of focus: a Gaussian with a standard deviation of 1/32 of their width."""
    return np.stack([cv2.GaussianBlur(face, (0, 0), face.shape[1] / 32) for face in faces])


def covered(faces: np.ndarray, lower: bool) -> np.ndarray:
    """Faces of which half is grey: the lower, as by a mask or a hand, or else the upper."""
    half = faces.shape[1] // 2
    hidden = faces.copy()
    hidden[:, slice(half, None) if lower else slice(half)] = GREY
    return hidden


SOUNDS: dict[str, Sound] = {
    "noise_20": partial(noise, snr=20.0),
    "noise_10": partial(noise, snr=10.0),
    "noise_0": partial(noise, snr=0.0),
    "telephone": telephone,
    "mp3_16": partial(mp3, bit_rate=16_000),
    "quiet": partial(gain, decibels=-20.0),
    "reverberation": reverberation,
}
FACES: dict[str, Face] = {
    "dark": dark,
    "blurred": blurred,
    "covered_lower": partial(covered, lower=True),
    "covered_upper": partial(covered, lower=False),
}


def _generator(wave: np.ndarray) -> np.random.Generator:
    return np.random.default_rng(list(hashlib.sha256(wave.tobytes()).digest()))


def _power(wave: np.ndarray) -> float:
    return float(np.square(wave, dtype=np.float64).mean())


def _resample(wave: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    common = gcd(rate_in, rate_out)
    return resample_poly(wave.astype(np.float64), rate_out // common, rate_in // common)


def _fitted(wave: np.ndarray, like: np.ndarray) -> np.ndarray:
    """As float32 and as long as another, by silence at the end or without what is beyond."""
    return np.pad(wave, (0, max(0, len(like) - len(wave))))[: len(like)].astype(np.float32)
