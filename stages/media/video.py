"""The frames of a clip at given shares of its duration: V1, V2 and V3 of the paper.

Frames are found by their presentation time, never by `index = time * fps`, which is wrong for a
variable frame rate, and never by seeking in the file, which lands on other frames in damaged ones.
All times are in the packets, without decoding. Then only those frames are decoded that the wanted
ones rest on: from the last keyframe before each, and without those that no other frame rests on. If
the times that come out are others, all frames are decoded, one after the other.
"""

import contextlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError

from stages.corpora.span import Span
from stages.media.container import (
    ATTACHED,
    MAX_SECONDS,
    open_media,
    read_packets,
    span_length,
    start_seconds,
)
from stages.media.headers import COMPLETE
from stages.runtime.errors import ClipError

MAX_PIXELS = 50_000_000  # 8K video has 33 million
# Codecs of which a frame on which no other rests leaves nothing behind. VP8's may leave a map of
# segments, which later frames go by.
SKIPPABLE = frozenset({"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"})
STRICT = {"err_detect": "explode"}  # what is damaged is an error, where a decoder notices it


@dataclass(frozen=True)
class Frames:
    """Frames sampled from one clip.

    Attributes:
        images: uint8 [count, H, W, 3], RGB, upright.
        times: float64 [count], seconds from the clip's first frame, or from the start of the span.
        frames_in_clip: how many frames the clip, or the span, has.
        duration: seconds, from the first frame to the end of the last, or of the span.
    """

    images: np.ndarray
    times: np.ndarray
    frames_in_clip: int
    duration: float


def sample_times(duration: float, count: int = 3) -> list[float]:
    """The middles of `count` equal parts of `duration`: d/6, d/2 and 5d/6 for three."""
    return [duration * (2 * part + 1) / (2 * count) for part in range(count)]


def nearest_frames(ticks: np.ndarray, duration: int, count: int = 3) -> list[int]:
    """The frame nearest to each of `sample_times`; of two equally near, the earlier.

    A clip of fewer frames than `count` repeats frames by the same rule: one frame serves as V1,
    V2 and V3, of two frames each sample takes the nearer.

    Args:
        ticks: int64 [n], n >= 1, times of the frames from the first, ascending.
        duration: of the clip, in the same ticks.

    Returns:
        `count` indices into `ticks`, ascending.
    """
    # In whole numbers, so that a tie is a tie: times 2 * count, the sample times are integers.
    return [
        int(np.abs(2 * count * ticks - (2 * part + 1) * duration).argmin()) for part in range(count)
    ]


def sample_frames(
    path: Path,
    count: int = 3,
    *,
    max_pixels: int = MAX_PIXELS,
    max_seconds: float = MAX_SECONDS,
    span: Span | None = None,
) -> Frames:
    """Read the frames of a clip that are nearest to `sample_times` (see `nearest_frames`).

    Args:
        max_pixels: the largest frame, width times height, that is decoded.
        max_seconds: the longest clip or span that is read.
        span: take the frames that are shown in that part of the file alone, as if it were a clip.

    Raises:
        ClipError: `unreadable`; `no_video`; `too_large` for more than `max_pixels` or
            `max_seconds`; `truncated` where packets are missing at the end, or where what the
            frames wanted rest on is damaged and fewer than 90 % of all frames come out, or
            decoding fails before the last frame wanted; `beyond_end` where less than 90 % of the
            span is there.
        UserError: the file is a Git LFS pointer.
    """
    how = (count, max_pixels, max_seconds, span)
    return _by_packet_times(path, *how) or _by_decoded_times(path, *how)


@contextlib.contextmanager
def _open(
    path: Path, max_pixels: int, max_seconds: float, span: Span | None = None
) -> Iterator[tuple[av.VideoStream, list[av.Packet], float]]:
    """The video stream of a file, with a new decoder, its packets, and when the file begins."""
    with _open_stream(path, max_pixels) as (container, stream):
        packets = read_packets(container, stream, max_seconds, span)
        yield stream, packets, start_seconds(container)


@contextlib.contextmanager
def _open_stream(
    path: Path, max_pixels: int
) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    with open_media(path) as container:
        stream = video_stream(container, max_pixels)
        # One thread, here and in _image: clips are read side by side, each in its own process.
        stream.codec_context.thread_count = 1
        stream.codec_context.thread_type = "NONE"
        yield container, stream


def video_stream(
    container: av.container.InputContainer, max_pixels: int = MAX_PIXELS
) -> av.VideoStream:
    """The first video stream that is no cover picture.

    Raises:
        ClipError: `no_video`; `unreadable`; `too_large` for more than `max_pixels`.
    """
    streams = [item for item in container.streams.video if not item.disposition & ATTACHED]
    if not streams:
        raise ClipError("no_video", "no video stream")
    if streams[0].codec_context is None:
        raise ClipError("unreadable", "no decoder for its video stream")
    _check_size(streams[0].codec_context.width, streams[0].codec_context.height, max_pixels)
    return streams[0]


def _by_packet_times(
    path: Path, count: int, max_pixels: int, max_seconds: float, span: Span | None
) -> Frames | None:
    """Sample by the packets' times; None where those are not the times of the frames decoded."""
    with _open(path, max_pixels, max_seconds, span) as (stream, packets, origin):
        shown = [packet for packet in packets if not packet.is_discard]
        in_order = [packet.pts for packet in shown if packet.pts is not None]
        if not in_order or len(set(in_order)) < len(shown):
            return None
        pts = sorted(in_order)
        ticks = np.array(pts, np.int64) - pts[0]
        last_frame = shown[in_order.index(pts[-1])]
        duration = int(ticks[-1]) + (last_frame.duration or _usual_gap(stream, ticks))
        choice = _choose(stream, ticks, duration, count, span, origin, pts[0])
        chosen = choice.frames
        # A codec that reorders frames, in a container that stores no times (H.264 in avi): the
        # times follow the order of the packets, and only a full pass shows that they are wrong.
        made_up = stream.codec_context.has_b_frames and in_order == pts
        if not made_up and not any(packet.is_corrupt for packet in packets):
            wanted = {pts[index]: index for index in chosen}
            images = _decode_wanted(path, stream, packets, wanted, max_pixels)
            if images is not None:
                return _frames(stream, images, ticks, choice)
    with _open(path, max_pixels, max_seconds, span) as (stream, packets, _):
        images = _convert(_decode(stream, packets, max_pixels), chosen, pts)
        return None if images is None else _frames(stream, images, ticks, choice)


def _decode_wanted(
    path: Path,
    stream: av.VideoStream,
    packets: list[av.Packet],
    wanted: dict[int, int],
    max_pixels: int,
) -> dict[int, np.ndarray] | None:
    """RGB images of the frames wanted, by index, for the least decoding.

    None where one does not come out or something is damaged: a full pass must decide then.

    Args:
        wanted: index by time, in ticks of the stream.
    """
    images: dict[int, np.ndarray] = {}
    runs = list(_runs(packets, wanted))
    if stream.codec_context.codec.intra_only:  # no frame rests on another
        runs = [list(chain(*runs))]
    # A decoder fills what it cannot read from the frames before, and only its log tells.
    stream.codec_context.options = STRICT
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as complaints, contextlib.ExitStack() as opened:
            for number, run in enumerate(runs):
                if number > 0:  # a new decoder; flushing it is not enough
                    _, stream = opened.enter_context(_open_stream(path, max_pixels))
                    stream.codec_context.options = STRICT
                for frame in _decode(stream, run, max_pixels, wanted):
                    if frame.pts in wanted:
                        first = next(iter(images.values()), None)
                        images[wanted[frame.pts]] = _image(frame, first)
    except ClipError:
        return None
    finally:
        av.logging.set_level(None)
    damaged = any(source == stream.codec_context.name for _, source, _ in complaints)
    return None if damaged or len(images) < len(wanted) else images


def _runs(packets: list[av.Packet], wanted: Container[int]) -> Iterator[list[av.Packet]]:
    """The least parts of a stream, each from a keyframe on, that the times wanted rest on."""
    start, end = 0, 0
    times: list[Any] = [packet.pts for packet in packets]
    keyframes = [number for number, packet in enumerate(packets) if packet.is_keyframe]
    for number, time in enumerate(times):
        if time not in wanted:
            continue
        # What is shown before a keyframe may rest on what is before it, also where it comes later.
        before = (k for k in reversed(keyframes) if k <= number and times[k] <= time)
        keyframe = next(before, 0)
        if keyframe >= end:
            if end:
                yield packets[start:end]
            start = keyframe
        end = number + 1
    yield packets[start:end]


def _by_decoded_times(
    path: Path, count: int, max_pixels: int, max_seconds: float, span: Span | None
) -> Frames:
    """Decode everything for the times that come out, then once more for the frames.

    The file is opened for each: decoders remember some things when their buffers are flushed, and
    of a damaged VP8 clip other images came out the second time.
    """
    with _open(path, max_pixels, max_seconds) as (stream, packets, origin):
        pts: list[Any] = [frame.pts for frame in _decode(stream, packets, max_pixels)]
        promised = sum(not packet.is_discard for packet in packets)
        if not pts or len(pts) < COMPLETE * promised:
            raise ClipError("truncated", f"only {len(pts)} of {promised} frames can be decoded")
        if None in pts or any(later <= earlier for earlier, later in zip(pts, pts[1:])):
            # No times that can be used at all: an even frame rate is the best guess.
            gap = _usual_gap(stream, np.zeros(1))
            pts = [index * gap for index in range(len(pts))]
            origin = 0.0
        ticks = np.array(pts, np.int64) - pts[0]
        duration = int(ticks[-1]) + _usual_gap(stream, ticks)
        choice = _choose(stream, ticks, duration, count, span, origin, pts[0])
    with _open(path, max_pixels, max_seconds) as (stream, packets, _):
        images = _convert(_decode(stream, packets, max_pixels), choice.frames, pts=None)
        if images is None:
            raise ClipError("truncated", "damaged: decodes to fewer frames the second time")
        return _frames(stream, images, ticks, choice)


class _Choice(NamedTuple):
    """Which frames are wanted, of how many, and where in ticks what they are sampled of is."""

    frames: list[int]
    among: int
    begin: int
    duration: int


def _choose(
    stream: av.VideoStream,
    ticks: np.ndarray,
    duration: int,
    count: int,
    span: Span | None,
    origin: float,
    first_pts: int,
) -> _Choice:
    """Choose among all frames, or those that are shown in a span.

    Args:
        ticks, duration: of the file, as of `nearest_frames`.
        origin: seconds at which the file begins.
        first_pts: the time of the first frame, in ticks.
    """
    if span is None:
        return _Choice(nearest_frames(ticks, duration, count), len(ticks), 0, duration)
    second = float(stream.time_base)  # type: ignore[arg-type]  # every open stream has one
    seconds = span_length(span, (first_pts + duration) * second - origin)
    begin = round((span[0] + origin) / second) - first_pts
    length = max(1, round(seconds / second))
    # The first is shown already when the span begins.
    first = max(0, int(np.searchsorted(ticks, begin, "right")) - 1)
    end = max(first + 1, int(np.searchsorted(ticks, begin + length)))
    nearest = nearest_frames(ticks[first:end] - begin, length, count)
    return _Choice([first + index for index in nearest], end - first, begin, length)


def _frames(
    stream: av.VideoStream, images: dict[int, np.ndarray], ticks: np.ndarray, choice: _Choice
) -> Frames:
    second = float(stream.time_base)  # type: ignore[arg-type]  # every open stream has one
    return Frames(
        images=np.stack([images[index] for index in choice.frames]),
        times=(ticks[choice.frames] - choice.begin) * second,
        frames_in_clip=choice.among,
        duration=choice.duration * second,
    )


def _decode(
    stream: av.VideoStream,
    packets: list[av.Packet],
    max_pixels: int,
    wanted: Container[int] | None = None,
) -> Iterator[av.VideoFrame]:
    """Frames in the order of presentation.

    Args:
        wanted: times; frames that are not wanted, and on which none rests, may be left out.
    """
    context = stream.codec_context
    if context.name not in SKIPPABLE:
        wanted = None
    for packet in [*packets, None]:  # None asks for the frames that the decoder still holds
        whole = wanted is None or packet is None or packet.pts in wanted
        context.skip_frame = "DEFAULT" if whole else "NONREF"
        try:
            frames = context.decode(packet)
        except FFmpegError as error:
            raise ClipError("truncated", f"damaged: decoding failed: {error.strerror}") from error
        for frame in frames:
            _check_size(frame.width, frame.height, max_pixels)
            if frame.is_corrupt:
                raise ClipError("truncated", "damaged: a frame decodes only in part")
            yield frame


def _convert(
    decoded: Iterable[av.VideoFrame], chosen: list[int], pts: list[int] | None
) -> dict[int, np.ndarray] | None:
    """RGB images of the chosen frames, by index; stops at the last.

    Returns None where the frames do not come out with the times `pts`, if given, or end early.
    """
    images: dict[int, np.ndarray] = {}
    for index, frame in enumerate(decoded):
        if pts is not None and frame.pts != pts[index]:
            return None
        if index in chosen:
            images[index] = _image(frame, next(iter(images.values()), None))
        if index == chosen[-1]:
            return images
    return None


def _image(frame: av.VideoFrame, first: np.ndarray | None) -> np.ndarray:
    """RGB uint8 [H, W, 3], upright.

    Should size or turn change within the clip, the size of its first image holds.
    """
    turns = _quarter_turns(frame)
    size = {}
    if first is not None:
        height, width = first.shape[:2] if turns % 2 == 0 else first.shape[1::-1]
        size = {"width": width, "height": height}
    # Starting threads for one frame would take longer than converting it.
    return np.rot90(frame.to_ndarray(format="rgb24", threads=1, **size), turns)


def _quarter_turns(frame: av.VideoFrame) -> int:
    """How often to turn a frame upright, counter-clockwise as np.rot90 does."""
    # Beyond a half turn: what PyAV makes of a matrix of zeros, whose angle is not a number.
    return round(frame.rotation / 90) if abs(frame.rotation) <= 180 else 0


def _usual_gap(stream: av.VideoStream, ticks: np.ndarray) -> int:
    """How long a frame lasts, in ticks, where its packet does not say."""
    if stream.average_rate:
        return max(1, round(1 / (stream.average_rate * stream.time_base)))  # type: ignore[operator]
    return int(np.median(np.diff(ticks))) if len(ticks) > 1 else 1


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise ClipError("too_large", f"{width}x{height} pixels; the limit is {max_pixels} in all")
