"""Which face, which square of the frame, which way up; and that real faces are found."""

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.media import faces
from stages.media.faces import (
    Detector,
    centre_crop,
    choose_face,
    crop_face,
    level_eyes,
    make_aligner,
    make_detector,
)
from stages.media.video import sample_frames
from stages.runtime.errors import UserError
from tests.media_files import corpora

NO_SERVER = "http://127.0.0.1:9"
side = st.sampled_from([4, 6, 8, 12])  # 4 x 12 = 6 x 8: ties between boxes of other shapes
box = st.tuples(st.integers(0, 2), st.integers(0, 2), side, side, st.integers(0, 3))


@pytest.fixture(autouse=True)
def fresh_detectors():
    make_detector.cache_clear()
    make_aligner.cache_clear()


def boxes_of(rows: list[tuple[int, ...]]) -> np.ndarray:
    array = np.array(rows, np.float32).reshape(-1, 5)
    array[:, 2:4] += array[:, :2]
    return array


def gradient(height: int, width: int) -> np.ndarray:
    """RGB uint8 whose red is the row and whose green is the column."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(height)[:, None]
    image[..., 1] = np.arange(width)
    return image


@given(st.lists(box, min_size=1, max_size=8), st.randoms())
def test_choice_does_not_depend_on_the_order(rows: list[tuple[int, ...]], random):
    boxes = boxes_of(rows)
    chosen = choose_face(boxes)
    shuffled = list(range(len(boxes)))
    random.shuffle(shuffled)
    np.testing.assert_array_equal(choose_face(boxes[shuffled]), chosen)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    largest = boxes[areas == areas.max()]
    assert (chosen == largest).all(axis=1).any()
    assert chosen[0] == largest[:, 0].min()
    assert chosen[1] == largest[largest[:, 0] == chosen[0], 1].min()


def test_no_face_is_none():
    assert choose_face(np.zeros((0, 5), np.float32)) is None


def test_crop_without_resizing_is_the_square_around_the_box():
    crop = crop_face(gradient(100, 200), np.array([80, 30, 100, 70, 1], np.float32), 0.0, 40)
    np.testing.assert_array_equal(crop, gradient(100, 200)[30:70, 70:110])
    crop = crop_face(gradient(100, 200), np.array([80, 30, 100, 70, 1], np.float32), 0.25, 60)
    np.testing.assert_array_equal(crop, gradient(100, 200)[20:80, 60:120])


def test_crop_beyond_the_border_repeats_it():
    image = gradient(100, 200)
    crop = crop_face(image, np.array([-20, 80, 20, 120, 1], np.float32), 0.0, 40)
    padded = cv2.copyMakeBorder(image, 0, 20, 20, 0, cv2.BORDER_REPLICATE)
    np.testing.assert_array_equal(crop, padded[80:120, :40])


@given(
    st.floats(-300, 300), st.floats(-300, 300), st.floats(0.1, 400), st.floats(0, 1),
    st.integers(1, 64),
)  # fmt: skip
def test_any_box_gives_a_crop(x: float, y: float, width: float, margin: float, size: int):
    crop = crop_face(gradient(50, 70), np.array([x, y, x + width, y + 9, 1], "f4"), margin, size)
    assert crop.shape == (size, size, 3) and crop.dtype == np.uint8


def test_shrinking_averages():
    stripes = np.zeros((80, 80, 3), np.uint8)
    stripes[:, ::2] = 200
    crop = crop_face(stripes, np.array([0, 0, 80, 80, 1], np.float32), 0.0, 20)
    assert (crop == 100).all()


@pytest.mark.parametrize(("height", "width"), [(60, 100), (100, 60), (61, 100)])
def test_centre_crop(height: int, width: int):
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    np.testing.assert_array_equal(
        centre_crop(gradient(height, width), side),
        gradient(height, width)[top : top + side, left : left + side],
    )


def face_with_eyes(angle: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A black image with two eyes, red on the image's left and green on its right, turned
    clockwise by `angle` degrees about (100, 110); the box around it, and 68 landmarks."""
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    left, right = (np.array([[-30, -20], [30, -20]]) @ rotation.T) + (100, 110)
    image = np.zeros((240, 200, 3), np.uint8)
    cv2.circle(image, left.round().astype(int).tolist(), 6, (255, 0, 0), -1)
    cv2.circle(image, right.round().astype(int).tolist(), 6, (0, 255, 0), -1)
    landmarks = np.zeros((68, 2))
    landmarks[36:42], landmarks[42:48] = left, right
    return image, np.array([50, 60, 150, 160, 1], np.float32), landmarks


def centroid(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask > 127).mean(axis=0)[::-1]  # x, y


@pytest.mark.parametrize("angle", [-35, -10, 0, 20, 45])
def test_eyes_become_level_and_the_face_stays_in_its_box(angle: float):
    image, box, landmarks = face_with_eyes(angle)
    upright = level_eyes(image, box, landmarks)
    assert upright.shape == image.shape
    np.testing.assert_allclose(centroid(upright[..., 0]), (70, 90), atol=1)
    np.testing.assert_allclose(centroid(upright[..., 1]), (130, 90), atol=1)


def test_aligner_loads_no_detector_and_asks_for_the_box_given(monkeypatch):
    import face_alignment

    image, box, landmarks = face_with_eyes(20)
    asked = []

    def get_landmarks(self, image, detected_faces):
        asked.append(detected_faces)
        return [landmarks]

    monkeypatch.setattr(faces, "_fetch", lambda url: None)
    monkeypatch.setattr(face_alignment.FaceAlignment, "_load_native", lambda *a: None)
    monkeypatch.setattr(face_alignment.FaceAlignment, "get_landmarks", get_landmarks)
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *a, **k: pytest.fail("fetched"))
    upright = make_aligner("cpu")(image, box)
    np.testing.assert_array_equal(upright, level_eyes(image, box, landmarks))
    np.testing.assert_array_equal(asked, [[box.tolist()]])


def test_aligner_runs_the_real_network_with_weights_of_chance(monkeypatch):
    import face_alignment

    def untrained(self, name, size, device, dtype):
        return face_alignment.models.FAN(size).eval()

    monkeypatch.setattr(faces, "_fetch", lambda url: None)
    monkeypatch.setattr(face_alignment.FaceAlignment, "_load_native", untrained)
    image, box, _ = face_with_eyes(0)
    assert make_aligner("cpu")(image, box).shape == image.shape


@pytest.mark.parametrize("name", ["sfd", "blazeface", "yunet", "aligner"])
def test_weights_that_cannot_be_fetched(name: str, tmp_path: Path, monkeypatch):
    import face_alignment.api
    from face_alignment.detection.blazeface import blazeface_detector
    from face_alignment.detection.sfd import sfd_detector
    from face_alignment.detection.yunet import yunet_detector

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(sfd_detector.models_urls, "s3fd", f"{NO_SERVER}/s3fd-0123456789.pth")
    monkeypatch.setitem(
        blazeface_detector.models_urls, "blazeface_weights", f"{NO_SERVER}/b.pth?raw=true"
    )
    monkeypatch.setattr(yunet_detector, "model_url", f"{NO_SERVER}/yunet.onnx")
    monkeypatch.setitem(face_alignment.api.models_urls, "2DFAN-4", f"{NO_SERVER}/2DFAN4.pth.tar")
    with pytest.raises(UserError, match=rf"{NO_SERVER}.* put it at {tmp_path}/hub/checkpoints/"):
        if name == "aligner":
            make_aligner("cpu")
        else:
            make_detector(name, 0.1, "cpu")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def wide_picture() -> tuple[np.ndarray, tuple[int, int]]:
    """A picture [512, 1300, 3] with one face, at its left, and about where its middle is."""
    from skimage import data

    return cv2.copyMakeBorder(data.astronaut(), 0, 0, 0, 788, cv2.BORDER_REPLICATE), (222, 115)


def require_weights(name: str, monkeypatch) -> None:
    files = {"yunet": "face_detection_yunet_2023mar.onnx", "blazeface": "blazeface.pth"}
    if name == "haar":
        return
    if "TORCH_HOME" not in os.environ:
        monkeypatch.setenv("TORCH_HOME", str(Path(__file__).parents[3] / "shared/torch-home"))
    if not Path(os.environ["TORCH_HOME"], "hub/checkpoints", files[name]).exists():
        pytest.skip(f"{files[name]} is not in torch.hub's cache; set TORCH_HOME")


def single(detect: Detector) -> Callable[[np.ndarray], np.ndarray]:
    """The boxes of one image."""
    return lambda image: detect(image[None])[0]


@pytest.mark.parametrize("name", ["haar", "yunet", "blazeface"])
def test_a_face_at_the_side_of_a_wide_picture_is_found(name: str, monkeypatch):
    require_weights(name, monkeypatch)
    image, (x, y) = wide_picture()
    detect = single(make_detector(name, 0.1, "cpu"))
    boxes = detect(image)
    assert boxes.dtype == np.float32 and boxes.shape[1] == 5
    inside = [b for b in boxes if b[0] < x < b[2] and b[1] < y < b[3]]
    assert len(inside) == 1
    assert 70 < inside[0][2] - inside[0][0] < 180
    np.testing.assert_array_equal(detect(image), boxes)
    assert single(make_detector(name, 0.5, "cpu"))(image).shape == (0, 5)  # too small a face
    assert detect(np.full((90, 160, 3), 127, np.uint8)).shape == (0, 5)
    mirrored = detect(np.ascontiguousarray(image[:, ::-1]))
    assert any(b[0] < 1300 - x < b[2] and b[1] < y < b[3] for b in mirrored)


def portrait(share: float, height: int, width: int) -> np.ndarray:
    """A picture [height, width, 3] with one face in its middle, of a share of its shorter side."""
    from skimage import data

    scale = share * min(height, width) / 99  # as Haar boxes it, at (174, 64)
    shift = (width / 2 - scale * 224, height / 2 - scale * 113.5)
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return cv2.warpAffine(
        data.astronaut(), matrix, (width, height), flags=cv2.INTER_AREA,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    across, down = np.minimum(a[2:4], b[2:4]) - np.maximum(a[:2], b[:2])
    both = max(0.0, across) * max(0.0, down)
    return both / (np.prod(a[2:4] - a[:2]) + np.prod(b[2:4] - b[:2]) - both)


@pytest.mark.parametrize("share", np.arange(0.2, 0.96, 0.04).round(2).tolist())
@pytest.mark.parametrize("shape", [(200, 320), (224, 224), (320, 320)])
def test_haar_finds_a_face_of_any_size_where_one_plain_search_finds_it(
    share: float, shape: tuple[int, int]
):
    image = portrait(share, *shape)
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    least = int(0.15 * min(shape))
    windows = cascade.detectMultiScale(
        cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1.1, 5, minSize=(least, least)
    )
    x, y, width, height = max(windows, key=lambda window: window[2])
    chosen = choose_face(single(make_detector("haar", 0.15, "cpu"))(image))
    assert overlap(chosen[:4], np.array([x, y, x + width, y + height], np.float32)) > 0.8


def test_haar_looks_for_small_faces_only_where_there_is_no_large_one():
    large, small = portrait(0.6, 240, 240), portrait(0.3, 240, 240)
    detect = single(make_detector("haar", 0.15, "cpu"))
    boxes = detect(np.hstack([small, small]))
    assert all(any(b[0] < x < b[2] and b[1] < 120 < b[3] for b in boxes) for x in (120, 360))
    (box,) = detect(np.hstack([small, large]))
    assert 240 < box[0] and box[2] < 480


@pytest.mark.parametrize("name", ["haar", "yunet", "blazeface"])
@pytest.mark.parametrize("folder", ["ravdess", "ravdess_grey"])
def test_faces_of_real_clips_are_found(name: str, folder: str, monkeypatch):
    require_weights(name, monkeypatch)
    detect = make_detector(name, 0.15, "cpu")
    for path in sorted((corpora() / folder).rglob("01-*.mp4"))[:2]:
        images = sample_frames(path).images
        for image, boxes in zip(images, detect(images), strict=True):
            assert len(boxes) == 1
            np.testing.assert_allclose(single(detect)(image), boxes, rtol=1e-5)
            width = boxes[0, 2] - boxes[0, 0]
            assert 0.2 < width / image.shape[1] < 1.0


def test_sfd_sees_all_images_at_once_and_finds_in_each_what_it_finds_in_it_alone(monkeypatch):
    """With weights of chance, so that the boxes mean nothing."""
    from face_alignment.detection.sfd import sfd_detector

    torch.manual_seed(0)
    weights = sfd_detector.s3fd().state_dict()
    monkeypatch.setattr(sfd_detector, "load_state_dict_from_url", lambda url: weights)
    monkeypatch.setattr(faces, "_fetch", lambda url: None)
    passes = []
    plain = sfd_detector.s3fd.forward
    monkeypatch.setattr(
        sfd_detector.s3fd, "forward", lambda net, x: passes.append(len(x)) or plain(net, x)
    )
    detect = make_detector("sfd", 0.01, "cpu")
    images = np.random.default_rng(0).integers(0, 256, (3, 96, 128, 3), np.uint8)
    together = detect(images)
    assert passes == [3]
    assert len(together) == 3 and sum(map(len, together)) > 0
    for image, boxes in zip(images, together):
        np.testing.assert_allclose(single(detect)(image), boxes, rtol=1e-3, atol=1e-2)
