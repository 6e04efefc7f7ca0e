"""A drawn face that shows an emotion: polygons, painted at twice the size of a frame.

What stays during a clip is painted once (`portrait`), the rest for every frame (`draw`). Points are
in units of half the head's height, x to the right and y down, with the origin between the eyes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import ArrayLike

WIDTH, HEIGHT = 320, 240  # px, of a frame
UNIT = 130.0  # px of the painting
EYES = np.array([WIDTH, 0.92 * HEIGHT])  # px of the painting, between the eyes
EYE = 0.315  # from the middle of the face to that of an eye
T = np.linspace(0, 1, 13)[:, None]
ARC = np.hstack([(1 - T) * (1 - 2 * T), 4 * T * (1 - T), T * (2 * T - 1)])  # [13, 3]

Colour = Sequence[float]  # RGB, 0 to 255
Units = dict[int, float]  # FACS action unit -> intensity, 0 to 1

# Action units of Ekman & Friesen's Facial Action Coding System (1978), as the prototypes of EMFACS
# (1983) combine them: 1 inner and 2 outer brows raised, 4 brows lowered, 5 upper lids raised, 6
# cheeks raised, 7 lids tight, 9 nose wrinkled, 10 upper lip raised, 12 lip corners up, 15 down,
# 17 chin up, 20 lips stretched, 23 tight, 25 parted, 26 jaw dropped, 43 lids drooping.
EXPRESSIONS: dict[str, Units] = {
    "anger": {4: 1.0, 5: 0.5, 7: 0.7, 23: 1.0},
    "disgust": {4: 0.4, 7: 0.6, 9: 1.0, 10: 1.0, 15: 0.4, 17: 0.5},
    "fear": {1: 1.0, 2: 0.5, 4: 0.6, 5: 1.0, 20: 1.0, 25: 0.7},
    "happiness": {6: 1.0, 12: 1.0, 25: 0.6},
    "neutral": {},
    "sadness": {1: 1.0, 4: 0.4, 15: 1.0, 17: 0.4, 43: 0.45},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.9, 26: 0.9},
}
UNITS = sorted({unit for units in EXPRESSIONS.values() for unit in units})


class Face(NamedTuple):
    """What a speaker looks like, whatever the emotion."""

    skin: Colour
    hair: Colour
    shirt: Colour
    width: float  # half width of the head
    jaw: float  # 0 pointed, 1 square
    fringe: float  # height of the hairline
    female: bool  # long hair, thin brows


def make_face(female: bool, rng: np.random.Generator) -> Face:
    """A face of no one in particular."""
    return Face(
        skin=tone((242, 202, 172) * rng.uniform(0.97, 1.03, 3), rng.uniform(0.65, 1.0)),
        hair=tone((120, 80, 50), rng.uniform(0.25, 1.3)),
        shirt=rng.uniform(60, 150, 3).tolist(),
        width=rng.uniform(0.72, 0.79),
        jaw=rng.uniform(0.0, 0.3) if female else rng.uniform(0.4, 0.9),
        fringe=rng.uniform(-0.75, -0.55),
        female=female,
    )


def vary(expression: Units, rng: np.random.Generator) -> Units:
    """The expression of one utterance: weaker or stronger, and no unit exactly as it should be."""
    intensity = rng.uniform(0.7, 1.1) * rng.uniform(0.75, 1.25, len(UNITS))
    off = 0.05 * rng.standard_normal(len(UNITS))
    varied = [expression.get(unit, 0.0) for unit in UNITS] * intensity + off
    return dict(zip(UNITS, np.clip(varied, 0, 1).tolist()))


def portrait(face: Face) -> np.ndarray:
    """Paint all that stays: uint8 [2 HEIGHT, 2 WIDTH, 3]."""
    image: np.ndarray = np.full((2 * HEIGHT, 2 * WIDTH, 3), (180, 188, 194), np.uint8)
    skin, w = face.skin, face.width
    paint(image, tone(skin, 0.85), oval(w, 0.12, 0.1, 0.2))  # ears
    if face.female:
        paint(image, tone(face.hair, 0.75), oval(0, 0.2, 1.22 * w, 1.4, 2.6))
    paint(image, face.shirt, oval(0, 2.45, 1.55, 1.15, 2.6))
    paint(image, tone(skin, 0.72), oval(0, 0.95, 0.36 + 0.08 * face.jaw, 0.55, 4))

    # The face is shaded softly: its shades are painted, blurred together, then cut out.
    head = oval(0, 0, w, 1.0, 2.1 + 0.6 * face.jaw)
    head[:, 0] *= 1 - (0.22 - 0.12 * face.jaw) * np.maximum(head[:, 1], 0)
    soft = np.full_like(image, tone(skin, 0.8))
    paint(soft, skin, 0.9 * head)
    paint(soft, tone(skin, 0.74), oval(EYE, -0.03, 0.22, 0.14))
    paint(soft, tone(skin, 0.72), oval(0, 0.43, 0.17, 0.06))  # below the nose
    paint(soft, tone(skin, 0.85), oval(0.1, 0.15, 0.05, 0.2))  # beside it
    paint(soft, tone(skin, 1.1), oval(0, 0.12, 0.06, 0.3))
    soft = cv2.GaussianBlur(soft, (0, 0), 0.04 * UNIT)
    paint(soft, tone(skin, 0.45), oval(0.07, 0.41, 0.035, 0.02))  # nostrils
    inside = np.zeros_like(image)
    paint(inside, (255, 255, 255), head)
    image = (image + (soft - image.astype(float)) * (inside / 255)).astype(np.uint8)

    low = 0.75 if face.female else 0.05
    line = arc((0, face.fringe), (0.7 * w, face.fringe + 0.15), (0.98 * w, low))
    crown = arc((1.1 * w, -0.1), (0.85 * w, -0.9), (0, -1.18))
    paint(image, face.hair, line, [(1.12 * w, low)], crown)
    return image


def draw(picture: np.ndarray, face: Face, units: Units) -> np.ndarray:
    """Paint what moves on a copy of a portrait."""
    image, skin, au = picture.copy(), face.skin, [units.get(unit, 0.0) for unit in range(46)]

    def fold(strength: float, *points: tuple[float, float]) -> None:
        if strength > 0.1:
            paint(image, tone(skin, 1 - 0.35 * strength), arc(*points), width=0.018)

    fold(0.5 * (au[1] + au[2]), (0, -0.42), (0.16, -0.415), (0.32, -0.4))  # forehead
    fold(au[4], (0.05, -0.28), (0.04, -0.2), (0.045, -0.12))  # between the brows
    fold(au[9], (0.02, 0.09), (0.07, 0.07), (0.12, 0.04))  # nose
    fold(max(au[12], au[10], 0.8 * au[9]), (0.17, 0.36), (0.3, 0.47), (0.36, 0.63))
    fold(au[6], (EYE - 0.15, 0.13), (EYE, 0.165), (EYE + 0.16, 0.11))
    fold(au[17], (-0.12, 0.87), (0, 0.84), (0.12, 0.87))  # chin

    # Eyes: the ball, then the lids over it. 45 is the blink.
    x, squint = EYE, max(au[6], au[7], au[9])
    inner, outer = (x - 0.15, 0.01), (x + 0.15, -0.005)
    upper = -0.085 * (1 + 0.5 * au[5] - 0.3 * squint) * (1 - min(au[43] + au[45], 1))
    lower = 0.055 * (1 - 0.55 * squint) * (1 - 0.5 * au[45])
    upper_lid, lower_lid = arc(inner, (x, upper), outer), arc(outer, (x, lower), inner)
    paint(image, (238, 236, 232), arc(inner, (x, -0.14), outer), arc(outer, (x, 0.11), inner))
    paint(image, tone(face.hair, 0.9), oval(x, -0.01, 0.075, 0.075))
    paint(image, (16, 14, 14), oval(x, -0.01, 0.036, 0.036))
    paint(image, (250, 250, 250), oval(x - 0.02, -0.035, 0.013, 0.013))
    paint(image, tone(skin, 0.8), upper_lid, arc(outer, (x, -0.2), inner))
    paint(image, tone(skin, 0.85), lower_lid, arc(inner, (x, 0.14), outer))
    paint(image, (44, 30, 28), upper_lid, width=0.03)

    start = (x - 0.18 - 0.045 * au[4], -0.215 - 0.12 * au[1] + 0.095 * au[4] + 0.05 * au[9])
    middle = (x + 0.03, -0.275 - 0.07 * au[1] - 0.08 * au[2] + 0.07 * au[4])
    end, thick = (
        (x + 0.2, -0.205 - 0.09 * au[2] + 0.02 * au[1]),
        np.array([0, 0.055 if face.female else 0.08]),
    )
    under = arc(end, middle + thick, start + 0.8 * thick)
    paint(image, tone(face.hair, 0.65), arc(start, middle, end), under)

    # The mouth: lips, then what is between them.
    y, gap = 0.62 - 0.03 * au[17], 0.07 * au[25] + 0.27 * au[26] + 0.035 * au[10]
    half = 0.26 * (1 + 0.28 * au[12] + 0.25 * au[20] - 0.12 * au[23] - 0.22 * au[26])
    corner = y - 0.1 * au[12] + 0.085 * au[15] + 0.03 * au[20] + 0.05 * au[26]
    thickness = 0.065 * (1 - 0.55 * au[23]) * (1 - 0.2 * au[20]) * (1 - 0.15 * au[12])
    top, bottom = y - 0.2 * gap - 0.06 * au[10] - 0.02 * au[9], y + 0.8 * gap + 0.02 * au[12]
    heights = (top - thickness, top, bottom, bottom + 1.25 * thickness)
    over, above, below, under = (arc((-half, corner), (0, h), (half, corner)) for h in heights)
    lips = np.multiply(skin, (0.82, 0.54, 0.53)).tolist()
    paint(image, tone(lips, 0.9), over, above[::-1])
    paint(image, lips, below, under[::-1])
    paint(image, (60, 20, 22), above, below[::-1])
    teeth = np.minimum(above + (0, 0.055), (above + 2 * below) / 3)
    paint(image, (236, 232, 224), above, teeth[::-1])
    paint(image, tone(lips, 0.5), above, width=0.02)
    return image


def paint(image: np.ndarray, colour: Colour, *parts: ArrayLike, width: float = 0) -> None:
    """Paint the polygon of these points [n, 2], or the line of a `width`, on both sides."""
    for side in (1, -1):
        points = np.vstack(parts) * (side, 1) * UNIT + EYES
        fixed = np.round(points * 16).astype(np.int32)  # 4 bits of a px
        if width:
            cv2.polylines(image, [fixed], False, colour, round(width * UNIT), cv2.LINE_AA, 4)
        else:
            cv2.fillPoly(image, [fixed], colour, cv2.LINE_AA, 4)


def tone(colour: Colour, factor: float) -> Colour:
    """The colour darker or lighter; shadows keep more of the red, as skin does."""
    return np.clip(colour * np.power(factor, (0.8, 1, 1.1)), 0, 255).tolist()


def oval(x: float, y: float, rx: float, ry: float, power: float = 2) -> np.ndarray:
    """A superellipse [n, 2]: an ellipse where `power` is 2, squarer where it is more."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return (x, y) + np.sign(circle) * np.abs(circle) ** (2 / power) * (rx, ry)


def arc(*points: ArrayLike) -> np.ndarray:
    """The parabola [n, 2] through three points."""
    return ARC @ np.array(points)
