"""The sound of a clip: level, pitch, length and place in time, whatever the file's format."""

import struct
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.signal import resample_poly

from stages.media.audio import check_speech, read_audio
from stages.media.probe import probe, probe_duration
from stages.runtime.errors import ClipError, UserError
from tests.media_files import (
    add_cover,
    corpora,
    cut_by_edit_list,
    sine,
    with_sizes,
    write_sound,
    write_video,
)

RATE = 16000


def code_of(call, *arguments, **keywords) -> str:
    with pytest.raises(ClipError) as caught:
        call(*arguments, **keywords)
    return caught.value.code


def voice(rate: int, seconds: float = 1.0) -> np.ndarray:
    """Three sines below 4 kHz that swell and fade: float32 [1, samples]."""
    tones = sum(sine(f, seconds, rate, 0.2) for f in (220.0, 1000.0, 3100.0))
    return tones * np.hanning(tones.shape[1]).astype(np.float32)


@pytest.mark.parametrize(
    ("rate", "codec", "tolerance"),
    [
        (8000, "pcm_s16le", 1e-3),
        (11025, "pcm_s16le", 1e-3),
        (16000, "pcm_u8", 1e-2),
        (22050, "pcm_s24le", 1e-3),
        (44100, "pcm_s32le", 1e-3),
        (48000, "pcm_f32le", 1e-3),
        (96000, "pcm_f64le", 1e-3),
        (48000, "pcm_s64le", 1e-3),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_all_formats_agree_with_16_bit_mono(
    tmp_path: Path, rate: int, codec: str, tolerance: float, channels: int
):
    reference = read_audio(write_sound(tmp_path / "reference.wav", voice(RATE), RATE), RATE)
    sound = np.repeat(voice(rate), channels, axis=0)
    wave = read_audio(write_sound(tmp_path / "a.wav", sound, rate, codec), RATE)
    assert wave.dtype == np.float32 and wave.shape == (RATE,)
    np.testing.assert_allclose(wave, reference, atol=tolerance)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000, 96000])
def test_sine_keeps_its_pitch_level_and_phase(tmp_path: Path, rate: int):
    path = write_sound(tmp_path / "a.wav", sine(440, 1.0, rate), rate, "pcm_f32le")
    wave = read_audio(path, RATE)
    assert abs(len(wave) - RATE) <= 1
    middle = slice(500, -500)  # the ends ring: the sine begins and ends at once
    np.testing.assert_allclose(wave[middle], sine(440, 1.0, RATE)[0][middle], atol=1e-4)
    np.testing.assert_allclose(wave, sine(440, 1.0, RATE)[0], atol=0.2)


def test_nothing_folds_down_from_above_half_the_rate(tmp_path: Path):
    wave = read_audio(write_sound(tmp_path / "a.wav", sine(9600, 1.0, 48000), 48000), RATE)
    assert np.abs(wave[500:-500]).max() < 1e-3


def test_resampling_agrees_with_another_resampler(tmp_path: Path):
    wave = voice(48000)
    path = write_sound(tmp_path / "a.wav", wave, 48000, "pcm_f32le")
    np.testing.assert_allclose(read_audio(path, RATE), resample_poly(wave[0], 1, 3), atol=1e-3)


def test_channels(tmp_path: Path):
    two = np.concatenate([sine(440, 0.5, RATE, 0.6), sine(440, 0.5, RATE, 0.2)])
    path = write_sound(tmp_path / "two.wav", two, RATE, "pcm_f32le")
    for surround in ("mean", "centre"):
        wave = read_audio(path, RATE, surround)
        np.testing.assert_allclose(wave, sine(440, 0.5, RATE, 0.4)[0], atol=1e-6)
    six = np.zeros((6, RATE // 2), np.float32)
    six[2] = sine(440, 0.5, RATE, 0.6)  # left, right, centre, ...
    path = write_sound(tmp_path / "six.wav", six, RATE, "pcm_f32le")
    np.testing.assert_allclose(read_audio(path, RATE, "centre"), six[2], atol=1e-6)
    np.testing.assert_allclose(read_audio(path, RATE), six[2] / 6, atol=1e-6)


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_f32le", "aac", "flac"])
@pytest.mark.parametrize("inverted", [-1.0, -0.9, -1.1])
def test_a_channel_that_is_the_negative_of_another_does_not_cancel_it(
    tmp_path: Path, codec: str, inverted: float
):
    one = sine(180, 1, 48000, 0.3)
    for others in ([inverted], [0.0, 0.0, 0.0, 0.0, inverted]):
        sound = np.concatenate([one, *(one * other for other in others)])
        path = write_sound(tmp_path / "a.mkv", sound, 48000, codec)
        wave = read_audio(path, RATE)[500:-1500]
        assert 0.28 < np.abs(wave).max() < 0.36
        check_speech(wave, RATE, 0.5)


@pytest.mark.parametrize("name", ["a.mkv", "a.mp4"])
@pytest.mark.parametrize(
    "marked, frequency", [([0, 1], 1000), ([1, 0], 200), ([0, 0], 200), ([0, 1, 1], 1000)]
)
def test_of_several_audio_tracks_the_default_counts(
    tmp_path: Path, name: str, marked: list[int], frequency: int
):
    with av.open(str(tmp_path / name), "w") as container:
        streams = [container.add_stream("aac", rate=RATE, layout="mono") for _ in marked]
        for stream, default in zip(streams, marked):
            stream.disposition = av.stream.Disposition(default)
        for stream, tone in zip(streams, (200, 1000, 3000)):
            frame = av.AudioFrame.from_ndarray(sine(tone, 1, RATE), "fltp", "mono")
            frame.sample_rate = RATE
            container.mux([*stream.encode(frame), *stream.encode()])
    with av.open(str(tmp_path / name)) as container:
        found = [stream.disposition & 1 for stream in container.streams]
    if found != marked:
        return  # mp4 marks one where none is
    wave = read_audio(tmp_path / name, RATE)[:RATE]
    assert abs(np.abs(np.fft.rfft(wave)).argmax() - frequency) < 5
    assert probe(tmp_path / name, ["audio"])["audio"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.flv"])
def test_sound_of_a_clip_is_aligned_with_its_time(tmp_path: Path, name: str):
    sound = np.zeros((1, 48000), np.float32)
    sound[0, 24000:24480] = sine(1000, 0.01, 48000, 0.9)
    wave = read_audio(write_video(tmp_path / name, frames=25, b_frames=2, voice=sound), RATE)
    assert abs(len(wave) / RATE - 1.0) < 0.1
    assert abs(np.abs(wave).argmax() / RATE - 0.505) < 0.04  # one frame of 25 a second


def test_sound_that_begins_later_is_preceded_by_zeros(tmp_path: Path):
    path = tmp_path / "a.mkv"
    late = np.concatenate([np.zeros((1, 4800)), sine(440, 1.0, 48000)], axis=1)
    write_video(path, frames=30, voice=late, voice_from=4800)
    wave = read_audio(path, RATE)
    assert np.abs(wave[:1200]).max() == 0.0
    assert np.abs(wave[2000:4000]).max() > 0.4


@pytest.mark.parametrize("seconds", [0.15, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
@pytest.mark.parametrize(
    "name, codec",
    [
        ("a.mp3", "libmp3lame"),
        ("a.mkv", "libmp3lame"),
        ("a.m4a", "aac"),
        ("a.mkv", "aac"),
        ("a.mka", "mp2"),
        ("a.mkv", "wavpack"),
        ("a.webm", "libopus"),
    ],
)
def test_what_a_codec_primes_itself_with_is_not_missing(
    tmp_path: Path, name: str, codec: str, rate: int, seconds: float
):
    if rate == 8000 and codec == "mp2" or rate < 48000 and codec == "libopus":
        return  # a rate that the codec does not have, or the container not its delay
    path = write_sound(tmp_path / name, sine(180, seconds, rate), rate, codec)
    assert seconds - 0.03 < len(read_audio(path, RATE)) / RATE < seconds + 0.3
    assert not isinstance(probe(path, ["audio"])["audio"], ClipError)


def test_what_an_edit_list_leaves_out_is_not_missing(tmp_path: Path):
    sound = sine(180, 4, 48000) * np.linspace(0, 1, 4 * 48000, dtype=np.float32)
    clip = write_video(tmp_path / "a.mp4", 100, keyframe_every=100, voice=sound)
    cut = cut_by_edit_list(clip, 20, 60)  # from 0.8 s to 2.4 s
    wave = read_audio(cut, RATE)
    assert len(wave) / RATE == pytest.approx(1.6, abs=0.05)
    np.testing.assert_allclose(wave[1000:24000], read_audio(clip, RATE)[13800:36800], atol=2e-3)
    assert probe(cut, ["audio", "video"]) == {
        "audio": pytest.approx(1.6, abs=0.05),
        "video": pytest.approx(1.6, abs=0.05),
    }
    # The file may drop half of itself, and still half of the rest be missing.
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 5])
    assert code_of(read_audio, cut, RATE) in ("truncated", "unreadable")


@pytest.mark.parametrize(
    "name, codec, rate",
    [
        ("adts.aac", "aac", 16000),
        ("memo.caf", "pcm_s16be", 16000),
        ("memo.caf", "alac", 16000),
        ("old.au", "pcm_s16be", 16000),
        ("a.snd.au", "pcm_mulaw", 16000),
        ("a.tta", "tta", 16000),
        ("a.wv", "wavpack", 16000),
        ("a.ac3", "ac3", 48000),
        ("a.eac3", "eac3", 48000),
        ("a.mp2", "mp2", 48000),
        ("a.g722", "g722", 16000),
        ("a.voc", "pcm_s16le", 16000),
        ("a.sox", "pcm_s32le", 16000),
        ("a.nut", "pcm_s16le", 16000),
        ("a.w64", "pcm_s16le", 16000),
        ("a.aifc", "pcm_s16be", 16000),
        ("a.opus", "libopus", 48000),
    ],
)
def test_what_recorders_and_archives_write_is_read(
    tmp_path: Path, name: str, codec: str, rate: int
):
    path = write_sound(tmp_path / name, sine(180, 2, rate), rate, codec)
    assert len(read_audio(path, RATE)) / RATE == pytest.approx(2, abs=0.12)
    assert probe(path, ["audio"])["audio"] == pytest.approx(2, abs=0.15)
    assert probe_duration(path) == pytest.approx(2, abs=0.15)


def test_sphere_and_amr_are_read_whatever_they_are_called(tmp_path: Path):
    wave = np.round(32767 * sine(180, 2, RATE)[0]).astype("<i2").tobytes()
    head = (
        "NIST_1A\n   1024\nsample_count -i 32000\nsample_n_bytes -i 2\nchannel_count -i 1\n"
        "sample_byte_format -s2 01\nsample_rate -i 16000\nsample_coding -s3 pcm\nend_head\n"
    )
    path = tmp_path / "sphere.wav"
    path.write_bytes(head.encode().ljust(1024, b"\n") + wave)
    assert len(read_audio(path, RATE)) == 2 * RATE and probe_duration(path) == 2.0
    path.write_bytes(path.read_bytes()[:40_000])
    assert code_of(read_audio, path, RATE) == "truncated"
    # 20 ms a frame, in the mode of 12.2 kbit/s; what they hold does not matter here.
    frames = np.random.default_rng(0).integers(0, 256, (100, 31), np.uint8)
    (tmp_path / "phone.amr").write_bytes(b"#!AMR\n" + b"".join(b"\x3c" + bytes(f) for f in frames))
    assert len(read_audio(tmp_path / "phone.amr", RATE)) == 2 * RATE


@pytest.mark.parametrize(
    "content, name",
    [
        (b"ffconcat version 1.0\nfile other.wav\n", "concat"),
        (b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n", "sdp"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "png_pipe"),
        (b"1\n00:00:00,000 --> 00:00:01,000\nhello\n\n", "srt"),
    ],
)
def test_a_format_that_holds_no_clips_is_named_with_the_remedy(
    tmp_path: Path, content: bytes, name: str
):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(ClipError) as caught:
        read_audio(tmp_path / "a.wav", RATE)
    assert caught.value.detail == (
        f"not a media file that can be read: its format {name} is none of those that hold clips; "
        "convert it to wav or mp4"
    )


def test_files_that_cannot_be_used(tmp_path: Path):
    assert code_of(read_audio, write_video(tmp_path / "mute.mp4"), RATE) == "no_audio"
    for content in (b"", b"<html>"):
        (tmp_path / "a.wav").write_bytes(content)
        assert code_of(read_audio, tmp_path / "a.wav", RATE) == "unreadable"
        assert probe_duration(tmp_path / "a.wav") is None
    assert code_of(read_audio, tmp_path / "missing.wav", RATE) == "unreadable"
    (tmp_path / "a.wav").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    for call in (lambda path: read_audio(path, RATE), probe_duration):
        with pytest.raises(UserError, match="git lfs pull"):
            call(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "a.mkv", "a.flac"])
@pytest.mark.parametrize("share", [0.5, 0.85])
def test_cut_files_are_truncated(tmp_path: Path, name: str, share: float):
    path = tmp_path / name
    if name in ("a.wav", "a.flac"):
        write_sound(path, voice(RATE, 3.0), RATE, "flac" if name == "a.flac" else "pcm_s16le")
    else:
        write_video(path, frames=75, voice=voice(48000, 3.0))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert code_of(read_audio, path, RATE) == "truncated"


PLACEHOLDERS = [
    (0x7FFFF024, 0x7FFFF000),  # sox
    (0x80000024, 0x80000000),  # arecord
    (0x7FFFFFFF, 0x7FFFFFFF),  # oboe
    (0xFFFFFFFF, 0xFFFFFFFF),  # ffmpeg
    (0, 0),
    (64_036 + (1 << 24), 64_000),  # only the first is wrong
    (0, 64_000),
    (64_036, 9_600),  # only the second, which is too small
]


@pytest.mark.parametrize("riff, data", PLACEHOLDERS)
def test_a_wav_with_a_placeholder_in_its_header_is_read_whole(tmp_path: Path, riff: int, data: int):
    path = write_sound(tmp_path / "a.wav", sine(180, 2, RATE), RATE)
    expected = read_audio(path, RATE)
    # Without what follows the samples, as who writes to a pipe writes nothing there.
    path.write_bytes(path.read_bytes()[: path.read_bytes().index(b"data") + 8 + 4 * RATE])
    with_sizes(path, riff, data)
    np.testing.assert_array_equal(read_audio(path, RATE), expected)
    assert probe(path, ["audio"]) == {"audio": 2.0} and probe_duration(path) == 2.0


@pytest.mark.parametrize("riff", [128_036, 0x7FFFF024])
def test_a_wav_cut_before_the_end_of_its_samples_is_truncated(tmp_path: Path, riff: int):
    path = with_sizes(write_sound(tmp_path / "a.wav", sine(180, 2, RATE), RATE), riff, 128_000)
    assert code_of(read_audio, path, RATE) == "truncated"


@pytest.mark.parametrize(
    "after", [bytes(60_000), b"LIST" + struct.pack("<I", 60_000) + b"x" * 60_000]
)
def test_what_follows_the_samples_of_a_wav_is_not_read(tmp_path: Path, after: bytes):
    path = write_sound(tmp_path / "a.wav", sine(180, 1, RATE), RATE)
    expected = read_audio(path, RATE)
    path.write_bytes(path.read_bytes() + after)
    np.testing.assert_array_equal(read_audio(path, RATE), expected)


def test_an_aiff_with_a_placeholder_in_its_header_is_read_whole(tmp_path: Path):
    path = write_sound(tmp_path / "a.aiff", sine(180, 2, RATE), RATE, "pcm_s16be")
    expected, content = read_audio(path, RATE), bytearray(path.read_bytes())
    for chunk, place, value in [
        (b"FORM", 4, 0x7F00002E),
        (b"COMM", 10, 0x3F800000),
        (b"SSND", 4, 0x7F000008),
    ]:
        struct.pack_into(">I", content, content.index(chunk) + place, value)
    path.write_bytes(content)
    np.testing.assert_array_equal(read_audio(path, RATE), expected)
    assert probe_duration(path) == 2.0
    struct.pack_into(">I", content, content.index(b"COMM") + 10, 4 * RATE)
    path.write_bytes(content)
    assert code_of(read_audio, path, RATE) == "truncated"


def test_a_duration_that_is_only_guessed_promises_nothing(tmp_path: Path):
    def mp3(seconds: float, bit_rate: int) -> bytes:
        path = tmp_path / "part.mp3"
        with av.open(
            str(path), "w", options={"write_xing": "0", "id3v2_version": "0"}
        ) as container:
            stream = container.add_stream("libmp3lame", rate=RATE, layout="mono")
            stream.bit_rate = bit_rate
            frame = av.AudioFrame.from_ndarray(sine(180, seconds, RATE), "fltp", "mono")
            frame.sample_rate = RATE
            container.mux([*stream.encode(frame), *stream.encode()])
        return path.read_bytes()

    path = tmp_path / "a.mp3"
    path.write_bytes(mp3(0.3, 8_000) + mp3(3, 160_000))
    with av.open(str(path)) as container:
        assert container.duration > 3.9e6
    assert len(read_audio(path, RATE)) / RATE == pytest.approx(3.5, abs=0.1)
    assert probe_duration(path) == pytest.approx(3.5, abs=0.1)
    add_cover(path, 100)
    assert probe_duration(path) == pytest.approx(3.5, abs=0.1)


def test_too_long_is_too_large(tmp_path: Path):
    path = write_sound(tmp_path / "a.wav", voice(RATE, 2.0), RATE)
    assert code_of(read_audio, path, RATE, max_seconds=1.9) == "too_large"
    assert len(read_audio(path, RATE, max_seconds=2.1)) == 2 * RATE


def write_wav(path: Path, rate: int, channels: int, samples: int) -> Path:
    """A wav file of any rate and number of channels: the same sine in each of them."""
    wave = np.repeat(sine(440, samples / RATE, RATE)[0, :, None], channels, axis=1)
    data = np.round(32767 * wave).astype("<i2").tobytes()
    form = struct.pack(
        "<HHIIHH", 1, channels, rate, rate * channels * 2 % 2**32, channels * 2 % 2**16, 16
    )
    head = b"RIFF" + struct.pack("<I", 36 + len(data)) + b"WAVEfmt " + struct.pack("<I", 16)
    path.write_bytes(head + form + b"data" + struct.pack("<I", len(data)) + data)
    return path


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2**31 - 1])
def test_a_sample_rate_that_no_recorder_has_is_unreadable(tmp_path: Path, rate: int):
    path = write_wav(tmp_path / "a.wav", rate, 1, 500)
    with pytest.raises(ClipError) as caught:
        read_audio(path, RATE)
    assert (caught.value.code, caught.value.detail) == (
        "unreadable",
        f"its sample rate is {rate} Hz",
    )


@pytest.mark.parametrize("samples", [1, 40])
def test_a_few_samples_at_the_highest_rate_are_too_short(tmp_path: Path, samples: int):
    wave = read_audio(write_wav(tmp_path / "a.wav", 768_000, 1, samples), RATE)
    assert code_of(check_speech, wave, RATE, 0.05) == "too_short"


@pytest.mark.parametrize("surround", ["mean", "centre"])
def test_64_channels_become_one(tmp_path: Path, surround: str):
    path = write_wav(tmp_path / "a.wav", RATE, 64, RATE)
    np.testing.assert_allclose(read_audio(path, RATE, surround), sine(440, 1, RATE)[0], atol=1e-4)


def test_sound_that_would_end_beyond_the_limit_is_too_large(tmp_path: Path):
    late = np.concatenate([np.zeros((1, 48000)), sine(440, 1.0, 48000)], axis=1)
    path = write_video(tmp_path / "a.mkv", frames=50, voice=late, voice_from=48000)
    assert len(read_audio(path, RATE, max_seconds=2.1)) > 1.9 * RATE
    assert code_of(read_audio, path, RATE, max_seconds=1.9) == "too_large"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_not_numbers_survive_to_the_check(tmp_path: Path, bad: float):
    sound = voice(48000)
    sound[0, 24000] = bad
    wave = read_audio(write_sound(tmp_path / "a.wav", sound, 48000, "pcm_f32le"), RATE)
    assert code_of(check_speech, wave, RATE, 0.05) == "nonfinite"


def test_check_speech():
    wave = voice(RATE)[0]
    check_speech(wave, RATE, 1.0)
    assert code_of(check_speech, wave, RATE, 1.01) == "too_short"
    assert code_of(check_speech, wave[:0], RATE, 0.0) == "too_short"
    assert code_of(check_speech, 0 * wave, RATE, 0.05) == "silent"
    assert code_of(check_speech, 1.5e-4 * wave, RATE, 0.05) == "silent"
    check_speech(1e-3 * wave, RATE, 0.05)


def test_real_clips_last_what_they_say_and_only_the_silent_are_silent():
    ravdess = corpora() / "ravdess"
    for path in [
        *sorted(ravdess.rglob("01-*.mp4"))[:2],
        *sorted(ravdess.rglob("03-*.wav"))[:2],
        *sorted(ravdess.rglob("02-*.mp4"))[:1],
    ]:
        wave = read_audio(path, RATE)
        assert len(wave) / RATE == pytest.approx(probe_duration(path), abs=0.05)
        if path.name.startswith("02-"):
            assert code_of(check_speech, wave, RATE, 0.05) == "silent"
        else:
            check_speech(wave, RATE, 0.05)
