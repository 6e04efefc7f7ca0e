"""A clip in a child process: what it returns and raises comes back; what it breaks stays there."""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name

import pytest

from stages.extraction.guard import Guard, call_in_child, guarded_threads
from stages.runtime.errors import ClipError, UserError
from tests import clip_work

ROOT = Path(__file__).parents[2]


@pytest.fixture
def one() -> Iterator[Guard]:
    made = Guard(seconds=60)
    yield made
    made.stop()


def call(one: Guard, how: str = "well") -> int:
    """The number of the child process."""
    return one.call(clip_work.work, Path("a.wav"), {"how": how})


def alive(pid: int) -> bool:
    """Whether a process lives; one that ended and that nobody asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for_the_end_of(pid: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.02)


def test_one_child_works_on_one_clip_after_another(one: Guard) -> None:
    assert call(one) == call(one) != os.getpid()
    found = one.call(clip_work.settings_of, Path("a.wav"), {"size": 1})
    assert found == (Path("a.wav"), {"size": 1})


def test_memory_that_a_clip_gave_back_is_there_for_the_next(one: Guard) -> None:
    pages = (4 * 8 << 20) // resource.getpagesize()
    asked = clip_work.faults_of_frames, Path("a.mp4"), {}
    assert one.call(*asked) < 2 * pages  # and not 20
    assert one.call(*asked) < pages / 2


@pytest.mark.parametrize(
    "how, code, detail",
    [
        ("segfault", "decoder_crash", "the decoder ended with SIGSEGV"),
        ("exit", "decoder_crash", "the decoder ended with exit code 3"),
        ("half an answer", "decoder_crash", "the decoder ended with exit code 1"),
        ("memory", "decoder_memory", "needs more than 8192 MiB"),
    ],
)
def test_a_child_that_is_lost_costs_its_clip(one: Guard, how: str, code: str, detail: str) -> None:
    before = call(one)
    with pytest.raises(ClipError) as raised:
        call(one, how)
    assert (raised.value.code, raised.value.detail) == (code, detail)
    assert call(one) != before
    assert not alive(before)


def test_a_clip_that_hangs_is_given_up() -> None:
    late = Guard(seconds=1)
    start = time.monotonic()
    with pytest.raises(ClipError) as raised:
        call(late, "hang")
    assert (raised.value.code, raised.value.detail) == ("decoder_timeout", "not done after 1 s")
    assert time.monotonic() - start < 5
    late.stop()


def test_a_child_that_was_killed_between_two_clips_costs_none(one: Guard) -> None:
    child = call(one)
    os.kill(child, signal.SIGKILL)
    wait_for_the_end_of(child)
    assert call(one) != child


def test_the_memory_of_a_child_has_a_limit_and_it_dumps_no_core() -> None:
    small = Guard(seconds=60, memory=1 << 30)
    assert small.call(clip_work.limits, Path("a.wav"), {}) == (1 << 30, 0)
    small.stop()


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_child_has_one_thread_whatever_the_shell_says(
    name: str, one: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "2")
    assert one.call(clip_work.threads_of_the_libraries, Path("a.wav"), {}) == {1}


@pytest.mark.parametrize(
    "how, kind, message",
    [
        ("user", UserError, "this a person must mend"),
        ("clip", ClipError, "is no clip"),
        ("bug", ClipError, r"ZeroDivisionError: a mistake \(clip_work.py:\d+\)"),
        ("odd bug", ClipError, "OddError: x"),
    ],
)
def test_what_the_work_raises_is_raised(
    one: Guard, how: str, kind: type[Exception], message: str
) -> None:
    child = call(one)
    with pytest.raises(kind, match=message) as raised:
        call(one, how)
    assert "bug" not in how or raised.value.code == "unforeseen"
    str(raised.value).encode()  # as a table is written
    assert len(" ".join(raised.value.args)) < 500
    assert call(one) == child


def test_a_child_dies_with_its_parent_even_while_it_hangs() -> None:
    script = (
        "from pathlib import Path; from stages.extraction.guard import Guard\n"
        "from tests.clip_work import work; guard = Guard()\n"
        "print(guard.call(work, Path('a.wav'), {}), flush=True)\n"
        "guard.call(work, Path('a.wav'), {'how': 'hang'})"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        assert alive(child)
        parent.kill()
    wait_for_the_end_of(child)


def test_a_stopped_guard_ends_the_call_that_is_under_way_and_takes_no_other() -> None:
    stopped = Guard(seconds=60)
    child = call(stopped)
    failures: list[ClipError] = []

    def hang() -> None:
        with pytest.raises(ClipError) as raised:
            call(stopped, "hang")
        failures.append(raised.value)

    thread = threading.Thread(target=hang)
    thread.start()
    time.sleep(0.3)
    stopped.stop()
    thread.join(10)
    assert [failure.code for failure in failures] == ["decoder_crash"] and not alive(child)
    with pytest.raises(ClipError, match="the run has ended"):
        call(stopped)
    assert not alive(child)


def test_a_clip_gets_a_second_child(one: Guard, tmp_path: Path) -> None:
    assert one.call(clip_work.lose_once, tmp_path / "killed", {}) != os.getpid()
    with pytest.raises(ClipError, match="SIGSEGV"):
        call(one, "segfault")


def test_each_thread_has_a_child_and_none_is_left() -> None:
    with guarded_threads(2) as threads:
        clips = [Path("a.wav")] * 20
        found = set(threads.map(lambda clip: call_in_child(clip_work.work, clip, {}), clips))
        assert 1 <= len(found) <= 2 and all(map(alive, found))
    assert not any(map(alive, found))


def test_a_thread_can_look_at_the_next_clip_while_the_child_works() -> None:
    with guarded_threads(1) as threads:
        busy = threads.submit(call_in_child, clip_work.work, Path("a.wav"), {"how": "hang"})
        assert threads.submit(lambda: "looked at").result(timeout=10) == "looked at"
        assert not busy.done()


def test_at_the_end_no_call_is_waited_for() -> None:
    hang = {"how": "hang"}
    with guarded_threads(2) as threads:
        calls = [
            threads.submit(call_in_child, clip_work.work, Path("a.wav"), hang) for _ in range(9)
        ]
        time.sleep(0.5)
        start = time.monotonic()
    assert time.monotonic() - start < 5
    assert sum(one.cancelled() for one in calls) == 5  # two threads to each child
    assert all(isinstance(one.exception(), ClipError) for one in calls if not one.cancelled())


def test_a_function_that_the_child_cannot_import_is_no_fault_of_the_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: Guard
) -> None:
    (tmp_path / "here_alone.py").write_text("def work(clip): return clip")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="here_alone"):
        one.call(resolve_name("here_alone:work"), Path("a.wav"), {})


def test_what_the_parent_is_given_in_pythonpath_the_child_has_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: Guard
) -> None:
    (tmp_path / "elsewhere.py").write_text("def work(clip, **settings): return settings")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    work = resolve_name("elsewhere:work")
    assert one.call(work, Path("a.wav"), {"size": 1}) == {"size": 1}
