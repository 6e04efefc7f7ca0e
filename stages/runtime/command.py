"""How a stage starts, alone and from the root of the project, and how it ends on an error."""

import argparse
import contextlib
import ctypes
import io
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import AcquireReturnProxy, FileLock, Timeout

from stages.runtime.errors import UserError, printable

LOCKS = Path("data/.locks")
SHARED_MEMORY = Path("/dev/shm")
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
ROOT = Path(__file__).parents[2]
PATIENCE = 30.0  # seconds that another run gets to end, e.g. one whose dvc was killed
GRACE = 10  # seconds that a stopped stage gets to remove its temporary files


def run(main: Callable[[], None], lock: str = "") -> None:
    """Run a stage's `main`; print a `UserError`, a line each problem, and exit with code 2.

    It must be run from the root of the project, to which all paths are relative.

    Args:
        main: does the work.
        lock: name of what is written, for which a second run waits or is refused; "" for a
            command that writes nothing.
    """
    _require_utf8()
    signal.signal(signal.SIGTERM, _end)
    if "DVC_STAGE" in os.environ:
        _end_with_dvc()
    try:
        if not Path("params.yaml").exists():
            raise UserError(f"params.yaml: not found; run from the root of the project: cd {ROOT}")
        with alone(lock) if lock else contextlib.nullcontext():
            main()
        sys.stdout.flush()
    except UserError as error:
        for line in str(error).split("\n"):
            # It may quote a server, an archive or the name of a file.
            print(printable(f"error: {line}"), file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(128 + signal.SIGPIPE)  # as programs end that `head` has read enough of
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        # Worker processes may still be busy; nothing of theirs is under a final name.
        os._exit(128 + signal.SIGINT)
    except SystemExit as ended:
        if ended.code == 128 + signal.SIGTERM:  # by `_end`
            _drop_what_nobody_reads()
            os._exit(128 + signal.SIGTERM)  # threads of a library that are busy would abort
        raise
    finally:
        _drop_what_nobody_reads()


def _require_utf8() -> None:
    """Have file names and texts in UTF-8, as clips and tables are named, whatever the locale."""
    if sys.getfilesystemencoding() != "utf-8":
        os.environ["PYTHONUTF8"] = "1"  # for child processes, too
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # PYTHONIOENCODING may be anything


def _drop_what_nobody_reads() -> None:
    """Python would complain at its end that it cannot write what is left for a closed pipe."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(*_: object) -> None:
    """Unwind, so that no temporary file stays behind."""
    # An exception is lost where a library calls back; one stage in 40 was seen to work on.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(GRACE)
    sys.exit(128 + signal.SIGTERM)


@contextlib.contextmanager
def alone(name: str, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of a stage, so that no two runs write the same files.

    The kernel takes the lock back however the process ends.

    Args:
        name: of the lock, e.g. frames@sample.
        patience: seconds to wait for another process that holds it.

    Raises:
        UserError: another process still holds it after that, or it cannot be written.
    """
    path = LOCKS / name
    with contextlib.ExitStack() as held:
        try:
            LOCKS.mkdir(parents=True, exist_ok=True)
            held.enter_context(_acquire(path, patience))
            _sweep_after(path.read_text(encoding="utf-8"))
            path.write_text(str(os.getpid()), encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{path}: cannot be written: {error.strerror}; free space or change permissions"
            ) from error
        yield


def _sweep_after(run: str) -> None:
    """Remove what joblib left of the process that last held a lock, if it was killed.

    These are semaphores and arrays that its workers shared, in memory until the machine restarts.
    """
    if not run.isdigit() or Path(f"/proc/{run}").exists():  # perhaps as another's number by now
        return
    for folder in (SHARED_MEMORY, Path(tempfile.gettempdir())):
        for name in (f"sem.loky-{run}-*", f"joblib_memmapping_folder_{run}_*"):
            for path in folder.glob(name):
                with contextlib.suppress(OSError):
                    if path.lstat().st_uid == os.getuid():
                        shutil.rmtree(path) if path.is_dir() else path.unlink()


def end_with(parent: int) -> None:
    """Have this process killed when its `parent` ends, which a busy one would outlive."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before
        os._exit(1)


def _acquire(path: Path, patience: float) -> AcquireReturnProxy:
    lock = FileLock(path)
    with contextlib.suppress(Timeout):
        return lock.acquire(timeout=0)
    other = f"another run of {path.name} is under way (process {path.read_text()})"
    print(f"{other}; waiting {patience:g} s for it to end", file=sys.stderr, flush=True)
    try:
        return lock.acquire(timeout=patience, poll_interval=0.2)
    except Timeout:
        raise UserError(f"{path}: {other}; wait for it to end, or end it") from None


def _end_with_dvc() -> None:
    """End when dvc does, which else would leave the stage writing beside the stage of its next run.

    Linux tells a process of its parent's end only, which may be a shell that dvc has started.
    """
    dvc = _dvc()
    try:
        # Who adopts orphans, init or a subreaper, is of another session; dvc is of the stage's.
        gone = os.getsid(dvc) != os.getsid(0)
    except ProcessLookupError:
        gone = True
    if gone:
        sys.exit(128 + signal.SIGTERM)

    def watch() -> None:
        while _dvc() == dvc:
            time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _dvc() -> int:
    """The nearest process above that lacks the DVC_STAGE which dvc gives to what it starts."""
    ours = f"DVC_STAGE={os.environ['DVC_STAGE']}".encode()
    above = os.getppid()
    with contextlib.suppress(OSError):  # of another user, or it has ended
        while ours in Path(f"/proc/{above}/environ").read_bytes().split(b"\0"):
            status = Path(f"/proc/{above}/stat").read_bytes()
            above = int(status.rpartition(b")")[2].split()[1])  # proc(5): name, state, parent
    return above


def run_stage(main: Callable[..., None], description: str | None, on_corpus: bool = False) -> None:
    """Run a stage under its lock, once its command line is seen to be right.

    Args:
        main: does the work, of the corpus that it is given or of all.
        description: what `--help` says, the docstring of the script.
        on_corpus: whether a corpus is named on the command line.
    """
    name = Path(sys.argv[0]).stem
    parser = argparse.ArgumentParser(
        prog=f"python -m stages.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if on_corpus:
        either = parser.add_mutually_exclusive_group(required=True)
        said = "one of params.yaml's corpora, e.g. sample"
        either.add_argument("corpus", nargs="?", default=argparse.SUPPRESS, help=said)
        either.add_argument("--corpus", help="the same, as DVC says it")
    asked = vars(parser.parse_args())
    run(lambda: main(**asked), lock="@".join([name, *asked.values()]).replace("/", "_"))
