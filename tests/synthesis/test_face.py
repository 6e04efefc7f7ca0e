"""The drawn faces: a detector finds them, and the action units move what they should."""

import cv2
import numpy as np
import pytest

from stages.synthesis.face import (
    EXPRESSIONS,
    FACES,
    HEIGHT,
    WIDTH,
    Pose,
    draw,
    head_box,
    make_face,
    mouth_opening,
    portrait,
    vary,
)


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def largest_face(image: np.ndarray) -> tuple[int, int, int, int] | None:
    """What OpenCV's Haar cascade takes for the face: x, y, width and height."""
    detector = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    boxes = detector.detectMultiScale(gray, 1.1, 5, minSize=(HEIGHT // 6, HEIGHT // 6))
    return max((tuple(map(int, box)) for box in boxes), key=lambda box: box[2], default=None)


def overlap(a, b) -> float:
    """Intersection over union of two boxes."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def difference(first: np.ndarray, second: np.ndarray, part: tuple[slice, slice]) -> float:
    """Mean absolute difference of two frames in a part of them, in gray levels."""
    return float(np.abs(first.astype(float) - second.astype(float))[part].mean())


@pytest.fixture(scope="module")
def picture():
    return portrait(FACES["F1"], rng(0))


@pytest.mark.parametrize("name", FACES)
def test_a_detector_finds_every_expression_where_it_was_drawn(name):
    for i, expression in enumerate(EXPRESSIONS.values()):
        pose = Pose(x=4.0 * (i - 3), y=i - 3.0, tilt=i - 3.0, scale=0.94 + 0.02 * i)
        image = draw(portrait(FACES[name], rng(i)), vary(expression, rng(i)), pose)
        assert image.shape == (HEIGHT, WIDTH, 3) and image.dtype == np.uint8
        found = largest_face(image)
        assert found is not None
        assert overlap(found, head_box(FACES[name], pose)) >= 0.4


def test_the_head_box_follows_the_pose():
    still = head_box(FACES["M1"], Pose())
    moved = head_box(FACES["M1"], Pose(x=12, y=-5))
    large = head_box(FACES["M1"], Pose(scale=1.2))
    assert np.subtract(moved, still) == pytest.approx([12, -5, 0, 0])
    assert large[2] / still[2] == pytest.approx(1.2)


@pytest.mark.parametrize(
    ("unit", "moves", "stays"),
    [(1, "brows", "mouth"), (4, "brows", "mouth"), (12, "mouth", "brows"), (26, "mouth", "brows"),
     (45, "eyes", "mouth")],
)  # fmt: skip
def test_an_action_unit_moves_its_part_of_the_face(picture, unit, moves, stays):
    parts = {
        "brows": (slice(82, 108), slice(125, 195)),
        "eyes": (slice(104, 118), slice(125, 195)),
        "mouth": (slice(140, 172), slice(135, 185)),
    }
    rest, moved = draw(picture, {}, Pose()), draw(picture, {unit: 1.0}, Pose())
    assert difference(rest, moved, parts[moves]) > 1.5
    assert difference(rest, moved, parts[stays]) == 0


def test_the_mouth_opens_as_far_as_asked(picture):
    """The dark between the lips grows with the jaw's action unit."""
    dark = []
    asked = [mouth_opening({26: strength}) for strength in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    for strength in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        mouth = draw(picture, {26: strength}, Pose())[140:180, 145:175].astype(int)
        dark.append(int((mouth[..., 1] < 100).sum()))
    assert np.corrcoef(asked, dark)[0, 1] > 0.95
    assert dark[-1] > dark[0] + 100


def test_brows_rise_in_surprise_and_fall_in_anger(picture):
    """The dark between forehead and lid moves with the brows' action units alone."""
    heights = []
    for units in ({1: 1.0, 2: 1.0}, {}, {4: 1.0}):
        gray = cv2.cvtColor(draw(picture, units, Pose()), cv2.COLOR_RGB2GRAY)
        dark = (255.0 - gray[80:103, 134:146]).mean(axis=1) ** 4
        heights.append((dark * np.arange(80, 103)).sum() / dark.sum())
    raised, neutral, lowered = heights
    assert raised < neutral - 1
    assert lowered > neutral + 1


def test_expressions_overlap_but_stay_recognisable():
    """Every varied expression is nearer to its own prototype than to most others."""
    names, units = list(EXPRESSIONS), sorted(vary({}, rng(0)))
    prototypes = np.array([[EXPRESSIONS[n].get(u, 0) for u in units] for n in names])
    right = 0
    for i, name in enumerate(names):
        for j in range(50):
            varied = vary(EXPRESSIONS[name], rng(i, j))
            assert all(0 <= value <= 1 for value in varied.values())
            distance = np.linalg.norm(prototypes - [varied[u] for u in units], axis=1)
            right += int(distance.argmin() == i)
    assert right / (50 * len(names)) > 0.95


def test_no_two_faces_are_alike():
    faces = list(FACES.values()) + [make_face(bool(i % 2), rng(i)) for i in range(12)]
    frames = [draw(portrait(face, rng(0)), {}, Pose()) for face in faces]
    face_part = (slice(50, 180), slice(100, 220))
    for i, first in enumerate(frames):
        assert all(difference(first, second, face_part) > 2 for second in frames[:i])


def test_drawing_is_repeatable_and_leaves_the_portrait_alone(picture):
    before = picture.head.copy()
    first = draw(picture, EXPRESSIONS["fear"], Pose(tilt=3))
    np.testing.assert_array_equal(draw(picture, EXPRESSIONS["fear"], Pose(tilt=3)), first)
    np.testing.assert_array_equal(picture.head, before)
