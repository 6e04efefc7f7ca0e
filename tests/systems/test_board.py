"""While replicas are trained, their epochs are shown over all processes."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from stages import train
from stages.fdan import replicas
from stages.runtime import progress
from stages.systems.board import ENDED, in_words, state_of
from tests.feature_files import prepare, work_in

NAN = float("nan")
LAST = ("acoustic_loss", "validation_uar")


def histories_of(replicas: list[list[float]], epochs: int) -> dict[str, np.ndarray]:
    """What a board holds of replicas, each given by epochs made, ended, last loss, last UAR."""
    values = {name: np.full((len(replicas), epochs), NAN) for name in (*LAST, ENDED)}
    for row, (made, ended, *last) in enumerate(replicas):
        for name, value in zip(LAST, last):
            values[name][row, : int(made)] = value + 1  # of the epochs before
            values[name][row, int(made) - 1 : int(made)] = value
        values[ENDED][row, : int(made)] = 0
        values[ENDED][row, int(made) - 1 : int(made)] = ended
    return values


@pytest.mark.parametrize(
    "rows, expected",
    [
        ([[0, 0, 0, 0]] * 3, (0, 900, " (0 of 3 replicas done)")),
        (
            [[300, 1, 0.2, 0.9], [100, 0, 0.4, 0.7], [0, 0, 0, 0]],
            (400, 900, " (1 of 3 replicas done), loss 0.30, validation UAR 0.80"),
        ),
        ([[9, 0, 2.5, NAN], [0, 0, 0, 0]], (9, 600, " (0 of 2 replicas done), loss 2.50")),
        # Those that ended made 110 epochs on average: the last is expected to make as many.
        (
            [[100, 1, 1, 0.5], [120, 1, 1, 0.5], [150, 0, 1, 0.5], [7, 0, 1, 0.5]],
            (377, 480, " (2 of 4 replicas done), loss 1.00, validation UAR 0.50"),
        ),
    ],
)
def test_the_state_is_of_all_replicas(rows: list[list[float]], expected: tuple[int, int, str]):
    assert in_words(state_of(histories_of(rows, 300)), len(rows)) == expected


@pytest.mark.parametrize("way", ["side by side", "two processes", "at once"])
def test_epochs_are_told_while_replicas_are_trained(
    way: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    work_in(tmp_path, monkeypatch)
    prepare(seeds=2, epochs=40, patience=0)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.02)
    if way == "two processes":
        monkeypatch.setattr(replicas.joblib, "cpu_count", lambda: 2)
    if way == "at once":
        monkeypatch.setattr(replicas, "train_side_by_side", replicas.train_at_once)
    capfd.readouterr()
    train.main()
    *lines, last = (line for line in capfd.readouterr().err.splitlines() if line[:6] == "train:")
    numbers = [
        re.fullmatch(
            r"train: (\d+) of 160 epochs \(([0-4]) of 4 replicas done\)"
            r"(, loss \d\.\d\d, validation UAR [01]\.\d\d(, \d+ s left)?)?",
            line,
        )
        for line in lines
    ]
    assert numbers and all(numbers)
    made = [int(found[1]) for found in numbers if found]
    assert made == sorted(made) and any(0 < count < 160 for count in made)
    assert re.fullmatch(r"train: 160 epochs in \d+\.\d s", last)


def test_training_that_fails_leaves_no_thread_and_tells_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    def failing(*_: object) -> None:
        raise torch.OutOfMemoryError("2 GiB")

    work_in(tmp_path, monkeypatch)
    prepare()
    capfd.readouterr()
    monkeypatch.setattr(replicas, "train_replicas", failing)
    with pytest.raises(torch.OutOfMemoryError):
        train.main()
    assert capfd.readouterr().err == ""
    assert "keep_calling" not in str(progress.threading.enumerate())
