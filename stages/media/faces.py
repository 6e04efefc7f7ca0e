"""Faces: where they are in a frame, which of them counts, and the square cut around it.

A box is (x1, y1, x2, y2, score) in pixels of the frame. Detectors differ in what a box holds and
in what a score means: Haar's and BlazeFace's boxes are squares, YuNet's and SFD's follow the face
from hairline to chin; Haar's score is the cascade's last stage weight, the others' a probability.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module

import cv2
import numpy as np

from stages.encoders.weights import checkpoint_path, fetching, warn_if_renamed
from stages.runtime.device import pick_device, require_determinism

Detector = Callable[[np.ndarray], list[np.ndarray]]
Aligner = Callable[[np.ndarray, np.ndarray], np.ndarray]

# The least score of a face. Haar's cascade has none of its own: so many windows must agree.
SCORE_THRESHOLD = {"sfd": 0.5, "blazeface": 0.5, "yunet": 0.7}
HAAR_NEIGHBOURS = 5
THRESHOLD_KEY = {
    "sfd": "filter_threshold", "blazeface": "min_score_thresh", "yunet": "score_threshold"
}  # fmt: skip
# Frames are shrunk to this longer side before detection: detectors cost what the pixels cost, and
# YuNet was trained on faces of up to 300 pixels and overlooks larger ones.
DETECTION_SIDE = {"haar": 320, "sfd": 640, "blazeface": 640, "yunet": 640}
HAAR_WINDOW = 24  # pixels: no smaller face is found, so the least that counts must not become so
# Haar looks for faces of this share of the shorter side and more, and in larger steps, before it
# looks for all: the largest counts, and all together take four times as long.
HAAR_LARGE = 0.4
HAAR_STEP = 1.2
HAAR_FINE_STEP = 1.1
SAME_FACE = 0.3  # intersection over union above which two boxes hold one face

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
    least = 0.0
    if name == "haar":
        find, least = _make_haar(min_face), HAAR_WINDOW / min_face
    elif name == "blazeface":
        find = _in_squares(_make_published(name, "cpu"))
    else:
        find = _make_published(name, "cpu" if name == "yunet" else device)
    side = DETECTION_SIDE[name]

    def detect(images: np.ndarray) -> list[np.ndarray]:
        height, width = images.shape[1:3]
        scale = min(1.0, max(side / max(height, width), least / min(height, width)))
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            images = np.stack([cv2.resize(i, size, interpolation=cv2.INTER_AREA) for i in images])
        return [large_enough(boxes, scale, min_face * min(height, width)) for boxes in find(images)]

    def large_enough(found: np.ndarray, scale: float, least_side: float) -> np.ndarray:
        boxes = np.array(found, np.float32).reshape(-1, 5)
        boxes[:, :4] /= scale
        sides = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        return boxes[sides >= least_side]

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


def choose_face(boxes: np.ndarray) -> np.ndarray | None:
    """The box of the largest area; of equals the left one, then the upper one.

    Args:
        boxes: float32 [k, 5], in any order.

    Returns:
        float32 [5], or None for k = 0.
    """

    def rank(box: np.ndarray) -> tuple[float, ...]:
        x1, y1, x2, y2, score = box.tolist()
        return (-(x2 - x1) * (y2 - y1), x1, y1, x2, y2, -score)

    return min(boxes, key=rank, default=None)


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

    def find(image: np.ndarray) -> list[list[float]]:
        # Not equalised: measured on RAVDESS, that costs true faces and adds false ones.
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        large = look(grey, HAAR_LARGE, HAAR_STEP) if min_face < HAAR_LARGE else []
        # A box is the mean of windows of several sizes, of which those below the share are missing
        # where the face is less than a step larger: it would come out too large.
        least = HAAR_STEP * HAAR_LARGE * min(grey.shape)
        if any(x2 - x1 >= least for x1, _, x2, _, _ in large):
            return large
        return look(grey, min_face, HAAR_FINE_STEP)

    def look(grey: np.ndarray, share: float, step: float) -> list[list[float]]:
        least = max(1, int(share * min(grey.shape)))
        windows, _, weights = cascade.detectMultiScale3(
            grey,
            scaleFactor=step,
            minNeighbors=HAAR_NEIGHBOURS,
            minSize=(least, least),
            outputRejectLevels=True,
        )
        return [
            [x, y, x + width, y + height, weight]
            for (x, y, width, height), weight in zip(windows, weights)
        ]

    return lambda images: [np.array(find(image), np.float32) for image in images]


def _make_published(name: str, device: str) -> Detector:
    """One of face-alignment's detectors; all of them take RGB."""
    # Imported here: they take seconds, which Haar's users need not wait for.
    import torch

    require_determinism()
    package = import_module(f"face_alignment.detection.{name}")
    urls = detector_urls(name)
    for url in urls:
        _fetch(url)
    with fetching(urls[0]):
        detector = package.FaceDetector(
            device=device, **{THRESHOLD_KEY[name]: SCORE_THRESHOLD[name]}
        )

    def find(images: np.ndarray) -> list[np.ndarray]:
        return detector.detect_from_batch(torch.from_numpy(images).permute(0, 3, 1, 2))

    return find


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
        squares = [images[:, top : top + side, left : left + side] for left, top in corners]
        found = iter(find(np.concatenate(squares)))
        of_image: list[list[np.ndarray]] = [[] for _ in images]
        for left, top in corners:
            for boxes in of_image:
                boxes.append(np.reshape(next(found), (-1, 5)) + (left, top, left, top, 0))
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
