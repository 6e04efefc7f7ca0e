"""What the headers of sound files say of their length, where FFmpeg believes it or guesses."""

import re
import struct
from pathlib import Path

import av

COMPLETE = 0.9  # the share of what is promised that must be there
MAX_BYTES = 1 << 30  # a clip's compressed packets are held in memory
# Formats that say nowhere how long they last, so that FFmpeg guesses by the bit rate.
_WITHOUT_LENGTH = {"aac", "ac3", "amr", "dts", "eac3", "g722", "gsm"}
_MAX_CHUNKS = 1000  # before the samples of a wav file, which has a few


def riff_data(path: Path) -> tuple[int, int, bool]:
    """What a wav file says of its samples' bytes, or an avi file of its own.

    FFmpeg fits the duration of such a file to what is left of it.

    Returns:
        The bytes promised, or 0 where there is none but a placeholder, as of who writes to a pipe;
        the bytes that follow; and whether a wav's samples go on where they should end.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        name, promised, form = struct.unpack("<4sI4s", file.read(12).ljust(12, b"\0"))
        if name != b"RIFF":
            return 0, 0, False
        start, goes_on = 8, False
        for _ in range(_MAX_CHUNKS if form == b"WAVE" else 0):
            name, length = struct.unpack("<4sI", file.read(8).ljust(8, b"\0"))
            if name == b"data":
                start, promised = file.tell(), length
                file.seek(length + length % 2, 1)
                following = file.read(8)
                goes_on = (
                    0 < length < COMPLETE * (size - start)
                    and any(following)
                    and not _is_chunk(following, size - file.tell())
                )
                break
            file.seek(length + length % 2, 1)
    return (promised if promised < MAX_BYTES else 0), size - start, goes_on


def _is_chunk(head: bytes, rest: int) -> bool:
    name, length = struct.unpack("<4sI", head.ljust(8, b"\0"))
    return bool(re.fullmatch(rb"[ -~]{4}", name)) and length <= rest + 1


def is_cut_jpeg(content: bytes) -> bool:
    """Whether a JPEG has no end; FFmpeg fills what is missing of its picture without a word."""
    if content[:2] != b"\xff\xd8":
        return False
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] != b"\xda":
        # A segment with its length, which may hold a whole JPEG of its own, or a byte of filling.
        filling = content[at + 1 : at + 2] == b"\xff"
        at += 1 if filling else 2 + int.from_bytes(content[at + 2 : at + 4])
    return b"\xff\xd9" not in content[at:]


def is_picture(container: av.container.InputContainer) -> bool:
    """Whether an open file is a picture, which has neither duration nor name (`container`)."""
    return container.format.name.endswith("_pipe")


def is_guessed(container: av.container.InputContainer) -> bool:
    """Whether the duration of an open file is FFmpeg's guess by the bit rate at its beginning."""
    name = container.format.name
    if is_picture(container):
        return False
    path = Path(container.name)
    if name != "mp3":
        return name in _WITHOUT_LENGTH or riff_data(path)[2]
    with path.open("rb") as file:
        tag = file.read(10)
        while tag[:3] == b"ID3" and len(tag) == 10:  # seven bits a byte
            file.seek(sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0))), 1)
            tag = file.read(10)
        first_frame = tag + file.read(4096)
    # "Xing" of encoders with a variable rate and "Info" of others, with flags of what it has.
    return not re.search(rb"VBRI|(?:Xing|Info)...[\1\3\5\7\x09\x0b\x0d\x0f]", first_frame, re.S)
