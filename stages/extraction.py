"""What the stages frames and mels share: every clip of a corpus through one function.

Clips are worked on side by side, one for each core, and come back in the order of the manifest, so
that a stage's output does not depend on how many cores there are. What was made of a clip is kept
(stages/clip_cache.py), so that a killed stage repeats at most the clips that it was working on.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import joblib
import numpy as np

from stages.clip_cache import ClipCache, clip_cache, read_entry, write_entry
from stages.failures import ClipError, UserError
from stages.guard import LOST, guards
from stages.progress import track
from stages.skips import refuse, skip_row, table_path, too_many, write_skips

MANIFESTS = Path("data/manifest")
AHEAD = 4  # clips for each core that may be done before the first of them is taken

Outcome = dict[str, np.ndarray] | ClipError


def extract(
    utterances: list[dict[str, str]],
    column: str,
    process: str,
    settings: dict[str, Any],
    corpus: str,
    stage: str,
    max_skip_fraction: float,
) -> Iterator[tuple[dict[str, str], dict[str, np.ndarray]]]:
    """Yield (utterance, arrays by name) for every utterance whose clip can be used.

    To be closed by who takes from it (contextlib.closing), which ends the child processes at once.

    Args:
        utterances: rows of the manifest; those without a path in `column` are passed over.
        column: "video" or "audio".
        process: name of a function, "module:function" for another process to import, that makes
            a NamedTuple of arrays of (path, **settings) or raises ClipError for a clip that cannot
            be used.

    Writes the stage's skip table at the end, or when too many clips have failed.

    Raises:
        UserError: more than `max_skip_fraction` of the clips failed, or a path leaves the corpus.
    """
    chosen = [row for row in utterances if row[column]]
    root = Path("data/raw").resolve() / corpus
    for name in (PurePosixPath(row[column]) for row in chosen):
        if name.is_absolute() or ".." in name.parts:
            raise UserError(
                f"{MANIFESTS / corpus}.csv: {str(name)!r} leaves {root}; make it again by dvc repro"
            )
    cache = clip_cache(stage, process, settings)
    cores = joblib.cpu_count()
    skips: list[dict[str, str]] = []
    table = table_path(corpus, stage)
    # The children end first, so that no thread waits for one.
    with ThreadPoolExecutor(cores) as threads, guards(cores) as call:

        def attempt(row: dict[str, str]) -> Outcome:
            return _attempt(root / row[column], cache, lambda clip: call(process, clip, settings))

        results = zip(_in_order(threads, attempt, chosen, AHEAD * cores), chosen)
        for result, row in track(results, len(chosen), f"{stage}@{corpus}", "clips"):
            if not isinstance(result, ClipError):
                yield row, result
                continue
            skips.append(skip_row(row, stage, result.code, result.detail))
            if too_many(skips, len(chosen), max_skip_fraction):
                write_skips(table, skips)
                raise refuse(skips, len(chosen), max_skip_fraction, table)
    write_skips(table, skips)


def _in_order(
    threads: ThreadPoolExecutor,
    attempt: Callable[[dict[str, str]], Outcome],
    rows: list[dict[str, str]],
    ahead: int,
) -> Iterator[Outcome]:
    """attempt(row) of every row, in their order; no more than `ahead` are held at a time."""
    pending: deque[Future[Outcome]] = deque()
    for row in rows:
        if len(pending) == ahead:
            yield pending.popleft().result()
        pending.append(threads.submit(attempt, row))
    while pending:
        yield pending.popleft().result()


def _attempt(clip: Path, cache: ClipCache, work: Callable[[Path], Any]) -> Outcome:
    """What is kept of a clip, or what `work` makes of it, which is kept from then on."""
    entry = cache.entry(clip)
    kept = None if entry is None else read_entry(entry)
    if kept is not None:
        return kept
    try:
        result = work(clip)._asdict()
    except ClipError as error:
        if entry is None or error.code in LOST:
            return error
        result = error
    write_entry(entry, result)
    return result
