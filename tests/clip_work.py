"""What stands for work on a clip in tests; a module that a child process loads quickly."""

import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stages.runtime.errors import ClipError, UserError


class Made(NamedTuple):
    """What stands for the arrays of a clip."""

    values: np.ndarray

    @staticmethod
    def layout(settings: object) -> dict[str, tuple[str, tuple[None]]]:
        return {"values": ("uint8", (None,))}


def process(path: Path, log: str, wait: float = 0, **settings: float) -> Made:
    """Notes the clip's name in the file `log`; what is in the clip says how it ends."""
    content = path.read_text()
    with open(log, "a") as file:
        file.write(f"{path.name}\n")
    if content.startswith("bad"):
        raise ClipError("unreadable", f"{content} is\nno clip")
    if content.startswith("user"):
        raise UserError("this a person must mend")
    if content.startswith("bug"):
        raise ZeroDivisionError("a mistake")
    if content.startswith("crash"):
        os.kill(os.getpid(), signal.SIGSEGV)
    if wait:
        time.sleep(wait if content.endswith("0") else 0)
    return Made(np.frombuffer(f"made of {content}".encode(), np.uint8))


def make_much(clip: Path) -> Made:
    """Ones whose writing takes a while."""
    return Made(np.ones(1 << 22, np.uint8))


def work(clip: Path, how: str = "well") -> int:
    """The number of the process; `how` says how it ends."""
    if how == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "exit":
        os._exit(3)
    if how == "half an answer":
        os.write(int(sys.argv[1]), b"\0\0\x10\0half")  # the length of a message, 4096, and 4 bytes
        os._exit(1)
    if how == "hang":
        time.sleep(600)
    if how == "memory":
        np.ones(1 << 40, np.uint8)
    if how == "user":
        raise UserError("this a person must mend")
    if how == "clip":
        raise ClipError("unreadable", "is no clip")
    if how == "bug":
        raise ZeroDivisionError("a mistake")
    if how == "odd bug":
        raise OddError(1, 2)
    return os.getpid()


class OddError(Exception):
    """What pickle cannot bring to another process, of a long text that is not UTF-8."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__("x\udcff\n" * 10_000)


def settings_of(clip: Path, **settings: int) -> tuple[Path, dict[str, int]]:
    return clip, settings


def lose_once(clip: Path) -> int:
    """Killed by another, as by a kernel that is out of memory, the first time."""
    if not clip.exists():
        clip.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def threads_of_the_libraries(clip: Path) -> set[int]:
    """Of OpenCV, PyTorch, OpenBLAS and OpenMP, of which scikit-learn has its own."""
    import cv2
    import sklearn.utils._openmp_helpers  # noqa: F401
    import torch
    from threadpoolctl import threadpool_info

    blas_and_openmp = {library["num_threads"] for library in threadpool_info()}
    return {cv2.getNumThreads(), torch.get_num_threads(), *blas_and_openmp}


def limits(clip: Path) -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_DATA)[0], resource.getrlimit(resource.RLIMIT_CORE)[0]


def faults_of_frames(clip: Path) -> int:
    """How many pages the system had to find for 20 times 4 frames of 8 MB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        [np.ones(8 << 20, np.uint8) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
