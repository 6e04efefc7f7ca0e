"""Drawn faces: an identity, an expression in FACS action units and a head position.

A face is polygons with soft edges, painted at twice the size and averaged down. What
does not move during a clip (`Portrait`: head, hair, neck, shading, body, background) is
painted once; eyes, brows, mouth and folds are painted on it frame by frame, and the head,
averaged down, is then moved into place by one affine warp.

The expressions are those of Ekman & Friesen's Facial Action Coding System (1978, and
the prototypes of EMFACS, 1983):

    anger      brows lowered and drawn together (4), lids raised (5) and tense (7),
               lips tight (23)
    disgust    nose wrinkled (9), upper lip raised (10), corners down (15), chin up (17)
    fear       brows raised and together (1 + 2 + 4), lids raised (5), lips stretched (20)
    happiness  cheeks raised (6), lip corners pulled up (12), lips parted (25)
    sadness    inner brows raised (1 + 4), corners down (15), chin up (17), lids drooping (43)
    surprise   brows raised (1 + 2), lids raised (5), jaw dropped (26)

Coordinates of the face are in units of half the head's height, x to the right and y
down, with the origin between the eyes. Colours are RGB, 0 to 255.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from stages.synthesis.canvas import (
    SUPERSAMPLING,
    UNIT,
    Canvas,
    Colour,
    Point,
    blank,
    ellipse,
    ribbon,
    shrink,
    smooth,
    tone,
)

WIDTH, HEIGHT = 320, 240  # px, of a frame
CANVAS = (450, 560)  # px, width and height of the supersampled head
ORIGIN = (225.0, 265.0)  # px, between the eyes on that canvas
HEAD = (WIDTH / 2, HEIGHT * 0.46)  # px, between the eyes in a frame, at rest

WHOLE = (1.0, 1.0, 1.0)  # the "colour" of a mask where something is

Units = dict[int, float]  # FACS action unit -> intensity, 0 to 1

EXPRESSIONS: dict[str, Units] = {
    "anger": {4: 1.0, 5: 0.5, 7: 0.7, 23: 1.0},
    "disgust": {4: 0.4, 7: 0.6, 9: 1.0, 10: 1.0, 15: 0.4, 17: 0.5},
    "fear": {1: 1.0, 2: 0.5, 4: 0.6, 5: 1.0, 20: 1.0, 25: 0.7},
    "happiness": {6: 1.0, 12: 1.0, 25: 0.6},
    "neutral": {},
    "sadness": {1: 1.0, 4: 0.4, 15: 1.0, 17: 0.4, 43: 0.45},
    "surprise": {1: 1.0, 2: 1.0, 5: 0.9, 26: 0.9},
}


@dataclass(frozen=True)
class Face:
    """What a speaker looks like, whatever is felt."""

    skin: Colour
    hair: Colour
    iris: Colour
    shirt: Colour
    lips: Colour
    width: float  # half width of the head
    jaw: float  # 0 pointed, 1 square
    eye_distance: float  # half of it
    eye_size: float  # factor
    brow: float  # thickness, factor
    nose: float  # length, factor
    mouth: float  # width, factor
    style: str  # of the hair: "long", "bob", "short" or "crop"


@dataclass(frozen=True)
class Pose:
    """Where the head is: offset in px of the frame, tilt in degrees, relative scale.

    The body goes along sideways; the head tilts and grows about the neck.
    """

    x: float = 0.0
    y: float = 0.0
    tilt: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Portrait:
    """What of a clip does not change from frame to frame, float32."""

    face: Face
    head: np.ndarray  # [3, h, w], supersampled
    head_mask: np.ndarray  # [h / 2, w / 2], 0 to 1
    background: np.ndarray  # [HEIGHT, WIDTH, 3]
    body: np.ndarray  # [HEIGHT, WIDTH, 3]
    body_mask: np.ndarray  # [HEIGHT, WIDTH], 0 to 1


FACES = {
    "F1": Face((236, 196, 170), (96, 60, 36), (86, 120, 70), (64, 110, 130), (190, 92, 90),
               0.74, 0.35, 0.305, 1.08, 0.75, 0.95, 1.0, "long"),
    "M1": Face((226, 178, 146), (52, 40, 34), (90, 66, 44), (70, 82, 120), (176, 100, 88),
               0.78, 0.85, 0.315, 0.95, 1.25, 1.08, 1.08, "short"),
    "F2": Face((198, 146, 110), (34, 26, 26), (70, 46, 32), (150, 84, 84), (158, 74, 70),
               0.76, 0.50, 0.320, 1.05, 0.85, 1.00, 1.05, "bob"),
    "M2": Face((240, 204, 180), (168, 118, 66), (84, 118, 150), (92, 112, 84), (190, 112, 100),
               0.75, 0.65, 0.300, 0.98, 1.05, 1.05, 1.00, "crop"),
}  # fmt: skip

# The hairline from left to right, x relative to the head's half width; then how low the
# hair reaches in front, how high the crown is, and how wide relative to the head.
HAIR = {
    "short": ([(-1.04, 0.0), (-0.93, -0.38), (-0.6, -0.62), (0.1, -0.7), (0.65, -0.6),
               (0.93, -0.36), (1.04, 0.0)], 0.0, 1.22, 1.1),
    "crop": ([(-1.03, -0.05), (-0.95, -0.42), (-0.72, -0.72), (0, -0.62), (0.72, -0.72),
              (0.95, -0.42), (1.03, -0.05)], -0.05, 1.14, 1.1),
    "bob": ([(-1.1, 0.75), (-0.98, 0.2), (-0.9, -0.25), (-0.6, -0.47), (0, -0.5), (0.6, -0.47),
             (0.9, -0.25), (0.98, 0.2), (1.1, 0.75)], 0.75, 1.2, 1.26),
    "long": ([(-1.12, 1.0), (-1.0, 0.25), (-0.92, -0.2), (-0.62, -0.55), (-0.25, -0.8),
              (0.3, -0.62), (0.9, -0.2), (1.0, 0.25), (1.12, 1.0)], 1.0, 1.2, 1.26),
}  # fmt: skip


def make_face(female: bool, rng: np.random.Generator) -> Face:
    """A face of no one in particular."""
    skin = np.array([240, 204, 180]) * rng.uniform(0.8, 1.0) * rng.uniform(0.97, 1.03, 3)
    hair = np.array([110, 74, 46]) * rng.uniform(0.3, 1.5)
    return Face(
        skin=tuple(np.minimum(skin, 250)),
        hair=tuple(hair),
        iris=tuple(rng.uniform((60, 50, 36), (100, 130, 150))),
        shirt=tuple(rng.uniform(60, 150, 3)),
        lips=tuple(skin * (0.82, 0.54, 0.53)),
        width=rng.uniform(0.72, 0.79),
        jaw=rng.uniform(0.3, 0.6) if female else rng.uniform(0.55, 0.95),
        eye_distance=rng.uniform(0.295, 0.325),
        eye_size=rng.uniform(0.94, 1.1),
        brow=rng.uniform(0.7, 0.95) if female else rng.uniform(1.0, 1.3),
        nose=rng.uniform(0.94, 1.08),
        mouth=rng.uniform(0.95, 1.1),
        style=str(rng.choice(["long", "bob"] if female else ["short", "crop"])),
    )


def vary(expression: Units, rng: np.random.Generator) -> Units:
    """The expression of one utterance: weaker or stronger, and no unit exactly as it should."""
    intensity = rng.uniform(0.7, 1.1)
    varied = {}
    for unit in (1, 2, 4, 5, 6, 7, 9, 10, 12, 15, 17, 20, 23, 25, 26, 43):
        own = expression.get(unit, 0.0) * intensity * rng.uniform(0.75, 1.25)
        varied[unit] = float(np.clip(own + 0.05 * rng.standard_normal(), 0, 1))
    return varied


def portrait(face: Face, rng: np.random.Generator) -> Portrait:
    """Paint all that stays: `rng` sets the wall and the light on it."""
    wall = np.array([176, 184, 190]) + rng.uniform(-5, 5) + rng.uniform(-3, 3, 3)
    x, y = np.meshgrid(np.linspace(-1, 1, WIDTH), np.linspace(-1, 1, HEIGHT))
    glow = 22 * np.exp(-((x - rng.uniform(-0.3, 0.3)) ** 2 + y**2)) - 12
    background = (wall + glow[..., None]).astype(np.float32)

    size = (WIDTH * SUPERSAMPLING, HEIGHT * SUPERSAMPLING)
    origin = (HEAD[0] * SUPERSAMPLING, HEAD[1] * SUPERSAMPLING)
    body, mask = blank(face.shirt, size, origin), blank((0, 0, 0), size, origin)
    shoulders = [(-0.36, 1.30), (-0.9, 1.46), (-1.4, 1.7), (-1.6, 2.6), (1.6, 2.6), (1.4, 1.7),
                 (0.9, 1.46), (0.36, 1.30), (0.2, 1.47), (0.0, 1.53), (-0.2, 1.47)]  # fmt: skip
    mask.fill(smooth(shoulders), WHOLE)
    body.fill(ellipse(0, 1.35, 0.75, 0.22), tone(face.shirt, 0.6), blur=0.12)
    light, dark = tone(face.shirt, 1.2), tone(face.shirt, 0.6)
    body.fill(ellipse(0.8, 1.75, 0.3, 0.2), light, blur=0.15, mirrored=True)
    body.line([(0.95, 2.6), (1.0, 1.95)], [0.03, 0.0], dark, blur=0.03, mirrored=True)
    collar = [(-0.36, 1.32), (0, 1.56), (0.36, 1.32)]
    body.line(collar, [0.05, 0.05], tone(face.shirt, 0.75))

    head, head_mask = _head(face)
    return Portrait(
        face=face,
        head=head,
        head_mask=shrink(head_mask)[..., 0],
        background=background,
        body=shrink(body.image),
        body_mask=shrink(mask.image)[..., 0],
    )


def draw(picture: Portrait, units: Units, pose: Pose) -> np.ndarray:
    """One frame, uint8 [HEIGHT, WIDTH, 3] RGB."""
    canvas = Canvas(picture.head.copy(), ORIGIN)
    _folds(canvas, picture.face, units)
    _eyes(canvas, picture.face, units)
    _brows(canvas, picture.face, units)
    _mouth(canvas, picture.face, units)

    place, aside = _placement(pose), np.array([[1.0, 0.0, pose.x], [0.0, 1.0, 0.0]])
    frame = picture.background
    for layer, mask, matrix in (
        (shrink(canvas.image), picture.head_mask, place),
        (picture.body, picture.body_mask, aside),
    ):
        moved = cv2.warpAffine(layer, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        weight = cv2.warpAffine(mask, matrix, (WIDTH, HEIGHT))
        frame = frame + (moved - frame) * cv2.merge([weight, weight, weight])
    return np.clip(frame + 0.5, 0, 255).astype(np.uint8)


def head_box(face: Face, pose: Pose) -> tuple[float, float, float, float]:
    """x, y, width and height in px of the face in the frame, hairline to chin."""
    corners = np.array([(x, y, 1) for x in (-face.width, face.width) for y in (-0.62, 1.0)])
    corners[:, :2] = (corners[:, :2] * UNIT + ORIGIN) / SUPERSAMPLING
    moved = corners @ _placement(pose).T
    low, high = moved.min(axis=0), moved.max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def mouth_opening(units: Units) -> float:
    """How far the lips are apart, in units of half the head's height."""
    return 0.07 * units.get(25, 0) + 0.27 * units.get(26, 0) + 0.035 * units.get(10, 0)


def _placement(pose: Pose) -> np.ndarray:
    """The affine map [2, 3] from the head's canvas, averaged down, to the frame."""
    eyes = np.array(ORIGIN) / SUPERSAMPLING
    neck = eyes + (0, 1.3 * UNIT / SUPERSAMPLING)  # about which the head tilts
    matrix = cv2.getRotationMatrix2D(neck.tolist(), pose.tilt, pose.scale)
    matrix[:, 2] += np.array(HEAD) + (pose.x, pose.y) - eyes
    return matrix


def _outline(face: Face) -> np.ndarray:
    """The face from hairline to chin."""
    w, j = face.width, face.jaw
    half = [(0.0, -1.0), (0.55 * w, -0.92), (0.93 * w, -0.5), (w, 0.0),
            (0.94 * w, 0.42), ((0.68 + 0.12 * j) * w, 0.76), ((0.34 + 0.12 * j) * w, 0.96),
            (0.0, 1.01)]  # fmt: skip
    return smooth(half + [(-x, y) for x, y in half[-2:0:-1]])


def _head(face: Face) -> tuple[np.ndarray, np.ndarray]:
    """The head without its features, and where it is: both [3, h, w]."""
    paint, mask = blank(face.skin, CANVAS, ORIGIN), blank((0, 0, 0), CANVAS, ORIGIN)
    _behind(paint, mask, face)
    skin, w, eye, tip = face.skin, face.width, face.eye_distance, 0.36 * face.nose

    def shade(points: np.ndarray, factor: float, opacity: float, blur: float) -> None:
        paint.fill(points, tone(skin, factor), opacity, blur, mirrored=points[:, 0].mean() > 0.01)

    outline = _outline(face)
    mask.fill(outline, WHOLE)
    paint.fill(outline, tone(skin, 0.80))
    paint.fill(outline * (0.86, 0.9), skin, blur=0.09)  # rounder: the rim is darker
    shade(ellipse(0, -0.42, 0.42, 0.2), 1.06, 0.7, 0.12)  # forehead
    shade(ellipse(0, 0.87, 0.14, 0.07), 1.05, 0.6, 0.05)  # chin
    shade(ellipse(eye, -0.03, 0.21, 0.13), 0.70, 0.85, 0.05)  # eye sockets
    shade(ellipse(0.12, 0.02, 0.05, 0.12), 0.72, 0.6, 0.04)
    shade(ellipse(0.40, 0.30, 0.16, 0.11), 1.08, 0.9, 0.07)  # cheekbones
    paint.fill(ellipse(0.43, 0.38, 0.14, 0.09), (226, 130, 116), 0.22, blur=0.07, mirrored=True)
    shade(ellipse(0.60, 0.62, 0.10, 0.22, -20), 0.82, 0.5, 0.07)  # hollow of the cheeks

    shade(ellipse(0, tip + 0.07, 0.16, 0.05), 0.68, 0.7, 0.03)  # shadow of the nose
    flank = [(0.07, 0.0), (0.09, tip - 0.12), (0.15, tip)]
    paint.line(flank, [0.03, 0.07], tone(skin, 0.8), 0.6, blur=0.03, mirrored=True)
    shade(ellipse(0.11, tip, 0.055, 0.05), 0.95, 1.0, 0.02)
    bridge = [(0, -0.15), (0, 0.1), (0, tip - 0.03)]
    paint.line(bridge, [0.06, 0.07, 0.12], tone(skin, 1.1), 0.9, blur=0.03)
    shade(ellipse(0, tip, 0.09, 0.07), 1.08, 0.9, 0.03)
    shade(ellipse(0.065, tip + 0.055, 0.035, 0.018, -15), 0.4, 0.9, 0.008)  # nostrils

    # The hair in front, between the hairline and the crown, with a sheen and strands.
    edge, low, top, outer = HAIR[face.style]
    edge = [(x * w, y) for x, y in edge]
    turn = np.linspace(0, np.pi, 30)
    crown = np.stack([outer * w * np.cos(turn), -0.35 - (top - 0.35) * np.sin(turn)], axis=1)
    sides = [(outer * w, low)], [(-outer * w, low)]
    cap = np.vstack([smooth(edge, closed=False), sides[0], crown, sides[1]])
    paint.fill(cap + (0, 0.05), tone(skin, 0.55), 0.55, blur=0.04)  # its shadow
    mask.fill(cap, WHOLE)
    paint.fill(cap, face.hair)
    sheen = [(-0.75 * w, -0.72), (-0.4 * w, -0.95), (0.1 * w, -1.02), (0.6 * w, -0.9)]
    paint.line(sheen, [0.0, 0.12, 0.0], tone(face.hair, 1.5), 0.55, blur=0.05)
    for x in np.linspace(-0.6, 0.6, 7) * w:
        strand = [(x * 0.5, -1.1), (x * 0.9, -0.9), (x * 1.25, -0.62)]
        paint.line(strand, [0.0, 0.02, 0.0], tone(face.hair, 0.7), 0.5, blur=0.008)
    return paint.image, mask.image


def _behind(paint: Canvas, mask: Canvas, face: Face) -> None:
    """What is behind the face: long hair or ears, and the neck."""
    skin, w = face.skin, face.width
    if face.style in ("long", "bob"):
        low = 1.55 if face.style == "long" else 0.78
        half = [(0, -1.1), (0.7 * w, -0.95), (1.2 * w, -0.4), (1.28 * w, 0.2), (1.25 * w, low),
                (0.75 * w, low + 0.05)]  # fmt: skip
        back = smooth(half + [(-x, y) for x, y in half[:0:-1]])
        mask.fill(back, WHOLE)
        paint.fill(back, tone(face.hair, 0.75))
        sheen = [(1.12 * w, -0.3), (1.17 * w, 0.3), (1.1 * w, low - 0.1)]
        light = tone(face.hair, 1.3)
        paint.line(sheen, [0.0, 0.1, 0.0], light, 0.6, blur=0.04, mirrored=True)
    else:
        ear = ellipse(1.02 * w, 0.12, 0.11, 0.22, 8)
        mask.fill(ear, WHOLE, mirrored=True)
        paint.fill(ear, tone(skin, 0.88), mirrored=True)
        inside = ellipse(1.04 * w, 0.12, 0.05, 0.13)
        paint.fill(inside, tone(skin, 0.7), 0.8, blur=0.02, mirrored=True)

    half_neck = 0.36 + 0.1 * face.jaw
    neck = np.array([(-1, 0.6), (1, 0.6), (1.15, 2), (-1.15, 2)]) * (half_neck, 1)
    mask.fill(neck, WHOLE)
    paint.fill(neck, tone(skin, 0.86))
    paint.fill(ellipse(0, 1.0, half_neck * 1.3, 0.25), tone(skin, 0.6), 0.8, blur=0.07)


def _folds(canvas: Canvas, face: Face, units: Units) -> None:
    """Wrinkles and shadows that the muscles make."""
    dark, tip, eye = tone(face.skin, 0.55), 0.36 * face.nose, face.eye_distance

    def crease(points: list[Point], widths: list[float], strength: float) -> None:
        canvas.line(points, widths, dark, strength, blur=0.01, mirrored=True)

    forehead = 0.25 * (units.get(1, 0) + units.get(2, 0))
    for y in (-0.47, -0.40):
        crease([(0.0, y), (0.16, y + 0.005), (0.32, y + 0.02)], [0.025, 0.0], forehead)
    crease([(0.045, -0.26), (0.035, -0.12)], [0.0, 0.03], 0.75 * units.get(4, 0))
    for y in (0.06, 0.13):
        crease([(0.02, y), (0.12, y - 0.05)], [0.025, 0.0], 0.7 * units.get(9, 0))
    smile = max(units.get(12, 0), 0.8 * units.get(10, 0), 0.7 * units.get(9, 0))
    fold = [(0.17, tip - 0.03), (0.31, tip + 0.1), (0.39, tip + 0.27)]
    crease(fold, [0.01, 0.04, 0.0], 0.7 * smile)
    raised = units.get(6, 0)
    bag = [(eye - 0.15, 0.12), (eye, 0.155), (eye + 0.16, 0.10)]
    crease(bag, [0.0, 0.03, 0.0], 0.5 * raised)
    cheek = ellipse(0.40, 0.30 - 0.05 * raised, 0.16, 0.09)
    canvas.fill(cheek, tone(face.skin, 1.13), 0.8 * raised, blur=0.05, mirrored=True)
    chin = ellipse(0, 0.86, 0.12, 0.05)
    canvas.fill(chin, tone(face.skin, 0.78), 0.7 * units.get(17, 0), blur=0.03)


def _eyes(canvas: Canvas, face: Face, units: Units) -> None:
    """Both eyes: lids, white, iris, pupil and a glint."""
    size, x, shade = face.eye_size, face.eye_distance, tone(face.skin, 0.5)
    half = 0.145 * size
    closed = min(units.get(43, 0) + units.get(45, 0), 1)
    wide = 1 + 0.55 * units.get(5, 0) - 0.25 * units.get(7, 0) - 0.15 * units.get(9, 0)
    upper = 0.078 * size * wide * (1 - closed)
    lower = 0.052 * size * (1 - 0.55 * max(units.get(6, 0), units.get(7, 0), units.get(9, 0)))
    lower *= 1 - 0.5 * units.get(45, 0)
    inner, outer = (x - half, 0.015), (x + half, -0.005)
    top = smooth([inner, (x - 0.45 * half, -0.75 * upper), (x + 0.1 * half, -upper),
                   (x + 0.62 * half, -0.7 * upper), outer], closed=False)  # fmt: skip
    bottom = smooth(
        [outer, (x + 0.5 * half, 0.85 * lower), (x - 0.2 * half, lower), inner], closed=False
    )
    crease = [(inner[0], -0.005), (x, -upper - 0.055), (outer[0], -0.035)]
    lid = smooth(crease, closed=False)

    def fill(points: np.ndarray, colour: Colour, opacity: float = 1.0, blur: float = 0.0) -> None:
        canvas.fill(points, colour, opacity, blur, mirrored=True)

    fill(np.vstack([lid, top[::-1]]), tone(face.skin, 0.85), 0.8, blur=0.008)
    fill(np.vstack([top, bottom]), (238, 236, 232))
    # The iris, cut by the lids: every height is held between them.
    for radius, colour in ((1.0, tone(face.iris, 0.55)), (0.84, face.iris), (0.48, (16, 14, 14))):
        disc = ellipse(x, -0.008, 0.073 * size * radius, 0.073 * size * radius)
        disc[:, 1] = np.clip(disc[:, 1], *_between(disc[:, 0], top, bottom))
        fill(disc, colour)
    if upper > 0.035:
        for centre in (x - 0.022, -x - 0.022):  # one light for both eyes
            canvas.fill(ellipse(centre, -0.032, 0.014, 0.014), (250, 250, 250))
    fill(ribbon(top, [0.015, 0.04, 0.035, 0.02]), (44, 30, 28), 0.95)
    fill(ribbon(bottom, [0.006, 0.012, 0.015]), shade, 0.7)
    fill(ribbon(lid, [0.0, 0.016, 0.0]), shade, 0.7)


def _between(x: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The heights at places x of two lines, whichever way the lines run."""
    heights = []
    for line in (top, bottom):
        order = np.argsort(line[:, 0])
        heights.append(np.interp(x, line[order, 0], line[order, 1]))
    return np.minimum(*heights), np.maximum(*heights)


def _brows(canvas: Canvas, face: Face, units: Units) -> None:
    """Both eyebrows."""
    up_inside, up_outside, down = units.get(1, 0), units.get(2, 0), units.get(4, 0)
    inner = -0.215 - 0.12 * up_inside + 0.095 * down + 0.05 * units.get(9, 0)
    middle = -0.265 - 0.06 * up_inside - 0.09 * up_outside + 0.06 * down
    outer = -0.205 - 0.09 * up_outside + 0.03 * up_inside * (1 - up_outside)
    x = face.eye_distance
    line = [(x - 0.18 - 0.045 * down, inner), (x - 0.04, (inner + middle) / 2 - 0.01),
            (x + 0.09, middle), (x + 0.2, outer)]  # fmt: skip
    widths = [0.05 * face.brow, 0.068 * face.brow, 0.055 * face.brow, 0.01]
    canvas.line(line, widths, tone(face.hair, 0.65), 0.9, blur=0.008, mirrored=True)


def _mouth(canvas: Canvas, face: Face, units: Units) -> None:
    """Lips, and what is between them."""
    get = units.get
    y = 0.60 + 0.02 * (face.nose - 1) - 0.03 * get(17, 0)
    stretch = 0.28 * get(12, 0) + 0.25 * get(20, 0) - 0.12 * get(23, 0) - 0.22 * get(26, 0)
    half = 0.255 * face.mouth * (1 + stretch)
    corner = y - 0.10 * get(12, 0) + 0.085 * get(15, 0) + 0.03 * get(20, 0) + 0.05 * get(26, 0)
    thick = 0.06 * (1 - 0.55 * get(23, 0)) * (1 - 0.2 * get(20, 0)) * (1 - 0.15 * get(12, 0))
    gap = mouth_opening(units)
    top = y - 0.2 * gap - 0.06 * get(10, 0) - 0.02 * get(9, 0)
    bottom = y + 0.8 * gap + 0.02 * get(12, 0)
    # A quarter of the way from the middle to the corner, which makes the lips parabolas.
    high, low = 0.75 * top + 0.25 * corner, 0.75 * bottom + 0.25 * corner
    bow = 0.7 * top + 0.3 * corner - 0.8 * thick

    def lip(*middle: Point) -> np.ndarray:
        return smooth([(-half, corner), *middle, (half, corner)], closed=False)

    inner_top = lip((-0.5 * half, high), (0, top), (0.5 * half, high))
    outer_top = lip((-0.55 * half, bow), (-0.17 * half, top - thick), (0, top - 0.75 * thick),
                    (0.17 * half, top - thick), (0.55 * half, bow))  # fmt: skip
    inner_bottom = lip((-0.5 * half, low), (0, bottom), (0.5 * half, low))
    under = low + 0.95 * thick
    outer_bottom = lip((-0.5 * half, under), (0, bottom + 1.25 * thick), (0.5 * half, under))

    shadow = ellipse(0, bottom + 1.9 * thick + 0.03, 0.16, 0.035)
    canvas.fill(shadow, tone(face.skin, 0.72), 0.6, blur=0.03)
    canvas.fill(np.vstack([outer_top, outer_bottom[::-1]]), face.lips, 0.9, blur=0.006)
    upper_lip = np.vstack([outer_top, inner_top[::-1]])
    canvas.fill(upper_lip, tone(face.lips, 0.82), 0.8, blur=0.006)
    gloss = ellipse(0, bottom + 0.6 * thick, 0.4 * half, 0.3 * thick)
    canvas.fill(gloss, tone(face.lips, 1.25), 0.5, blur=0.012)

    canvas.fill(np.vstack([inner_top, inner_bottom[::-1]]), (60, 20, 22))
    if gap > 0.02:
        x = np.linspace(-0.72 * half, 0.72 * half, 16)
        edge, floor = _between(x, inner_top, inner_bottom)
        teeth = np.minimum(edge + min(0.055, 0.6 * gap), floor)
        row = np.vstack([np.stack([x, edge], axis=1), np.stack([x, teeth], axis=1)[::-1]])
        canvas.fill(row, (236, 232, 224))
    if gap > 0.1:
        tongue = ellipse(0, bottom, 0.55 * half, 0.4 * gap)
        tongue[:, 1] = np.clip(tongue[:, 1], *_between(tongue[:, 0], inner_top, inner_bottom))
        canvas.fill(tongue, (170, 74, 76), 0.9, blur=0.01)
    canvas.fill(ribbon(inner_top, [0.012, 0.022, 0.012]), tone(face.lips, 0.4), 0.85)
    dimple = ellipse(half, corner, 0.025, 0.02)
    canvas.fill(dimple, tone(face.skin, 0.5), 0.6, blur=0.012, mirrored=True)
