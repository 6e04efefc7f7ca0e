"""A sample of the clips of a corpus, decoded as the stages do it."""

import math
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.commands.check.clips import Clips, part_of
from stages.commands.check.findings import ERROR, OK, WARNING, Finding, listed, some
from stages.corpora.utterance import Utterance
from stages.extraction.workers import of_each
from stages.media.audio import check_speech, read_audio
from stages.media.crops import CROPS
from stages.media.span import Span
from stages.media.spectrogram import clip_mel
from stages.runtime.errors import ClipError, UserError
from stages.splits.suspects import alike, course_of

SAMPLE = 12  # clips that are decoded
UNLIKELY = 0.01  # chance of as many bad clips in the sample as there are


def spread(utterances: Iterable[Utterance], count: int) -> list[Utterance]:
    """Some of the utterances, of as many emotions and speakers as can be; always the same."""
    left = sorted(utterances, key=lambda item: item.id)
    emotions: Counter[str] = Counter()
    speakers: Counter[str] = Counter()
    chosen: list[Utterance] = []
    while left and len(chosen) < count:
        item = min(left, key=lambda item: (emotions[item.emotion], speakers[item.speaker]))
        left.remove(item)
        chosen.append(item)
        emotions[item.emotion] += 1
        speakers[item.speaker] += 1
    return chosen


def surely_more(bad: int, sample: int, share: float) -> bool:
    """Whether so many bad ones in a sample would hardly happen if only `share` of all were bad."""
    # Here, for it takes a second to load, and of most corpora no clip is bad.
    from scipy.stats import binom

    return binom.sf(bad - 1, sample, share) < UNLIKELY


def count_faces(path: Path, **settings: Any) -> tuple[int, float]:
    """How many of V1 V2 V3 show a face, and the seconds that the stage frames takes for a clip."""
    from stages.media.crops import clip_faces
    from stages.media.faces import make_aligner, make_detector, pick_detection_device

    device = pick_detection_device(settings["detector"], settings["align"])
    # Networks are loaded once, which is no part of what a clip takes.
    make_detector(settings["detector"], settings["min_face"], device)
    if settings["align"]:
        make_aligner(device)
    start = time.perf_counter()
    faces = clip_faces(path, **settings | {"no_face": "centre_crop"}, device=device)
    return int(np.count_nonzero(faces.found)), time.perf_counter() - start


def loudest_sample(
    path: Path, sample_rate: int, surround: str, min_seconds: float, span: Span | None
) -> float:
    """The loudest sample of a voice, of full scale."""
    wave = read_audio(path, sample_rate, surround=surround, span=span)
    check_speech(wave, sample_rate, min_seconds)
    return float(np.abs(wave).max())


def face_findings(
    root: Path, clips: Clips, settings: Mapping[str, Any], largest: float, label: str
) -> tuple[list[Finding], float]:
    """Whether the detector finds faces in a few clips; and the seconds that a clip takes, or 0.

    Args:
        settings: params.yaml's section `frames`.
        largest: max_skip_fraction.
    """
    chosen = spread(clips.usable("video"), SAMPLE)
    parts = [part_of(item, "video") for item in chosen]
    asked = [(root / name, {**settings, "span": span}) for name, span in parts]
    answers = of_each(count_faces, asked, f"{label} sample of faces")
    errors = {str(item) for item in answers if isinstance(item, UserError)}
    found = [Finding(ERROR, error) for error in sorted(errors)]
    found += failure_findings(chosen, answers, "faces", largest)
    looked = [(item, *answer) for item, answer in zip(chosen, answers) if isinstance(answer, tuple)]
    if not looked:
        return found, 0.0
    faceless = [item.video for item, count, _ in looked if count == 0]
    with_face, frames = sum(count for _, count, _ in looked), CROPS * len(looked)
    no_face = settings["no_face"]
    text = (
        f"{settings['detector']} finds a face in {with_face} of {frames} frames of {len(looked)} "
        "clips"
    )
    if faceless:
        text += f", and none in {len(faceless)} of the clips"
    if with_face < frames:
        text += f"; frames.no_face is {no_face}"
    state = OK if with_face == frames else WARNING
    skips = no_face != "centre_crop"
    if with_face == 0 or (skips and surely_more(len(faceless), len(looked), largest)):
        text += "; look at a clip, and try another frames.detector or a smaller frames.min_face"
        state = ERROR
    found.append(Finding(state, text, some(faceless)))
    return found, statistics.median(seconds for _, _, seconds in looked)


def voice_findings(
    root: Path, clips: Clips, mels: Mapping[str, Any], largest: float, label: str
) -> list[Finding]:
    """Whether a few clips decode to sound, and how loud it is; arguments as of `face_findings`."""
    chosen = spread(clips.usable("audio"), SAMPLE)
    settings = {key: mels[key] for key in ("sample_rate", "surround", "min_seconds")}
    parts = [part_of(item, "audio") for item in chosen]
    asked = [(root / name, {**settings, "span": span}) for name, span in parts]
    answers = of_each(loudest_sample, asked, f"{label} sample of voices")
    found = failure_findings(chosen, answers, "voices", largest)
    peaks = [20 * math.log10(peak) for peak in answers if isinstance(peak, float)]
    if peaks:
        text = (
            f"{len(peaks)} of {len(chosen)} voices can be used; their loudest samples are "
            f"{min(peaks):.0f} to {max(peaks):.0f} dB of full scale"
        )
        found.append(Finding(OK, text))
    return found


def clip_course(path: Path, settings: Mapping[str, Any], span: Span | None) -> np.ndarray:
    """The course of a voice, by which copies are known; `settings` is the section `mels`."""
    return course_of(clip_mel(path, **settings, span=span).values, settings)


def copy_finding(root: Path, clips: Clips, mels: Mapping[str, Any], label: str) -> Finding:
    """Whether voices sound like copies of each other; arguments as of `face_findings`."""
    items = list(clips.usable("audio"))
    parts = [part_of(item, "audio") for item in items]
    asked = [(root / name, {"settings": mels, "span": span}) for name, span in parts]
    answers = zip(items, of_each(clip_course, asked, f"{label} copies"))
    courses = {item.id: found for item, found in answers if isinstance(found, np.ndarray)}
    pairs = alike(courses, mels)
    if not pairs:
        return Finding(OK, f"no two of {len(courses)} voices sound like one recording")
    text = (
        f"{len(pairs)} pairs of voices sound like one recording: the stage split refuses copies "
        "that are the same to the bit (duplicates: drop keeps one), and warns of others"
    )
    return Finding(WARNING, text, some([f"{one}  {other}" for one, other in pairs]))


def failure_findings(
    chosen: Sequence[Utterance], answers: Sequence[Any], what: str, largest: float
) -> list[Finding]:
    """What to say of those of a sample that could not be used, if any."""
    failed = [(item, why) for item, why in zip(chosen, answers) if isinstance(why, ClipError)]
    if not failed:
        return []
    codes = Counter(why.code for _, why in failed)
    text = f"{len(failed)} of {len(chosen)} {what} looked at cannot be used ({listed(codes)})"
    lines = some([f"{item.id}  {why.code}: {why.detail}" for item, why in failed])
    if surely_more(len(failed), len(chosen), largest):
        text += f": of all there are probably more than max_skip_fraction={largest:g}"
        return [Finding(ERROR, f"{text}; fix them, or raise it", lines)]
    return [Finding(WARNING, text, lines)]
