"""Faces: where they are in a frame, which of them are one person's, and the square cut around each.

A box is (x1, y1, x2, y2, score) in pixels of the frame. All detectors give the one kind of box that
Haar's cascade gives, a square from mid-forehead to chin, so that sizes, and crops, mean the same
whatever the detector: the others' own boxes are made into it by what `DETECTORS` says of them.
Scores are the detector's own, Haar's a weight of the cascade's last stage, the others' a
probability; `certainty` makes them comparable.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib import import_module
from typing import NamedTuple

import cv2
import numpy as np

from stages.encoders.weights import checkpoint_path, fetching, warn_if_renamed
from stages.runtime.device import pick_device, require_determinism

Detector = Callable[[np.ndarray], list[np.ndarray]]
Aligner = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Kind(NamedTuple):
    """What is known of a detector.

    Attributes:
        least: the score below which it reports no face.
        sure: the score from which a face is certain.
        side: frames are shrunk to this longer side before detection: detectors cost what the pixels
            cost, and YuNet was trained on faces of up to 300 pixels and overlooks larger ones.
        width: of its own box, the root of its area, for a Haar box of width 1 on the same face.
        down: how far below the centre of that Haar box its own centre is.
        threshold_key: what face-alignment calls `least`.
    """

    least: float
    sure: float
    side: int
    width: float = 1.0
    down: float = 0.0
    threshold_key: str = ""


# Widths: medians over people, one in 54 frames of RAVDESS (YuNet 0.92, BlazeFace 0.89) and the
# others in photographs: six for YuNet, two for BlazeFace. On the drawn faces of the sample YuNet's
# is 0.80. SFD's, for want of its weights, is taken to be YuNet's: both learned the boxes of WIDER
# FACE. Scores: on RAVDESS every face is certain. Shrunk to 0.06 of a height of 720 pixels and put
# on photographs of things, each is by YuNet (0.98), and 95 % by Haar (0.8). What was found in 34
# frames without a face has up to 0.7 (Haar), 0.1 (YuNet), and 1 (BlazeFace, which cannot tell).
DETECTORS = {
    "haar": Kind(0.0, 6.0, 320),
    "sfd": Kind(0.5, 0.9, 640, 0.95, threshold_key="filter_threshold"),
    "blazeface": Kind(0.5, 0.8, 640, 0.9, 0.12, threshold_key="min_score_thresh"),
    "yunet": Kind(0.7, 0.9, 640, 0.95, threshold_key="score_threshold"),
}
HAAR_NEIGHBOURS = 5  # its cascade has no threshold: so many windows must agree
HAAR_WINDOW = 24  # pixels: no smaller face is found, so the least that counts must not become so
# Haar looks for faces of at least these shares of the shorter side, one after another, until one is
# half certain: to look for those of 0.06 takes seven times as long as for those of 0.15, and for
# these four times as long as for large ones in larger steps.
HAAR_LARGE = 0.4
HAAR_MEDIUM = 0.15
HAAR_STEP = 1.2
HAAR_FINE_STEP = 1.1
HAAR_ENOUGH = 0.5  # certainty
BLAZEFACE_SIDE = 128  # pixels of the square that its network sees
SAME_FACE = 0.3  # intersection over union above which two boxes hold one face

# What a choice of faces weighs, in octaves of size: a certain face counts as much as one without
# any certainty that is 16 times as wide; a jump by a width between two frames as one half as wide;
# and jumps of two widths and more, which are all to another place, alike.
CERTAINTY_OCTAVES = 4.0
FARTHEST = 2.0

# Of the 68 landmarks of the 300-W scheme.
LEFT_EYE = slice(36, 42)
RIGHT_EYE = slice(42, 48)


@lru_cache
def make_detector(name: str, min_face: float, device: str) -> Detector:
    """A face detector: a function of images uint8 [n, H, W, 3] to n arrays of boxes float32 [k, 5].

    Networks see all images of a call at once.

    Args:
        name: "haar" (OpenCV's bundled frontal cascade), or the name of one of face-alignment's
            detectors, "sfd", "blazeface" or "yunet", whose weights come through torch.hub's cache.
        min_face: faces smaller than this share of the image's shorter side do not count.
        device: where SFD's network runs, "cpu" or "cuda"; the others are quicker on a CPU.

    Raises:
        UserError: weights cannot be fetched.
    """
    find = _make_haar(min_face) if name == "haar" else _make_published(name, device)

    def detect(images: np.ndarray) -> list[np.ndarray]:
        least = min_face * min(images.shape[1:3])
        return [boxes[boxes[:, 2] - boxes[:, 0] >= least] for boxes in find(images)]

    return detect


def pick_detection_device(detector: str, align: bool) -> str:
    """Where `make_detector` and `make_aligner` run: on a GPU if there is one that they use."""
    return pick_device() if detector == "sfd" or align else "cpu"


def detector_urls(name: str) -> list[str]:
    """Where the weights of a detector are published; none for "haar"."""
    if name == "haar":
        return []
    module = import_module(f"face_alignment.detection.{name}.{name}_detector")
    if name == "yunet":
        return [module.model_url]
    parts = ("s3fd",) if name == "sfd" else ("blazeface_weights", "blazeface_anchors")
    return [module.models_urls[part] for part in parts]


def aligner_url() -> str:
    """Where the weights of 2DFAN-4 are published."""
    from face_alignment.api import models_urls

    return models_urls["2DFAN-4"]


def certainty(scores: np.ndarray, detector: str) -> np.ndarray:
    """Scores of a detector as shares of certainty: 0 at its threshold, 1 for a clear face."""
    kind = DETECTORS[detector]
    return np.clip((scores - kind.least) / (kind.sure - kind.least), 0.0, 1.0)


def jump(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How far boxes are from others in place and size together, in widths (the mean of both).

    Args:
        boxes: [..., 5], squares; `others` likewise, of a shape that goes with it.
    """
    width, other = boxes[..., 2] - boxes[..., 0], others[..., 2] - others[..., 0]
    centres = (boxes[..., :2] + boxes[..., 2:4] - others[..., :2] - others[..., 2:4]) / 2
    return (np.hypot(centres[..., 0], centres[..., 1]) + abs(width - other)) / (width + other) * 2


def choose_faces(candidates: Sequence[np.ndarray], detector: str) -> list[np.ndarray | None]:
    """One box of each frame, so that they are likely those of the person who matters.

    Of all ways to take a box from each frame that has one, the one with the greatest sum of sizes
    (octaves) and certainties, less the jumps from frame to frame (see `CERTAINTY_OCTAVES`); among
    equals the leftmost, then the upper box in the last frame, then in those before it.

    Args:
        candidates: float32 [k, 5] of each frame, squares in any order.

    Returns:
        float32 [5] of each frame, or None for k = 0.
    """
    chosen: list[np.ndarray | None] = [None] * len(candidates)
    frames = [i for i, boxes in enumerate(candidates) if len(boxes)]
    # Sorted, so that the first of equals is the same in whatever order they were found.
    boxes = [candidates[i][np.lexsort(candidates[i].T[::-1])].astype(np.float64) for i in frames]
    # Frame by frame, the best sum that ends in each box, and the box before it that it came from.
    best, origins = np.zeros(1), []
    for before, now in zip([None, *boxes], boxes):
        jumps = 0.0 if before is None else jump(before[:, None], now[None])
        sums = best[:, None] - np.minimum(jumps, FARTHEST)
        value = np.log2(now[:, 2] - now[:, 0]) + CERTAINTY_OCTAVES * certainty(now[:, 4], detector)
        origins.append(sums.argmax(axis=0) * np.ones(len(now), int))
        best = sums.max(axis=0) + value
    at = int(best.argmax())
    for i, of_frame, origin in reversed([*zip(frames, boxes, origins)]):
        chosen[i] = of_frame[at].astype(np.float32)
        at = int(origin[at])
    return chosen


def crop_face(image: np.ndarray, box: np.ndarray, margin: float, size: int) -> np.ndarray:
    """Cut a square around a box: its side is the box's longer side times 1 + 2 `margin`.

    What of it lies outside the image repeats the image's border.

    Args:
        image: uint8 [H, W, 3].
        box: float32 [5].

    Returns:
        uint8 [size, size, 3].
    """
    x1, y1, x2, y2 = box[:4].tolist()
    side = max(1, round(max(x2 - x1, y2 - y1) * (1 + 2 * margin)))
    left = round((x1 + x2 - side) / 2)
    top = round((y1 + y2 - side) / 2)
    rows = np.clip(np.arange(top, top + side), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, image.shape[1] - 1)
    return _resize(image[rows[:, None], columns], size)


def centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The largest square in the middle of an image, resized to uint8 [size, size, 3]."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return _resize(image[top : top + side, left : left + side], size)


@lru_cache
def make_aligner(device: str) -> Aligner:
    """A function of an image and a box to the image with that face upright, by 2DFAN-4.

    Raises:
        UserError: weights cannot be fetched.
    """
    import face_alignment
    import torch

    require_determinism()
    url = aligner_url()
    _fetch(url)
    # On a GPU it switches on cudnn's benchmark, by which results differ from run to run.
    with fetching(url), torch.backends.cudnn.flags(benchmark=False):
        network = face_alignment.FaceAlignment(
            face_alignment.LandmarksType.TWO_D,
            device=device,
            face_detector="folder",  # it has no weights; the boxes are given
            compile=False,
        )

    def align(image: np.ndarray, box: np.ndarray) -> np.ndarray:
        # Plain floats: the package cannot compute with NumPy's.
        landmarks = network.get_landmarks(image, detected_faces=[box.tolist()])[0]
        return level_eyes(image, box, landmarks)

    return align


def level_eyes(image: np.ndarray, box: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Rotate an image about the box's centre until the line through the eyes is level.

    About the box's centre, and not about the eyes, so that the face stays in its box.

    Args:
        image: uint8 [H, W, 3].
        box: float32 [5].
        landmarks: float [68, 2], x and y in pixels, in the order of 300-W.

    Returns:
        uint8 [H, W, 3]; what turns in from outside repeats the border.
    """
    across, down = landmarks[RIGHT_EYE].mean(axis=0) - landmarks[LEFT_EYE].mean(axis=0)
    centre = ((float(box[0]) + float(box[2])) / 2, (float(box[1]) + float(box[3])) / 2)
    rotation = cv2.getRotationMatrix2D(centre, math.degrees(math.atan2(down, across)), 1.0)
    size = (image.shape[1], image.shape[0])
    return cv2.warpAffine(
        image, rotation, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )


def _make_haar(min_face: float) -> Detector:
    folder = cv2.data.haarcascades  # type: ignore[attr-defined]
    cascade = cv2.CascadeClassifier(folder + "haarcascade_frontalface_default.xml")
    medium = max(min_face, HAAR_MEDIUM)
    # Of each look the least face that is seen, the least that is looked for, the least that counts,
    # and the step. A box is the mean of windows of several sizes, of which those below the share
    # looked for are missing where the face is less than a step larger: it would come out too large.
    looks = [
        (medium, HAAR_LARGE, HAAR_STEP * HAAR_LARGE, HAAR_STEP),
        (medium, medium, 0.0, HAAR_FINE_STEP),
        (min_face, min_face, 0.0, HAAR_FINE_STEP),
    ][min_face >= HAAR_LARGE : 2 + (min_face < medium)]

    def find(image: np.ndarray) -> np.ndarray:
        boxes = np.empty((0, 5), np.float32)
        for look_at in looks:
            if (certainty(boxes[:, 4], "haar") >= HAAR_ENOUGH).any():
                break
            more = look(image, *look_at)
            boxes = np.concatenate([boxes, more[~_overlap(more, boxes)]])
        return boxes

    def look(
        image: np.ndarray, seen: float, share: float, counts: float, step: float
    ) -> np.ndarray:
        height, width = image.shape[:2]
        side = DETECTORS["haar"].side
        scale = min(1.0, max(side / max(height, width), HAAR_WINDOW / seen / min(height, width)))
        # Not equalised: measured on RAVDESS, that costs true faces and adds false ones.
        grey = cv2.cvtColor(_scaled(image, scale), cv2.COLOR_RGB2GRAY)
        least = max(1, int(share * min(grey.shape)))
        windows, _, weights = cascade.detectMultiScale3(
            grey,
            scaleFactor=step,
            minNeighbors=HAAR_NEIGHBOURS,
            minSize=(least, least),
            outputRejectLevels=True,
        )
        found = [
            [x, y, x + width, y + height, weight]
            for (x, y, width, height), weight in zip(windows, weights)
            if width >= counts * min(grey.shape)
        ]
        boxes = np.array(found, np.float32).reshape(-1, 5)
        boxes[:, :4] /= scale
        return boxes

    return lambda images: [find(image) for image in images]


def _make_published(name: str, device: str) -> Detector:
    """One of face-alignment's detectors; all of them take RGB."""
    # Imported here: they take seconds, which Haar's users need not wait for.
    import torch

    require_determinism()
    kind = DETECTORS[name]
    package = import_module(f"face_alignment.detection.{name}")
    urls = detector_urls(name)
    for url in urls:
        _fetch(url)
    with fetching(urls[0]):
        detector = package.FaceDetector(
            device=device if name == "sfd" else "cpu", **{kind.threshold_key: kind.least}
        )

    def find(images: np.ndarray) -> list[np.ndarray]:
        return detector.detect_from_batch(torch.from_numpy(images).permute(0, 3, 1, 2))

    find_all = _in_squares(find) if name == "blazeface" else find

    def find_in_common_boxes(images: np.ndarray) -> list[np.ndarray]:
        height, width = images.shape[1:3]
        scale = min(1.0, kind.side / max(height, width))
        scaled = np.stack([_scaled(image, scale) for image in images])
        return [_common_box(boxes, kind, scale) for boxes in find_all(scaled)]

    return find_in_common_boxes


def _scaled(image: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return image
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _common_box(found: np.ndarray, kind: Kind, scale: float) -> np.ndarray:
    """The boxes of one image that was scaled, as those that Haar would give, float32 [k, 5]."""
    boxes = np.array(found, np.float64).reshape(-1, 5)
    centres, sizes = (boxes[:, :2] + boxes[:, 2:4]) / 2, boxes[:, 2:4] - boxes[:, :2]
    sides = np.sqrt(sizes.clip(min=0).prod(axis=1, keepdims=True)) / kind.width
    centres[:, 1:] -= kind.down * sides
    squares = np.hstack([centres - sides / 2, centres + sides / 2]) / scale
    return np.hstack([squares, boxes[:, 4:]]).astype(np.float32)


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which boxes hold a face that one of the others holds: bool [k]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:4], others[None, :, 2:4])
    both = (high - low).clip(min=0).prod(axis=-1)
    areas, others_areas = ((b[:, 2:4] - b[:, :2]).prod(axis=-1) for b in (boxes, others))
    return (both > SAME_FACE * (areas[:, None] + others_areas - both)).any(axis=1)


def _in_squares(find: Detector) -> Detector:
    """Let a detector that sees only a frame's central square see all of the frame.

    Squares along the longer side overlap by half or more, so that each face that is no wider than
    that lies whole in one of them; a face found in several counts once.
    """

    def find_all(images: np.ndarray) -> list[np.ndarray]:
        height, width = images.shape[1:3]
        side, spare = min(height, width), abs(height - width)
        offsets = np.linspace(0, spare, 1 + math.ceil(2 * spare / side)).astype(int)
        corners = [(offset, 0) if width > height else (0, offset) for offset in offsets]
        squares = [
            # Resized here: face-alignment makes 127 pixels of 128 where the side is e.g. 197.
            cv2.resize(
                image[top : top + side, left : left + side],
                (BLAZEFACE_SIDE,) * 2,
                interpolation=cv2.INTER_AREA,
            )
            for left, top in corners
            for image in images
        ]
        found = iter(find(np.stack(squares)))
        to_frame = [side / BLAZEFACE_SIDE] * 4 + [1]
        of_image: list[list[np.ndarray]] = [[] for _ in images]
        for left, top in corners:
            for boxes in of_image:
                in_square = np.reshape(next(found), (-1, 5)) * to_frame
                boxes.append(in_square + (left, top, left, top, 0))
        return [once(np.concatenate(boxes)) for boxes in of_image]

    def once(boxes: np.ndarray) -> np.ndarray:
        corners_and_sizes = np.hstack([boxes[:, :2], boxes[:, 2:4] - boxes[:, :2]])
        kept = cv2.dnn.NMSBoxes(corners_and_sizes.tolist(), boxes[:, 4].tolist(), 0.0, SAME_FACE)
        return boxes[list(kept)]

    return find_all


def _fetch(url: str) -> None:
    """Bring published weights into torch.hub's cache, where they are not there yet."""
    from face_alignment.utils import load_file_from_url

    path = checkpoint_path(url)
    with fetching(url):
        load_file_from_url(url, file_name=path.name, check_hash=True)
    warn_if_renamed(path)


def _resize(image: np.ndarray, size: int) -> np.ndarray:
    interpolation = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC
    return cv2.resize(image, (size, size), interpolation=interpolation)
