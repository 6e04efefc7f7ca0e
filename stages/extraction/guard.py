"""A clip is worked on in a child process, so that it can spoil nothing but itself.

Decoders are large C libraries, and clips come from anywhere: one may crash the decoder, hang it or
ask it for all memory. The child has limits on time and memory; if it dies or is late, the clip is
at fault and the next one gets a new child.
"""

import contextlib
import ctypes
import os
import pkgutil
import queue
import resource
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from stages.runtime.errors import ClipError

SECONDS = 300.0  # a clip takes seconds, and the slowest detector a minute
MEMORY = 8 << 30  # bytes of the child's own data
LOST = ("decoder_crash", "decoder_timeout", "decoder_memory")  # may go better another time
KEPT = 256 << 20  # bytes that a child may keep of what it freed, for the next clip
ENVIRONMENT = {
    # There is a child for every core. One thread each is quicker, and gives the same sums
    # everywhere; OpenBLAS and MKL heed their own variables before OpenMP's.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    # By its own rules glibc gives every large block back at once, and each frame and spectrogram
    # lies in new pages that each cost a fault: a third of the time of mels. See mallopt(3).
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(KEPT),
}
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>: the signal that a process gets when its parent ends
_OF_THREAD = threading.local()


class Guard:
    """One child process, started when first needed and again after it was lost.

    For one thread at a time; only `stop` may come from another. A thread that started a child must
    outlive its use: Linux takes the child's parent to be that thread.
    """

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY):
        self.seconds = seconds
        self.memory = memory
        self._child: subprocess.Popen | None = None
        self._pipe: Connection | None = None
        self._stopped = False

    def call(self, process: str, clip: Path, settings: Mapping[str, Any]) -> Any:
        """The function `process`, "module:function", of (clip, **settings), run in the child.

        What it raises is raised here.

        Raises:
            ClipError: `decoder_crash`, `decoder_timeout` or `decoder_memory`.
        """
        if self._child is None or self._child.poll() is not None:
            self._start()
        if self._stopped:  # perhaps before there was a child to kill
            self._end_child()
            raise ClipError("decoder_crash", "the run has ended")
        try:
            self._pipe.send((process, clip, settings))
            if not self._pipe.poll(self.seconds):
                self._end_child()
                raise ClipError("decoder_timeout", f"not done after {self.seconds:g} s")
            result, error = self._pipe.recv()
        except (EOFError, OSError):  # between two answers, or within one
            code = self._child.wait()
            self._end_child()
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise ClipError("decoder_crash", f"the decoder ended with {how}") from None
        if isinstance(error, MemoryError):
            self._end_child()  # what it still holds is not known
            raise ClipError("decoder_memory", f"needs more than {self.memory >> 20} MiB")
        if error is not None:
            raise error
        return result

    def stop(self) -> None:
        """Kill the child, if there is one, and start no other."""
        self._stopped = True
        child = self._child
        if child is not None:
            child.kill()
            child.wait()

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            self._pipe.close()
        self._child = None

    def _start(self) -> None:
        """Start a new interpreter: a fork would share the locks of living threads."""
        self._end_child()
        ours, theirs = socket.socketpair()
        self._pipe = Connection(ours.detach())
        number = theirs.fileno()
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        words = map(str, (number, self.memory, os.getpid()))
        with theirs:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "stages.extraction.guard", *words],
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
                pass_fds=[number],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C and Ctrl-Z are the parent's to handle
            )


@contextlib.contextmanager
def guards(count: int) -> Iterator[Callable[..., Any]]:
    """Give what `count` threads call in place of `Guard.call`: it finds each an idle guard.

    A clip that loses its child gets one more: the machine may have been at fault, which kills what
    it likes when its memory is full. At the end no child is left; a call that was under way then
    raises ClipError.
    """
    all_guards = [Guard() for _ in range(count)]
    idle: queue.LifoQueue[Guard] = queue.LifoQueue()  # those that have a child come first
    for guard in all_guards:
        idle.put(guard)

    def call(process: str, clip: Path, settings: Mapping[str, Any]) -> Any:
        guard = idle.get()
        try:
            return _call_twice(guard, process, clip, settings)
        finally:
            idle.put(guard)

    try:
        yield call
    finally:
        for guard in all_guards:
            guard.stop()


def call_in_thread(process: str, clip: Path, settings: Mapping[str, Any]) -> Any:
    """As what `guards` gives, by a guard of this thread, whose child ends with the thread."""
    if not hasattr(_OF_THREAD, "guard"):
        _OF_THREAD.guard = Guard()
    return _call_twice(_OF_THREAD.guard, process, clip, settings)


def _call_twice(guard: Guard, process: str, clip: Path, settings: Mapping[str, Any]) -> Any:
    try:
        return guard.call(process, clip, settings)
    except ClipError as error:
        if error.code not in LOST:
            raise
        return guard.call(process, clip, settings)


def serve(pipe: Connection) -> None:
    """What the child does: one clip after the other, until the parent closes the pipe."""
    with contextlib.suppress(EOFError, ConnectionError):
        while True:
            process, clip, settings = pipe.recv()
            try:
                answer = pkgutil.resolve_name(process)(clip, **settings), None
            except Exception as error:  # carried to the parent, where it is raised
                error.add_note("".join(traceback.format_exception(error)))
                answer = None, error
            pipe.send(answer)


if __name__ == "__main__":
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a decoder that hangs outlives it
    number, memory, parent = map(int, sys.argv[1:])
    if os.getppid() != parent:
        sys.exit()  # it ended before
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    serve(Connection(number))
