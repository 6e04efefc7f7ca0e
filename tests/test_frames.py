"""Frames: three crops a clip, what becomes of frames without a face, and the array file."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from stages import frames
from stages.extraction import workers
from stages.frames import STATUS, clip_faces
from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.io.files import read_table, write_table
from stages.io.skips import table_path
from stages.manifest import COLUMNS
from stages.runtime.errors import ClipError, UserError
from stages.runtime.params import PARAMS_FILE
from tests.extraction.test_guard import wait_for_the_end_of
from tests.media_files import write_video

PROJECT = Path(__file__).parent.parent
SIZE = 32
NO_BOX = np.empty((0, 5), np.float32)
BOX = np.array([[8, 8, 40, 40, 1]], np.float32)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4")


def crops(clip: Path, no_face: str) -> frames.Faces:
    return clip_faces(clip, "haar", 0.1, 0.0, SIZE, False, no_face, "cpu")


def faces_in(monkeypatch: pytest.MonkeyPatch, *found: bool) -> None:
    """Let the detector find a face in those of V1 V2 V3, one after another, for ever."""
    calls = []

    def detect(image: np.ndarray) -> np.ndarray:
        calls.append(image)
        return BOX if found[(len(calls) - 1) % len(found)] else NO_BOX

    of_all = lambda images: list(map(detect, images))  # noqa: E731
    monkeypatch.setattr(frames, "make_detector", lambda *_: of_all)


def names(status: np.ndarray) -> list[str]:
    return [STATUS[i] for i in status]


def test_three_faces_are_cropped(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces_in(monkeypatch, True)
    found = crops(clip, "skip")
    assert found.faces.shape == (3, SIZE, SIZE, 3) and found.faces.dtype == np.uint8
    assert names(found.status) == ["face"] * 3 and found.ok.all()
    assert np.array_equal(found.boxes, np.repeat(BOX, 3, axis=0))
    assert np.all(np.diff(found.times) > 0)
    assert not np.array_equal(found.faces[0], found.faces[2])


def test_a_frame_without_a_face_gives_its_centre(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces_in(monkeypatch, True, False, True)
    found = crops(clip, "centre_crop")
    assert names(found.status) == ["face", "centre_crop", "face"] and found.ok.all()
    assert found.faces[1].any() and not found.boxes[1].any()


def test_a_frame_without_a_face_takes_the_nearest_one(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces_in(monkeypatch, False, False, True)
    found = crops(clip, "nearest")
    assert names(found.status) == ["nearest", "nearest", "face"] and found.ok.all()
    assert np.array_equal(found.faces[0], found.faces[2])


def test_of_two_equally_near_faces_the_earlier_is_taken(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces_in(monkeypatch, True, False, True)
    found = crops(clip, "nearest")
    assert np.array_equal(found.faces[1], found.faces[0])


def test_a_frame_without_a_face_can_be_left_out(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces_in(monkeypatch, True, False, True)
    found = crops(clip, "skip")
    assert found.ok.tolist() == [True, False, True]
    assert names(found.status)[1] == "missing" and not found.faces[1].any()


@pytest.mark.parametrize("no_face", ["nearest", "skip"])
def test_a_clip_without_any_face_is_skipped(
    clip: Path, monkeypatch: pytest.MonkeyPatch, no_face: str
) -> None:
    faces_in(monkeypatch, False)
    with pytest.raises(ClipError) as raised:
        crops(clip, no_face)
    assert raised.value.code == "no_face"


def test_a_full_gpu_is_told_in_one_line(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def detect(image: np.ndarray) -> np.ndarray:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(frames, "make_detector", lambda *_: detect)
    with pytest.raises(UserError, match="^frames: the GPU has no memory left; choose another"):
        crops(clip, "skip")


def test_of_many_faces_the_largest_counts_in_whatever_order_they_are_found(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large, left = [40, 8, 60, 28, 9], [20, 10, 60, 50, 1], [10, 20, 50, 60, 1]
    made = []
    for order in itertools.permutations([small, large, left]):
        monkeypatch.setattr(
            frames, "make_detector", lambda *_: lambda images: [np.array(order, np.float32)] * 3
        )
        found = crops(clip, "skip")
        assert found.found.tolist() == [3, 3, 3]
        made.append((found.boxes.tobytes(), found.faces.tobytes()))
    assert np.array_equal(found.boxes[0], left) and len(set(made)) == 1


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
    with pytest.raises(UserError, match=r"max_skip_fraction=0.4 of 2 .*sample/a \(unreadable"):
        frames.main("sample")
    assert list(Path("data/frames").iterdir()) == []
    assert len(read_table(table_path("sample", "frames"))) == 1


def test_weights_are_fetched_before_the_clips_which_have_a_limit_on_time(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(name: str, *_: object) -> None:
        raise UserError(f"{name}: cannot be fetched")

    monkeypatch.setattr(frames, "make_detector", fetch)
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


@pytest.mark.slow
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
