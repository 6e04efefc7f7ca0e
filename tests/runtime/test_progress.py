"""Progress without a terminal: few plain lines on stderr."""

import io
import re
import sys

import pytest

from stages.runtime import progress
from stages.runtime.progress import track


def stderr_of(capfd: pytest.CaptureFixture[str]) -> str:
    out, err = capfd.readouterr()
    assert out == ""
    return err


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands at clock[0] seconds."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_passes_the_items_on(capfd: pytest.CaptureFixture[str]):
    assert list(track(iter("abc"), 3, "mels@sample", "clips")) == ["a", "b", "c"]


def test_short_work_is_one_plain_line(capfd: pytest.CaptureFixture[str], clock: list[float]):
    list(track(range(500), 500, "mels@sample", "clips"))
    assert stderr_of(capfd) == "mels@sample: 500 clips in 0.0 s\n"


def test_no_work_is_told_too(capfd: pytest.CaptureFixture[str], clock: list[float]):
    list(track([], 0, "mels@sample", "clips"))
    assert stderr_of(capfd) == "mels@sample: 0 clips in 0.0 s\n"


def test_long_work_is_a_line_every_ten_seconds(
    capfd: pytest.CaptureFixture[str], clock: list[float]
):
    for _ in track(range(6), 6, "frames@sample", "clips"):
        clock[0] += 6
    assert stderr_of(capfd).splitlines() == [
        "frames@sample: 2/6 clips, 0.2 a second, 24 s left",
        "frames@sample: 4/6 clips, 0.2 a second, 12 s left",
        "frames@sample: 6 clips in 36.0 s",
    ]


def test_there_are_no_carriage_returns(capfd: pytest.CaptureFixture[str], clock: list[float]):
    for _ in track(range(9), 9, "train", "folds"):
        clock[0] += 20
    assert "\r" not in stderr_of(capfd)


def test_items_are_drawn_one_at_a_time(capfd: pytest.CaptureFixture[str]):
    drawn = []
    items = (drawn.append(i) or i for i in range(5))
    next(track(items, 5, "train", "folds"))
    assert drawn == [0]


def test_a_terminal_gets_a_bar_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    list(track(range(3), 3, "mels@sample", "clips"))
    bar = terminal.getvalue().split("\r")[-1]
    assert re.search(r"mels@sample: 100%.* 3/3 \[.*clips/s\]", bar)
