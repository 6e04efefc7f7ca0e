"""Each distortion does what its name says, measured."""

import numpy as np
import pytest
from scipy.signal import correlate, welch

from stages.distortion.distortions import (
    FACES,
    GREY,
    MP3_RATE,
    REVERBERATION,
    SOUNDS,
    encode,
    reverberation,
)
from stages.synthesis.voice import DELIVERIES, SAMPLE_RATE, make_sentence, make_voice, speak

RATES = (16_000, 44_100)


@pytest.fixture(scope="module", params=RATES)
def voice(request: pytest.FixtureRequest) -> tuple[np.ndarray, int]:
    """Speech of the embedded corpus, read as if it had been recorded at each rate."""
    rng = np.random.default_rng(0)
    wave = speak(make_voice(True, rng), DELIVERIES["anger"], make_sentence(rng), rng)
    assert SAMPLE_RATE == 44_100 and len(wave) > SAMPLE_RATE
    return wave.astype(np.float32), request.param


def power(wave: np.ndarray) -> float:
    return float(np.square(wave, dtype=np.float64).mean())


def decibels(wave: np.ndarray, other: np.ndarray) -> float:
    return 10 * np.log10(power(wave) / power(other))


def in_band(wave: np.ndarray, rate: int, low: float, high: float) -> float:
    frequencies, density = welch(wave.astype(np.float64), rate, nperseg=2048)
    return density[(frequencies >= low) & (frequencies < high)].sum() + 1e-30


@pytest.mark.parametrize("name", SOUNDS)
def test_a_voice_keeps_its_length_and_is_distorted_alike_each_time(
    name: str, voice: tuple[np.ndarray, int]
) -> None:
    wave, rate = voice
    before = wave.copy()
    heard = SOUNDS[name](wave, rate)
    assert heard.dtype == np.float32 and heard.shape == wave.shape
    assert np.isfinite(heard).all() and not np.array_equal(heard, wave)
    assert np.array_equal(heard, SOUNDS[name](wave.copy(), rate))
    assert np.array_equal(wave, before)


@pytest.mark.parametrize("name", SOUNDS)
@pytest.mark.parametrize("samples", [1, 2, 37, 1600])
def test_a_voice_of_a_few_samples_is_distorted_too(name: str, samples: int) -> None:
    wave = np.linspace(0.1, -0.2, samples, dtype=np.float32)
    heard = SOUNDS[name](wave, 16_000)
    assert heard.shape == wave.shape and np.isfinite(heard).all()


@pytest.mark.parametrize("snr", [20, 10, 0])
def test_noise_has_the_power_that_is_asked_and_the_spectrum_of_the_voice(
    snr: int, voice: tuple[np.ndarray, int]
) -> None:
    wave, rate = voice
    masker = SOUNDS[f"noise_{snr}"](wave, rate).astype(np.float64) - wave
    assert decibels(wave, masker) == pytest.approx(snr, abs=0.01)
    assert abs(np.corrcoef(wave, masker)[0, 1]) < 0.25  # a few harmonics have most of the power
    for low, high in ((100, 500), (500, 1500), (1500, 4000)):
        level = 10 * np.log10(in_band(wave, rate, low, high) / in_band(masker, rate, low, high))
        assert level == pytest.approx(snr, abs=1.5)
    thirds = [power(part) for part in np.array_split(masker, 3)]
    assert max(thirds) < 1.5 * min(thirds)  # stationary, which the voice is not


def test_two_clips_have_noise_of_their_own(voice: tuple[np.ndarray, int]) -> None:
    wave, rate = voice
    other = wave.copy()
    other[0] += 0.001
    maskers = [SOUNDS["noise_0"](of, rate) - of for of in (wave, other)]
    assert abs(np.corrcoef(*maskers)[0, 1]) < 0.25


def test_a_telephone_leaves_300_to_3400_hz_in_256_steps() -> None:
    rate = 44_100
    white = (0.1 * np.random.default_rng(0).normal(size=2 * rate)).astype(np.float32)
    heard = SOUNDS["telephone"](white, rate)

    def kept(low: float, high: float) -> float:
        return 10 * np.log10(in_band(heard, rate, low, high) / in_band(white, rate, low, high))

    assert kept(500, 3000) == pytest.approx(0, abs=1)
    assert kept(0, 150) < -25 and kept(4500, 20_000) < -40
    at_8_khz = SOUNDS["telephone"](white, 8_000)
    assert len(np.unique(at_8_khz)) <= 256


def test_an_mp3_has_16_kbit_a_second_and_is_what_is_heard(voice: tuple[np.ndarray, int]) -> None:
    wave, rate = voice
    long = np.tile(wave, 10)
    seconds = len(long) / MP3_RATE
    # Its first frame tells how long it is.
    file = encode(long, MP3_RATE, "libmp3lame", "mp3", 16_000)
    assert 8 * len(file) / seconds == pytest.approx(16_000, rel=0.02)
    heard = SOUNDS["mp3_16"](wave, rate)
    lag = correlate(heard.astype(np.float64), wave.astype(np.float64)).argmax() - len(wave) + 1
    assert abs(lag) <= 1  # the samples with which the codec primes itself are cut
    assert np.corrcoef(heard, wave)[0, 1] > 0.9
    assert 5 < decibels(wave, heard - wave) < 30


def test_quiet_is_20_db_less(voice: tuple[np.ndarray, int]) -> None:
    wave, rate = voice
    assert decibels(SOUNDS["quiet"](wave, rate), wave) == pytest.approx(-20, abs=1e-4)


@pytest.mark.parametrize("rate", RATES)
def test_a_room_is_60_db_quieter_after_its_reverberation_time(rate: int) -> None:
    impulse = np.zeros(2 * rate, np.float32)
    impulse[0] = 1
    tail = reverberation(impulse, rate)[1:].astype(np.float64)
    assert np.square(tail).sum() == pytest.approx(reverberation(impulse, rate)[0] ** 2, rel=0.01)
    left = 10 * np.log10(np.square(tail)[::-1].cumsum()[::-1] / np.square(tail).sum() + 1e-30)
    from_5, to_25 = (int(np.argmax(left < -level)) for level in (5, 25))  # T20, after Schroeder
    assert 3 * (to_25 - from_5) / rate == pytest.approx(REVERBERATION, rel=0.05)


def test_a_voice_in_a_room_is_as_loud_as_before(voice: tuple[np.ndarray, int]) -> None:
    wave, rate = voice
    heard = reverberation(wave, rate)
    assert decibels(heard, wave) == pytest.approx(0, abs=0.001)
    assert np.corrcoef(heard, wave)[0, 1] < 0.9


@pytest.fixture(scope="module")
def faces() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (3, 224, 224, 3), np.uint8)


@pytest.mark.parametrize("name", FACES)
def test_faces_keep_their_shape_and_none_is_touched(name: str, faces: np.ndarray) -> None:
    before = faces.copy()
    seen = FACES[name](faces)
    assert seen.dtype == np.uint8 and seen.shape == faces.shape
    assert np.array_equal(faces, before) and np.array_equal(seen, FACES[name](faces))


def test_dark_faces_have_a_quarter_of_the_brightness(faces: np.ndarray) -> None:
    assert FACES["dark"](faces).mean() == pytest.approx(faces.mean() / 4, abs=0.5)


def test_blurred_faces_are_as_bright_and_have_no_detail(faces: np.ndarray) -> None:
    seen = FACES["blurred"](faces)
    assert seen.mean() == pytest.approx(faces.mean(), abs=1)
    assert seen.std() < 0.1 * faces.std()
    edge = np.zeros((1, 224, 224, 3), np.uint8)
    edge[:, :, 112:] = 255
    across = FACES["blurred"](edge)[0, 100, :, 0]
    width = np.argmax(across > 255 * 0.84) - np.argmax(across > 255 * 0.16)
    assert width == pytest.approx(2 * 224 / 32, abs=1.5)  # from -1 to 1 standard deviation


@pytest.mark.parametrize("name, hidden", [("covered_lower", "lower"), ("covered_upper", "upper")])
def test_half_of_a_covered_face_is_grey(name: str, hidden: str, faces: np.ndarray) -> None:
    seen = FACES[name](faces)
    upper, lower = (slice(None, 112), slice(112, None))
    grey, open_ = (lower, upper) if hidden == "lower" else (upper, lower)
    assert (seen[:, grey] == GREY).all() and np.array_equal(seen[:, open_], faces[:, open_])
