"""Progress without a terminal: few plain lines on stderr."""

import io
import re
import sys
import time

import pytest

from stages.runtime import progress
from stages.runtime.progress import track, watch


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
        "frames@sample: 2 of 6 clips, 24 s left",
        "frames@sample: 4 of 6 clips, 12 s left",
        "frames@sample: 6 clips in 36.0 s",
    ]


def test_the_first_item_does_not_count_in_the_time_left(
    capfd: pytest.CaptureFixture[str], clock: list[float]
):
    """It takes 80 s, each of the others 4 s: from the third on there is a rate."""
    for number in track(range(2000), 2000, "frames@sample", "clips"):
        clock[0] += 4 if number else 80
        if number == 4:
            break
    assert stderr_of(capfd).splitlines() == [
        "frames@sample: 1 of 2,000 clips",
        "frames@sample: 4 of 2,000 clips, 7,984 s left",
    ]


def test_one_item_is_one(capfd: pytest.CaptureFixture[str], clock: list[float]):
    list(track(range(1), 1, "mels@sample", "clips"))
    assert stderr_of(capfd) == "mels@sample: 1 clip in 0.0 s\n"


def test_work_that_fails_is_not_told_as_done(capfd: pytest.CaptureFixture[str]):
    with pytest.raises(KeyError):
        list(track(map({}.__getitem__, [1]), 1, "mels@sample", "clips"))
    assert stderr_of(capfd) == ""


def test_work_that_is_looked_at_tells_what_there_is_to_see(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LOOKS", 0.001)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.05)
    done, deadline = [0], time.monotonic() + 20
    with watch("train", "epochs", lambda: (done[0], 90, f" ({done[0] // 30} of 3 done)")):
        seen = ""
        while seen.count("left") < 3 and time.monotonic() < deadline:
            done[0] = min(done[0] + 1, 89)
            time.sleep(0.01)
            seen += stderr_of(capfd)
        done[0] = 90
    assert re.search(r"^train: \d+ of 90 epochs \([012] of 3 done\), \d+ s left$", seen, re.M)
    assert re.fullmatch(r"train: 90 epochs in \d+\.\d s\n", stderr_of(capfd))


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
    with watch("train", "epochs", lambda: (90, 90, " (3 of 3 replicas done)")):
        pass
    bar = terminal.getvalue().split("\r")[-1]
    assert re.search(r"train: 100%.* 90/90 \[.*\(3 of 3 replicas done\)\]", bar)
