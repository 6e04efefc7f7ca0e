"""Two ways to do the same, timed side by side."""

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import NamedTuple

REPEATS = 5


class Comparison(NamedTuple):
    """How many times as quick ours is.

    Attributes:
        usual, ours: median seconds of one run.
        ratio: median over the repeats of usual / ours of that repeat; low and high its range.
    """

    usual: float
    ours: float
    ratio: float
    low: float
    high: float


class Row(NamedTuple):
    """A row of the table that the benchmarks print.

    Attributes:
        what: is done, and `usual` how it is usually done.
        aim: the ratio that was aimed at; None for what only bounds another row.
        found: None where it cannot be measured here; `usual` says why.
    """

    group: str
    what: str
    usual: str
    aim: float | None
    found: Comparison | None


def wall(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def compare(
    usual: Callable[[], object],
    ours: Callable[[], object],
    repeats: int = REPEATS,
    seconds_of: Callable[[Callable], float] = wall,
) -> Comparison:
    """Run both in turn, so that what else the machine does meets both, after a first try of each.

    A ratio is of two runs that follow one another; which of them goes first alternates.
    """
    usual()
    ours()
    seconds: list[tuple[float, float]] = []
    for repeat in range(repeats):
        if repeat % 2:
            of_ours, of_usual = seconds_of(ours), seconds_of(usual)
        else:
            of_usual, of_ours = seconds_of(usual), seconds_of(ours)
        seconds.append((of_usual, of_ours))
    ratios = [of_usual / of_ours for of_usual, of_ours in seconds]
    medians = (statistics.median(column) for column in zip(*seconds))
    return Comparison(*medians, statistics.median(ratios), min(ratios), max(ratios))


def rows_of(group: str, repeats: int) -> Iterator[Row]:
    """The rows of a group of benchmarks, measured in a process of its own.

    Once large blocks were freed, the allocator keeps memory that it else gives back in every step.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_send_rows, args=(theirs, group, repeats))
    process.start()
    theirs.close()
    with contextlib.suppress(EOFError):
        while True:
            yield ours.recv()
    process.join()
    if process.exitcode:
        sys.exit(f"error: tests.benchmarks.{group} failed")


def _send_rows(pipe: Connection, group: str, repeats: int) -> None:
    for row in import_module(f"tests.benchmarks.{group}").rows(repeats):
        pipe.send(row)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))
