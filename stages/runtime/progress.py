"""Progress of long work: a bar where a terminal watches, plain lines where none does."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0


def track(items: Iterable[T], total: int, label: str, unit: str) -> Iterator[T]:
    """Yield `items` and show how many of `total` are done, the rate and the time left.

    On a terminal this is a tqdm bar on stderr. Elsewhere (a log, a queue worker, CI) it is one
    line on stderr at most every 10 s, and one at the end.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=label, unit=unit, dynamic_ncols=True)
        return
    start = last = time.monotonic()
    done = done_before = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES and done < total:
            # Of late, not from the start, which workers spend on getting ready.
            rate = (done - done_before) / (now - last)
            left = (total - done) / rate
            print(
                f"{label}: {done}/{total} {unit}, {rate:.1f} a second, {left:.0f} s left",
                file=sys.stderr,
                flush=True,
            )
            last, done_before = now, done
    seconds = time.monotonic() - start
    print(f"{label}: {done} {unit} in {seconds:.1f} s", file=sys.stderr, flush=True)
