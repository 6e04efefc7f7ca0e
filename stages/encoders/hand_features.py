"""Hand-made features of the voice averaged over time, and those of copies to train on: TF-Mix's.

MFCCs, the log-Mel spectrogram, the rate of zero crossings, the chroma and the RMS: 162 numbers a
clip. Any system may use them; `system: tf_mix` also learns from the copies.

Paper: Wang et al., "TF-Mix", Applied Acoustics 218, 2024, fuses several hand-made features of
augmented voices; there is no public code, and its text was not at hand. Which features, that they
are averaged, and white noise, pitch shift and time stretch are those of a close relative with an
open text: R. Ahmed et al., arXiv:2112.05666. Not known are all sizes and amounts: here librosa's
defaults at 16 kHz (93 ms windows become 128 ms), noise 20 dB below the voice, a shift by up to two
semitones and a stretch to 0.8 to 1.25 of the rate, both drawn evenly from the clip's own samples.

Licence: this file is all there is to it (MIT).
"""

import hashlib
from importlib.metadata import version

import numpy as np

from stages.encoders.speech import SAMPLE_RATE, Encoded, SpeechEncoder

NAME = "hand_features"
N_FFT, HOP = 2048, 512
DIM = 20 + 128 + 1 + 12 + 1  # MFCCs, log-Mel, zero crossings, chroma, RMS
NOISE = 0.1  # of the RMS of the voice: 20 dB below it
SEMITONES = 2.0
STRETCH = 1.25
SHORTEST = round(N_FFT * STRETCH)  # the stretched copy then has one window


def load() -> SpeechEncoder:
    """The features as the pooled vector [162]; with those of three copies as a sequence [4, 162].

    Row 0 is the clip as it is, row 1 with white noise, row 2 shifted in pitch, row 3 stretched.
    """
    libraries = ", ".join(f"{name} {version(name)}" for name in ("librosa", "soxr"))
    return SpeechEncoder(NAME, f"{NAME} 1, {libraries}", "MIT", DIM, SHORTEST, encode)


def encode(wave: np.ndarray) -> Encoded:
    """Of float32 [samples], at least `SHORTEST`: of one clip always the same copies."""
    rows = np.stack([features(copy) for copy in (wave, *copies(wave))])
    return Encoded(rows[0].astype(np.float32), rows.astype(np.float16))


def features(wave: np.ndarray) -> np.ndarray:
    """The averages over time [162] of a clip float32 [samples]."""
    from librosa import feature, power_to_db, stft  # which takes seconds to load

    power = np.abs(stft(wave, n_fft=N_FFT, hop_length=HOP)) ** 2
    mel = power_to_db(feature.melspectrogram(S=power, sr=SAMPLE_RATE))
    over_time = (
        feature.mfcc(S=mel),
        mel,
        feature.zero_crossing_rate(wave, frame_length=N_FFT, hop_length=HOP),
        # Tuned to A 440: what a voice is tuned to is no property of music.
        feature.chroma_stft(S=power, sr=SAMPLE_RATE, tuning=0),
        feature.rms(y=wave, frame_length=N_FFT, hop_length=HOP),
    )
    return np.concatenate([values.mean(1) for values in over_time])


def copies(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A clip float32 [samples] with white noise, shifted in pitch, and stretched.

    What is drawn follows from the samples alone.
    """
    from librosa import effects

    random = np.random.default_rng(list(hashlib.sha256(wave.tobytes()).digest()))
    noise = random.normal(0, NOISE * np.sqrt(np.mean(wave**2)), len(wave))
    steps = random.uniform(-SEMITONES, SEMITONES)
    rate = STRETCH ** random.uniform(-1, 1)
    return (
        wave + noise.astype(np.float32),
        effects.pitch_shift(wave, sr=SAMPLE_RATE, n_steps=steps),
        effects.time_stretch(wave, rate=rate),
    )
