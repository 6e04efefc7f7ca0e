"""Recordings that sound like copies of each other, though their features differ.

A copy that was encoded anew has other features. Its spectrogram still has the same course: the
differences between neighbouring bands, in the octaves that every codec and sample rate keeps,
shifted by a few frames at most. Measured on 40 takes of RAVDESS, and 20 of them as MP3 and AAC at
48 and 128 kbit/s and at 8 to 48 kHz: copies correlate by 0.91 or more, other takes, also of one
sentence by one speaker, by 0.68 or less, and the synthetic voices of the sample by 0.86 or less.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.runtime.paths import mels_path
from stages.splits.protocols import TEST, TRAIN, VALIDATION, Rows, recording_id

ALIKE = 0.88  # correlation from which two are suspected
NEAR = 0.5  # of the coarse courses, from which two are compared
NEIGHBOURS = 5  # of each recording that are compared
BANDS, HERTZ = 14, (200, 3500)
LOUD, FLOOR = 30, 40  # dB below the loudest: of what is compared, and of its values
LAG, SHORTEST = 0.15, 0.5  # seconds
STEPS = 64  # of a coarse course
BLOCK = 2048


def suspected_copies(corpora: Iterable[str], ids: set[str]) -> list[tuple[str, str]]:
    """Pairs of ids whose voices sound alike, of different recordings by name.

    Args:
        corpora: whose data/mels/<corpus>.h5 is read.
        ids: the utterances that count.

    Raises:
        UserError: a file cannot be read.
    """
    courses: dict[str, np.ndarray] = {}
    settings: dict[str, Any] = {}
    for corpus in corpora:
        if not mels_path(corpus).exists():  # visual samples alone
            continue
        with open_arrays(mels_path(corpus), "mels") as mels:
            settings = read_settings(mels)
            offsets = mels["offsets"][...]
            for i, name in enumerate(decode_ids(mels["ids"][...])):
                if name in ids:
                    mel = mels["values"][offsets[i] : offsets[i + 1]]
                    courses[name] = course_of(mel, settings)
    return alike(courses, settings)


def alike(courses: dict[str, np.ndarray], settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pairs of ids whose courses are alike, of different recordings by name.

    Args:
        courses: by id, see `course_of`.
        settings: params.yaml's section `mels`, which made them.
    """
    rate = settings["sample_rate"] / settings["hop_length"] if courses else 0
    names = [name for name, course in courses.items() if len(course) >= SHORTEST * rate]
    return sorted(
        (one, other)
        for one, other in _near(names, courses)
        if recording_id(one) != recording_id(other)
        and _correlation(courses[one], courses[other], round(LAG * rate)) >= ALIKE
    )


def course_of(mel: np.ndarray, settings: Mapping[str, Any]) -> np.ndarray:
    """By how many dB each band is above the one below it, from the first to the last loud frame.

    Args:
        mel: a spectrogram [T, n_mels] in dB.
    """
    edges = _band_edges(settings["n_mels"], settings["fmin"], settings["fmax"])
    power = np.add.reduceat(10 ** (mel[:, : edges[-1]] / 10), edges[:-1], axis=1)
    loud = np.flatnonzero(power.sum(1) >= power.sum(1).max() * 10 ** (-LOUD / 10))
    course = 10 * np.log10(power[loud[0] : loud[-1] + 1])
    return np.diff(np.maximum(course, course.max() - FLOOR)).astype(np.float32)


def _band_edges(n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """First rows of the bands in a spectrogram, and the end of the last."""
    low, high, start, end = (2595 * np.log10(1 + f / 700) for f in (fmin, fmax, *HERTZ))
    first, last = (min(max((mel - low) / (high - low), 0), 1) * n_mels for mel in (start, end))
    return np.unique(np.linspace(first, last, BANDS + 1).round().astype(int))


def _near(names: list[str], courses: dict[str, np.ndarray]) -> list[tuple[str, str]]:
    """Each pair whose courses are alike when both are stretched to one length."""
    if not names:
        return []
    coarse = np.stack([_unit(courses[name][_steps(len(courses[name]))]) for name in names])
    found = set()
    for start in range(0, len(coarse), BLOCK):
        likeness = coarse[start : start + BLOCK] @ coarse.T
        likeness[np.arange(len(likeness)), start + np.arange(len(likeness))] = 0  # with itself
        nearest = np.argsort(-likeness, axis=1)[:, :NEIGHBOURS]
        for i, row in enumerate(nearest.tolist()):
            near = [j for j in row if likeness[i, j] >= NEAR]
            found |= {(names[min(start + i, j)], names[max(start + i, j)]) for j in near}
    return sorted(found)


def _steps(length: int) -> np.ndarray:
    return np.linspace(0, length - 1, STEPS).round().astype(int)


def _unit(course: np.ndarray) -> np.ndarray:
    """A course [T, bands] without the mean of each band, as a vector of length 1."""
    centred = course - course.mean(0)
    return (centred / max(float(np.linalg.norm(centred)), 1e-9)).ravel()


def _correlation(one: np.ndarray, other: np.ndarray, lag: int) -> float:
    """The highest correlation of two courses over shifts of up to `lag` frames."""
    best = 0.0
    for shift in range(-lag, lag + 1):
        a, b = one[max(shift, 0) :], other[max(-shift, 0) :]
        length = min(len(a), len(b))
        if length >= 0.9 * max(len(one), len(other)):
            best = max(best, float(_unit(a[:length]) @ _unit(b[:length])))
    return best


def tested_with_suspected_copy(rows: Rows, pairs: Iterable[tuple[str, str]], folds: int) -> int:
    """How many test utterances have a suspected copy, in either modality, that is learned from."""
    alike: dict[str, set[str]] = {}
    for one, other in pairs:
        alike.setdefault(one, set()).add(other)
        alike.setdefault(other, set()).add(one)
    count = 0
    for column in (f"fold_{fold}" for fold in range(folds)):
        learned = {row["id"] for row in rows if row[column] in (TRAIN, VALIDATION)}
        count += sum(
            not learned.isdisjoint(alike.get(row["id"], ()))
            for row in rows
            if row["modality"] == "acoustic" and row[column] == TEST
        )
    return count
