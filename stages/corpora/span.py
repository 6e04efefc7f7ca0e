"""The part of a clip that is one utterance: start, end, whole and crop of a manifest."""

from collections.abc import Mapping
from math import inf
from typing import Any

Span = tuple[float, float]  # seconds from the beginning of the file; the end may be infinite


def span_of(start: str, end: str) -> Span | None:
    """The span of two cells of a manifest; None where both are empty: the whole file."""
    return (float(start or 0), float(end or inf)) if start or end else None


def used_part(row: Mapping[str, str], column: str) -> dict[str, Any]:
    """What of the clip in a column, "video" or "audio", of a manifest is that row's utterance.

    Returns:
        `span` and, of a video, `crop`, as `clip_faces` and `clip_mel` take them; without those
        that are the whole.
    """
    cut = row.get("whole") != column
    span = span_of(row.get("start", ""), row.get("end", "")) if cut else None
    crop = row.get("crop") if column == "video" else None
    return ({"span": span} if span else {}) | ({"crop": crop} if crop else {})
