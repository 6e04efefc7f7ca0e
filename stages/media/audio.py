"""The audio of a clip: one channel, one sample rate, aligned with the clip's time.

Any audio file and any video file is read the same way, through FFmpeg's libraries inside PyAV,
so that no `ffmpeg` program need be installed.
"""

import itertools
import struct
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError

from stages.corpora.span import Span
from stages.io.arrays import Layout
from stages.media.container import (
    MAX_SECONDS,
    last_time,
    open_media,
    read_packets,
    span_length,
    start_seconds,
)
from stages.media.headers import COMPLETE
from stages.runtime.errors import ClipError

DEFAULT = av.stream.Disposition.default
RATES = (1_000, 768_000)  # Hz; beyond, resampling fails or fills the memory
# The share of the power of unrelated channels that their mean must have. Less is left where one is
# the negative of another, as after a wrong wiring.
CANCELLED = 0.02
SILENCE = 1e-4  # of full scale, -80 dB: below it there is nothing but dither


class Waveform(NamedTuple):
    """The voice of one clip, float32 [samples] in [-1, 1]."""

    values: np.ndarray

    @staticmethod
    def layout(settings: Mapping[str, Any]) -> Layout:
        """What the cache of clips holds of it."""
        return {"values": ("float32", (None,))}


def clip_waveform(
    path: Path,
    surround: str,
    min_seconds: float,
    max_seconds: float,
    sample_rate: int,
    span: Span | None = None,
) -> Waveform:
    """Read the voice of a clip or a span of it, at most `max_seconds`.

    Raises:
        ClipError: the clip cannot be decoded or holds no speech.
    """
    wave = read_audio(path, sample_rate, surround=surround, span=span)
    wave = wave[: int(max_seconds * sample_rate)]
    check_speech(wave, sample_rate, min_seconds)
    return Waveform(wave)


def waveform_settings(mels: Mapping[str, Any], sample_rate: int) -> dict[str, Any]:
    """The settings of `clip_waveform`, by which it hears what the stage mels hears of a clip.

    Args:
        mels: the settings of that stage.
        sample_rate: of the result, in Hz.
    """
    shared = {key: mels[key] for key in ("surround", "min_seconds", "max_seconds")}
    return shared | {"sample_rate": sample_rate}


def read_audio(
    path: Path,
    sample_rate: int,
    surround: str = "mean",
    *,
    max_seconds: float = MAX_SECONDS,
    span: Span | None = None,
) -> np.ndarray:
    """Read the audio of a file, its default stream where there are several, as one channel.

    Sample 0 is time 0 of the file: audio that begins later than the video is preceded by zeros,
    and the samples with which a codec primes itself are cut where the file says how many.

    Args:
        sample_rate: of the result, in Hz.
        surround: what becomes of more than two channels: "mean" of all of them, or the "centre"
            channel alone, where speech is (their mean, should there be none). Two are averaged.
            Where a mean would cancel most of them, the loudest stands for all.
        max_seconds: the longest file or span that is read.
        span: read that part of the file alone.

    Returns:
        float32 [samples], full scale is 1.

    Raises:
        ClipError: `unreadable`, also for a sample rate beyond `RATES`; `no_audio`; `too_large` for
            more than `max_seconds`; `truncated` where the file ends before 90 % of the duration in
            its header, or less than 90 % of what is there decodes; `beyond_end` where less than
            90 % of the span is there.
        UserError: the file is a Git LFS pointer.
    """
    with open_media(path, need="audio") as container:
        stream = audio_stream(container)
        stream.codec_context.thread_count = 1
        stream.codec_context.skip_frame = "DEFAULT"
        packets = read_packets(container, stream, max_seconds, span)
        frames = _decode(stream, packets, inf if span else max_seconds)
        rate = frames[0].sample_rate
        parts = itertools.groupby(frames, lambda frame: (frame.format.name, frame.layout.name))
        wave = np.concatenate([_mono(list(alike), surround) for _, alike in parts])
        promised = _promised(packets, rate)
        origin = start_seconds(container)
        begins = frames[0].time - origin if frames[0].time is not None else 0.0
        if span:
            ends = last_time(packets) - origin if frames[0].time is not None else len(wave) / rate
            promised, first = span_length(span, ends) * rate, round((span[0] - begins) * rate)
            wave = np.pad(wave, (max(0, -first), 0))[max(0, first) :][: round(promised)]
            begins = 0.0
        if len(wave) < COMPLETE * promised:
            seconds = f"{len(wave) / rate:.2f} s of {promised / rate:.2f} s"
            raise ClipError("truncated", f"decodes {seconds}")
    wave = _resample(wave, rate, sample_rate)
    offset = round(begins * sample_rate)
    if offset + len(wave) > max_seconds * sample_rate:
        raise ClipError("too_large", f"begins at {begins:.0f} s; the limit is {max_seconds:g} s")
    return np.pad(wave, (offset, 0)) if offset >= 0 else wave[-offset:]


def audio_stream(container: av.container.InputContainer) -> av.AudioStream:
    """The first audio stream that the file marks as its default, else the first.

    Raises:
        ClipError: `no_audio`; `unreadable`.
    """
    streams = container.streams.audio
    if not streams:
        raise ClipError("no_audio", "no audio stream")
    stream = next((item for item in streams if item.disposition & DEFAULT), streams[0])
    if stream.codec_context is None:
        raise ClipError("unreadable", "no decoder for its audio stream")
    return stream


def check_speech(wave: np.ndarray, sample_rate: int, min_seconds: float) -> None:
    """Check that there can be speech in a wave.

    Args:
        wave: float32 [samples], full scale is 1.

    Raises:
        ClipError: `too_short` for less than `min_seconds`, or no sample at all; `nonfinite`;
            `silent` where no sample exceeds `SILENCE`.
    """
    seconds = len(wave) / sample_rate
    if len(wave) == 0 or seconds < min_seconds:
        raise ClipError("too_short", f"{seconds:.3f} s of audio; the minimum is {min_seconds:g} s")
    bad = len(wave) - np.isfinite(wave).sum()
    if bad:
        raise ClipError("nonfinite", f"{bad} of {len(wave)} samples are not finite numbers")
    peak = np.abs(wave).max()
    if peak < SILENCE:
        raise ClipError("silent", f"no sample exceeds {peak:.1e} of full scale")


def _decode(
    stream: av.AudioStream, packets: list[av.Packet], max_seconds: float
) -> list[av.AudioFrame]:
    """All frames; packets that cannot be decoded are left out."""
    frames: list[av.AudioFrame] = []
    seconds = 0.0
    for packet in [*packets, None]:  # None asks for the frames that the decoder still holds
        try:
            decoded = stream.codec_context.decode(packet)
        except FFmpegError:
            continue  # how much is missing is decided at the end
        for frame in decoded:
            if not RATES[0] <= frame.sample_rate <= RATES[1]:
                raise ClipError("unreadable", f"its sample rate is {frame.sample_rate} Hz")
            seconds += frame.samples / frame.sample_rate
            if seconds > max_seconds:
                raise ClipError("too_large", f"decodes to more than {max_seconds:g} s")
            frames.append(frame)
    if not frames:
        raise ClipError("unreadable", "nothing in its audio stream can be decoded")
    if len({frame.sample_rate for frame in frames}) > 1:
        raise ClipError("unreadable", "the sample rate changes within the file")
    return frames


def _promised(packets: list[av.Packet], rate: int) -> float:
    """The samples that should come out of packets, without those that the file says to drop.

    It says so by packet, as an edit list does, or by samples: with what a codec primes itself, and
    what fills up its last frame.
    """
    total = skip = 0.0
    for packet in packets:
        samples = float((packet.duration or 0) * packet.time_base * rate)
        at_end = 0.0
        for item in packet.iter_sidedata():
            if item.data_type == "skip_samples":
                skip, at_end = struct.unpack("<II", bytes(item)[:8])
        dropped = samples if packet.is_discard else min(samples, skip)
        skip = max(0.0, skip - dropped)
        total += max(0.0, samples - dropped - at_end)
    return total


def _mono(frames: list[av.AudioFrame], surround: str) -> np.ndarray:
    """Decoded frames of one format as float32 [samples], full scale 1."""
    frame = frames[0]
    samples = np.concatenate([_to_array(frame) for frame in frames], axis=1)
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    channels = [channel.name for channel in frame.layout.channels]
    offset, scale = 0.0, 1.0
    if samples.dtype.kind in "ui":
        scale = 2.0 ** (8 * samples.dtype.itemsize - 1)
        offset = scale if samples.dtype.kind == "u" else 0.0

    def scaled(wave: np.ndarray) -> np.ndarray:
        return (wave.astype(np.float64) - offset) / scale

    if surround == "centre" and len(channels) > 2 and "FC" in channels:
        return scaled(samples[channels.index("FC")]).astype(np.float32)
    mono = scaled(samples.mean(axis=0, dtype=np.float64))
    if len(channels) > 1:
        power = [np.square(scaled(channel)).mean() for channel in samples]
        if np.square(mono).mean() * len(channels) ** 2 < CANCELLED * sum(power):
            mono = scaled(samples[np.argmax(power)])
    return mono.astype(np.float32)


def _to_array(frame: av.AudioFrame) -> np.ndarray:
    if frame.format.name not in ("s64", "s64p"):  # of which PyAV makes no arrays
        return frame.to_ndarray()
    count = frame.samples * (1 if frame.format.is_planar else frame.layout.nb_channels)
    return np.stack([np.frombuffer(bytes(plane), np.int64, count) for plane in frame.planes])


def _resample(wave: np.ndarray, rate_in: int, rate_out: int) -> np.ndarray:
    """Resample float32 [samples] in one piece, to the nearest whole number of samples."""
    if rate_in == rate_out:
        return wave
    frame = av.AudioFrame.from_ndarray(wave[None], format="fltp", layout="mono")
    frame.sample_rate = rate_in
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate_out)
    parts = resampler.resample(frame) + resampler.resample(None)
    # Of a few samples at a high rate there may be nothing left.
    resampled = np.concatenate([np.empty(0, np.float32), *(part.to_ndarray()[0] for part in parts)])
    length = round(len(wave) * rate_out / rate_in)
    return np.pad(resampled, (0, max(0, length - len(resampled))))[:length]
