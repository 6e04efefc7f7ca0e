"""Painting with polygons that have soft edges, on a supersampled canvas.

Coordinates are units of the thing painted, UNIT pixels each, x to the right and y down.
Colours are RGB, 0 to 255.
"""

from dataclasses import dataclass

import cv2
import numpy as np

SUPERSAMPLING = 2
UNIT = 132.0  # px of the supersampled canvas
VISIBLE = 0.03  # opacity below which nothing is painted

Point = tuple[float, float]
Colour = tuple[float, float, float]


def shrink(image: np.ndarray) -> np.ndarray:
    """Average a supersampled image [3, h, w] down to the frame's resolution [h, w, 3]."""
    height, width = image.shape[1:]
    size = (width // SUPERSAMPLING, height // SUPERSAMPLING)
    planes = [cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in image]
    return cv2.merge(planes)


def tone(colour: Colour, factor: float) -> Colour:
    """The colour darker or lighter; shadows keep more of the red, as skin does."""
    red, green, blue = colour
    warmth = 1 + 0.1 * max(1 - factor, 0)
    return min(red * factor * warmth, 255), min(green * factor, 255), min(blue * factor, 255)


@dataclass(frozen=True)
class Canvas:
    """A float32 image to paint on in its own units."""

    image: np.ndarray  # [3, h, w]: planes blend faster than interleaved colours
    origin: tuple[float, float]  # px

    def fill(
        self,
        points: np.ndarray,
        colour: Colour,
        opacity: float = 1.0,
        blur: float = 0.0,
        mirrored: bool = False,
    ) -> None:
        """Blend a colour into a polygon [n, 2], its edge softened over `blur` units.

        With `mirrored` also into its mirror image on the other side of the face.
        """
        if opacity < VISIBLE:
            return
        polygons = np.stack([points, points * (-1, 1)] if mirrored else [points])
        pixels = polygons * UNIT + self.origin
        sigma = blur * UNIT
        margin = int(3 * sigma) + 2
        height, width = self.image.shape[1:]
        left, top = np.maximum(pixels.min(axis=(0, 1)).astype(int) - margin, 0)
        right, bottom = np.minimum(
            pixels.max(axis=(0, 1)).astype(int) + margin + 1, (width, height)
        )
        if right <= left or bottom <= top:
            return
        mask = np.zeros((bottom - top, right - left), np.uint8)
        fixed = np.round((pixels - (left, top)) * 16).astype(np.int32)  # 4 bits of a px
        cv2.fillPoly(mask, list(fixed), 255, cv2.LINE_AA, shift=4)
        if sigma > 0.8:
            mask = cv2.GaussianBlur(mask, (0, 0), sigma)
        weight = mask * np.float32(opacity / 255)
        for plane, value in zip(self.image, colour, strict=True):
            region = plane[top:bottom, left:right]
            region += (np.float32(value) - region) * weight

    def line(
        self,
        points: list[Point],
        widths: list[float],
        colour: Colour,
        opacity: float = 1.0,
        blur: float = 0.0,
        mirrored: bool = False,
    ) -> None:
        """Like `fill`, along a curve through points, of a width that goes through `widths`."""
        if opacity >= VISIBLE:
            outline = ribbon(smooth(points, closed=False), widths)
            self.fill(outline, colour, opacity, blur, mirrored)


def blank(colour: Colour, size: tuple[int, int], origin: tuple[float, float]) -> Canvas:
    """A canvas of one colour, of a size (width, height) in px."""
    planes = [np.full(size[::-1], value, np.float32) for value in colour]
    return Canvas(np.stack(planes), origin)


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    u, v = rx * np.cos(turn), ry * np.sin(turn)
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    return np.stack([x + c * u - s * v, y + s * u + c * v], axis=1)


def smooth(points: list[Point], closed: bool = True, steps: int = 5) -> np.ndarray:
    """A Catmull-Rom curve through points [n, 2]."""
    p = np.asarray(points, float)
    p = np.vstack([p[-1:], p, p[:2]]) if closed else np.vstack([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, 2)
    return curve if closed else np.vstack([curve, p[-1:]])


def ribbon(line: np.ndarray, widths: list[float]) -> np.ndarray:
    """The outline of a line [n, 2] whose width goes through `widths` from end to end."""
    line = np.asarray(line, float)
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    place = np.linspace(0, 1, len(line))
    half = np.interp(place, np.linspace(0, 1, len(widths)), widths)[:, None] / 2
    return np.vstack([line + normal * half, (line - normal * half)[::-1]])
