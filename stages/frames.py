"""Frames: the faces V1 V2 V3 of every clip, uniformly sampled and cropped.

In:  data/manifest/<corpus>.csv, data/raw/<corpus>/
Out: data/frames/<corpus>.h5
       ids [N], faces uint8 [N, 3, S, S, 3] RGB, ok bool [N, 3] (false: leave this frame out),
       status [N, 3] (index into STATUS), boxes [N, 3, 5] (x1 y1 x2 y2 in pixels of the frame,
       score), times [N, 3] in seconds, found [N, 3] (how many faces the detector saw; beside a
       large one, Haar does not look for small ones)
     data/skipped/<corpus>.frames.csv
Paper: Section 3.2, "the video frames are uniformly sampled in {V1, V2, V3}".
"""

from contextlib import closing
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import numpy as np

from stages.extraction.extract import MANIFESTS, extract
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import read_table
from stages.media.faces import centre_crop, choose_face, crop_face, make_aligner, make_detector
from stages.media.video import sample_frames
from stages.runtime.command import run_on_corpus
from stages.runtime.device import enough_memory, pick_device, require_determinism
from stages.runtime.errors import ClipError
from stages.runtime.params import load, section
from stages.runtime.space import CROPS, frames_bytes

STATUS = ("face", "centre_crop", "nearest", "missing")


class Faces(NamedTuple):
    """The three crops of one clip; see the module's docstring for the shapes without N."""

    faces: np.ndarray
    ok: np.ndarray
    status: np.ndarray
    boxes: np.ndarray
    times: np.ndarray
    found: np.ndarray


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
) -> Faces:
    """Sample a clip's three frames and crop the largest face of each.

    A frame without a face follows `no_face`: "centre_crop" takes its centred square, "nearest"
    the face of the nearest sampled frame that has one, "skip" marks it missing.

    Raises:
        ClipError: the clip cannot be decoded, or `no_face` leaves it without any frame.
        UserError: the GPU has no memory left for the detector.
    """
    require_determinism()
    detect = make_detector(detector, min_face, device)
    frames = sample_frames(path, CROPS)
    crops = np.zeros((CROPS, size, size, 3), np.uint8)
    boxes = np.zeros((CROPS, 5), np.float32)
    found = np.zeros(CROPS, np.int16)
    for i, (image, candidates) in enumerate(zip(frames.images, detect(frames.images))):
        found[i] = len(candidates)
        box = choose_face(candidates)
        if box is None:
            continue
        boxes[i] = box
        upright = make_aligner(device)(image, box) if align else image
        crops[i] = crop_face(upright, box, margin, size)

    status = np.where(found > 0, STATUS.index("face"), STATUS.index("missing")).astype(np.uint8)
    with_face = np.flatnonzero(found)
    if no_face != "centre_crop" and len(with_face) == 0:
        raise ClipError("no_face", f"{detector} finds no face in V1, V2 and V3")
    for i in np.flatnonzero(found == 0):
        if no_face == "centre_crop":
            crops[i] = centre_crop(frames.images[i], size)
            status[i] = STATUS.index("centre_crop")
        elif no_face == "nearest":
            crops[i] = crops[min(with_face, key=lambda j: (abs(j - i), j))]
            status[i] = STATUS.index("nearest")
    return Faces(crops, status != STATUS.index("missing"), status, boxes, frames.times, found)


def main(corpus: str) -> None:
    params = load("max_skip_fraction", "workers")
    settings = section("frames")
    utterances = read_table(MANIFESTS / f"{corpus}.csv", ["id", "emotion", "video"])
    process = resolve_name("stages.frames:clip_faces")
    # What is kept of a clip is kept by device, too: a GPU's sums differ in their last bits.
    work = settings | {"device": pick_device()}
    # Before the clips, which have a limit on time: their weights may have to be fetched first.
    make_detector(settings["detector"], settings["min_face"], "cpu")
    if settings["align"]:
        make_aligner("cpu")
    results = extract(utterances, "video", process, work, corpus, "frames", **params)
    ids: list[str] = []
    tally = np.zeros(len(STATUS), int)
    expected_bytes = frames_bytes(len(utterances), settings["size"])
    out = Path(f"data/frames/{corpus}.h5")
    with closing(results) as clips, write_arrays(out, "frames", settings, expected_bytes) as arrays:
        for row, clip in clips:
            ids.append(row["id"])
            for name, values in clip.items():
                arrays.append(name, values[None])
            tally += np.bincount(clip["status"], minlength=len(STATUS))
        arrays.append("ids", encode_ids(ids))
    counts = ", ".join(f"{n} {name}" for n, name in zip(tally, STATUS) if n)
    print(f"frames@{corpus}: {len(ids)} clips; frames: {counts or 'none'}")


if __name__ == "__main__":
    run_on_corpus(main, __doc__)
