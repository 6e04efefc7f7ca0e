"""How a stage starts and ends: one run at a time, exit codes, and no life after its dvc."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stages.runtime.command import LOCKS, alone
from stages.runtime.errors import UserError

ROOT = Path(__file__).parents[2]
PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
STAGE = """
import os, signal, sys, time
from pathlib import Path
from stages.runtime import command
from stages.runtime.command import run
from stages.runtime.errors import UserError
from stages.io.files import replacing

class Deaf:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

def main():
    if sys.argv[1] == "deaf":
        command.GRACE = 1
        Deaf()
        time.sleep(60)
    if sys.argv[1] == "user":
        raise UserError("table.csv: line 3: no id; give it one")
    with replacing(Path("data/out.txt")) as temporary:
        temporary.write_text("half")
        print("working", flush=True)
        time.sleep(float(sys.argv[1]))

run(main, lock="stage")
"""
DVC = """
import os, subprocess, sys
subprocess.run(sys.argv[2:], env={**os.environ, **eval(sys.argv[1])})
"""
STAYING_SHELL = ["sh", "-c", '"$@"; exit $?', "sh"]  # between dvc and its stage, as dash does


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").touch()


Start = Callable[..., subprocess.Popen]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts what stands for a stage: it works for so many seconds, or fails."""
    started = []

    def start_one(seconds: object, **environment: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", STAGE, str(seconds)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def working(process: subprocess.Popen) -> subprocess.Popen:
    assert process.stdout.readline() == "working\n"
    return process


def ended(process: subprocess.Popen) -> tuple[int, str]:
    """Exit code and what was said on stderr."""
    _, errors = process.communicate(timeout=20)
    return process.returncode, errors


def outputs() -> list[str]:
    return sorted(path.name for path in Path("data").iterdir() if path != LOCKS)


def test_a_stage_that_ends_well(start: Start) -> None:
    assert ended(working(start(0))) == (0, "")
    assert outputs() == ["out.txt"]


def test_a_user_error_is_one_line_and_code_2(start: Start) -> None:
    expected = "error: table.csv: line 3: no id; give it one\n"
    assert ended(start("user")) == (2, expected)


def test_another_folder_than_the_root_is_one_line_that_names_it(start: Start) -> None:
    Path("params.yaml").unlink()
    expected = f"error: params.yaml: not found; run from the root of the project: cd {ROOT}\n"
    assert ended(start(0)) == (2, expected)
    assert not Path("data").exists()


@pytest.mark.parametrize(
    "number, code, said", [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "")]
)
def test_a_stopped_stage_leaves_nothing(
    start: Start, number: signal.Signals, code: int, said: str
) -> None:
    stage = working(start(60))
    assert outputs() == [".out.txt.tmp"]
    stage.send_signal(number)
    assert ended(stage) == (code, said)
    assert outputs() == []


def test_a_stage_ends_also_where_the_signal_came_amid_what_ignores_exceptions(
    start: Start,
) -> None:
    code, said = ended(start("deaf"))
    assert code == -signal.SIGALRM and "Exception ignored in" in said


def test_a_second_run_waits_for_the_first(start: Start) -> None:
    first = working(start(1.5))
    second = start(0)
    said = f"another run of stage is under way (process {first.pid}); waiting 30 s for it to end\n"
    assert second.stderr.readline() == said
    assert first.poll() is None
    working(second)
    assert ended(first)[0] == ended(second)[0] == 0


def test_a_second_run_is_refused_by_name_and_process(start: Start) -> None:
    first = working(start(60))
    with pytest.raises(UserError) as raised, alone("stage", patience=0.3):
        pytest.fail("two runs at once")
    assert str(raised.value) == (
        f"data/.locks/stage: another run of stage is under way (process {first.pid}); "
        "wait for it to end, or end it"
    )


def test_another_stage_need_not_wait(start: Start) -> None:
    working(start(60))
    with alone("other_stage", patience=0):
        pass


def test_a_killed_run_holds_no_lock(start: Start) -> None:
    first = working(start(60))
    first.kill()
    ended(first)
    with alone("stage", patience=0):
        assert (LOCKS / "stage").read_text() == str(os.getpid())
    with alone("stage", patience=0):  # and neither does one that ended
        pass


def test_a_child_of_a_killed_run_holds_no_lock(start: Start) -> None:
    """As a worker that outlives the run for a moment."""
    with alone("stage", patience=0):
        child = subprocess.Popen(["sleep", "60"])
    with alone("stage", patience=0):
        child.kill()
    child.wait()


def test_a_lock_that_cannot_be_written_is_one_line() -> None:
    Path("data").write_text("in the way")
    expected = "^data/.locks/stage: cannot be written: Not a directory; "
    with pytest.raises(UserError, match=expected), alone("stage"):
        pytest.fail("without a lock")


def kill_the_parent_of_a_stage(seconds: float, shell: list[str], **of_stage: str) -> None:
    """Start a stage by way of another process, kill that, and wait for the end of the stage."""
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            DVC,
            repr(of_stage),
            *shell,
            sys.executable,
            "-c",
            STAGE,
            str(seconds),
        ],
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    working(parent)
    parent.kill()
    parent.communicate(timeout=20)  # until the stage, too, has closed its end


@pytest.mark.parametrize("shell", [[], STAYING_SHELL])
def test_a_stage_ends_with_its_dvc_and_leaves_nothing(shell: list[str]) -> None:
    kill_the_parent_of_a_stage(60, shell, DVC_STAGE="stage")
    with alone("stage", patience=5):
        assert outputs() == []


def test_without_dvc_a_stage_may_outlive_its_parent() -> None:
    """As under nohup."""
    kill_the_parent_of_a_stage(1, [])
    assert outputs() == ["out.txt"]


@pytest.mark.parametrize("lines, mishap, code, said", [
    (1, "", 141, ""),  # what fits into a buffer is written at the end only
    (100_000, "", 141, ""),
    (1, "raise UserError('mend it')", 2, "error: mend it\n"),
    (1, "sys.exit(1)", 1, ""),
])  # fmt: skip
def test_a_reader_who_leaves_early_gets_no_traceback(
    lines: int, mishap: str, code: int, said: str
) -> None:
    """As `head` does."""
    script = (
        "import sys\nfrom stages.runtime.command import run\n"
        "from stages.runtime.errors import UserError\n"
        f"def main():\n  sys.stdin.read()\n  print('a line\\n' * {lines})\n  {mishap or 'pass'}\n"
        "run(main)"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    command.stdout.close()
    command.stdin.close()
    assert (command.stderr.read(), command.wait(20)) == (said, code)
    command.stderr.close()


@pytest.mark.parametrize("shell", [[], STAYING_SHELL])
@pytest.mark.parametrize("adopter", ["init", "subreaper"])
def test_a_stage_whose_dvc_was_killed_before_it_was_ready_does_nothing(
    adopter: str, shell: list[str]
) -> None:
    """A stage loads its libraries for seconds before it can see to dvc's end.

    Orphans are adopted by init or, under systemd and many a CI, by another "subreaper".
    """
    dvc = (
        "import os, subprocess, sys\n"
        "command = [*sys.argv[1:], str(os.getpid())]\n"
        "subprocess.Popen(command, env={**os.environ, 'DVC_STAGE': 'stage'})"
    )
    late = (
        "import os, sys, time\n"
        "while os.path.exists('/proc/' + sys.argv[2]): time.sleep(0.01)\n"
        f"print(os.getppid(), flush=True)\n{STAGE}"
    )
    above = (
        "import ctypes, os, subprocess, sys\n"
        f"ctypes.CDLL(None).prctl({PR_SET_CHILD_SUBREAPER}, int(sys.argv[1] == 'subreaper'))\n"
        "print(os.getpid(), flush=True)\n"
        "subprocess.run([sys.executable, *sys.argv[2:]], start_new_session=True, check=True)\n"
        "while sys.argv[1] == 'subreaper':\n"
        "  try: os.wait()\n"
        "  except ChildProcessError: break"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DVC_STAGE"}
    done = subprocess.run(
        [sys.executable, "-c", above, adopter, "-c", dvc, *shell, sys.executable, "-c", late, "0"],
        env={**environment, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,  # which is at its end when the orphan has ended
        text=True,
    )
    adopting, parent = done.stdout.split()
    assert shell or (parent == adopting) == (adopter == "subreaper")
    assert not Path("data").exists()
