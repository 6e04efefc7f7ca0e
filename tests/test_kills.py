"""Killed at any moment, the next run ends at the same bytes and repeats at most what was under way.

`dvc repro` of frames and mels is killed several times at random moments in a clone: all of it, dvc
alone or the stage alone. A clip counts as worked on once it is opened.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import pytest

from tests.test_pipeline import Clone

SPEAKERS, SENTENCES = 2, 2
CLIPS = SPEAKERS * 7 * SENTENCES
STAGES = ("frames@sample", "mels@sample")
HELD_UP = """

_open_media = open_media


def open_media(path, **options):
    import os, time

    with open(os.environ["WORKED_ON"], "a+") as file:
        file.write(f"{path}\\n")
        file.flush()
        file.seek(0)
        while len(file.readlines()) > int(os.environ["ALLOWED"]):
            file.seek(0)
            time.sleep(0.02)
    return _open_media(path, **options)
"""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with a small sample and its manifest, in which so many clips are worked on a run."""
    sample = {"speakers": SPEAKERS, "sentences": SENTENCES}
    changes = {"sample": sample, "folds": 2, "selection": "last"}
    clone = Clone(tmp_path_factory.mktemp("kills") / "prepared", changes)
    clone.dvc("repro", "manifest@sample")
    with open(clone.folder / "stages/media/container.py", "a") as file:
        file.write(HELD_UP)
    clone.dvc("commit", "--force", "manifest@sample")
    clone.commit("prepared")
    return clone.folder


class Place:
    """A copy of the prepared clone with a cache of its own."""

    def __init__(self, prepared: Path, name: str):
        self.folder = prepared.with_name(name)
        shutil.copytree(prepared, self.folder, symlinks=True)
        self.log = prepared.with_name(f"{name}.log")
        self.said = prepared.with_name(f"{name}.said")
        self.cache = prepared.with_name(f"{name}.cache")
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "SHELL": "/bin/sh",  # may stay between dvc and the stage, as dash does
            "FDAN_CACHE": str(self.cache),
            "WORKED_ON": str(self.log),
        }

    def repro(self, allowed: int) -> subprocess.Popen:
        """Start; the clips begun after `allowed`, counted from the first run on, get stuck."""
        with open(self.said, "a") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "dvc", "repro", *STAGES],
                cwd=self.folder,
                env={**self.environment, "ALLOWED": str(allowed)},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )

    def finish(self) -> None:
        assert self.repro(allowed=sys.maxsize).wait() == 0, self.said.read_text()

    def worked_on(self) -> int:
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def outputs(self) -> dict[str, bytes]:
        folders = [self.folder / f"data/{name}" for name in ("frames", "mels", "skipped")]
        files = [path for folder in folders for path in folder.iterdir()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def processes(self) -> list[int]:
        """What still runs of all that was started here."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has ended
                if f"WORKED_ON={self.log}\0".encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
        return found


def wait_for_the_moment(place: Place, run: subprocess.Popen, allowed: int, moment: float) -> None:
    """Wait for `moment` seconds with a clip stuck or, one time in four, for any moment at all."""
    any_time = moment < 0.5
    start = time.monotonic()
    while run.poll() is None and time.monotonic() < start + (20 * moment if any_time else moment):
        if not any_time and place.worked_on() <= allowed:
            start = time.monotonic()
        time.sleep(0.01)


def kill(run: subprocess.Popen, what: str) -> None:
    stage = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    if what == "dvc":
        run.kill()
    elif what == "stage" and stage:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(stage[0]), signal.SIGKILL)
    else:
        os.killpg(run.pid, signal.SIGKILL)


@pytest.mark.parametrize("kills", [4, pytest.param(20, marks=pytest.mark.long)])
def test_kills_cost_at_most_what_was_under_way(prepared: Path, kills: int) -> None:
    clean, killed = Place(prepared, f"clean{kills}"), Place(prepared, f"killed{kills}")
    clean.finish()
    assert clean.worked_on() == 2 * CLIPS

    rng = random.Random(0)
    done = 0
    for number in range(kills):
        allowed = killed.worked_on() + rng.randint(0, 2 * CLIPS // kills)  # half, all in all
        run = killed.repro(allowed)
        wait_for_the_moment(killed, run, allowed, rng.uniform(0, 2))
        if run.poll() is None:
            kill(run, ("group", "dvc", "stage")[number % 3])
            done += 1
        run.wait()  # the next one starts at once, whatever is left of this one
    killed.finish()
    assert killed.outputs() == clean.outputs()
    repeated = killed.worked_on() - 2 * CLIPS
    print(f"{done} kills, {repeated} clips repeated")
    assert done == kills and repeated <= kills * joblib.cpu_count()
    assert list(killed.folder.glob("data/*/.*")) == []  # no temporary file
    assert all(len(path.name) == 64 for path in killed.cache.glob("*/*"))
    assert killed.processes() == []
