"""The clips of a corpus decoded as the stages frames and mels do it, into the cache they read."""

import hashlib
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import numpy as np

from stages.commands.check.clips import CALLED, POINTER, Clips
from stages.commands.check.findings import ERROR, OK, WARNING, Finding, listed, some
from stages.extraction.extract import each_clip, root_of
from stages.io.skips import skip_row, too_many
from stages.media.crops import JUMP, STATUS, clip_faces
from stages.media.faces import pick_detection_device
from stages.media.spectrogram import clip_mel
from stages.runtime.errors import ClipError, UserError
from stages.runtime.progress import track
from stages.splits.suspects import course_of

SECONDS = 60.0  # for the faces, and for the voices; where they do not do for all, a sample is taken
SAMPLE = 12  # clips that are decoded at least
UNLIKELY = 0.01  # chance of as many bad clips in a sample as there are
INSTEAD = {
    "centre_crop": "are centre crops",
    "nearest": "repeat the face of another",
    "skip": "are left out",
}
STAGES = {"video": "frames", "audio": "mels"}

Arrays = Mapping[str, np.ndarray]


class Sample(NamedTuple):
    """What is kept of a clip that can be used.

    Attributes:
        fingerprint: SHA-256 of what the encoder is shown of it.
        status: of a video, index into STATUS of each of V1 V2 V3.
        jumps: whether the face jumps by more than its width between two of them.
        course: of an audio, see `stages.splits.suspects`.
    """

    fingerprint: bytes
    status: np.ndarray | None = None
    jumps: bool = False
    course: np.ndarray | None = None


@dataclass(frozen=True)
class Decoded:
    """What decoding the clips of one kind came to.

    Attributes:
        kind: "video" or "audio".
        total: the utterances that have one, Git LFS pointers left aside.
        samples: of what was decoded, by utterance id.
        errors: why what was decoded cannot be used, by utterance id.
        stopped: why decoding came to an end, as the stage would, or "".
        seconds: that it took.
    """

    kind: str
    total: int
    samples: dict[str, Sample]
    errors: dict[str, ClipError]
    stopped: str
    seconds: float

    @property
    def count(self) -> int:
        """How many were decoded."""
        return len(self.samples) + len(self.errors)

    @property
    def extent(self) -> str:
        """E.g. "412 of 7,442 faces"; "" where all were decoded."""
        if self.count == self.total:
            return ""
        return f"{self.count:,} of {self.total:,} {CALLED[self.kind]}s"


def not_decoded(clips: Clips, kind: str) -> Decoded:
    """Of clips that cannot be decoded yet."""
    return Decoded(kind, len(clips.without_pointers(kind)), {}, {}, "", 0.0)


def decode_faces(clips: Clips, corpus: str, params: Mapping[str, Any], seconds: float) -> Decoded:
    """What the stage frames would make of as many clips as `seconds` allow, in a random order."""
    frames = params["frames"]
    device = pick_detection_device(frames["detector"], frames["align"])

    def keep(arrays: Arrays) -> Sample:
        jumps = bool((arrays["jumps"] > JUMP).any())
        return Sample(sha256(arrays["faces"]), status=arrays["status"], jumps=jumps)

    settings = frames | {"device": device}
    return _decode(clips, "video", clip_faces, settings, keep, corpus, params["workers"], seconds)


def decode_voices(clips: Clips, corpus: str, params: Mapping[str, Any], seconds: float) -> Decoded:
    """What the stage mels would make of as many clips as `seconds` allow, in a random order."""
    mels = params["mels"]

    def keep(arrays: Arrays) -> Sample:
        return Sample(sha256(arrays["values"]), course=course_of(arrays["values"], mels))

    return _decode(clips, "audio", clip_mel, mels, keep, corpus, params["workers"], seconds)


def sha256(array: np.ndarray) -> bytes:
    """Of the values of an array."""
    return hashlib.sha256(array.tobytes()).digest()


def _decode(
    clips: Clips,
    kind: str,
    process: Callable[..., Any],
    settings: dict[str, Any],
    keep: Callable[[Arrays], Sample],
    corpus: str,
    workers: str,
    seconds: float,
) -> Decoded:
    rows = [asdict(item) for item in clips.without_pointers(kind)]
    random.Random(0).shuffle(rows)
    samples: dict[str, Sample] = {}
    errors: dict[str, ClipError] = {}
    stopped = ""
    begun = time.monotonic()
    root = root_of(corpus, rows, kind)
    results = each_clip(rows, kind, process, settings, root, STAGES[kind], workers)
    label = f"check@{corpus} {CALLED[kind]}s"
    try:
        with closing(results):
            for row, result in track(results, len(rows), label, "clips"):
                if isinstance(result, ClipError):
                    errors[row["id"]] = result
                else:
                    samples[row["id"]] = keep(result)
                spent = time.monotonic() - begun
                if spent > seconds and len(samples) + len(errors) >= SAMPLE:
                    break
    except UserError as error:
        stopped = str(error)
    return Decoded(kind, len(rows), samples, errors, stopped, time.monotonic() - begun)


def surely_more(bad: int, sample: int, share: float) -> bool:
    """Whether so many bad ones in a sample would hardly happen if only `share` of all were bad."""
    # Here, for it takes a second to load, and of most corpora no clip is bad.
    from scipy.stats import binom

    return binom.sf(bad - 1, sample, share) < UNLIKELY


def skip_findings(decoded: Decoded, clips: Clips, limit: float) -> Iterator[Finding]:
    """Which clips the stage would leave out, and whether they are so many that it would stop.

    Args:
        clips: with the errors of `decoded` (`Clips.with_errors`).
        limit: max_skip_fraction.
    """
    stage, what, total = STAGES[decoded.kind], f"{CALLED[decoded.kind]}s", decoded.total
    if decoded.stopped:
        yield Finding(ERROR, f"the stage {stage} would stop: {decoded.stopped}")
    sample = f" in a sample of {decoded.count:,} of {total:,}" if decoded.extent else ""
    rows = [
        skip_row(asdict(item), stage, why.code, why.detail)
        for item, why in clips.broken(decoded.kind).items()
        if why.code != POINTER
    ]
    if not rows:
        if decoded.count:
            yield Finding(OK, f"all {decoded.count:,} {what}{sample} can be used")
        return
    lines = [f"{row['id']}  {row['code']}: {row['detail']}" for row in rows]
    codes = listed(Counter(row["code"] for row in rows))
    text = f"{len(rows):,} of {total:,} {what} cannot be used ({codes})"
    allowed = f"max_skip_fraction: {limit:g} allows"
    if too_many(rows, total, limit):
        end = f"more than {allowed}: the stage {stage} would stop; fix them, or raise it"
        yield Finding(ERROR, f"{text}, {end}", lines)
    elif sample and surely_more(len(decoded.errors), decoded.count, limit):
        text = f"{len(decoded.errors):,} {what}{sample} cannot be used ({codes})"
        end = f"of all there are probably more than {allowed}: the stage {stage} would stop"
        yield Finding(ERROR, f"{text}; {end}; fix them, or raise it", lines)
    else:
        least = f" at least, by{sample.removeprefix(' in')}" if sample else ""
        text = f"the stage {stage} leaves out {text.replace(' cannot be used', '')}{least}"
        yield Finding(WARNING, f"{text}; {allowed} {int(limit * total):,}", some(lines))


def face_finding(decoded: Decoded, frames: Mapping[str, Any]) -> Finding:
    """In how many frames there is a face, and what stands for one where there is none.

    Args:
        frames: params.yaml's section `frames`.
    """
    status = np.array([sample.status for sample in decoded.samples.values()])
    others = (status != STATUS.index("face")) & (status != STATUS.index("absent"))
    faces = status == STATUS.index("face")
    text = (
        f"{frames['detector']} finds a face in {np.sum(faces):,} of {np.sum(faces | others):,} "
        f"frames of {len(others):,} clips"
    )
    if jumping := sum(sample.jumps for sample in decoded.samples.values()):
        text += f"; in {jumping:,} clips the face jumps by more than its width"
    if not others.any():
        return Finding(WARNING if jumping else OK, text)
    no_face = frames["no_face"]
    text += (
        f"; {np.sum(others):,} frames in {np.sum(others.any(1)):,} clips {INSTEAD[no_face]} "
        f"(frames.no_face: {no_face})"
    )
    faceless = [name for name, none in zip(decoded.samples, ~faces.any(1)) if none]
    if faceless:
        text += (
            f", and {len(faceless):,} clips show no face at all: look at them, and try another "
            "frames.detector or a smaller frames.min_face"
        )
    return Finding(WARNING, text, some(faceless))


def time_finding(decoded: Decoded) -> Finding:
    """How long the stage takes for what was not decoded yet."""
    stage, what = STAGES[decoded.kind], f"{CALLED[decoded.kind]}s"
    left = decoded.total - decoded.count
    seconds = decoded.seconds / decoded.count
    time = timedelta(seconds=math.ceil(left * seconds))
    return Finding(
        OK,
        f"the stage {stage} takes about {time} more for the {left:,} {what} that were not decoded: "
        f"an estimate from the sample, {seconds:.2f} s each; what was decoded is kept for it",
    )
