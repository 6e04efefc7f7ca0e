"""The part of a recording that is one utterance: the columns start and end of a manifest."""

from math import inf

Span = tuple[float, float]  # seconds from the beginning of the file; the end may be infinite


def span_of(start: str, end: str) -> Span | None:
    """The span of two cells of a manifest; None where both are empty: the whole file."""
    return (float(start or 0), float(end or inf)) if start or end else None
