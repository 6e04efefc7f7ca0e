"""Frames of a clip: which, when, and what becomes of files that are not what they seem."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.extraction.guard import Guard
from stages.media import video
from stages.media.audio import read_audio
from stages.media.headers import MAX_BYTES
from stages.media.video import nearest_frames, sample_frames, sample_times
from stages.runtime.errors import ClipError, UserError
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


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    """A child that has 5 s and 1 GiB, once it has loaded what it needs."""
    made = Guard(seconds=60, memory=1 << 30)
    with pytest.raises(ClipError):
        made.call(sample_frames, Path("missing.mp4"), {})
    with pytest.raises(ClipError):
        made.call(read_audio, Path("missing.wav"), {"sample_rate": 16000})
    made.seconds = 5
    yield made
    made.stop()


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
def test_the_number_of_frames_in_a_header_does_not_matter(tmp_path: Path, header: str, frames: int):
    path = write_video(tmp_path / "a.avi", codec="mpeg4")
    expected = sample_frames(path)
    found = sample_frames(with_frames_in_header(path, header, frames))
    assert found.frames_in_clip == 30
    np.testing.assert_array_equal(found.images, expected.images)


def test_a_header_that_promises_more_than_there_is_counts_as_that_of_a_cut_file(tmp_path: Path):
    path = write_video(tmp_path / "a.avi", codec="mpeg4")
    assert code_of(with_frames_in_header(path, "strh", 5000)) == "truncated"


def test_a_number_of_frames_that_can_only_be_a_placeholder_is_not_believed(tmp_path: Path):
    path = write_video(tmp_path / "a.avi", codec="mpeg4")
    found = sample_frames(with_frames_in_header(path, "strh", 2**32 - 1))
    np.testing.assert_array_equal(found.images, sample_frames(path).images)


def test_a_turn_that_is_not_a_number_is_none(tmp_path: Path):
    path = write_video(tmp_path / "r.mov", frames=4, rotation=90)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44
    assert content[matrix + 32 : matrix + 36] == b"\x40\0\0\0"  # its last element, 1
    content[matrix : matrix + 36] = bytes(36)
    path.write_bytes(content)
    np.testing.assert_array_equal(sample_frames(path).images, all_frames(path)[0][[1, 2, 3]])


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


@pytest.mark.parametrize(("codec", "left_out"), [("h264", True), ("mpeg4", True), ("vp8", False)])
def test_frames_are_left_out_only_of_codecs_that_keep_nothing_of_them(codec: str, left_out: bool):
    asked = []
    context = SimpleNamespace(name=codec, skip_frame="")
    context.decode = lambda packet: asked.append(context.skip_frame) or []
    packets = [SimpleNamespace(pts=pts) for pts in range(3)]
    assert list(video._decode(SimpleNamespace(codec_context=context), packets, 1, {2})) == []
    assert ("NONREF" in asked) == left_out and asked[2] == "DEFAULT"


def test_every_pass_has_a_decoder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    decoders = []
    plain = video._decode

    def noting(stream, *arguments):
        decoders.append(stream.codec_context)
        return plain(stream, *arguments)

    monkeypatch.setattr(video, "_decode", noting)
    sample_frames(write_video(tmp_path / "a.avi", b_frames=3))
    assert len(decoders) == len({id(decoder) for decoder in decoders}) == 3


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


SCRIPTS = {
    "ffconcat": "ffconcat version 1.0\nfile {secret}\n",
    "ffconcat with a protocol": "ffconcat version 1.0\nfile 'file:{secret}'\n",
    "HLS": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://{secret}\n#EXT-X-ENDLIST\n",
    "DASH": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static">'
    "<Period><AdaptationSet><Representation><BaseURL>file://{secret}</BaseURL></Representation>"
    "</AdaptationSet></Period></MPD>",
    "SDP": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\na=control:file://{secret}\n",
    "ASX": '<asx version="3.0"><entry><ref href="file://{secret}"/></entry></asx>',
    "subtitles": "{{1}}{{25}}file:{secret}\n{{26}}{{50}}file:{secret}\n",
    "VobSub": "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n"
    "timestamp: 00:00:00:000, filepos: 000000000\n",
    "metadata": ";FFMETADATA1\ntitle=file:{secret}\n",
}


@pytest.mark.parametrize("read", [sample_frames, read_audio])
@pytest.mark.parametrize("kind", SCRIPTS)
def test_a_script_that_names_other_files_opens_none_of_them(
    kind: str, read: Callable[..., object], guard: Guard, tmp_path: Path
):
    # Whoever opens a named pipe waits for somebody to write to it: the child would be late.
    for name in ("secret.mp4", "clip.sub"):
        os.mkfifo(tmp_path / name)
    path = tmp_path / "clip.mp4"
    path.write_text(SCRIPTS[kind].format(secret=tmp_path / "secret.mp4"))
    settings = {"sample_rate": 16000} if read is read_audio else {}
    with pytest.raises(ClipError) as caught:
        guard.call(read, path, settings)
    assert caught.value.code == "unreadable"


def test_a_pipe_that_is_opened_is_noticed(guard: Guard, tmp_path: Path):
    os.mkfifo(tmp_path / "secret.mp4")
    with pytest.raises(ClipError) as caught:
        guard.call(sample_frames, tmp_path / "secret.mp4", {})
    assert caught.value.code == "decoder_timeout"


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


@pytest.fixture
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_decode", lambda *_: pytest.fail("it was decoded"))


@pytest.mark.parametrize(
    "name, settings",
    [
        ("a.mp4", {}),
        ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    ],
)
def test_a_picture_of_8192_by_8192_is_not_decoded(
    tmp_path: Path, name: str, settings: dict[str, str], undecoded: None
):
    path = write_video(tmp_path / name, frames=1, size=(8192, 8192), **settings)
    assert path.stat().st_size < 2_000_000
    assert code_of(path) == "too_large"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_clip_of_half_an_hour_is_not_decoded(tmp_path: Path, name: str, undecoded: None):
    path = write_video(tmp_path / name, frames=3, pts_ms=[0, 40, 1_800_000])
    assert path.stat().st_size < 20_000
    assert code_of(path) == "too_large"


def test_a_file_of_more_than_a_gibibyte_is_not_decoded(tmp_path: Path, undecoded: None):
    path = write_video(tmp_path / "a.mp4")
    os.truncate(path, MAX_BYTES + 1)
    assert code_of(path) == "too_large"


def test_a_clip_that_grows_to_something_huge_is_refused(guard: Guard, tmp_path: Path):
    # A transport stream is made to be joined in the middle; the head says 96x64.
    parts = [
        write_video(tmp_path / "a.ts", frames=12),
        write_video(tmp_path / "b.ts", frames=3, size=(8192, 8192)),
    ]
    path = tmp_path / "clip.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    with pytest.raises(ClipError) as caught:
        guard.call(sample_frames, path, {})
    assert caught.value.code == "too_large"


def test_a_clip_whose_size_changes_keeps_that_of_its_first_sample(tmp_path: Path):
    parts = [
        write_video(tmp_path / f"{width}.ts", frames=12, size=(width, 64)) for width in (96, 160)
    ]
    path = tmp_path / "clip.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert sample_frames(path).images.shape == (3, 64, 96, 3)


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
