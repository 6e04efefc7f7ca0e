"""Opening a media file that somebody else made, and its compressed packets.

Nothing that the header says is believed without looking: files are opened under a
whitelist of formats, limits are checked before anything is decoded, and the packets
that are really there are compared with the duration that the header promises.
"""

import contextlib
import errno
import io
import re
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from stages.corpora.span import Span
from stages.corpora.still import is_still
from stages.io.files import LFS_POINTER
from stages.media.headers import COMPLETE, MAX_BYTES, is_cut_jpeg, is_guessed, is_picture, riff_data
from stages.runtime.errors import ClipError, UserError

# The formats that hold clips, by the names of FFmpeg's demuxers. Above all not `concat`, `hls` and
# the like: text files, whatever they are called, that make FFmpeg open other files.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,flv,matroska,webm,mpeg,mpegts,asf,ogg,wav,w64,aiff,flac,mp3,"
    "aac,ac3,adx,amr,ape,au,caf,dsf,dts,dv,eac3,g722,gsm,ircam,ivf,mpc,mpc8,mxf,nistsphere,nut,"
    "oma,paf,qcp,rm,shn,sox,tak,tta,voc,wv,xwma"
)
PICTURES = {  # FFmpeg's name by the first bytes of a file that is called a picture
    b"BM": "bmp_pipe",
    b"II*\0": "tiff_pipe",
    b"MM\0*": "tiff_pipe",
    b"RIFF": "webp_pipe",
    b"\x89PNG": "png_pipe",
    b"\xff\xd8": "jpeg_pipe",
}
ATTACHED = av.stream.Disposition.attached_pic  # a cover picture, which is never decoded
MAX_SECONDS = 600.0  # an utterance lasts seconds; MELD's longest clip 305 s
PREROLL = 1.0  # seconds of sound that are decoded before a span, on which codecs rest

# To describe the streams of a file that it opens, FFmpeg decodes a few frames, and of a wav file it
# reads 5 MB to guess whether it is something else in disguise. Without that it takes 1 ms, not 10.
_UNDECODED = {"max_pixels": "1"}
_UNDESCRIBED = {"probesize": "5000", "skip_frame": "all", "threads": "1", **_UNDECODED}


def open_media(path: Path, need: str = "all") -> av.container.InputContainer:
    """Open a media file for reading.

    Args:
        need: "all"; "audio" where no video is to be decoded, which takes less time for an mp4;
            "packets" where nothing is, which takes the least, and may fail where "all" does not.

    Raises:
        ClipError: `unreadable`.
        UserError: the file is a Git LFS pointer.
    """
    try:
        with path.open("rb") as file:
            head = file.read(len(LFS_POINTER))
    except OSError as error:
        raise ClipError("unreadable", f"cannot be opened: {error.strerror}") from error
    if not head:
        raise ClipError("unreadable", "the file is empty")
    if head == LFS_POINTER:
        raise UserError(f"{path}: is a Git LFS pointer, not the media itself; run `git lfs pull`")
    if is_still(path):
        return _open_picture(path)
    options = {"ignore_length": "1"} if riff_data(path)[2] else {}
    if need == "audio" and head[4:8] == b"ftyp":
        # An mp4's header holds all that its audio needs. Not so with Matroska, where undescribed
        # video would change the time at which the file begins.
        options["skip_frame"] = "all"
    if need == "packets":
        return _open(path, _UNDESCRIBED | options)
    covers: list[Mapping[str, str]] = []
    with contextlib.suppress(ClipError), av.logging.Capture():  # what it complains of is no damage
        with _open(path, _UNDESCRIBED | options) as container:
            attached = [stream.disposition & ATTACHED for stream in container.streams]
        if any(attached):  # a cover picture of a few kB may decode to GB
            covers = [_UNDECODED if it else {} for it in attached]
    return _open(path, options, covers)


def _open_picture(path: Path) -> av.container.InputContainer:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES)
    format_name = next((PICTURES[head] for head in PICTURES if content.startswith(head)), None)
    if format_name is None:
        raise ClipError("unreadable", "none of the pictures that are read; convert it to png")
    if is_cut_jpeg(content):
        raise ClipError("truncated", "damaged: the picture ends early")
    try:
        # Not by its name, which FFmpeg may take for the pattern of many: "a%d.png".
        return av.open(io.BytesIO(content), "r", format=format_name)
    except FFmpegError as error:
        reason = f"not a picture that can be read: {error.strerror}"
        raise ClipError("unreadable", reason) from error


def _open(
    path: Path, options: dict[str, str], of_streams: Sequence[Mapping[str, str]] = ()
) -> av.container.InputContainer:
    try:
        # Absolute, or FFmpeg reads "take:1.mp4" as an address of the protocol "take".
        return av.open(
            str(path.absolute()),
            options={"format_whitelist": FORMATS, **options},
            stream_options=[*of_streams],  # type: ignore[list-item]  # its stub is wrong
        )
    except (FFmpegError, UnicodeError) as error:
        # Not the whole message: it holds the absolute path, and skip tables are compared.
        reason = getattr(error, "strerror", None) or type(error).__name__
        if getattr(error, "errno", 0) == errno.EINVAL:
            reason = _reason(path)
        raise ClipError("unreadable", f"not a media file that can be read: {reason}") from error


def _reason(path: Path) -> str:
    """Why FFmpeg refuses a file as an invalid argument: for the format that it looks like."""
    av.logging.set_level(av.logging.DEBUG)
    try:
        with av.logging.Capture() as said, contextlib.suppress(FFmpegError):
            av.open(str(path.absolute()), options={"format_whitelist": FORMATS}).close()
    finally:
        av.logging.set_level(None)
    found = re.search(r"Format (\S+) probed", "".join(line for _, _, line in said))
    name = found.group(1) if found else ""
    if name and not {*name.split(",")} & {*FORMATS.split(",")}:
        return f"its format {name} is none of those that hold clips; convert it to wav or mp4"
    return "its header is damaged"


def start_seconds(container: av.container.InputContainer) -> float:
    """The time, in seconds, at which the first stream of the file begins."""
    return (container.start_time or 0) / av.time_base


def read_packets(
    container: av.container.InputContainer,
    stream: av.stream.Stream,
    max_seconds: float,
    span: Span | None = None,
) -> list[av.Packet]:
    """All packets of one stream, or those of a span, in the order of decoding; nothing is decoded.

    Raises:
        ClipError: see `read_streams` and `read_span`; `unreadable` where the stream has none.
    """
    if span:
        return require_data(read_span(container, stream, max_seconds, span), stream)
    return require_data(read_streams(container, [stream], max_seconds)[stream.index], stream)


def require_data(packets: list[av.Packet], stream: av.stream.Stream) -> list[av.Packet]:
    """Return the packets of a stream, or raise ClipError `unreadable` where there are none."""
    if not packets:
        raise ClipError("unreadable", f"no data in its {stream.type} stream")
    return packets


def read_streams(
    container: av.container.InputContainer,
    streams: Sequence[av.stream.Stream],
    max_seconds: float,
) -> dict[int, list[av.Packet]]:
    """The packets of some streams by the index of the stream, in one pass; nothing is decoded.

    Raises:
        ClipError: `too_large` where the file is larger than `MAX_BYTES` or lasts longer than
            `max_seconds`, by its header or by the times of its packets; `truncated` where the
            packets of all streams end before `COMPLETE` of the duration, or the file before
            `COMPLETE` of the size, in the header.
    """
    if container.size > MAX_BYTES:
        raise ClipError("too_large", f"{container.size} bytes; the limit is {MAX_BYTES}")
    if not is_picture(container):
        size, rest, _ = riff_data(Path(container.name))
        if rest < COMPLETE * size:
            raise ClipError("truncated", f"has {rest} bytes of {size}")
    promised = 0.0 if is_guessed(container) else (container.duration or 0) / av.time_base
    read = 0  # bytes
    start, first, end = start_seconds(container), 0.0, 0.0
    tick: dict[int, float] = {}  # seconds, by stream
    undated: dict[int, list[float]] = {stream.index: [] for stream in streams}
    packets: dict[int, list[av.Packet]] = {stream.index: [] for stream in streams}
    try:
        for packet in container.demux():
            if packet.stream_index not in tick:
                tick[packet.stream_index] = float(packet.time_base)
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and not packet.is_discard:
                begins = time * tick[packet.stream_index] - start
                first = min(first, begins)
                end = max(end, begins + (packet.duration or 0) * tick[packet.stream_index])
                if not packet.duration and packet.stream_index in undated:
                    undated[packet.stream_index].append(begins)
            if end - first > max_seconds:
                break
            read += packet.size
            if packet.stream_index in packets and packet.size:
                packets[packet.stream_index].append(packet)
    except (FFmpegError, IndexError):
        # A damaged file ends here; whether too early is decided below. The IndexError is PyAV's,
        # for a stream that turns up only in the middle of an flv file.
        pass
    for index, found in undated.items():
        if found and len(found) == len(packets[index]):  # no packet says how long it lasts
            gaps = np.abs(np.diff(found))
            end = max(end, found[-1] + (gaps.max() if len(gaps) else promised))
    there = end - first  # what a codec primes itself with begins before 0, and Matroska counts it
    if promised > max_seconds and there * MAX_BYTES < promised * read:
        promised = 0.0  # of so many bytes it can only be a placeholder, as in an AIFF from a pipe
    longest = max(promised, there)
    if longest > max_seconds:
        raise ClipError("too_large", f"{longest:.0f} s; the limit is {max_seconds:g} s")
    if there < COMPLETE * promised:
        raise ClipError("truncated", f"ends after {there:.2f} s of {promised:.2f} s")
    return packets


def read_span(
    container: av.container.InputContainer,
    stream: av.stream.Stream,
    max_seconds: float,
    span: Span,
) -> list[av.Packet]:
    """The packets that a span of a stream rests on, in a file of any length; nothing is decoded.

    Those are of video all up to its end, and of audio those from `PREROLL` before it.

    Raises:
        ClipError: `too_large` where the span lasts longer than `max_seconds`, or its packets are
            larger than `MAX_BYTES`; `beyond_end` where the stream ends before it.
    """
    start, end = span
    origin, read, ends = start_seconds(container), 0, 0.0
    first = start - PREROLL if stream.type == "audio" else 0.0
    packets: list[av.Packet] = []
    try:
        for packet in container.demux(stream):
            time = packet.dts if packet.dts is not None else packet.pts
            if time is not None and packet.size:
                begins = float(time * packet.time_base) - origin
                ends = begins + float((packet.duration or 0) * packet.time_base)
                if begins >= end:  # what comes later is shown later
                    break
                if begins > start + max_seconds:
                    limit = f"the limit is {max_seconds:g} s"
                    raise ClipError("too_large", f"lasts longer from {start:g} s on; {limit}")
                if ends < first:
                    continue
            read += packet.size
            if read > MAX_BYTES:
                raise ClipError("too_large", f"more than {MAX_BYTES} bytes up to {ends:g} s")
            if packet.size:
                packets.append(packet)
    except (FFmpegError, IndexError):
        pass  # as in `read_streams`; whoever decodes it asks for `span_length`
    if not packets and ends:
        span_length(span, ends)
    return packets


def span_length(span: Span, ends: float) -> float:
    """The seconds of a span that are there in a file that ends at `ends`.

    Raises:
        ClipError: `beyond_end` where that is less than `COMPLETE` of it.
    """
    start, end = span
    there = min(end, ends) - start
    if there <= 0 or (end < inf and there < COMPLETE * (end - start)):
        asked = f"{start:g} s on" if end == inf else f"{start:g} to {end:g} s"
        raise ClipError("beyond_end", f"the table asks for {asked}; the file ends at {ends:.2f} s")
    return there


def last_time(packets: Sequence[av.Packet]) -> float:
    """The end of the last packet in seconds; 0 where they have no times."""
    ends = [
        (time + (packet.duration or 0)) * packet.time_base
        for packet in packets
        if (time := packet.pts if packet.pts is not None else packet.dts) is not None
    ]
    return float(max(ends, default=0))
