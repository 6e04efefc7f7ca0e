"""What DVC shows of training while it runs, and what is left of that."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from stages import train
from stages.fdan import replicas
from stages.io.files import file_sha256, read_json, read_table
from stages.runtime.paths import LIVE
from stages.systems import board
from tests.clone import Clone
from tests.feature_files import prepare, work_in
from tests.helpers import wait_for

CURVES = [Path(f"metrics/curves/{name}.csv") for name in ("loss", "recall", "lmmd")]
OUTS = [*CURVES, Path("metrics/train.json"), Path("models/replicas.safetensors")]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work_in(tmp_path, monkeypatch)
    monkeypatch.delenv("DVC_STAGE", raising=False)
    monkeypatch.setattr(board, "SECONDS_BETWEEN_CALLS", 0.01)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[tuple[dict[str, Any], list]]:
    """What is shown at each time: the state, and the curves of the loss. Under DVC."""
    found: list[tuple[dict[str, Any], list]] = []
    write = train.write_curves

    def write_and_look(histories: board.Histories) -> None:
        write(histories)
        state = read_json(LIVE) if LIVE.exists() else {}
        found.append((state, read_table(CURVES[0])))

    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setattr(train, "write_curves", write_and_look)
    return found


def test_epochs_loss_and_validation_uar_are_shown_while_replicas_are_trained(shown: list):
    prepare(seeds=2, epochs=60, patience=0)
    train.main()
    *live, (state, final) = shown
    assert state == {} and not LIVE.exists()
    made = [state["epochs_made"] for state, _ in live]
    assert made == sorted(made) and any(0 < count < 240 for count in made)
    assert all(state["epochs_expected"] == 240 for state, _ in live)
    begun = [(state, rows) for state, rows in live if state["epochs_made"]]
    assert all(state["loss"] > 0 and 0 <= state["validation_uar"] <= 1 for state, _ in begun)
    # A curve that is shown is the final one up to the epochs that all replicas have made.
    full = [rows for _, rows in begun if {"n_replicas": "4"}.items() <= rows[0].items()]
    assert full
    for rows in full:
        done = [row for row in rows if row["n_replicas"] == "4"]
        assert [row for row in final if row in done] == done


def test_what_is_shown_changes_no_byte_of_the_outputs(shown: list, monkeypatch: pytest.MonkeyPatch):
    prepare(epochs=30, noise=1.0, patience=6)
    train.main()
    digests = [file_sha256(path) for path in OUTS]
    assert len(shown) > 1
    monkeypatch.delenv("DVC_STAGE")
    shown.clear()
    train.main()
    assert len(shown) == 1  # at the end alone
    assert [file_sha256(path) for path in OUTS] == digests


def test_without_dvc_the_curves_of_the_last_result_stay_where_training_fails(
    monkeypatch: pytest.MonkeyPatch,
):
    prepare(epochs=2)
    train.main()
    before = [path.read_bytes() for path in OUTS]
    prepare(epochs=500, learning_rate=1e30)
    with pytest.raises(train.UserError, match="not finite"):
        train.main()
    assert [path.read_bytes() for path in OUTS] == before


def test_nothing_is_shown_of_training_that_has_failed(monkeypatch: pytest.MonkeyPatch):
    def failing(*_: object) -> None:
        wait_for(LIVE.exists)
        raise torch.OutOfMemoryError("2 GiB")

    prepare()
    monkeypatch.setenv("DVC_STAGE", "train")
    monkeypatch.setattr(replicas, "train_replicas", failing)
    with pytest.raises(torch.OutOfMemoryError):
        train.main()
    assert not LIVE.exists()


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_training_goes_on_where_what_is_shown_cannot_be_written(shown: list):
    prepare(epochs=30)
    LIVE.parent.parent.mkdir()
    LIVE.parent.write_text("a file where the folder should be")
    train.main()
    assert len(shown) == 1 and all(path.exists() for path in OUTS)


@pytest.mark.long
def test_dvc_shows_epochs_and_curves_while_train_runs_and_nothing_of_it_afterwards(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
):
    clone = Clone(tmp_path_factory.mktemp("live"), {})
    monkeypatch.chdir(clone.folder)
    prepare(epochs=20_000, patience=0)  # more than can be made while DVC looks
    clone.commit("small")
    before = clone.dvc("metrics", "show")

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro", "-s", "train"],
            env=clone.environment, start_new_session=True, stdout=open("said", "w"),
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def of_workspace() -> dict[str, Any]:
        workspace = json.loads(clone.dvc("exp", "show", "--json"))[0]
        return workspace["data"]["metrics"].get(str(LIVE), {}).get("data", {})

    run = start()
    wait_for(lambda: run.poll() is not None or of_workspace().get("epochs_made"))
    state = of_workspace()
    assert 0 < state["epochs_made"] < state["epochs_expected"] == 40_000, Path("said").read_text()
    assert state["loss"] > 0 and 0 <= state["validation_uar"] <= 1
    said = clone.dvc("plots", "show", "--json")  # and that others are not there yet
    plots, _ = json.JSONDecoder().raw_decode(said[said.index("{") :])
    [loss] = plots["data"]["Cross-entropy"]
    assert {"1", "2"} <= {row["epoch"] for row in loss["content"]["data"]["values"]}
    # All at once, as where the memory runs out: what is left is gone with the next run.
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert LIVE.exists()
    clone.change_params({"epochs": 100})
    run = start()
    assert run.wait() == 0, Path("said").read_text()
    assert clone.dvc("metrics", "show") == before and of_workspace() == {}
    assert clone.run("git", "status", "--porcelain", "metrics") == ""
    assert len(read_table(CURVES[0])) == 3 * 100
