"""What is asked of mutants, in a child process: refused in the known ways, or right.

Everything else is an AssertionError, or whatever else it raises.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from stages.corpora.emotions import EMOTIONS
from stages.corpora.utterance import Listing
from stages.runtime.errors import ClipError, UserError

CODES = {
    "unreadable", "truncated", "no_video", "no_audio", "too_large", "too_short", "nonfinite",
    "silent", "no_face",
}  # fmt: skip
SIZE = 32
RATE = 16000
LONGEST = 1500  # letters of a message, beside the name of the file


def judge_media(path: Path) -> dict[str, str]:
    """How a clip's frames, faces and sound end: "ok" or the code of a ClipError."""
    works = {"frames": check_frames, "faces": check_faces, "sound": check_sound}
    ends = {}
    for name, work in works.items():
        try:
            work(path)
            ends[name] = "ok"
        except ClipError as error:
            assert error.code in CODES, f"{name}: an unknown code, {error.code}"
            assert str(path) not in error.detail and len(error.detail) < 300, error.detail
            ends[name] = error.code
    return ends


def check_frames(path: Path) -> None:
    from stages.media.container import MAX_SECONDS
    from stages.media.video import sample_frames

    frames = sample_frames(path)
    height, width = frames.images.shape[1:3]
    assert frames.images.shape == (3, height, width, 3) and frames.images.dtype == np.uint8
    assert frames.frames_in_clip >= 1
    assert 0 <= frames.duration <= MAX_SECONDS, f"lasts {frames.duration} s"
    assert 0 <= frames.times[0] and frames.times[-1] <= frames.duration, frames
    assert (np.diff(frames.times) >= 0).all(), frames.times
    found = in_plain_decode(path, frames.images, frames.times)
    keyframe = 1
    while not found.all() and any(True for _ in plain_frames(path, keyframe)):
        # What is damaged may show by what was decoded before it: from another keyframe, otherwise.
        found |= in_plain_decode(path, frames.images, frames.times, keyframe)
        keyframe += 1
    assert found.all(), f"not in a plain decode: {np.flatnonzero(~found)} of {frames.times}"


def in_plain_decode(
    path: Path, images: np.ndarray, times: np.ndarray, keyframe: int = 0
) -> np.ndarray:
    """Which of the images a plain decode has at their time, begun at a keyframe: bool [n].

    Times count from the first frame, or from the first packet should that not decode. At any time
    where the file's times are of no use, since the even rate is then made up.
    """
    pts = [frame.pts for frame, _ in plain_frames(path)]
    usable = None not in pts and (np.diff(pts) > 0).all()
    starts = {pts[0], first_time(path)} if usable else set()
    found = np.zeros(len(times), bool)
    for frame, second in plain_frames(path, keyframe):
        here = np.ones(len(times), bool)
        if usable:
            here = np.zeros(len(times), bool)
            for start in starts:
                here |= np.abs(times - (frame.pts - start) * second) < 1e-6
        for i in np.flatnonzero(here & ~found):
            turns = round(frame.rotation / 90) if -180 <= frame.rotation <= 180 else 0
            height, width = np.rot90(images[i], -turns).shape[:2]
            image = frame.to_ndarray(format="rgb24", width=width, height=height)
            found[i] = np.array_equal(np.rot90(image, turns), images[i])
    return found


def first_time(path: Path) -> int:
    """The least time of a packet of the first video stream, in the unit of the stream."""
    times = []
    with av.open(str(path)) as container, contextlib.suppress(FFmpegError, IndexError):
        for packet in container.demux(container.streams.video[0]):
            if packet.size and packet.pts is not None and not packet.is_discard:
                times.append(packet.pts)
    return min(times)


def plain_frames(path: Path, keyframe: int = 0) -> Iterator[tuple[av.VideoFrame, float]]:
    """All frames of the first video stream that decode, in the order in which they come out.

    Each with how many seconds the unit of its time is.

    Args:
        keyframe: to begin at, counted from 0, which also means the very beginning.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        packets = container.demux(stream)
        seen = 0  # keyframes
        while True:
            try:
                packet = next(packets, None)
            except (FFmpegError, IndexError):
                packet = None
            if packet is not None and keyframe:
                seen += packet.is_keyframe
                if seen <= keyframe:
                    continue
            try:
                data = packet if packet and packet.size else None
                for frame in stream.codec_context.decode(data):
                    yield frame, float(stream.time_base)
            except FFmpegError:
                pass
            if packet is None:
                return


def check_faces(path: Path) -> None:
    from stages.media.crops import STATUS, clip_faces
    from stages.media.faces import centre_crop, crop_face
    from stages.media.video import sample_frames

    made = clip_faces(path, "haar", 0.06, 0.2, SIZE, False, "centre_crop", "cpu")
    frames = sample_frames(path)
    assert made.faces.shape == (3, SIZE, SIZE, 3) and made.ok.all()
    assert np.array_equal(made.times, frames.times)
    assert np.isfinite(made.boxes).all()
    for crop, image, box, status in zip(made.faces, frames.images, made.boxes, made.status):
        whole = STATUS[status] == "centre_crop"
        own = centre_crop(image, SIZE) if whole else crop_face(image, box, 0.2, SIZE)
        assert np.array_equal(crop, own), STATUS[status]


def check_sound(path: Path) -> None:
    from stages.media.audio import check_speech, read_audio
    from stages.media.container import MAX_SECONDS
    from stages.media.probe import probe_duration

    seconds = probe_duration(path)
    assert seconds is None or np.isfinite(seconds)
    wave = read_audio(path, RATE)
    check_speech(wave, RATE, 0.1)
    assert wave.ndim == 1 and wave.dtype == np.float32
    assert np.isfinite(wave).all()
    assert 0.1 * RATE <= len(wave) <= MAX_SECONDS * RATE, f"{len(wave) / RATE} s"


def judge_folder(path: Path) -> str:
    from stages.corpora import folder

    return judge_listing(lambda: folder.read(path.parent, "folder"), path)


def judge_meld(path: Path) -> str:
    from stages.corpora import meld

    return judge_listing(lambda: meld.read(path.parent, "meld"), path)


def judge_listing(read: Any, table: Path) -> str:
    """ "ok", or "refused" by one line that names the table."""
    from stages.corpora.listing import COLUMNS
    from stages.io.files import read_table
    from stages.io.files import write_table as write
    from stages.media.probe import probe_utterance

    try:
        listing: Listing = read()
    except UserError as error:
        return check_line(error, table)
    ids = [item.id for item in listing.utterances]
    assert len(set(ids)) == len(ids), "an id is there twice"
    root = table.parent
    for item in listing.utterances:
        assert item.emotion in EMOTIONS, item
        assert item.split in ("", "train", "dev", "test"), item
        assert item.speaker and item.id.isprintable() and item.speaker.isprintable(), item
        assert item.video or item.audio, item
        for name in filter(None, (item.video, item.audio)):
            assert ".." not in PurePosixPath(name).parts and not name.startswith("/"), item
            assert (root / name).is_file(), item
            assert (root / name).parent.resolve().is_relative_to(root.resolve()), item
    rows = [
        {**asdict(item), "duration": str(probe_utterance(root, item.video, item.audio).duration)}
        for item in listing.utterances
    ]
    write(root.parent / "manifest.csv", COLUMNS, rows)
    assert read_table(root.parent / "manifest.csv") == rows
    return "ok"


def judge_table(path: Path) -> str:
    from stages.io.files import read_table

    try:
        rows = read_table(path)
    except UserError as error:
        return check_line(error, path)
    assert len({tuple(row) for row in rows}) <= 1, "rows of different columns"
    for row in rows:
        assert all(isinstance(item, str) for item in [*row, *row.values()]), row
    return "ok"


def judge_params(path: Path) -> str:
    from stages.runtime.params import check_params, read_params

    try:
        params = read_params(path)
    except UserError as error:
        return [check_line(UserError(line), path) for line in str(error).splitlines()][0]
    assert check_params(params.model_dump()) == params
    return "ok"


def check_line(error: UserError, path: Path) -> str:
    """ "refused", if the message is what a person can use."""
    line = str(error)
    assert len(line.splitlines()) == 1, f"more than one line: {line[:300]!r}"
    assert line.startswith(f"{path}: "), f"does not name the file: {line[:300]!r}"
    assert len(line) < LONGEST + len(str(path)), f"{len(line)} letters: {line[:300]!r}"
    line.encode()
    return "refused"
