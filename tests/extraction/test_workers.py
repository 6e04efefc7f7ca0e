"""A Dask cluster makes the same arrays as this machine, also when it loses a worker."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.corpora.listing import COLUMNS
from stages.extraction import workers
from stages.extraction.clip_cache import clip_cache, code_and_libraries
from stages.extraction.workers import Job, outcomes
from stages.io.files import read_table, write_table
from stages.runtime.errors import UserError
from tests.clip_work import process
from tests.feature_files import write_params
from tests.media_files import write_video

ROOT = Path(__file__).parents[2]
CLIPS = 30
Start = Callable[..., subprocess.Popen]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a part of a cluster, which ends with the test."""
    started = []

    def start_one(*words: str, **environment: str) -> subprocess.Popen:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        with open(tmp_path / "cluster.log", "a") as log:
            command = [sys.executable, "-m", f"distributed.cli.{words[0]}", *words[1:]]
            part = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        started.append(part)
        return part

    yield start_one
    for part in started:
        part.kill()
        part.wait()


@pytest.fixture
def address(start: Start, tmp_path: Path) -> str:
    """Of a scheduler on this machine that has no worker yet."""
    file = tmp_path / "scheduler.json"
    start(
        "dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
        "--scheduler-file",
        str(file),
    )
    wait_for(file.exists)
    time.sleep(0.1)
    return json.loads(file.read_text())["address"]


def start_worker(start: Start, address: str, nanny: str = "--no-nanny") -> subprocess.Popen:
    return start("dask_worker", address, nanny, "--nthreads", "1", "--no-dashboard")


def wait_for(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wait_for_workers(address: str, count: int) -> None:
    import distributed

    with distributed.Client(address, set_as_default=False) as client:
        client.wait_for_workers(count, timeout=60)


def job(tmp_path: Path, **settings: float) -> Job:
    (tmp_path / "clip").write_text("a")
    made_with = {"log": str(tmp_path / "log"), **settings}
    cache = clip_cache("mels", process, made_with)
    return Job(tmp_path, cache, process, made_with, code_and_libraries())


def test_a_cluster_that_loses_a_worker_makes_the_same_arrays(
    address: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = Path("data/raw/sample")
    folder.mkdir(parents=True)
    video = write_video(tmp_path / "clip.mp4", frames=40, size=(320, 240)).read_bytes()
    for i in range(CLIPS):
        # An empty box of the container, so that no two clips are the same.
        (folder / f"{i}.mp4").write_bytes(video + b"\0\0\0\x18free" + f"{i:016}".encode())
    (folder / "7.mp4").write_text("no clip")
    rows = [{"id": f"sample/{i:02}", "emotion": "fear", "video": f"{i}.mp4"} for i in range(CLIPS)]
    write_table(Path("data/manifest/sample.csv"), COLUMNS, rows)

    def frames(where: str, cache: str) -> subprocess.Popen:
        write_params(Path(), workers=where, max_skip_fraction=0.5)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "FDAN_CACHE": str(tmp_path / cache)}
        command = [sys.executable, "-m", "stages.frames", "sample"]
        return subprocess.Popen(command, env=environment)

    assert frames("local", "here").wait() == 0
    expected = Path("data/frames/sample.h5").read_bytes()
    skipped = read_table(Path("data/skipped/sample.frames.csv"))
    assert [row["id"] for row in skipped] == ["sample/07"]
    Path("data/frames/sample.h5").unlink()

    workers_there = [start_worker(start, address), start_worker(start, address)]
    wait_for_workers(address, 2)
    stage = frames(address, "shared")
    wait_for(lambda: len(list((tmp_path / "shared/frames").glob("*"))) >= 4)
    os.kill(workers_there[0].pid, signal.SIGKILL)
    assert stage.poll() is None
    assert stage.wait() == 0
    assert Path("data/frames/sample.h5").read_bytes() == expected
    assert read_table(Path("data/skipped/sample.frames.csv")) == skipped


def test_no_scheduler_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "PATIENCE", 0.5)
    with (
        pytest.raises(UserError, match="no Dask scheduler answers at tcp://127.0.0.1:9 ") as raised,
        outcomes(job(tmp_path), ["clip"], "tcp://127.0.0.1:9"),
    ):
        pass
    assert "\n" not in str(raised.value)


def test_what_a_cluster_lacks_is_named(
    address: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = job(tmp_path)
    with (
        pytest.raises(UserError, match="has no workers; start some by `dask worker tcp:"),
        outcomes(wanted, ["clip"], address),
    ):
        pass
    start_worker(start, address, "--nanny")  # as it starts where nothing is said
    wait_for_workers(address, 1)

    def result_of(this: Job) -> list:
        with outcomes(this, ["clip"], address) as found:
            return list(found)

    assert result_of(wanted) == [wanted.cache.entry(tmp_path / "clip")]
    assert (tmp_path / "log").read_text() == "clip\n"
    with pytest.raises(UserError, match="has other code or other libraries"):
        result_of(wanted._replace(code="other"))
    with pytest.raises(UserError, match="absent: worker .* does not see it"):
        result_of(wanted._replace(root=tmp_path / "absent"))
