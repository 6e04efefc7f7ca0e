"""The faces V1 V2 V3 of one clip: frames sampled uniformly, one person's face cut out of each.

Paper: Section 3.2, "the video frames are uniformly sampled in {V1, V2, V3}".
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stages.corpora.span import Span
from stages.corpora.still import is_still
from stages.io.arrays import Layout
from stages.media.faces import (
    centre_crop,
    certainty,
    choose_faces,
    crop_face,
    jump,
    make_aligner,
    make_detector,
    pick_detection_device,
)
from stages.media.video import sample_frames
from stages.runtime.device import enough_memory
from stages.runtime.errors import ClipError

CROPS = 3  # of a clip: V1 V2 V3
STATUS = ("face", "centre_crop", "nearest", "missing", "absent")
JUMP = 1.0  # more is another face; within a clip of RAVDESS and the sample it is 0.21 at most


class Faces(NamedTuple):
    """The three crops of one clip.

    Attributes:
        faces: uint8 [3, S, S, 3] RGB.
        ok: bool [3]; false: leave this frame out.
        status: [3], index into STATUS.
        boxes: [3, 5], x1 y1 x2 y2 in pixels of the frame, and the detector's score.
        certainty: [3], the score as a share, 1 for a clear face (see `faces.certainty`).
        jumps: [3], how far the face is from that of the frame before it that has one, in place and
            size together, in widths of a face (see `faces.jump`); 0 where there is none.
        times: [3] in seconds.
        found: [3], how many faces the detector found; beside a large and certain one, Haar does not
            look for small ones.
    """

    faces: np.ndarray
    ok: np.ndarray
    status: np.ndarray
    boxes: np.ndarray
    certainty: np.ndarray
    jumps: np.ndarray
    times: np.ndarray
    found: np.ndarray

    @staticmethod
    def layout(settings: Mapping[str, Any]) -> Layout:
        """What the cache of clips holds of it."""
        return {
            "faces": ("uint8", (CROPS, settings.get("size"), settings.get("size"), 3)),
            "ok": ("bool", (CROPS,)),
            "status": ("uint8", (CROPS,)),
            "boxes": ("float32", (CROPS, 5)),
            "certainty": ("float32", (CROPS,)),
            "jumps": ("float32", (CROPS,)),
            "times": ("float64", (CROPS,)),
            "found": ("int16", (CROPS,)),
        }


def ready_to_crop(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `clip_faces` after the clip, with the weights that it needs in their cache.

    They are loaded here and not with a clip, which has a limit on time; what is kept of a clip is
    kept by device, too: a GPU's sums differ in their last bits.

    Args:
        settings: `frames` of params.yaml.

    Raises:
        UserError: the weights cannot be had.
    """
    device = pick_detection_device(settings["detector"], settings["align"])
    make_detector(settings["detector"], settings["min_face"], "cpu")
    if settings["align"]:
        make_aligner("cpu")
    return {**settings, "device": device}


@enough_memory("frames", "choose another frames.detector than sfd and align: false")
def clip_faces(
    path: Path,
    detector: str,
    min_face: float,
    margin: float,
    size: int,
    align: bool,
    no_face: str,
    device: str,
    span: Span | None = None,
    crop: str = "",
) -> Faces:
    """Sample the three frames of a clip, or a span of it, and crop one face of each.

    Which face is said by `faces.choose_faces`. Of the "left" or "right" half of the picture, where
    `crop` names one, the other is not looked at: the frame is that half, but for the boxes.

    A frame without a face follows `no_face`: "centre_crop" takes its centred square, "nearest"
    the face of the nearest sampled frame that has one, "skip" marks it missing. A picture is V1; it
    has no V2 and V3, which are absent.

    Raises:
        ClipError: the clip cannot be decoded, or `no_face` leaves it without any frame.
        UserError: the GPU has no memory left for the detector.
    """
    detect = make_detector(detector, min_face, device)
    count = 1 if is_still(path) else CROPS
    frames = sample_frames(path, count, span=span)
    middle = frames.images.shape[2] // 2
    columns = {"": slice(None), "left": slice(middle), "right": slice(middle, None)}[crop]
    images = np.ascontiguousarray(frames.images[:, :, columns])
    crops = np.zeros((count, size, size, 3), np.uint8)
    boxes = np.zeros((count, 5), np.float32)
    jumps = np.zeros(count, np.float32)
    candidates = detect(images)
    before: np.ndarray | None = None
    for i, (image, box) in enumerate(zip(images, choose_faces(candidates, detector))):
        if box is None:
            continue
        boxes[i] = box
        jumps[i] = 0 if before is None else jump(before, box)
        before = box
        upright = make_aligner(device)(image, box) if align else image
        crops[i] = crop_face(upright, box, margin, size)

    found = np.array([len(boxes) for boxes in candidates], np.int16)
    sure = np.where(found > 0, certainty(boxes[:, 4], detector), 0).astype(np.float32)
    status = np.where(found > 0, STATUS.index("face"), STATUS.index("missing")).astype(np.uint8)
    with_face = np.flatnonzero(found)
    boxes[with_face, 0:3:2] += columns.start or 0
    if no_face != "centre_crop" and len(with_face) == 0:
        where = "the picture" if count == 1 else "V1, V2 and V3"
        raise ClipError("no_face", f"{detector} finds no face in {where}")
    for i in np.flatnonzero(found == 0).tolist():
        if no_face == "centre_crop":
            crops[i] = centre_crop(images[i], size)
            status[i] = STATUS.index("centre_crop")
        elif no_face == "nearest":
            crops[i] = crops[min(with_face, key=lambda j: (abs(j - i), j))]
            status[i] = STATUS.index("nearest")
    ok = status != STATUS.index("missing")
    faces = Faces(crops, ok, status, boxes, sure, jumps, frames.times, found)
    if count == CROPS:
        return faces
    absent = [(0, CROPS - count)]
    padded = Faces(*(np.pad(of, absent + [(0, 0)] * (of.ndim - 1)) for of in faces))
    padded.status[count:] = STATUS.index("absent")
    return padded
