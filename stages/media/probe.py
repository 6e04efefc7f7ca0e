"""How long the video and the audio of a clip last, without decoding.

For an error that `probe` finds, `sample_frames` or `read_audio` raises the same. They find more:
some damage appears only on decoding.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import av

from stages.corpora.span import Span
from stages.corpora.still import is_still
from stages.media.audio import audio_stream
from stages.media.container import (
    MAX_SECONDS,
    last_time,
    open_media,
    read_packets,
    read_streams,
    require_data,
    span_length,
    start_seconds,
)
from stages.media.headers import is_guessed, riff_data
from stages.media.video import video_stream
from stages.runtime.errors import ClipError

FIND: dict[str, Callable[[av.container.InputContainer], av.stream.Stream]] = {
    "video": video_stream,
    "audio": audio_stream,
}
APART = 0.2  # of the longer: by how much video and audio of one utterance may differ in length

Probed = dict[str, float | ClipError]


def probe_duration(path: Path) -> float | None:
    """Seconds that the header of a media file gives; None where it cannot be opened.

    Where that is a placeholder or a guess, those that its packets last.

    Raises:
        UserError: the file is a Git LFS pointer.
    """
    try:
        with open_media(path, need="packets") as container:
            seconds = (container.duration or 0) / av.time_base
            if 0 < seconds <= MAX_SECONDS and not is_guessed(container):
                return seconds
    except ClipError:
        return None
    found = [item for item in probe(path, list(FIND)).values() if isinstance(item, float)]
    return max(found, default=0.0) or seconds or None


class ProbedUtterance(NamedTuple):
    """What is known of an utterance without decoding.

    Attributes:
        duration: `probe_duration` of its audio, or video where it has none; of its span what is
            there of it.
        kinds: where it has both, what `probe` finds of each.
        understated: those of its files that go on where their header ends them.
    """

    duration: float | None
    kinds: Probed
    understated: list[str]


def probe_utterance(
    root: Path, video: str, audio: str, spans: Mapping[str, Span] = {}
) -> ProbedUtterance:
    """Look at the clips of an utterance, which lie below `root`; "" for one that it has not.

    Args:
        spans: of which parts of its "video" and "audio", where not of all; the same of one file.

    Raises:
        UserError: a file is a Git LFS pointer.
    """
    kinds: Probed = {}
    if video and video == audio:
        kinds = probe(root / video, ["video", "audio"], spans.get("video"))
    elif video and audio:
        files = {"video": root / video, "audio": root / audio}
        for kind, path in files.items():
            kinds |= probe(path, [kind], spans.get(kind))
    understated = [name for name in {video, audio} - {""} if riff_data(root / name)[2]]
    kind = "audio" if audio else "video"
    if kind not in spans:
        return ProbedUtterance(probe_duration(root / (audio or video)), kinds, understated)
    own = kinds or probe(root / (audio or video), [kind], spans[kind])
    seconds = own[kind]
    lasts = seconds if isinstance(seconds, float) else None
    return ProbedUtterance(lasts, kinds, understated)


def far_apart(video: float, audio: float) -> bool:
    """Whether the seconds of an utterance's video and audio differ, as after a wrong cut.

    Not where one of them is 0: its packets have no times.
    """
    return min(video, audio) > 0 and abs(video - audio) > APART * max(video, audio)


def probe(path: Path, kinds: Sequence[str], span: Span | None = None) -> Probed:
    """The seconds that a clip's "video" and "audio" last, of those in `kinds`, or why not.

    0 of a picture.

    Args:
        span: of which part of the file.

    Raises:
        UserError: the file is a Git LFS pointer.
    """
    if span:
        return {kind: _probe_span(path, kind, span) for kind in kinds}
    found = _probe(path, kinds, "packets")
    if any(isinstance(item, ClipError) for item in found.values()):
        found = _probe(path, kinds, "all")  # as those who decode it open it
    if is_still(path):
        found = {k: item if isinstance(item, ClipError) else 0.0 for k, item in found.items()}
    return found


def _probe(path: Path, kinds: Sequence[str], need: str) -> Probed:
    found: Probed = {}
    try:
        with open_media(path, need) as container:
            streams = {}
            for kind in kinds:
                try:
                    streams[kind] = FIND[kind](container)
                except ClipError as error:
                    found[kind] = error
            packets = read_streams(container, list(streams.values()), MAX_SECONDS)
            for kind, stream in streams.items():
                try:
                    found[kind] = _seconds(require_data(packets[stream.index], stream))
                except ClipError as error:
                    found[kind] = error
    except ClipError as error:
        found = dict.fromkeys(kinds, error)
    return found


def _probe_span(path: Path, kind: str, span: Span) -> float | ClipError:
    try:
        with open_media(path) as container:
            packets = read_packets(container, FIND[kind](container), MAX_SECONDS, span)
            return span_length(span, last_time(packets) - start_seconds(container))
    except ClipError as error:
        return error


def _seconds(packets: list[av.Packet]) -> float:
    """From the first to the end of the last; 0 where they have no times."""
    spans = [
        (time, time + (packet.duration or 0))
        for packet in packets
        if not packet.is_discard
        and (time := packet.pts if packet.pts is not None else packet.dts) is not None
    ]
    if not spans:
        return 0.0
    begins, ends = zip(*spans)
    return float((max(ends) - min(begins)) * packets[0].time_base)
