"""Frames: the array file of a corpus and its skip table."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages import frames
from stages.corpora.listing import COLUMNS
from stages.extraction import workers
from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.io.files import read_table, write_table
from stages.io.skips import table_path
from stages.media import crops
from stages.runtime.errors import UserError
from stages.runtime.params import PARAMS_FILE
from tests.extraction.test_guard import wait_for_the_end_of
from tests.media_files import write_video

PROJECT = Path(__file__).parent.parent
SIZE = 32


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus of three clips, of which one is broken and one has no video in the manifest."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers.joblib, "cpu_count", lambda: 1)
    root = tmp_path / "data/raw/sample"
    root.mkdir(parents=True)
    write_video(root / "whole.mp4")
    (root / "broken.mp4").write_bytes(b"<html>not found</html>")
    params(0.6)
    rows = [("sample/a", "broken.mp4"), ("sample/b", "whole.mp4"), ("sample/c", "")]
    write_table(
        Path("data/manifest/sample.csv"),
        COLUMNS,
        [{"id": name, "emotion": "fear", "video": video} for name, video in rows],
    )
    return tmp_path


def params(max_skip_fraction: float) -> None:
    yaml = YAML()
    tree = yaml.load(PROJECT / PARAMS_FILE)
    tree["max_skip_fraction"] = max_skip_fraction
    tree["frames"]["size"] = SIZE
    yaml.dump(tree, PARAMS_FILE)


@pytest.mark.usefixtures("no_children")
def test_a_broken_clip_becomes_a_row_and_the_others_are_kept(project: Path) -> None:
    frames.main("sample")
    (row,) = read_table(table_path("sample", "frames"))
    assert (row["id"], row["stage"], row["code"]) == ("sample/a", "frames", "unreadable")
    assert str(project) not in row["detail"]
    with open_arrays(Path("data/frames/sample.h5"), "frames") as file:
        assert decode_ids(file["ids"][...]) == ["sample/b"]
        assert file["faces"].shape == (1, 3, SIZE, SIZE, 3)
        assert read_settings(file)["size"] == SIZE


@pytest.mark.usefixtures("no_children")
def test_too_many_broken_clips_stop_the_stage_and_leave_no_arrays(project: Path) -> None:
    params(0.4)
    with pytest.raises(UserError, match=r"the 1 of 2 .*: 0.4 allows: sample/a \(unreadable"):
        frames.main("sample")
    assert list(Path("data/frames").iterdir()) == []
    assert len(read_table(table_path("sample", "frames"))) == 1


def test_weights_are_fetched_before_the_clips_which_have_a_limit_on_time(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(name: str, *_: object) -> None:
        raise UserError(f"{name}: cannot be fetched")

    monkeypatch.setattr(crops, "make_detector", fetch)
    with pytest.raises(UserError, match="haar: cannot be fetched"):
        frames.main("sample")
    assert not Path("data/frames").exists()


def test_the_same_clips_give_the_same_bytes_kept_or_made_anew(
    project: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    frames.main("sample")
    first = Path("data/frames/sample.h5").read_bytes()
    frames.main("sample")
    assert Path("data/frames/sample.h5").read_bytes() == first
    monkeypatch.setenv("FDAN_CACHE", str(project / "empty"))
    request.getfixturevalue("no_children")
    frames.main("sample")
    assert Path("data/frames/sample.h5").read_bytes() == first


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_leaves_neither_children_nor_half_an_output(
    project: Path, number: signal.Signals, code: int
) -> None:
    """Stopped as soon as the children that decode have been started."""
    stage = subprocess.Popen(
        [sys.executable, "-m", "stages.frames", "sample"],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    of_stage = Path(f"/proc/{stage.pid}/task")
    begun, children = Path("data/frames/.sample.h5.tmp"), ""
    while not (begun.exists() and children):
        assert stage.poll() is None
        time.sleep(0.01)
        children = " ".join(path.read_text() for path in of_stage.glob("*/children"))
    stage.send_signal(number)
    _, said = stage.communicate(timeout=20)
    assert (stage.returncode, "Traceback" in said) == (code, False)
    assert list(Path("data/frames").iterdir()) == [] and not Path("data/skipped").exists()
    for child in children.split():
        wait_for_the_end_of(int(child))
