"""Training that is killed leaves neither workers behind nor, after the next start, shared memory.

joblib keeps semaphores and large arrays in /dev/shm, which only a restart of the machine empties.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.runtime.command import SHARED_MEMORY, alone
from tests.feature_files import prepare, work_in
from tests.helpers import ROOT, wait_for


def left_of(pid: int) -> list[str]:
    names = os.listdir(SHARED_MEMORY)
    return [name for name in names if f"-{pid}-" in name or f"_{pid}_" in name]


def workers_of(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def works(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z"
    return False


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The stage train with two workers in training, in a session of its own."""
    work_in(tmp_path, monkeypatch)
    prepare(epochs=100_000)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LOKY_MAX_CPU_COUNT": "2"}
    with open("said", "w") as said:
        run = subprocess.Popen(
            [sys.executable, "-m", "stages.train"],
            env=environment, stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    wait_for(lambda: run.poll() is not None or (left_of(run.pid) and len(workers_of(run.pid)) > 2))
    assert run.poll() is None, Path("said").read_text()
    yield run
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def test_the_workers_of_a_killed_stage_end_and_take_their_memory_along(
    training: subprocess.Popen,
) -> None:
    workers = workers_of(training.pid)
    training.kill()
    training.wait()
    wait_for(lambda: not any(map(works, workers)))
    wait_for(lambda: not left_of(training.pid))


def test_what_all_of_a_killed_run_left_is_removed_at_the_next_start_and_no_more(
    training: subprocess.Popen,
) -> None:
    os.killpg(training.pid, signal.SIGKILL)
    training.wait()
    assert left_of(training.pid)
    living = SHARED_MEMORY / f"sem.loky-{os.getpid()}-test"
    other = SHARED_MEMORY / f"sem.loky-{training.pid}0-test"
    try:
        living.touch()
        other.touch()
        with alone("train", patience=0):
            assert left_of(training.pid) == []
        with alone("train", patience=0):  # now that the last run is this process
            assert living.exists() and other.exists()
    finally:
        living.unlink()
        other.unlink()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make files of another user")
def test_what_is_of_another_user_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work_in(tmp_path, monkeypatch)
    ended = subprocess.Popen(["true"])
    ended.wait()
    theirs = SHARED_MEMORY / f"sem.loky-{ended.pid}-test"
    try:
        theirs.touch()
        os.chown(theirs, 12345, 12345)
        with alone("train", patience=0):
            pass
        Path("data/.locks/train").write_text(str(ended.pid))
        with alone("train", patience=0):
            assert theirs.exists()
    finally:
        theirs.unlink()
