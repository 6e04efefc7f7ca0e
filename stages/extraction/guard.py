"""A clip is worked on in a child process, so that it can spoil nothing but itself.

Decoders are large C libraries, and clips come from anywhere: one may crash the decoder, hang it or
ask it for all memory. A child that dies, is late or asks for too much is replaced.

Why no pool of a library (pebble, concurrent.futures, loky): their children share a pipe, so that
one killed at the wrong moment breaks the pool; they import the main module before a limit can be
set; and a Dask worker that has a nanny may not start them.
"""

import contextlib
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from stages.runtime.command import end_with
from stages.runtime.errors import ClipError, UserError

ENVIRONMENT = {
    # There is a child for every core. One thread each is quicker, and gives the same sums
    # everywhere; OpenBLAS and MKL heed their own variables before OpenMP's.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENCV_FOR_THREADS_NUM": "1",
    # By default glibc returns every large block at once, and each frame and spectrogram lies in
    # new pages that each cost a page fault: a third of the time of mels. See mallopt(3).
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),  # bytes that a child may keep for the next clip
}
LONGEST = 300  # characters of the text of an exception
OUT_OF_MEMORY = 12  # exit code of a child, ENOMEM
_THREAD = threading.local()


@dataclass
class Guard:
    """One child process, started when first needed and again after it was lost.

    For one thread at a time; only `stop` may come from another. The child ends with the thread that
    started it, which Linux takes for its parent.

    Attributes:
        seconds: that a clip may take; it takes seconds, and with the slowest detector a minute.
        memory: bytes of the child's own data.
    """

    seconds: float = 300.0
    memory: int = 8 << 30
    _child: tuple[subprocess.Popen, Connection] | None = None
    _stopped: bool = False

    def call(self, function: Callable[..., Any], clip: Path, settings: Mapping[str, Any]) -> Any:
        """Return `function(clip, **settings)`, run in the child; what it raises is raised here.

        A clip that loses its child gets one more: the machine may have been at fault, which kills
        processes when its memory is full.

        Raises:
            ClipError: of the function; `decoder_crash`, `decoder_timeout` or `decoder_memory`;
                `unforeseen` for any other exception but UserError, by its type and text.
        """
        work = pickle.dumps((function, clip, settings))
        try:
            result, error = self._ask(work)
        except ClipError:
            result, error = self._ask(work)
        if error is not None:
            raise error
        return result

    def _ask(self, work: bytes) -> tuple[Any, Exception | None]:
        if self._child is None or self._child[0].poll() is not None:
            if self._stopped:
                raise ClipError("decoder_crash", "the run has ended")
            self._child = self._start()
        if self._stopped:  # meanwhile
            self.stop()
        child, pipe = self._child
        try:
            pipe.send_bytes(work)
            if pipe.poll(self.seconds):
                return pipe.recv()
            child.kill()
            child.wait()
            raise ClipError("decoder_timeout", f"not done after {self.seconds:g} s")
        except (EOFError, OSError):  # between two answers, or within one
            code = child.wait()
        if code == OUT_OF_MEMORY:
            raise ClipError("decoder_memory", f"needs more than {self.memory >> 20} MiB")
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        raise ClipError("decoder_crash", f"the decoder ended with {how}")

    def stop(self) -> None:
        """Kill the child, if there is one, and start no other."""
        self._stopped = True
        if self._child is not None:
            self._child[0].kill()
            self._child[0].wait()

    def _start(self) -> tuple[subprocess.Popen, Connection]:
        """Start a new interpreter: a fork would share the locks of living threads."""
        ours, theirs = socket.socketpair()
        root = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        with theirs:
            words = map(str, (theirs.fileno(), os.getpid(), self.memory))
            child = subprocess.Popen(
                [sys.executable, "-m", "stages.extraction.guard", *words],
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C and Ctrl-Z are the parent's to handle
            )
        return child, Connection(ours.detach())


def call_in_child(function: Callable[..., Any], clip: Path, settings: Mapping[str, Any]) -> Any:
    """As `Guard.call`, by a guard that no other thread uses."""
    if not hasattr(_THREAD, "guards"):
        _THREAD.guards = SimpleQueue()
        _THREAD.guards.put(Guard())
    guard = _THREAD.guards.get()
    try:
        return guard.call(function, clip, settings)
    finally:
        _THREAD.guards.put(guard)


@contextlib.contextmanager
def guarded_threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads for `call_in_child`; at the end all calls are cancelled and no child is left.

    There are two threads to each of `count` children, so that one can look at its clip, and at what
    is kept of it, while the child works for the other.
    """
    guards = [Guard() for _ in range(count)]
    free: SimpleQueue[Guard] = SimpleQueue()
    for guard in guards:
        free.put(guard)

    def share() -> None:
        _THREAD.guards = free

    with ThreadPoolExecutor(2 * count, initializer=share) as threads:
        try:
            yield threads
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            for guard in guards:
                guard.stop()


def _serve(pipe: Connection) -> None:
    """What the child does: one clip after the other, until the parent closes the pipe."""
    answer: tuple[Any, Exception | None]
    while True:
        work = pipe.recv_bytes()
        try:
            function, clip, settings = pickle.loads(work)
        except Exception as error:  # a module that is not here is no fault of the clip
            pipe.send((None, error))
            continue
        try:
            answer = function(clip, **settings), None
        except MemoryError:
            os._exit(OUT_OF_MEMORY)  # what is still held is not known
        except (ClipError, UserError) as error:
            answer = None, error
        except Exception as error:
            text = str(error).encode(errors="backslashreplace").decode()  # as a table can hold it
            line = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{Path(line.filename).name}:{line.lineno}"
            text = f"{type(error).__name__}: {text[:LONGEST]} ({place})"
            answer = None, ClipError("unforeseen", text)
        pipe.send(answer)


if __name__ == "__main__":
    descriptor, parent, memory = map(int, sys.argv[1:])
    end_with(parent)  # which a decoder that hangs would outlive
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(EOFError, ConnectionError):
        _serve(Connection(descriptor))
