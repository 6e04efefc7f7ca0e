"""The drawn faces: action units move what they should, and speakers and emotions differ."""

import cv2
import numpy as np
import pytest

from stages.synthesis.face import EXPRESSIONS, UNITS, Face, draw, make_face, portrait, tone, vary

BROWS = (slice(150, 212), slice(240, 400))  # rows and columns of the painting
EYES = (slice(212, 234), slice(240, 400))
MOUTH = (slice(285, 345), slice(270, 370))


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def face() -> Face:
    return make_face(True, rng(0))


@pytest.mark.parametrize(
    ("unit", "moves", "stays"),
    [(1, BROWS, MOUTH), (4, BROWS, MOUTH), (12, MOUTH, BROWS), (26, MOUTH, BROWS),
     (45, EYES, MOUTH)],
)  # fmt: skip
def test_an_action_unit_moves_its_part_of_the_face(face, unit, moves, stays):
    picture = portrait(face)
    moved = cv2.absdiff(draw(picture, face, {}), draw(picture, face, {unit: 1.0}))
    assert moved[moves].mean() > 1.5
    assert moved[stays].max() == 0


def test_the_jaw_opens_the_mouth_as_far_as_asked(face):
    picture, asked = portrait(face), np.linspace(0, 1, 6)
    dark = [(draw(picture, face, {26: unit})[MOUTH][..., 1] < 40).sum() for unit in asked]
    assert np.corrcoef(asked, dark)[0, 1] > 0.95
    assert dark[-1] > dark[0] + 400


def test_brows_rise_in_surprise_and_fall_in_anger(face):
    heights = []
    for emotion in ("surprise", "neutral", "anger"):
        brows = draw(portrait(face), face, EXPRESSIONS[emotion])[BROWS]
        like_brows = np.abs(brows - np.array(tone(face.hair, 0.65))).max(axis=-1) < 8
        assert like_brows.sum() > 200
        heights.append(np.nonzero(like_brows)[0].mean())
    surprise, neutral, anger = heights
    assert surprise < neutral - 4
    assert anger > neutral + 4


def test_expressions_overlap_but_stay_recognisable():
    """Every varied expression is nearer to its own prototype than to most others."""
    prototypes = np.array([[units.get(u, 0) for u in UNITS] for units in EXPRESSIONS.values()])
    nearest = []
    for i, units in enumerate(EXPRESSIONS.values()):
        for j in range(50):
            varied = [vary(units, rng(i, j))[unit] for unit in UNITS]
            assert 0 <= min(varied) and max(varied) <= 1
            nearest.append(np.linalg.norm(prototypes - varied, axis=1).argmin() == i)
    assert np.mean(nearest) > 0.95


def test_no_two_faces_are_alike():
    faces = [make_face(i % 2 == 0, rng(i)) for i in range(12)]
    paintings = [draw(portrait(face), face, {}) for face in faces]
    for i, first in enumerate(paintings):
        for second in paintings[:i]:
            assert cv2.absdiff(first, second)[100:360, 200:440].mean() > 2


def test_drawing_is_repeatable_and_leaves_the_portrait_alone(face):
    picture = portrait(face)
    first = draw(picture, face, EXPRESSIONS["fear"])
    np.testing.assert_array_equal(draw(picture, face, EXPRESSIONS["fear"]), first)
    np.testing.assert_array_equal(picture, portrait(face))
