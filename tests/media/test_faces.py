"""Which face, which square of the frame, which way up; and that real faces are found."""

import itertools
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.media import faces
from stages.media.faces import (
    CERTAINTY_OCTAVES,
    DETECTORS,
    FARTHEST,
    Detector,
    centre_crop,
    certainty,
    choose_faces,
    crop_face,
    jump,
    level_eyes,
    make_aligner,
    make_detector,
)
from stages.media.video import sample_frames
from stages.runtime.errors import UserError
from tests.media_files import corpora

NO_SERVER = "http://127.0.0.1:9"
side = st.sampled_from([8, 16, 32])
score = st.sampled_from([0.0, 3.0, 6.0, 12.0])  # of Haar: a certainty of 0, 0.5, 1 and 1
square = st.tuples(st.integers(0, 6).map(lambda x: 8 * x), st.integers(0, 2), side, score)
frame_of_squares = st.lists(square, max_size=4)


@pytest.fixture(autouse=True)
def fresh_detectors():
    make_detector.cache_clear()
    make_aligner.cache_clear()


def boxes_of(rows: list[tuple[float, ...]]) -> np.ndarray:
    """Squares [k, 5] of (left, top, side, score)."""
    array = np.array(rows, np.float32).reshape(-1, 4)
    return np.column_stack([array[:, :2], array[:, :2] + array[:, 2:3], array[:, 3]])


def gradient(height: int, width: int) -> np.ndarray:
    """RGB uint8 whose red is the row and whose green is the column."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(height)[:, None]
    image[..., 1] = np.arange(width)
    return image


def worth(track: Sequence[np.ndarray]) -> float:
    """What a choice is to be the greatest of, by its definition."""
    total = sum(
        math.log2(b[2] - b[0]) + CERTAINTY_OCTAVES * min(1.0, max(0.0, float(b[4]) / 6.0))
        for b in track
    )
    for one, other in itertools.pairwise(track):
        widths = one[2] - one[0], other[2] - other[0]
        apart = np.hypot(*((one[:2] + one[2:4]) / 2 - (other[:2] + other[2:4]) / 2))
        total -= min(FARTHEST, (apart + abs(widths[0] - widths[1])) / (sum(widths) / 2))
    return total


@given(st.lists(frame_of_squares, min_size=1, max_size=3))
def test_no_other_choice_is_worth_more(rows: list[list[tuple[float, ...]]]):
    candidates = [boxes_of(of_frame) for of_frame in rows]
    chosen = choose_faces(candidates, "haar")
    assert [box is not None for box in chosen] == [len(boxes) > 0 for boxes in candidates]
    for box, boxes in zip(chosen, candidates):
        assert box is None or (box == boxes).all(axis=1).any()
    all_tracks = itertools.product(*(boxes for boxes in candidates if len(boxes)))
    track = [box for box in chosen if box is not None]
    assert worth(track) == pytest.approx(max(map(worth, all_tracks)), abs=1e-5)


@given(st.lists(frame_of_squares, min_size=1, max_size=3), st.randoms())
def test_choice_does_not_depend_on_the_order(rows: list[list[tuple[float, ...]]], random):
    chosen = choose_faces([boxes_of(of_frame) for of_frame in rows], "haar")
    for of_frame in rows:
        random.shuffle(of_frame)
    again = choose_faces([boxes_of(of_frame) for of_frame in rows], "haar")
    assert [box is None or box.tolist() for box in chosen] == [
        box is None or box.tolist() for box in again
    ]


def test_of_equals_the_left_one_is_taken():
    boxes = boxes_of([(60, 20, 30, 9), (20, 40, 30, 9), (20, 10, 30, 9)])
    for chosen in choose_faces([boxes] * 3, "haar"):
        assert chosen is not None and chosen.tolist() == [20, 10, 50, 40, 9]


def test_of_two_certain_faces_the_larger_is_taken():
    boxes = boxes_of([(0, 0, 40, 7), (100, 0, 60, 6.5)])
    assert [b[0] for b in choose_faces([boxes] * 3, "haar") if b is not None] == [100] * 3


def test_the_back_of_a_large_head_does_not_beat_a_certain_face():
    head, woman = (0, 0, 180, 1.0), (300, 40, 60, 8.0)
    for box in choose_faces([boxes_of([head, woman])] * 3, "haar"):
        assert box is not None and box[0] == 300


def test_one_person_is_followed_where_another_comes_near_for_a_moment():
    speaker, passer = (100, 40, 60, 8.0), (300, 40, 100, 8.0)
    frames = [boxes_of([speaker]), boxes_of([speaker, passer]), boxes_of([speaker])]
    assert [b[0] for b in choose_faces(frames, "haar") if b is not None] == [100] * 3


def test_a_face_is_followed_over_a_frame_without_any():
    left, right = (0, 0, 50, 8.0), (200, 0, 55, 8.0)
    frames = [boxes_of([left]), boxes_of([]), boxes_of([left, right])]
    first, none, last = choose_faces(frames, "haar")
    assert none is None and first is not None and last is not None and first[0] == last[0] == 0


def test_a_jump_is_the_way_and_the_growth_in_widths():
    box, moved, grown = boxes_of([(10, 10, 20, 1), (40, 50, 20, 1), (5, 5, 30, 1)])
    assert jump(box, box) == 0
    assert jump(box, moved) == jump(moved, box) == 50 / 20
    assert jump(box, grown) == pytest.approx(10 / 25)


@pytest.mark.parametrize("name", DETECTORS)
def test_certainty_runs_from_the_threshold_to_a_clear_face(name: str):
    kind = DETECTORS[name]
    scores = np.array([kind.least - 1, kind.least, kind.sure, kind.sure + 1])
    assert certainty(scores, name).tolist() == [0, 0, 1, 1]


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
    # The one about the middle: at (224, 224), 0.24 a larger one holds a piece of the space suit.
    x, y, width, height = min(
        windows,
        key=lambda w: math.hypot(w[0] + (w[2] - shape[1]) / 2, w[1] + (w[3] - shape[0]) / 2),
    )
    (chosen,) = choose_faces(make_detector("haar", 0.15, "cpu")(image[None]), "haar")
    assert chosen is not None
    assert overlap(chosen[:4], np.array([x, y, x + width, y + height], np.float32)) > 0.8


def test_haar_looks_for_small_faces_only_where_there_is_no_large_one():
    large, small = portrait(0.6, 240, 240), portrait(0.3, 240, 240)
    detect = single(make_detector("haar", 0.15, "cpu"))
    boxes = detect(np.hstack([small, small]))
    assert all(any(b[0] < x < b[2] and b[1] < 120 < b[3] for b in boxes) for x in (120, 360))
    (box,) = detect(np.hstack([small, large]))
    assert 240 < box[0] and box[2] < 480


def test_haar_looks_on_while_no_face_is_certain(monkeypatch):
    """A large face that is not certain, e.g. the back of a head, hides no other."""
    large, small = portrait(0.6, 240, 240), portrait(0.3, 240, 240)
    image = np.hstack([small, large])[None]
    kind = faces.DETECTORS["haar"]
    monkeypatch.setitem(faces.DETECTORS, "haar", kind._replace(sure=1e6))
    (boxes,) = make_detector("haar", 0.15, "cpu")(image)
    assert sorted(box[0] > 240 for box in boxes) == [False, True]


@pytest.mark.parametrize("name", ["haar", "yunet"])
def test_small_faces_of_a_film_are_found(name: str, monkeypatch):
    require_weights(name, monkeypatch)
    image = cv2.copyMakeBorder(portrait(0.5, 90, 90), 100, 530, 300, 890, cv2.BORDER_REPLICATE)
    assert image.shape == (720, 1280, 3)  # a face of 0.0625
    (boxes,) = make_detector(name, 0.05, "cpu")(image[None])
    (box,) = boxes
    assert 300 < box[0] < box[2] < 390 and 100 < box[1] < box[3] < 190
    assert len(make_detector(name, 0.1, "cpu")(image[None])[0]) == 0


def test_a_frame_with_a_face_takes_haar_no_finer_look(monkeypatch):
    sizes = []
    plain = faces._scaled
    monkeypatch.setattr(faces, "_scaled", lambda i, scale: sizes.append(scale) or plain(i, scale))
    image = portrait(0.6, 720, 1280)
    assert len(make_detector("haar", 0.06, "cpu")(image[None])[0]) == 1
    assert set(sizes) == {0.25}
    assert len(make_detector("haar", 0.06, "cpu")(np.full_like(image, 127)[None])[0]) == 0
    assert set(sizes) == {0.25, 400 / 720}


@pytest.mark.parametrize("name, share", [("yunet", 0.08), ("blazeface", 0.05)])
def test_all_detectors_mean_the_same_by_the_size_and_place_of_a_face(
    name: str, share: float, monkeypatch
):
    """On real faces: the one speaker of RAVDESS at hand."""
    require_weights(name, monkeypatch)
    paths = sorted((corpora() / "ravdess").rglob("0?-*.mp4"))[::5]
    images = np.concatenate([sample_frames(path).images for path in paths])
    found = [np.concatenate(make_detector(item, 0.15, "cpu")(images)) for item in ("haar", name)]
    assert len(found[0]) == len(found[1]) == len(images)
    sides = [boxes[:, 2] - boxes[:, 0] for boxes in found]
    assert np.allclose(found[1][:, 3] - found[1][:, 1], sides[1], rtol=1e-5)
    assert abs(np.median(sides[1] / sides[0]) - 1) < share
    apart = (found[1][:, :4] - found[0][:, :4]).reshape(-1, 2, 2).mean(axis=1) / sides[0][:, None]
    assert (abs(np.median(apart, axis=0)) < 0.05).all()


@pytest.mark.parametrize("side", [90, 107, 197, 498])
def test_blazeface_sees_pictures_of_any_size(side: int, monkeypatch):
    """face-alignment cannot shrink those of 107, 197 or 498 to the size of its network."""
    require_weights("blazeface", monkeypatch)
    ((box,),) = make_detector("blazeface", 0.15, "cpu")(portrait(0.6, side, side + 40)[None])
    assert box[0] < side / 2 + 20 < box[2] and box[1] < side / 2 < box[3]
    assert 0.4 < (box[2] - box[0]) / side < 0.8


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
