"""Progress of long work: a bar where a terminal watches, plain lines where none does."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from tqdm import tqdm

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_LOOKS = 0.5


class Meter:
    """Shows how much of a work is done, and the time left.

    On a terminal this is a tqdm bar on stderr. Elsewhere (a log, a queue worker, CI) it is one
    line on stderr at most every 10 s, and one when the work has been done. The time left is
    reckoned from the first item on, since workers spend that one on getting ready.

    Args:
        unit: what is counted, in the plural, e.g. "clips".
    """

    def __init__(self, label: str, unit: str):
        self.label, self.unit, self.done = label, unit, 0
        self.bar = tqdm(desc=label, unit=unit, dynamic_ncols=True) if sys.stderr.isatty() else None
        self.start = self.last = time.monotonic()
        self.reckoned_from = self.last, 0

    def show(self, done: int, total: int, note: str = "") -> None:
        """Show that so many of `total` are done; a `note` follows the numbers."""
        now, first = time.monotonic(), self.done == 0 < done
        self.done = done
        if self.bar is not None:
            self.bar.total = total
            self.bar.set_postfix_str(note.strip(), refresh=False)
            if first:
                self.bar.n = self.bar.initial = self.bar.last_print_n = done
                self.bar.unpause()
            self.bar.update(done - self.bar.n)
            return
        if first:
            self.reckoned_from = now, done
        if now - self.last >= SECONDS_BETWEEN_LINES and done < total:
            text = f"{done:,} of {total:,} {self.unit}{note}"
            since, before = self.reckoned_from
            if done > before:
                text += f", {(total - done) * (now - since) / (done - before):,.0f} s left"
                self.reckoned_from = now, done  # of late, as the first may be slower
            self._print(text)
            self.last = now

    def _print(self, text: str) -> None:
        print(f"{self.label}: {text}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        """The meter itself."""
        return self

    def __exit__(self, error: type[BaseException] | None, *_: Any) -> None:
        """Show that the work is done, unless it has failed."""
        if self.bar is not None:
            self.bar.close()
        elif error is None:
            unit = self.unit.removesuffix("s") if self.done == 1 else self.unit
            self._print(f"{self.done:,} {unit} in {time.monotonic() - self.start:.1f} s")


def track(items: Iterable[T], total: int, label: str, unit: str) -> Iterator[T]:
    """Yield `items` and show how many of `total` are done (see `Meter`)."""
    with Meter(label, unit) as meter:
        for done, item in enumerate(items, 1):
            yield item
            meter.show(done, total)


@contextmanager
def watch(label: str, unit: str, look: Callable[[], tuple[int, int, str]]) -> Iterator[None]:
    """Show from a thread how far work is that is done meanwhile (see `Meter`).

    Args:
        look: gives how many are done, of how many, and a note.
    """
    with Meter(label, unit) as meter:
        with repeating(SECONDS_BETWEEN_LOOKS, lambda: meter.show(*look())):
            yield
        meter.show(*look())


@contextmanager
def repeating(seconds: float, call: Callable[[], object]) -> Iterator[None]:
    """Call `call` from a thread every so many seconds, while other work is done."""
    over = threading.Event()

    def keep_calling() -> None:
        while not over.wait(seconds):
            call()

    thread = threading.Thread(target=keep_calling, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
