"""What the packets of a clip tell without decoding: how long its face and its voice last.

A clip that is refused here is refused by `sample_frames` or `read_audio` for the same reason. They
find more: what is damaged shows only when it is decoded.
"""

from collections.abc import Sequence
from pathlib import Path

import av

from stages.failures import ClipError
from stages.media.audio import audio_stream
from stages.media.container import MAX_SECONDS, open_media, read_streams, require_data
from stages.media.video import video_stream

FIND = {"video": video_stream, "audio": audio_stream}

# To open a file FFmpeg decodes a few frames, and of a wav file it reads 5 MB to guess whether it is
# something else in disguise. Without that it takes 1 ms instead of 10.
QUICK = {"probesize": "5000", "skip_frame": "all", "threads": "1"}

Probed = dict[str, float | ClipError]


def probe(path: Path, kinds: Sequence[str]) -> Probed:
    """The seconds that a clip's "video" and "audio" last, of those in `kinds`, or why not.

    Raises:
        UserError: the file is a Git LFS pointer.
    """
    found = _probe(path, kinds, **QUICK)
    if any(isinstance(item, ClipError) for item in found.values()):
        found = _probe(path, kinds)  # as those who decode it open it
    return found


def _probe(path: Path, kinds: Sequence[str], **options: str) -> Probed:
    found: Probed = {}
    try:
        with open_media(path, **options) as container:
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
