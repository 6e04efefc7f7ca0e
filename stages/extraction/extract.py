"""What the stages frames and mels share: every clip of a corpus through one function.

Clips are worked on side by side (workers.py) and come back in the order of the manifest, so that a
stage's output does not depend on how many workers there are. What was made of a clip is kept
(clip_cache.py), so that a killed stage repeats at most the clips that it was working on.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from stages.corpora.span import used_part
from stages.extraction.clip_cache import (
    clip_cache,
    code_and_libraries,
    delete_oldest,
    lost,
    read_entry,
    size_limit,
    warn_if_open_to_others,
)
from stages.extraction.workers import Job, Outcome, outcomes
from stages.io.skips import (
    skip_row,
    table_path,
    too_many,
    too_many_error,
    uneven_among,
    warn_of_uneven,
    write_skips,
)
from stages.runtime.errors import ClipError, UserError
from stages.runtime.paths import RAW, manifest_path
from stages.runtime.progress import track


def extract(
    utterances: list[dict[str, str]],
    column: str,
    process: Callable[..., Any],
    settings: dict[str, Any],
    corpus: str,
    stage: str,
    max_skip_fraction: float,
    workers: str,
) -> Generator[tuple[dict[str, str], dict[str, np.ndarray]], None, None]:
    """Yield (utterance, arrays by name) for every utterance whose clip can be used.

    The caller closes it (contextlib.closing), which ends the child processes at once.

    Args:
        utterances: rows of the manifest; those without a path in `column` are passed over, and of
            the clips of the others `stages.corpora.span.used_part` is used.
        column: "video" or "audio".
        process: makes a NamedTuple of arrays of (path, **settings, and what of the clip is used) or
            raises ClipError for a clip that cannot be used; of a module that another process can
            import.
        workers: as params.yaml has it; see `stages.extraction.workers.outcomes`.

    Writes the stage's skip table at the end, and prints which emotions were skipped far more often
    than others.

    Raises:
        UserError: more than `max_skip_fraction` of the clips failed, which is found at the end so
            that the table names all of them; a path leaves the corpus, or FDAN_CACHE_GB is no size.
    """
    limit = size_limit()
    chosen = [row for row in utterances if row[column]]
    skips: list[dict[str, str]] = []
    root = root_of(corpus, chosen, column)
    results = each_clip(chosen, column, process, settings, root, stage, workers)
    with closing(results):
        for row, result in track(results, len(chosen), f"{stage}@{corpus}", "clips"):
            if isinstance(result, ClipError):
                skips.append(skip_row(row, stage, result.code, result.detail))
            else:
                yield row, result
    table = table_path(corpus, stage)
    write_skips(table, skips)
    if too_many(skips, len(chosen), max_skip_fraction):
        raise too_many_error(skips, len(chosen), max_skip_fraction, table)
    delete_oldest(limit)
    warn_of_uneven(f"{stage}@{corpus}", uneven_among(skips, chosen))


def root_of(corpus: str, rows: Sequence[dict[str, str]], column: str) -> Path:
    """The folder of a corpus, without links in its path, which all of these clips are in.

    Raises:
        UserError: a path in `column` leaves it.
    """
    root = (RAW / corpus).resolve()
    for name in (PurePosixPath(row[column]) for row in rows):
        if name.is_absolute() or ".." in name.parts:
            raise UserError(
                f"{manifest_path(corpus)}: {str(name)!r} leaves {root}; make it again by dvc repro"
            )
    return root


def each_clip(
    rows: Sequence[dict[str, str]],
    column: str,
    process: Callable[..., Any],
    settings: dict[str, Any],
    root: Path,
    stage: str,
    workers: str,
) -> Generator[tuple[dict[str, str], dict[str, np.ndarray] | ClipError], None, None]:
    """Yield each row with what is made of its clip, arrays by name, or why that cannot be used.

    Args are those of `extract`; every row has a path in `column`, relative to `root`.

    Raises:
        UserError: what was made of a clip is not there.
    """
    warn_if_open_to_others()
    cache = clip_cache(stage, process, settings)
    job = Job(root, cache, process, settings, code_and_libraries())
    parts = [used_part(row, column) for row in rows]

    def read(outcome: Outcome) -> dict[str, np.ndarray] | ClipError | None:
        return outcome if isinstance(outcome, ClipError) else read_entry(outcome, cache.layout)

    with outcomes(job, [row[column] for row in rows], workers, parts) as found:
        for outcome, row, part in zip(found, rows, parts):
            result = read(outcome)
            if result is None:  # another process has deleted or damaged it
                with outcomes(job, [row[column]], workers, [part]) as once_more:
                    outcome = next(once_more)
                result = read(outcome)
            if result is None:
                raise lost(outcome, row[column])
            yield row, result
