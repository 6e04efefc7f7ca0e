"""Frames of a clip: which, when, and what becomes of files that are not what they seem."""

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.failures import ClipError, UserError
from stages.media import video
from stages.media.video import nearest_frames, sample_frames, sample_times
from tests.media_files import corpora, cut_by_edit_list, sine, write_sound, write_video

VFR = [int(t) for t in np.cumsum([20] * 20 + [150] * 10)]


def all_frames(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Every frame in the plainest way: images [n, H, W, 3] and seconds from the first [n].

    Where the times do not ascend they are made up, and the even rate of the test clips holds.
    """
    with av.open(str(path)) as container:
        frames = [(f.to_ndarray(format="rgb24"), f.time) for f in container.decode(video=0)]
    times = np.array([time for _, time in frames])
    if (np.diff(times) <= 0).any():
        times = np.arange(len(times)) / 25
    return np.stack([image for image, _ in frames]), times - times[0]


def code_of(path: Path, **limits: float) -> str:
    with pytest.raises(ClipError) as caught:
        sample_frames(path, **limits)
    return caught.value.code


def test_sample_times_are_the_middles_of_thirds():
    assert sample_times(6.0) == [1.0, 3.0, 5.0]
    assert sample_times(4.0, 1) == [2.0]


@given(
    gaps=st.lists(st.integers(1, 1000), max_size=60),
    last=st.integers(0, 1000),
    count=st.integers(1, 12),
)
def test_nearest_frames_of_any_clip(gaps: list[int], last: int, count: int):
    ticks = np.cumsum([0, *gaps])
    duration = int(ticks[-1]) + last
    chosen = nearest_frames(ticks, duration, count)
    assert len(chosen) == count
    assert chosen == sorted(chosen)
    assert 0 <= chosen[0] and chosen[-1] < len(ticks)
    for index, time in zip(chosen, sample_times(duration, count)):
        assert abs(ticks[index] - time) == pytest.approx(np.abs(ticks - time).min())


@pytest.mark.parametrize(
    ("ticks", "duration", "chosen"),
    [
        ([0], 40, [0, 0, 0]),
        ([0, 40], 80, [0, 1, 1]),
        ([0, 60], 60, [0, 0, 1]),  # V2, at 30, is as near to both
        ([0, 40, 80], 120, [0, 1, 2]),  # V1, at 20, is as near to both
    ],
)
def test_short_clips_repeat_frames_and_ties_go_to_the_earlier(ticks, duration, chosen):
    assert nearest_frames(np.array(ticks), duration) == chosen


KINDS = {
    "h264 with B-frames.mp4": {"b_frames": 3},
    "h264.mkv": {"b_frames": 2},
    "h264.flv": {},
    "mpeg4 with B-frames.avi": {"codec": "mpeg4", "b_frames": 2},
    "mpeg4.avi": {"codec": "mpeg4"},
    "mjpeg.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "many keyframes.mp4": {"b_frames": 3, "keyframe_every": 7},
    "open groups.mkv": {"b_frames": 3, "keyframe_every": 7, "open_groups": True},
    "variable rate.mp4": {"pts_ms": VFR, "b_frames": 2},
    "variable rate.mkv": {"pts_ms": VFR},
    "60 a second.mp4": {"rate": 60, "b_frames": 2},
    "grey.mp4": {"pix_fmt": "gray"},
    "odd.mp4": {"size": (97, 65), "pix_fmt": "yuv444p"},
    "without times.avi": {"b_frames": 3},  # avi stores none, and H.264 reorders
}


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("name", KINDS)
def test_frames_are_those_of_a_plain_decode(tmp_path: Path, name: str, count: int):
    path = write_video(tmp_path / name, **KINDS[name])
    images, times = all_frames(path)
    frames = sample_frames(path, count)
    assert frames.frames_in_clip == len(images) == 30
    assert times[-1] < frames.duration <= times[-1] + 0.2
    nearest = [np.abs(times - t).argmin() for t in sample_times(frames.duration, count)]
    np.testing.assert_allclose(frames.times, times[nearest], atol=1e-6)
    np.testing.assert_array_equal(frames.images, images[nearest])
    assert frames.images.dtype == np.uint8 and frames.images.shape[3] == 3


def test_variable_rate_is_sampled_in_time_not_by_index(tmp_path: Path):
    frames = sample_frames(write_video(tmp_path / "v.mkv", pts_ms=VFR))
    assert np.abs(frames.times - sample_times(frames.duration)).max() <= 0.075
    by_index = (np.array(VFR) - VFR[0])[[5, 15, 25]] / 1000
    assert np.abs(by_index - sample_times(frames.duration)).max() > 0.3


@pytest.mark.parametrize("frames", [1, 2])
def test_one_and_two_frames(tmp_path: Path, frames: int):
    path = write_video(tmp_path / "short.mp4", frames=frames)
    sampled = sample_frames(path)
    np.testing.assert_array_equal(sampled.images, all_frames(path)[0][[0, frames - 1, frames - 1]])


@pytest.mark.parametrize("first", [1, 7, 20])
def test_what_an_edit_list_cuts_off_is_no_part_of_the_clip(tmp_path: Path, first: int):
    path = cut_by_edit_list(write_video(tmp_path / "a.mp4", b_frames=2), first)
    images, times = all_frames(path)
    assert len(images) == 30 - first
    frames = sample_frames(path)
    nearest = [np.abs(times - t).round(9).argmin() for t in sample_times(frames.duration)]
    np.testing.assert_allclose(frames.times, times[nearest], atol=1e-6)
    np.testing.assert_array_equal(frames.images, images[nearest])


def test_a_clip_of_five_minutes_is_sampled_like_any_other(tmp_path: Path):
    pts_ms = list(range(0, 305_000, 1000))
    frames = sample_frames(write_video(tmp_path / "long.mp4", frames=305, pts_ms=pts_ms))
    assert frames.frames_in_clip == 305 and len(frames.images) == 3
    assert np.abs(frames.times - sample_times(305.0)).max() <= 0.5


def with_frames_in_header(path: Path, header: str, frames: int) -> Path:
    """Change dwTotalFrames of an avi file of 30 frames, or dwLength of its stream."""
    content = bytearray(path.read_bytes())
    place = content.index(header.encode()) + {"avih": 24, "strh": 40}[header]
    assert content[place : place + 4] == (30).to_bytes(4, "little")
    content[place : place + 4] = frames.to_bytes(4, "little")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("header", "frames"),
    [*(("avih", n) for n in (0, 1, 7, 5000, 2**32 - 1)), *(("strh", n) for n in (0, 1, 7))],
)
def test_the_number_of_frames_in_a_header_does_not_matter(
    tmp_path: Path, header: str, frames: int
):
    path = write_video(tmp_path / "a.avi", codec="mpeg4")
    expected = sample_frames(path)
    found = sample_frames(with_frames_in_header(path, header, frames))
    assert found.frames_in_clip == 30
    np.testing.assert_array_equal(found.images, expected.images)


@pytest.mark.parametrize(("frames", "code"), [(5000, "truncated"), (2**32 - 1, "too_large")])
def test_a_header_that_promises_more_than_there_is_counts_as_that_of_a_cut_file(
    tmp_path: Path, frames: int, code: str
):
    path = write_video(tmp_path / "a.avi", codec="mpeg4")
    assert code_of(with_frames_in_header(path, "strh", frames)) == code


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_clips_come_out_upright(tmp_path: Path, rotation: int):
    path = write_video(tmp_path / "r.mp4", frames=1, rotation=rotation)
    capture = cv2.VideoCapture(str(path))
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    upright = cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2RGB)
    ours = sample_frames(path, 1).images[0]
    assert ours.shape == upright.shape
    assert np.abs(ours.astype(int) - upright).mean() < 3


def decoded_by(path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Times, in ticks, of the frames that are decoded for the three wanted."""
    decoded = []
    plain = video._decode

    def counting(*arguments):
        for frame in plain(*arguments):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(video, "_decode", counting)
    sample_frames(path)
    return decoded


def test_what_no_frame_wanted_rests_on_is_not_decoded(tmp_path: Path, monkeypatch):
    one_keyframe = write_video(tmp_path / "long.mp4", frames=120, b_frames=2)
    decoded = decoded_by(one_keyframe, monkeypatch)
    assert len(decoded) == len(set(decoded)) < 80  # of 101 up to V3
    assert {20 * 512, 60 * 512, 100 * 512} <= set(decoded)


def test_only_the_frames_wanted_are_decoded_where_each_stands_alone(tmp_path: Path, monkeypatch):
    path = write_video(tmp_path / "a.avi", frames=120, codec="mjpeg", pix_fmt="yuvj420p")
    assert decoded_by(path, monkeypatch) == [20, 60, 100]


def test_frames_are_decoded_from_the_keyframe_before(tmp_path: Path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", frames=120, b_frames=2, keyframe_every=10)
    assert len(decoded_by(path, monkeypatch)) < 25


@pytest.mark.parametrize("name", ["a:b.mp4", "-x.mp4", "%03d.mp4", "ü ?*.mp4", "new\nline.mp4"])
def test_names_that_mean_something_elsewhere(tmp_path: Path, name: str, monkeypatch):
    write_video(tmp_path / "plain.mp4", frames=2).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert sample_frames(Path(name)).frames_in_clip == 2


@pytest.mark.parametrize(
    "content",
    [b"", b"<!DOCTYPE html><html>", b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", b"x" * 9999],
)
def test_not_media_is_unreadable(tmp_path: Path, content: bytes):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert code_of(path) == "unreadable"


def test_a_script_that_names_other_files_is_unreadable(tmp_path: Path):
    write_video(tmp_path / "secret.mp4")
    path = tmp_path / "clip.mp4"
    path.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    assert code_of(path) == "unreadable"


def test_missing_files_folders_and_files_without_an_index_are_unreadable(tmp_path: Path):
    whole = write_video(tmp_path / "whole.mov").read_bytes()  # its index is at the end
    cut = tmp_path / "cut.mov"
    cut.write_bytes(whole[: len(whole) // 2])
    assert code_of(cut) == "unreadable"
    assert code_of(tmp_path / "missing.mp4") == "unreadable"
    assert code_of(tmp_path) == "unreadable"


def test_lfs_pointer_says_what_to_do(tmp_path: Path):
    path = tmp_path / "clip.mp4"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(UserError, match=r"clip\.mp4.*git lfs pull"):
        sample_frames(path)


def test_sound_alone_has_no_video(tmp_path: Path):
    assert code_of(write_sound(tmp_path / "a.wav", sine(440, 0.5, 16000), 16000)) == "no_video"


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.flv"])
@pytest.mark.parametrize("share", [0.5, 0.85])
def test_cut_files_are_truncated(tmp_path: Path, name: str, share: float):
    codec = "mpeg4" if name == "a.avi" else "libx264"
    voice = None if name == "a.avi" else sine(440, 2.4, 48000)
    path = write_video(tmp_path / name, frames=60, codec=codec, voice=voice)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert code_of(path) == "truncated"


def test_noise_in_the_middle_is_truncated(tmp_path: Path):
    path = write_video(tmp_path / "a.mp4", frames=60)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 1000] = np.random.default_rng(0).bytes(1000)
    path.write_bytes(content)
    assert code_of(path) == "truncated"


def test_frames_that_do_not_come_out_are_truncated(tmp_path: Path, monkeypatch):
    path = write_video(tmp_path / "a.mkv", codec="mjpeg", pix_fmt="yuvj420p")
    plain = video._decode
    monkeypatch.setattr(video, "_decode", lambda *a: (f for f in plain(*a) if f.pts % 200))
    assert code_of(path) == "truncated"


def test_one_frame_that_does_not_come_out_is_not_counted(tmp_path: Path, monkeypatch):
    path = write_video(tmp_path / "a.mkv")
    images, times = all_frames(path)
    there = np.arange(30) != 15
    plain = video._decode
    monkeypatch.setattr(video, "_decode", lambda *a: (f for f in plain(*a) if f.pts != 600))
    frames = sample_frames(path)
    assert frames.frames_in_clip == 29
    nearest = [np.abs(times[there] - t).argmin() for t in sample_times(frames.duration)]
    np.testing.assert_allclose(frames.times, times[there][nearest], atol=1e-6)
    np.testing.assert_array_equal(frames.images, images[there][nearest])


def test_limits(tmp_path: Path):
    path = write_video(tmp_path / "a.mp4")
    assert code_of(path, max_pixels=96 * 64 - 1) == "too_large"
    assert code_of(path, max_seconds=1.1) == "too_large"
    assert sample_frames(path, max_pixels=96 * 64, max_seconds=1.3).frames_in_clip == 30


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.flv"])
def test_damaged_files_give_frames_or_a_code(tmp_path: Path, name: str):
    whole = write_video(tmp_path / name, frames=12, codec="mpeg4" if name == "a.avi" else "libx264")
    content = whole.read_bytes()
    rng = np.random.default_rng(3)
    damaged = tmp_path / f"damaged{whole.suffix}"
    codes = set()
    for trial in range(60):
        mutant = bytearray(content)
        if trial % 2:
            mutant = mutant[: rng.integers(len(content))]
        else:
            for place in rng.integers(len(content), size=20):
                mutant[place] = rng.integers(256)
        damaged.write_bytes(mutant)
        try:
            assert sample_frames(damaged).images.shape[0] == 3
        except ClipError as error:
            codes.add(error.code)
    assert codes <= {"unreadable", "truncated", "no_video", "too_large"}
    assert "truncated" in codes


@pytest.mark.parametrize("folder", ["ravdess", "ravdess_grey"])
def test_real_clips(folder: str):
    path = sorted((corpora() / folder).rglob("01-*.mp4"))[0]
    images, times = all_frames(path)
    frames = sample_frames(path)
    assert frames.frames_in_clip == len(images)
    nearest = [np.abs(times - t).argmin() for t in sample_times(frames.duration)]
    np.testing.assert_array_equal(frames.images, images[nearest])
