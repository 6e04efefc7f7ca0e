"""Utterances that are cut from the same speech, by their times in its recording."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

SHARE = 0.5  # of the shorter of two utterances, above which they overlap: cuts are never exact

Key = TypeVar("Key", bound=tuple[Any, ...])


class Stretch(NamedTuple):
    """Where an utterance is; `start` and `end` in seconds of the recording."""

    recording: Any
    start: float
    end: float


def overlaps(stretches: Mapping[Key, Stretch], share: float) -> dict[Key, list[Key]]:
    """For each utterance those that overlap it by more than `share` of the shorter of the two.

    The same start and end count even where there is nothing between them. An utterance that
    overlaps none is left out. Keys and recordings can be sorted.
    """
    found: dict[Key, list[Key]] = {}
    ordered = sorted(stretches.items(), key=lambda item: (item[1], item[0]))
    for i, (key, one) in enumerate(ordered):
        for other_key, other in ordered[i + 1 :]:
            if other.recording != one.recording or other.start > one.end:
                break
            shared = min(one.end, other.end) - other.start
            shorter = min(one.end - one.start, other.end - other.start)
            if one == other or shared > share * shorter >= 0 < shared:
                found.setdefault(key, []).append(other_key)
                found.setdefault(other_key, []).append(key)
    return {key: sorted(others) for key, others in found.items()}
