"""The synthesised voices: pitch, formants, loudness and tilt are what was asked for."""

from dataclasses import astuple, replace

import librosa
import numpy as np
import pytest

from stages.synthesis.voice import (
    DELIVERIES,
    NEUTRAL_LEVEL,
    PHONES,
    SAMPLE_RATE,
    SENTENCES,
    VOICES,
    Delivery,
    make_sentence,
    make_voice,
    speak,
    vary,
)

FLAT = Delivery(span=0, slope=0, final=0, jitter=0, stress=0)


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def spectrum(speech: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and the long-term average spectrum in dB."""
    power = (np.abs(librosa.stft(speech, n_fft=1024)) ** 2).mean(axis=1)
    return librosa.fft_frequencies(sr=SAMPLE_RATE, n_fft=1024), 10 * np.log10(power)


def tilt(speech: np.ndarray) -> float:
    """dB of the band 2 to 5 kHz over the band below 1 kHz."""
    hertz, decibels = spectrum(speech)
    power = 10 ** (decibels / 10)
    high = power[(hertz > 2000) & (hertz < 5000)].sum()
    return float(10 * np.log10(high / power[hertz < 1000].sum()))


def test_every_sentence_can_be_said():
    for sentence in SENTENCES:
        assert {phone.rstrip("1") for phone in sentence.split()} <= set(PHONES)
        seconds = speak(VOICES["F1"], DELIVERIES["neutral"], sentence, rng(0)).size / SAMPLE_RATE
        assert 1.0 < seconds < 2.5


def test_the_same_seed_gives_the_same_samples():
    first, second, other = (
        speak(VOICES["F1"], DELIVERIES["anger"], SENTENCES[0], rng(seed)) for seed in (1, 1, 2)
    )
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("name", VOICES)
@pytest.mark.parametrize("semitones", [-3.0, 0.0, 6.0])
def test_the_measured_pitch_is_the_pitch_asked_for(name, semitones):
    voice = VOICES[name]
    speech = speak(voice, replace(FLAT, pitch=semitones), SENTENCES[0], rng(0))
    f0, voiced, _ = librosa.pyin(speech, fmin=60, fmax=500, sr=SAMPLE_RATE, frame_length=4096)
    asked = voice.pitch * 2 ** (semitones / 12)
    assert voiced.mean() > 0.5
    assert abs(12 * np.log2(np.nanmedian(f0) / asked)) < 0.35


def test_the_span_widens_the_pitch_range():
    ranges = []
    for span in (0.0, 3.0, 8.0):
        speech = speak(VOICES["M1"], replace(FLAT, span=span), SENTENCES[0], rng(0))
        f0, _, _ = librosa.pyin(speech, fmin=60, fmax=500, sr=SAMPLE_RATE, frame_length=4096)
        ranges.append(12 * np.log2(np.nanpercentile(f0, 95) / np.nanpercentile(f0, 10)))
    assert ranges[0] < 1 < ranges[1] < ranges[2]


def test_a_shorter_tract_shifts_the_spectral_envelope_up():
    # A steady vowel with a low pitch, so that the harmonics sample the envelope finely.
    voice = replace(VOICES["M1"], pitch=60.0, jitter=0.0)
    envelopes = []
    for tract in (1.0, 1.15):
        speech = speak(replace(voice, tract=tract), FLAT, "EH1 EH EH EH", rng(0))
        hertz, decibels = spectrum(speech)
        smooth = np.convolve(decibels, np.hanning(5) / np.hanning(5).sum(), mode="same")
        octaves = np.log2(4000 / 300) * np.linspace(0, 1, 400)
        envelopes.append(np.interp(300 * 2**octaves, hertz, smooth))
    low, high = (envelope - np.polyval(np.polyfit(range(400), envelope, 1), range(400))
                 for envelope in envelopes)  # fmt: skip
    step = octaves[1]
    lags = np.arange(-60, 61)
    match = [np.corrcoef(low[60:-60], high[60 + lag : 340 + lag])[0, 1] for lag in lags]
    assert 2 ** (lags[int(np.argmax(match))] * step) == pytest.approx(1.15, abs=0.05)


def test_the_level_is_what_was_asked_for():
    for level in (-10.0, 0.0, 10.0):
        voice = replace(VOICES["F2"], level=1.0)
        speech = speak(voice, replace(FLAT, level=level), SENTENCES[2], rng(0))
        measured = 10 * np.log10(np.mean(speech.astype(float) ** 2))
        assert measured == pytest.approx(NEUTRAL_LEVEL + 1.0 + level, abs=0.3)


def test_anger_is_louder_and_brighter_than_sadness():
    level, slope = {}, {}
    for emotion in ("anger", "sadness"):
        said = [
            speak(voice, vary(DELIVERIES[emotion], rng(i)), SENTENCES[0], rng(i))
            for i, voice in enumerate(VOICES.values())
        ]
        level[emotion] = np.mean([10 * np.log10(np.mean(x**2)) for x in said])
        slope[emotion] = np.mean([tilt(x) for x in said])
    assert level["anger"] > level["sadness"] + 10
    assert slope["anger"] > slope["sadness"] + 5


def test_nothing_clips():
    loudest = replace(DELIVERIES["anger"], level=DELIVERIES["anger"].level + 1.0)
    for i in range(24):
        voice = make_voice(bool(i % 2), rng(i)) if i >= 4 else list(VOICES.values())[i]
        speech = speak(voice, loudest, SENTENCES[i % 6], rng(i))
        assert np.isfinite(speech).all()
        assert np.abs(speech).max() < 1


def test_no_two_voices_are_alike():
    voices = list(VOICES.values()) + [make_voice(bool(i % 2), rng(i)) for i in range(12)]
    said = [speak(voice, FLAT, "AA1 AA", rng(0)) for voice in voices]
    for i, first in enumerate(said):
        for second in said[:i]:
            shift = np.abs(spectrum(first)[1] - spectrum(second)[1])[:120]
            assert shift.mean() > 0.5


def test_vary_stays_near_the_emotion():
    varied = np.array([astuple(vary(DELIVERIES["fear"], rng(i))) for i in range(300)])
    np.testing.assert_allclose(varied.mean(axis=0), astuple(DELIVERIES["fear"]), atol=0.15)
    assert (varied.std(axis=0) > 0).all()


def test_made_sentences_are_different_and_can_be_said():
    sentences = {make_sentence(rng(i)) for i in range(24)}
    assert len(sentences) == 24
    for sentence in sentences:
        assert speak(VOICES["M2"], DELIVERIES["neutral"], sentence, rng(0)).size > SAMPLE_RATE / 2
