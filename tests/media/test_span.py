"""A span of a file is read as a file of its own would be: its frames, its sound, its length."""

from math import inf
from pathlib import Path

import av
import numpy as np
import pytest

from stages.corpora.span import Span, span_of, used_part
from stages.media import container
from stages.media.audio import read_audio
from stages.media.container import span_length
from stages.media.headers import MAX_BYTES
from stages.media.probe import probe, probe_utterance
from stages.media.video import sample_frames
from stages.runtime.errors import ClipError
from tests.media_files import sine, write_sound, write_video

RATE = 48000
SPANS: list[Span] = [(0.0, 1.0), (0.5, 1.7), (2.33, 2.5), (3.0, inf)]
LOUDER = ((200, 0.1), (400, 0.2), (800, 0.4), (1600, 0.8))  # a second of each pitch and level
WAVE = np.concatenate([sine(pitch, 1, RATE, level) for pitch, level in LOUDER], axis=1)


def code_of(call, *arguments, **keywords) -> str:
    with pytest.raises(ClipError) as caught:
        call(*arguments, **keywords)
    return caught.value.code


@pytest.mark.parametrize(
    "cells, span",
    [
        (("", ""), None),
        (("1.5", ""), (1.5, inf)),
        (("", "2"), (0.0, 2.0)),
        (("1", "2"), (1.0, 2.0)),
    ],
)
def test_two_cells_are_a_span(cells: tuple[str, str], span: Span | None):
    assert span_of(*cells) == span


CELLS = {"start": "1.5", "end": "2", "crop": "left"}


@pytest.mark.parametrize(
    "row, of_video, of_audio",
    [
        ({}, {}, {}),
        (CELLS, {"span": (1.5, 2), "crop": "left"}, {"span": (1.5, 2)}),
        (CELLS | {"whole": "audio"}, {"span": (1.5, 2), "crop": "left"}, {}),
        ({"start": "", "end": "", "whole": "", "crop": "right"}, {"crop": "right"}, {}),
    ],
)
def test_a_row_says_which_part_of_its_face_and_of_its_voice_is_used(
    row: dict[str, str], of_video: dict, of_audio: dict
):
    assert (used_part(row, "video"), used_part(row, "audio")) == (of_video, of_audio)


def of_both(span: Span) -> dict[str, Span]:
    return dict.fromkeys(("video", "audio"), span)


@pytest.mark.parametrize(
    "span, ends, there",
    [
        ((1, 2), 5, 1),
        ((1, 2), 1.95, 0.95),
        ((1, inf), 5, 4),
        ((1, 2), 1.85, None),
        ((1, 2), 1, None),
        ((1, inf), 1, None),
    ],
)
def test_nine_tenths_of_a_span_must_be_there(span: Span, ends: float, there: float | None):
    if there is None:
        assert code_of(span_length, span, ends) == "beyond_end"
    else:
        assert span_length(span, ends) == pytest.approx(there)


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize(
    "name, codec, tolerance",
    [
        ("a.wav", "pcm_s16le", 0),
        ("a.flac", "flac", 0),
        ("a.m4a", "aac", 2e-3),
        ("a.mp3", "libmp3lame", 1e-6),
        ("a.opus", "libopus", 2e-3),
    ],
)
def test_the_sound_of_a_span_is_that_part_of_all(
    name: str, codec: str, tolerance: float, span: Span, tmp_path: Path
):
    path = write_sound(tmp_path / name, WAVE, RATE, codec)
    whole = read_audio(path, RATE)
    end = min(span[1], len(whole) / RATE)
    part = read_audio(path, RATE, span=span)
    expected = whole[round(span[0] * RATE) : round(end * RATE)]
    count = min(len(part), len(expected))
    # A codec may fill up its last frame beyond what the whole file is cut to; AAC fills in noise.
    assert abs(len(part) - len(expected)) <= (1200 if span[1] == inf else 1)
    assert np.abs(part[:count] - expected[:count]).max() <= tolerance


def test_the_sound_of_a_span_is_decoded_without_what_is_far_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_sound(tmp_path / "a.wav", np.tile(WAVE, 3), RATE)
    kept = []

    def seen(opened: av.container.InputContainer, stream: av.AudioStream, *more: object) -> list:
        kept.append(container.read_span(opened, stream, *more))
        return kept[-1]

    monkeypatch.setattr("stages.media.audio.read_packets", seen)
    assert len(read_audio(path, RATE, span=(10, 11))) == RATE
    seconds = sum(float(packet.duration * packet.time_base) for packet in kept[0])
    assert 2 <= seconds < 2.5


def frame_numbers(path: Path, span: Span | None = None) -> list[int]:
    """Which frames of a clip of 25 frames a second are sampled, by a plain decode of all."""
    with av.open(str(path)) as opened:
        images = [frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)]
    return [
        next(number for number, image in enumerate(images) if np.array_equal(image, wanted))
        for wanted in sample_frames(path, span=span).images
    ]


@pytest.mark.parametrize(
    "name, codec, options",
    [
        ("a.mp4", "libx264", {}),
        ("a.mp4", "libx264", {"b_frames": 3, "keyframe_every": 12}),
        ("a.mp4", "libx264", {"b_frames": 3, "keyframe_every": 12, "open_groups": True}),
        ("a.mp4", "libx264", {"voice": WAVE}),
        ("a.mkv", "libx264", {"b_frames": 3, "keyframe_every": 12}),
        ("a.avi", "libx264", {"b_frames": 3, "keyframe_every": 12}),  # stores no times
        ("a.avi", "mpeg4", {}),
    ],
)
@pytest.mark.parametrize(
    "span, expected",
    [
        ((0.0, 1.2), [5, 15, 25]),
        ((1.0, 2.2), [30, 40, 50]),
        ((2.0, inf), [58, 75, 92]),
        ((3.0, 3.04), [75, 75, 75]),
        ((3.01, 3.03), [75, 75, 75]),  # between two frames
    ],
)
def test_the_frames_of_a_span_are_those_at_the_middles_of_its_thirds(
    name: str, codec: str, options: dict, span: Span, expected: list[int], tmp_path: Path
):
    path = write_video(tmp_path / name, 100, codec, **options)
    assert frame_numbers(path, span) == expected


def test_times_of_a_span_count_from_its_start(tmp_path: Path):
    path = write_video(tmp_path / "a.mp4", 100)
    frames = sample_frames(path, span=(1.0, 2.2))
    assert frames.times == pytest.approx([0.2, 0.6, 1.0])
    assert (frames.duration, frames.frames_in_clip) == (pytest.approx(1.2), 30)


def test_a_span_counts_from_the_beginning_of_the_file_in_both(tmp_path: Path):
    """The sound begins 0.5 s after the picture, and time is that of the file."""
    path = write_video(tmp_path / "a.mp4", 100, voice=WAVE, voice_from=RATE // 2)
    whole = read_audio(path, RATE)
    assert frame_numbers(path, (0.2, 1.4)) == [10, 20, 30]
    assert np.array_equal(read_audio(path, RATE, span=(0.2, 1.4)), whole[9600:67200])


@pytest.mark.parametrize("span", [(3.0, 6.0), (4.5, 5.0), (9.0, inf)])
def test_a_span_beyond_the_end_is_refused_by_its_code(span: Span, tmp_path: Path):
    path = write_video(tmp_path / "a.mp4", 100, voice=WAVE)
    assert code_of(sample_frames, path, span=span) == "beyond_end"
    assert code_of(read_audio, path, RATE, span=span) == "beyond_end"
    found = probe(path, ["video", "audio"], span)
    assert {item.code for item in found.values() if isinstance(item, ClipError)} == {"beyond_end"}
    assert probe_utterance(tmp_path, "a.mp4", "a.mp4", of_both(span)).duration is None


def test_a_span_that_a_cut_file_still_has_is_read(tmp_path: Path):
    path = write_sound(tmp_path / "a.wav", WAVE, RATE)
    path.write_bytes(path.read_bytes()[: RATE * 2 * 2])
    assert code_of(read_audio, path, RATE) == "truncated"
    assert len(read_audio(path, RATE, span=(0.5, 1.5))) == RATE
    assert code_of(read_audio, path, RATE, span=(1.5, 3.0)) == "beyond_end"


def test_a_long_recording_is_read_in_spans(tmp_path: Path):
    path = write_sound(tmp_path / "a.wav", WAVE, RATE)
    assert code_of(read_audio, path, RATE, max_seconds=2) == "too_large"
    assert len(read_audio(path, RATE, max_seconds=2, span=(2.5, 3.5))) == RATE
    assert code_of(read_audio, path, RATE, max_seconds=2, span=(0.5, 3.5)) == "too_large"
    assert code_of(read_audio, path, RATE, max_seconds=2, span=(0.5, inf)) == "too_large"


def test_a_span_that_rests_on_too_many_bytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = write_video(tmp_path / "a.mp4", 100)
    assert MAX_BYTES > path.stat().st_size
    monkeypatch.setattr(container, "MAX_BYTES", 1000)
    assert code_of(sample_frames, path, span=(1, 2)) == "too_large"


@pytest.mark.parametrize("video, audio", [("a.mp4", "a.mp4"), ("a.mp4", ""), ("", "a.mp4")])
def test_an_utterance_lasts_as_long_as_its_span(video: str, audio: str, tmp_path: Path):
    write_video(tmp_path / "a.mp4", 100, voice=WAVE)
    found = probe_utterance(tmp_path, video, audio, of_both((1.0, 2.25)))
    assert found.duration == pytest.approx(1.25)
    assert found.kinds == (
        dict.fromkeys(("video", "audio"), pytest.approx(1.25)) if video and audio else {}
    )


def test_a_voice_of_its_own_beside_a_part_of_a_video_is_whole(tmp_path: Path):
    write_video(tmp_path / "a.mp4", 100)
    write_sound(tmp_path / "a.wav", WAVE[:, : 3 * RATE], RATE)
    found = probe_utterance(tmp_path, "a.mp4", "a.wav", {"video": (1.0, 2.25)})
    assert found.duration == pytest.approx(3)
    assert found.kinds == {"video": pytest.approx(1.25), "audio": pytest.approx(3)}
