"""Reading clips: three frames, a sound, and two workers against one."""

import multiprocessing
import os
import pkgutil
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any, NamedTuple
from unittest import mock

import cv2
import librosa
import numpy as np
from ruamel.yaml import YAML

from stages.extraction.clip_cache import ClipCache, code_and_libraries
from stages.extraction.guard import ENVIRONMENT
from stages.extraction.workers import Job, outcomes
from stages.media.audio import read_audio
from stages.media.video import sample_frames
from tests.benchmarks.clips import copies, talking_clip
from tests.benchmarks.timing import Row, compare, cores, wall
from tests.media_files import write_video

ROOT = Path(__file__).parents[2]
TIMES = 10  # each reading in a repeat: a single one is too short to be timed
Read = Callable[[], object]


class Shared(NamedTuple):
    """What two workers share: so many clips, of which some are done before both have started."""

    stage: str
    process: str
    clips: int
    before: int

    def settings(self) -> dict[str, Any]:
        """As the stage has them, on a CPU."""
        params = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        return params[self.stage] | ({"device": "cpu"} if self.stage == "frames" else {})


SHARED = [
    Shared("frames", "stages.media.crops:clip_faces", 120, 20),
    Shared("mels", "stages.media.spectrogram:clip_mel", 700, 200),
]


def all_frames_by_opencv(path: Path) -> list[np.ndarray]:
    """V1 V2 V3 out of all frames, as pipelines usually read them, on one thread."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    frames = []
    while True:
        there, frame = capture.read()
        if not there:
            break
        frames.append(frame)
    return [cv2.cvtColor(frames[len(frames) * part // 6], cv2.COLOR_BGR2RGB) for part in (1, 3, 5)]


def rows(repeats: int) -> Iterator[Row]:
    """Frames >= 2.5 and >= 15 times as quick, sound >= 7, two workers >= 1.8.

    How much quicker two processes are that share nothing bounds what two workers can be.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        h264 = talking_clip(folder / "h264.mp4", size=(1280, 720))
        mjpg = write_video(
            folder / "mjpg.avi", 90, codec="mjpeg", size=(640, 480), pix_fmt="yuvj420p", rate=30
        )
        usual, sound = "all frames by OpenCV", f"sound of that mp4 at 16 kHz, {TIMES} times"
        for what, clip, aim in [
            (f"3 frames of 3 s H.264 with B-frames, 720p, {TIMES} times", h264, 2.5),
            (f"3 frames of 3 s MJPG avi, 480p, {TIMES} times", mjpg, 15),
        ]:
            readers = partial(all_frames_by_opencv, clip), partial(sample_frames, clip)
            found = compare(*(partial(one_by_one, read) for read in readers), repeats)
            yield Row("media", what, usual, aim, found)
            # The memory that OpenCV's frames lay in is then not given back between the clips.
            found = compare(*(partial(all_held, read) for read in readers), repeats)
            yield Row("media", f"{what}, all held", usual, None, found)
        if shutil.which("ffmpeg"):
            found = compare(
                partial(one_by_one, lambda: librosa.load(h264, sr=16000)),
                partial(one_by_one, lambda: read_audio(h264, 16000)),
                repeats,
            )
            yield Row("media", sound, "librosa.load", 7, found)
        else:
            yield Row("media", sound, "librosa.load: needs ffmpeg", 7, None)
        if cores() >= 2:
            copies(h264, folder / "clips", max(shared.clips for shared in SHARED))
            for shared in SHARED:
                work = partial(work_on, folder, shared)
                found = compare(partial(work, 1), partial(work, 2), repeats, lambda work: work())
                told = f"stage {shared.stage}, {shared.clips - shared.before} clips, two workers"
                yield Row("media", told, "one", 1.8, found)
                alone = partial(work_apart, folder / "clips", shared)
                found = compare(partial(alone, 1), partial(alone, 2), repeats, lambda work: work())
                told = f"what stage {shared.stage} does of a clip, two processes apart"
                yield Row("media", told, "one", None, found)


def one_by_one(read: Read) -> None:
    """Read a clip, and let go what was read before the next, as a stage does."""
    for _ in range(TIMES):
        read()


def all_held(read: Read) -> list[object]:
    """Read clips, and let go nothing."""
    return [read() for _ in range(TIMES)]


def work_on(folder: Path, shared: Shared, workers: int) -> float:
    """Seconds for the clips when all workers have started, on so many cores, nothing kept."""
    process = pkgutil.resolve_name(shared.process)
    layout = process.__annotations__["return"].layout(shared.settings())
    # A new one, which stays to the end: ext4 without a journal looks long for a place for files
    # where others were just deleted.
    cache = ClipCache(Path(tempfile.mkdtemp(dir=folder)), "nothing else is kept there", layout)
    job = Job(folder / "clips", cache, process, shared.settings(), code_and_libraries())
    clips = sorted(path.name for path in job.root.iterdir())[: shared.clips]
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(every)[:workers])
    try:
        with outcomes(job, clips, "local") as found:
            for _ in range(shared.before):
                next(found)
            start = time.perf_counter()
            made = [outcome for outcome in found if isinstance(outcome, Path)]
            seconds = time.perf_counter() - start
    finally:
        os.sched_setaffinity(0, every)
    if len(made) < len(clips) - shared.before:
        raise RuntimeError(f"only {len(made)} of {len(clips) - shared.before} clips could be used")
    return seconds


def work_apart(clips: Path, shared: Shared, count: int) -> float:
    """Seconds a clip of `count` processes that share nothing, each on a core of its own.

    Two of them are no quicker than the machine lets two workers be.
    """
    chosen = sorted(clips.iterdir())[: (shared.clips - shared.before) // 4]
    context = multiprocessing.get_context("spawn")
    with (
        mock.patch.dict(os.environ, ENVIRONMENT),
        context.Manager() as manager,
        ProcessPoolExecutor(count, context) as pool,
    ):
        begin = manager.Barrier(count, timeout=60)
        work = partial(_work_alone, begin, shared, chosen)
        return max(pool.map(work, sorted(os.sched_getaffinity(0))[:count])) / (count * len(chosen))


def _work_alone(begin: Barrier, shared: Shared, clips: list[Path], core: int) -> float:
    os.sched_setaffinity(0, [core])
    process, settings = pkgutil.resolve_name(shared.process), shared.settings()
    process(clips[0], **settings)
    begin.wait()
    return wall(lambda: [process(clip, **settings) for clip in clips])
