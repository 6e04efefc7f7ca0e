"""Recordings that sound like copies of each other, though their features differ.

A copy that was encoded anew has other features. Its spectrogram still has the same course: in the
octaves that every codec and sample rate keeps, shifted by a few frames at most. Measured on 40
takes of RAVDESS as MP3 and AAC at 48 and 128 kbit/s and at 8 to 48 kHz, copies correlate by 0.966
or more, and other takes, also of one sentence by one speaker, by 0.86 or less.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.runtime.paths import mels_path
from stages.splits.protocols import TEST, TRAIN, VALIDATION, Rows, recording_id

ALIKE = 0.93  # correlation from which two are suspected
NEAR = 0.7  # of the coarse courses, from which two are compared
NEIGHBOURS = 5  # of each recording that are compared
BANDS, HERTZ = 14, (100, 3500)
LOUD, FLOOR = 30, 50  # dB below the loudest: of what is compared, and of its values
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
    names: list[str] = []
    courses: list[np.ndarray] = []
    lag = 0
    for corpus in corpora:
        if not mels_path(corpus).exists():  # visual samples alone
            continue
        with open_arrays(mels_path(corpus), "mels") as mels:
            settings = read_settings(mels)
            rate = settings["sample_rate"] / settings["hop_length"]
            lag = round(LAG * rate)
            edges = _band_edges(settings["n_mels"], settings["fmin"], settings["fmax"])
            offsets = mels["offsets"][...]
            for i, name in enumerate(decode_ids(mels["ids"][...])):
                if name in ids:
                    course = _course(mels["values"][offsets[i] : offsets[i + 1]], edges)
                    if len(course) >= SHORTEST * rate:
                        names.append(name)
                        courses.append(course)
    return sorted(
        (names[i], names[j])
        for i, j in _near(courses)
        if recording_id(names[i]) != recording_id(names[j])
        and _correlation(courses[i], courses[j], lag) >= ALIKE
    )


def _band_edges(n_mels: int, fmin: float, fmax: float) -> np.ndarray:
    """First rows of the bands in a spectrogram, and the end of the last."""
    low, high, start, end = (2595 * np.log10(1 + f / 700) for f in (fmin, fmax, *HERTZ))
    first, last = (min(max((mel - low) / (high - low), 0), 1) * n_mels for mel in (start, end))
    return np.unique(np.linspace(first, last, BANDS + 1).round().astype(int))


def _course(mel: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bands of a spectrogram [T, n_mels] in dB from the first to the last loud frame."""
    power = np.add.reduceat(10 ** (mel[:, : edges[-1]] / 10), edges[:-1], axis=1)
    loud = np.flatnonzero(power.sum(1) >= power.sum(1).max() * 10 ** (-LOUD / 10))
    course = 10 * np.log10(power[loud[0] : loud[-1] + 1])
    return np.maximum(course, course.max() - FLOOR).astype(np.float32)


def _near(courses: list[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Each pair whose courses are alike when both are stretched to one length."""
    if len(courses) < 2:
        return
    coarse = np.stack([_unit(course[_steps(len(course))]) for course in courses])
    found = set()
    for start in range(0, len(coarse), BLOCK):
        alike = coarse[start : start + BLOCK] @ coarse.T
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = 0
        nearest = np.argsort(-alike, axis=1)[:, :NEIGHBOURS]
        for i, row in enumerate(nearest.tolist(), start):
            found |= {(min(i, j), max(i, j)) for j in row if alike[i - start, j] >= NEAR}
    yield from sorted(found)


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
