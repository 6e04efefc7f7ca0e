"""Three crops a clip, and what becomes of frames without a face."""

import itertools
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.io.arrays import fits
from stages.media import crops
from stages.media.crops import JUMP, STATUS, Faces, clip_faces
from stages.media.faces import centre_crop, crop_face
from stages.media.video import sample_frames
from stages.runtime.errors import ClipError, UserError
from stages.synthesis.face import draw, make_face, portrait
from tests.media_files import corpora, write_video

ROOT = Path(__file__).parents[2]
SIZE = 32
NO_BOX = np.empty((0, 5), np.float32)
BOX = np.array([[8, 8, 40, 40, 1]], np.float32)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4")


def cropped(clip: Path, no_face: str) -> Faces:
    return clip_faces(clip, "haar", 0.1, 0.0, SIZE, False, no_face, "cpu")


def faces_in(monkeypatch: pytest.MonkeyPatch, *found: bool) -> None:
    """Let the detector find a face in those of V1 V2 V3, one after another, for ever."""
    calls = []

    def detect(image: np.ndarray) -> np.ndarray:
        calls.append(image)
        return BOX if found[(len(calls) - 1) % len(found)] else NO_BOX

    of_all = lambda images: list(map(detect, images))  # noqa: E731
    monkeypatch.setattr(crops, "make_detector", lambda *_: of_all)


def boxes_in(monkeypatch: pytest.MonkeyPatch, of_frames: Sequence[Sequence[list[int]]]) -> None:
    """Let the detector find these boxes in V1, V2 and V3."""
    boxes = [np.array(found, np.float32).reshape(-1, 5) for found in of_frames]
    monkeypatch.setattr(crops, "make_detector", lambda *_: lambda images: boxes)


def names(status: np.ndarray) -> list[str]:
    return [STATUS[i] for i in status]


def test_three_faces_are_cropped(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faces_in(monkeypatch, True)
    found = cropped(clip, "skip")
    assert found.faces.shape == (3, SIZE, SIZE, 3) and found.faces.dtype == np.uint8
    assert names(found.status) == ["face"] * 3 and found.ok.all()
    assert np.array_equal(found.boxes, np.repeat(BOX, 3, axis=0))
    assert np.all(np.diff(found.times) > 0)
    assert not np.array_equal(found.faces[0], found.faces[2])


def test_a_frame_without_a_face_gives_its_centre(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces_in(monkeypatch, True, False, True)
    found = cropped(clip, "centre_crop")
    assert names(found.status) == ["face", "centre_crop", "face"] and found.ok.all()
    assert found.faces[1].any() and not found.boxes[1].any()


def test_a_frame_without_a_face_takes_the_nearest_one(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces_in(monkeypatch, False, False, True)
    found = cropped(clip, "nearest")
    assert names(found.status) == ["nearest", "nearest", "face"] and found.ok.all()
    assert np.array_equal(found.faces[0], found.faces[2])


def test_of_two_equally_near_faces_the_earlier_is_taken(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces_in(monkeypatch, True, False, True)
    found = cropped(clip, "nearest")
    assert np.array_equal(found.faces[1], found.faces[0])


def test_a_frame_without_a_face_can_be_left_out(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces_in(monkeypatch, True, False, True)
    found = cropped(clip, "skip")
    assert found.ok.tolist() == [True, False, True]
    assert names(found.status)[1] == "missing" and not found.faces[1].any()


@pytest.mark.parametrize("no_face", ["nearest", "skip"])
def test_a_clip_without_any_face_is_skipped(
    clip: Path, monkeypatch: pytest.MonkeyPatch, no_face: str
) -> None:
    faces_in(monkeypatch, False)
    with pytest.raises(ClipError) as raised:
        cropped(clip, no_face)
    assert raised.value.code == "no_face"


def test_a_full_gpu_is_told_in_one_line(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def detect(image: np.ndarray) -> np.ndarray:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(crops, "make_detector", lambda *_: detect)
    with pytest.raises(UserError, match="^frames: the GPU has no memory left; choose another"):
        cropped(clip, "skip")


def test_of_many_faces_the_largest_counts_in_whatever_order_they_are_found(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large, left = [40, 8, 60, 28, 9], [20, 10, 60, 50, 9], [10, 20, 50, 60, 9]
    made = []
    for order in itertools.permutations([small, large, left]):
        boxes_in(monkeypatch, [order] * 3)
        found = cropped(clip, "skip")
        assert found.found.tolist() == [3, 3, 3] and not found.jumps.any()
        made.append((found.boxes.tobytes(), found.faces.tobytes()))
    assert np.array_equal(found.boxes[0], left) and len(set(made)) == 1


def test_what_was_chosen_and_why_is_recorded(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut between V1 and V3, with a frame between them in which no face is found."""
    here, away = [8, 8, 40, 40, 3], [72, 8, 104, 40, 12]
    boxes_in(monkeypatch, [[here], [], [away]])
    found = cropped(clip, "centre_crop")
    assert np.array_equal(found.boxes, [here, [0] * 5, away])
    assert found.certainty.tolist() == [0.5, 0, 1] and found.jumps.tolist() == [0, 0, 2]
    assert names(found.status) == ["face", "centre_crop", "face"]
    assert (found.jumps > JUMP).any()
    assert fits(found._asdict(), Faces.layout({"size": SIZE}))


@pytest.mark.parametrize("half, columns", [("left", slice(48)), ("right", slice(48, 96))])
def test_of_the_other_half_of_the_picture_nothing_is_seen(
    half: str, columns: slice, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """V1 and V3 have a face; V2 is the centre of the half. Boxes are in the whole frame."""
    seen: list[np.ndarray] = []

    def detect(images: np.ndarray) -> list[np.ndarray]:
        seen.append(images)
        return [BOX, NO_BOX, BOX]

    monkeypatch.setattr(crops, "make_detector", lambda *_: detect)
    found = clip_faces(clip, "haar", 0.1, 0.0, SIZE, False, "centre_crop", "cpu", crop=half)
    images = sample_frames(clip).images[:, :, columns]
    assert images.shape == (3, 64, 48, 3) and np.array_equal(seen[0], images)
    moved = BOX[0] + np.array([columns.start or 0, 0, columns.start or 0, 0, 0])
    assert np.array_equal(found.boxes, [moved, [0] * 5, moved])
    assert np.array_equal(found.faces[0], crop_face(images[0], BOX[0], 0.0, SIZE))
    assert np.array_equal(found.faces[1], centre_crop(images[1], SIZE))


def test_of_two_people_side_by_side_the_one_of_the_half_is_found(tmp_path: Path) -> None:
    """The people of the sample, with Haar's cascade."""
    people = [make_face(female, np.random.default_rng(0)) for female in (True, False)]
    picture = np.concatenate([draw(portrait(face), face, {}) for face in people], axis=1)
    height, width = picture.shape[:2]
    path = write_video(tmp_path / "two.mp4", 5, size=(width, height), picture=lambda *_: picture)
    for half in ("left", "right"):
        found = clip_faces(path, "haar", 0.06, 0.2, SIZE, False, "skip", "cpu", crop=half)
        assert names(found.status) == ["face"] * 3
        middles = found.boxes[:, [0, 2]].mean(1)
        assert np.all((middles > width / 2) == (half == "right"))
        assert np.all(found.found == 1)


@pytest.mark.parametrize("folder", ["ravdess", "ravdess_grey"])
def test_nobody_in_real_clips_jumps(folder: str) -> None:
    for path in sorted((corpora() / folder).rglob("*.mp4"))[::9]:
        found = clip_faces(path, "haar", 0.06, 0.2, SIZE, False, "centre_crop", "cpu")
        assert found.jumps.max() < JUMP / 2


def test_haar_needs_no_torch_neither_in_the_stage_nor_in_its_children(clip: Path) -> None:
    """It takes seconds to load, in every process."""
    script = f"""
import sys
from pathlib import Path
import stages.extraction.clip_cache, stages.frames
from stages.media.crops import clip_faces, ready_to_crop
chosen = {{"detector": "haar", "min_face": 0.1, "margin": 0.0, "size": {SIZE}, "align": False}}
clip_faces(Path({str(clip)!r}), **ready_to_crop(chosen | {{"no_face": "centre_crop"}}))
print(sorted({{"torch", "face_alignment", "librosa", "scipy"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
