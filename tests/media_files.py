"""Media files made when a test runs: clips, sounds, and files that only look like them."""

import os
import struct
import zlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest


def moving_picture(index: int, width: int, height: int) -> np.ndarray:
    """RGB uint8 [height, width, 3], different for every index and without symmetry."""
    rng = np.random.default_rng(7)
    blobs = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (width, height))
    picture = np.roll(blobs, 3 * index, axis=1)
    picture[: height // 4, : width // 3] = (250, 20 + 3 * index % 200, 10)
    return picture


def write_video(
    path: Path,
    frames: int = 30,
    codec: str = "libx264",
    size: tuple[int, int] = (96, 64),
    rate: int = 25,
    pix_fmt: str = "yuv420p",
    b_frames: int | None = None,
    keyframe_every: int | None = None,
    open_groups: bool = False,
    pts_ms: list[int] | None = None,
    rotation: int = 0,
    preset: str | None = None,
    voice: np.ndarray | None = None,
    voice_from: int = 0,
    picture: Callable[[int, int, int], np.ndarray] = moving_picture,
) -> Path:
    """Write a clip of pictures; `pts_ms` gives it a variable frame rate.

    Args:
        preset: of x264, how much time it takes for how small a file.
        voice: float [channels, samples] at 48 kHz, written as AAC where given.
        voice_from: the first of those samples that is written; those before leave a gap.
    """
    options = {"fflags": "bitexact"}  # the same bytes every time
    if path.suffix == ".mp4":
        options["movflags"] = "faststart"
    with av.open(str(path.absolute()), "w", options=options) as container:
        stream = container.add_stream(codec, rate=1000 if pts_ms else rate)
        stream.width, stream.height = size
        stream.pix_fmt = pix_fmt
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if keyframe_every is not None:
            stream.codec_context.gop_size = keyframe_every
        if open_groups:  # frames before a keyframe may rest on it and on what is before them
            stream.codec_context.options = {"x264-params": "open-gop=1"}
        if preset:
            stream.codec_context.options = {"preset": preset}
        if rotation:
            stream.set_display_rotation(rotation)
        sound = None if voice is None else _add_sound(container, voice, 48000, "aac")
        time_base = Fraction(1, 1000 if pts_ms else rate)
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(index, *size), format="rgb24")
            frame.pts = pts_ms[index] if pts_ms else index
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            _write_sound(container, sound, voice, 48000, voice_from)
    return path


def cut_by_edit_list(clip: Path, first: int, last: int = 1 << 20) -> Path:
    """A copy of an mp4 clip of 25 frames a second whose edit list leaves out the first frames.

    As `ffmpeg -ss ... -t ... -c copy` cuts it; the packets after frame `last` are not copied.
    """
    path = clip.with_name(f"cut at {first}.mp4")
    with (
        av.open(str(clip)) as source,
        av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as container,
    ):
        copies = {
            stream.index: container.add_stream_from_template(stream) for stream in source.streams
        }
        for packet in source.demux():
            if packet.size and packet.pts * packet.time_base < last / 25:
                shift = round(first / 25 / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = copies[packet.stream_index]
                container.mux(packet)
    return path


def write_sound(path: Path, wave: np.ndarray, rate: int, codec: str = "pcm_s16le") -> Path:
    """Write float [channels, samples], full scale 1, as a sound file."""
    with av.open(str(path.absolute()), "w") as container:
        stream = _add_sound(container, wave, rate, codec)
        _write_sound(container, stream, wave, rate)
    return path


def with_sizes(wav: Path, riff: int, data: int) -> Path:
    """Give a wav file other sizes in its header."""
    content = bytearray(wav.read_bytes())
    struct.pack_into("<I", content, 4, riff)
    struct.pack_into("<I", content, content.index(b"data") + 4, data)
    wav.write_bytes(content)
    return wav


def sine(frequency: float, seconds: float, rate: int, amplitude: float = 0.5) -> np.ndarray:
    """float32 [1, samples]"""
    time = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * frequency * time)).astype(np.float32)[None]


def add_cover(path: Path, side: int) -> Path:
    """Put a PNG of side x side black pixels into a sound file (flac, mp3 or m4a)."""
    zipped = zlib.compressobj(1)
    rows = b"".join(zipped.compress(bytes(1 + 3 * side)) for _ in range(side)) + zipped.flush()
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n"
    for name, data in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b"")):
        png += struct.pack(">I", len(data)) + name + data
        png += struct.pack(">I", zlib.crc32(name + data))
    content = path.read_bytes()
    if path.suffix == ".flac":
        picture = struct.pack(">II9s5II", 3, 9, b"image/png", 0, 0, 0, 0, 0, len(png)) + png
        start = 8 + int.from_bytes(content[5:8], "big")
        block = b"\6" + len(picture).to_bytes(3, "big") + picture
    elif path.suffix == ".mp3":
        frame = b"APIC" + struct.pack(">IH", len(png) + 13, 0) + b"\0image/png\0\3\0" + png
        size = bytes(len(frame) >> shift & 127 for shift in (21, 14, 7, 0))
        start, block = 0, b"ID3\3\0\0" + size + frame
    else:
        start = content.index(b"moov") - 4
        handler = _box(b"hdlr", bytes(8) + b"mdirappl" + bytes(9))
        cover = _box(b"ilst", _box(b"covr", _box(b"data", struct.pack(">II", 14, 0) + png)))
        tags = _box(b"udta", _box(b"meta", bytes(4) + handler + cover))
        block = _box(b"moov", content[start + 8 : content.find(b"udta") - 4] + tags)
        content = content[:start]
    path.write_bytes(content[:start] + block + content[start:])
    return path


def _box(name: bytes, content: bytes) -> bytes:
    """A box of an mp4 file."""
    return struct.pack(">I", 8 + len(content)) + name + content


def corpora() -> Path:
    """The folder of real clips; skips the test where there is none."""
    beside = Path(__file__).parents[2] / "shared/corpora"
    folder = Path(os.environ.get("FDAN_CORPORA", beside))
    if not (folder / "ravdess").is_dir():
        pytest.skip(f"no real clips in {folder}; set FDAN_CORPORA")
    return folder


def _layout(channels: int) -> str:
    return {1: "mono", 2: "stereo", 6: "5.1"}[channels]


def _add_sound(
    container: av.container.OutputContainer, wave: np.ndarray, rate: int, codec: str
) -> av.AudioStream:
    return container.add_stream(codec, rate=rate, layout=_layout(len(wave)))


def _write_sound(
    container: av.container.OutputContainer,
    stream: av.AudioStream,
    wave: np.ndarray,
    rate: int,
    first: int = 0,
) -> None:
    context = stream.codec_context
    to_codec = av.AudioResampler(format=context.format, layout=context.layout, rate=rate)
    for start in range(first, wave.shape[1], 1024):
        block = np.ascontiguousarray(wave[:, start : start + 1024], np.float32)
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=_layout(len(wave)))
        frame.sample_rate = rate
        frame.pts = start
        frame.time_base = Fraction(1, rate)
        for converted in to_codec.resample(frame):
            container.mux(stream.encode(converted))
    container.mux(stream.encode())


def write_iemocap(root: Path) -> None:
    """IEMOCAP of a dialogue of two seconds: two turns at once, of the woman on the left, in red.

    The man is blue. Voices are files of their own, of 0.5 and 0.6 s.
    """

    def picture(_: int, width: int, height: int) -> np.ndarray:
        image = np.zeros((height, width, 3), np.uint8)
        image[:, : width // 2, 0] = image[:, width // 2 :, 2] = 200
        return image

    dialogue = "Ses01F_impro01"
    session = root / "Session1"
    for place in ("dialog/EmoEvaluation", "dialog/avi/DivX", f"sentences/wav/{dialogue}"):
        (session / place).mkdir(parents=True)
    write_video(session / f"dialog/avi/DivX/{dialogue}.avi", 50, codec="mpeg4", picture=picture)
    lines = []
    for name, code, seconds in (("F000", "ang", 0.5), ("M000", "exc", 0.6)):
        voice = session / f"sentences/wav/{dialogue}/{dialogue}_{name}.wav"
        write_sound(voice, sine(200 + 1000 * (seconds - 0.5), seconds, 16000), 16000)
        lines.append(f"[0.8 - 1.6]\t{dialogue}_{name}\t{code}\t[2.5, 2.5, 2.5]\n")
    (session / f"dialog/EmoEvaluation/{dialogue}.txt").write_text("".join(lines))
