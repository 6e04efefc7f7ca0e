"""The synthesised voices: pitch, formants and loudness are what was asked for."""

import numpy as np
import pytest
from scipy.signal import correlate, welch

from stages.synthesis.voice import (
    DELIVERIES,
    FRAME,
    SAMPLE_RATE,
    Delivery,
    Voice,
    make_sentence,
    make_voice,
    resonate,
    speak,
    vary,
)

FLAT = DELIVERIES["neutral"]._replace(span=0, slope=0, jitter=0, breath=-60)
MAN = Voice(pitch=116.0, tract=1.0)


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def spectrum(speech: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and the power of each."""
    return welch(speech, SAMPLE_RATE, nperseg=4096)


def say(delivery: Delivery, seed: int = 0, voice: Voice = MAN) -> np.ndarray:
    return speak(voice, delivery, make_sentence(rng(seed)), rng(seed))


@pytest.mark.parametrize("voice", [MAN, Voice(pitch=202.0, tract=1.14)])
@pytest.mark.parametrize("semitones", [-3.0, 0.0, 6.0])
def test_the_measured_pitch_is_the_pitch_asked_for(voice, semitones):
    speech = say(FLAT._replace(pitch=semitones), voice=voice)
    asked = voice.pitch * 2 ** (semitones / 12)
    similar = correlate(speech, speech, "full", "fft")[speech.size - 1 :]
    shortest = round(SAMPLE_RATE / asked / 1.5)
    period = shortest + similar[shortest : round(SAMPLE_RATE / asked * 1.5)].argmax()
    assert 12 * np.log2(SAMPLE_RATE / period / asked) == pytest.approx(0, abs=0.35)


@pytest.mark.parametrize("hertz", [500, 1500, 4500])
def test_a_resonator_passes_its_formant(hertz):
    noise = rng(0).standard_normal(400 * FRAME)
    frequencies, power = spectrum(resonate(noise, np.full((400, 1), hertz), [100]))
    assert frequencies[power.argmax()] == pytest.approx(hertz, abs=60)


def test_a_moving_resonator_does_not_click():
    """Of a low hum through a gliding formant nothing is heard high up, -60 dB."""
    hum = np.sin(2 * np.pi * 150 * np.arange(100 * FRAME) / SAMPLE_RATE)
    glide = np.linspace(400, 2400, 100)[:, None]
    frequencies, power = spectrum(resonate(hum, glide, [100]))
    assert power[frequencies > 5000].sum() < 1e-6 * power.sum()


def test_a_shorter_tract_moves_the_formants_up():
    long, short = (spectrum(say(FLAT, voice=Voice(60.0, tract))) for tract in (1.0, 1.3))
    octaves = np.geomspace(400, 4000, 200)
    envelopes = [np.interp(octaves, hertz, np.log(power)) for hertz, power in (long, short)]
    smooth = [np.convolve(e - e.mean(), np.hanning(9), "same") for e in envelopes]
    shifts = np.arange(-40, 41)
    match = [np.corrcoef(smooth[0][40:160], smooth[1][40 + s : 160 + s])[0, 1] for s in shifts]
    shift = shifts[int(np.argmax(match))]
    assert (octaves[1] / octaves[0]) ** shift == pytest.approx(1.3, abs=0.08)


def test_the_level_is_what_was_asked_for():
    for level in (-44.0, -34.0, -24.0):
        speech = say(FLAT._replace(level=level)).astype(float)
        assert 10 * np.log10(np.mean(speech**2)) == pytest.approx(level, abs=0.3)


def test_emotions_sound_as_the_literature_says():
    """Anger is louder and brighter than sadness, and sadness is slower than fear."""
    voiced = make_sentence(rng(1))
    voiced = voiced[voiced[:, 6] == 0]  # frication is bright, whatever the emotion
    said = {emotion: speak(MAN, d, voiced, rng(0)) for emotion, d in DELIVERIES.items()}
    level, bright = {}, {}
    for emotion, speech in said.items():
        hertz, power = spectrum(speech)
        level[emotion] = 10 * np.log10(power.sum())
        bright[emotion] = 10 * np.log10(power[hertz > 2000].sum() / power[hertz < 1000].sum())
    assert level["anger"] > level["sadness"] + 10
    assert bright["anger"] > bright["sadness"] + 5
    assert said["sadness"].size > 1.4 * said["fear"].size


def test_vary_stays_near_the_emotion():
    varied = np.array([vary(DELIVERIES["fear"], rng(i)) for i in range(300)])
    np.testing.assert_allclose(varied.mean(axis=0), DELIVERIES["fear"], atol=0.15)
    assert (varied.std(axis=0) > 0).all()


def test_nothing_clips():
    loudest = DELIVERIES["anger"]._replace(level=DELIVERIES["anger"].level + 1)
    for i in range(12):
        speech = say(loudest, i, make_voice(i % 2 == 0, rng(i)))
        assert np.isfinite(speech).all() and np.abs(speech).max() < 1


def test_no_two_voices_and_no_two_sentences_are_alike():
    assert len({make_voice(i % 2 == 0, rng(i)) for i in range(16)}) == 16
    assert len({make_sentence(rng(i)).tobytes() for i in range(30)}) == 30


def test_the_same_seed_gives_the_same_samples():
    first, second = say(DELIVERIES["anger"]), say(DELIVERIES["anger"])
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, second)
