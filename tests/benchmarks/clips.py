"""Clips to measure with, made as they are needed."""

import tempfile
from pathlib import Path

import av
import cv2
import numpy as np

from stages.corpora.emotions import EMOTIONS
from stages.media.audio import read_audio
from stages.synthesis.clip import make_clip
from tests.media_files import write_video

RATE = 25


def talking_clip(
    path: Path,
    size: tuple[int, int],
    utterance: tuple[int, int, int] = (0, 0, 0),
    seconds: int = 3,
    preset: str | None = None,
) -> Path:
    """An utterance of the sample corpus, enlarged, as H.264 with B-frames and AAC.

    Args:
        utterance: which speaker, emotion and sentence.
        preset: of x264.
    """
    who, emotion, what = utterance
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "clip.mp4"
        make_clip(small, who, EMOTIONS[emotion], what, 0)
        with av.open(str(small)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        wave = read_audio(small, 48000)

    def picture(index: int, width: int, height: int) -> np.ndarray:
        there_and_back = (frames + frames[::-1])[index % (2 * len(frames))]
        return cv2.resize(there_and_back, (width, height), interpolation=cv2.INTER_CUBIC)

    voice = np.resize(wave, seconds * 48000)[None]
    return write_video(
        path, seconds * RATE, size=size, rate=RATE, b_frames=3, preset=preset, picture=picture,
        voice=voice,
    )  # fmt: skip


def copies(clip: Path, folder: Path, count: int) -> list[str]:
    """Write `count` clips that are the same but for their bytes; returns their names.

    An empty box of the container tells them apart, so that what is kept of one is of no use for
    another.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = clip.read_bytes()
    names = [f"{number:05}.mp4" for number in range(count)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(content + b"\0\0\0\x18free" + f"{number:016}".encode())
    return names
