"""The part of a recording that is one utterance: the columns start and end of a manifest."""

from math import inf

from stages.media.headers import COMPLETE
from stages.runtime.errors import ClipError

Span = tuple[float, float]  # seconds from the beginning of the file; the end may be infinite


def span_of(start: str, end: str) -> Span | None:
    """The span of two cells of a manifest; None where both are empty: the whole file."""
    return (float(start or 0), float(end or inf)) if start or end else None


def span_length(span: Span, ends: float) -> float:
    """The seconds of a span that are there in a file that ends at `ends`.

    Raises:
        ClipError: `beyond_end` where that is less than `COMPLETE` of it.
    """
    start, end = span
    there = min(end, ends) - start
    if there <= 0 or (end < inf and there < COMPLETE * (end - start)):
        asked = f"{start:g} s on" if end == inf else f"{start:g} to {end:g} s"
        raise ClipError("beyond_end", f"the table asks for {asked}; the file ends at {ends:.2f} s")
    return there
