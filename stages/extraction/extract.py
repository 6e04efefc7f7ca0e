"""What the stages frames and mels share: every clip of a corpus through one function.

Clips are worked on side by side (workers.py) and come back in the order of the manifest, so that a
stage's output does not depend on how many workers there are. What was made of a clip is kept
(clip_cache.py), so that a killed stage repeats at most the clips that it was working on.
"""

from collections.abc import Callable, Generator
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from stages.extraction.clip_cache import (
    clip_cache,
    code_and_libraries,
    delete_oldest,
    lost,
    read_entry,
    size_limit,
    warn_if_open_to_others,
)
from stages.extraction.workers import Job, outcomes
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
        utterances: rows of the manifest; those without a path in `column` are passed over.
        column: "video" or "audio".
        process: makes a NamedTuple of arrays of (path, **settings) or raises ClipError for a clip
            that cannot be used; of a module that another process can import.
        workers: as params.yaml has it; see `stages.extraction.workers.outcomes`.

    Writes the stage's skip table at the end, or when too many clips have failed. At the end it
    prints which emotions were skipped far more often than others.

    Raises:
        UserError: more than `max_skip_fraction` of the clips failed, a path leaves the corpus, or
            FDAN_CACHE_GB is no size.
    """
    chosen = [row for row in utterances if row[column]]
    root = (RAW / corpus).resolve()
    for name in (PurePosixPath(row[column]) for row in chosen):
        if name.is_absolute() or ".." in name.parts:
            raise UserError(
                f"{manifest_path(corpus)}: {str(name)!r} leaves {root}; make it again by dvc repro"
            )
    limit = size_limit()
    warn_if_open_to_others()
    cache = clip_cache(stage, process, settings)
    job = Job(root, cache, process, settings, code_and_libraries())
    skips: list[dict[str, str]] = []
    table = table_path(corpus, stage)
    with outcomes(job, [row[column] for row in chosen], workers) as found:
        for outcome, row in track(zip(found, chosen), len(chosen), f"{stage}@{corpus}", "clips"):
            result = (
                outcome if isinstance(outcome, ClipError) else read_entry(outcome, cache.layout)
            )
            if result is None:  # another process has deleted or damaged it
                with outcomes(job, [row[column]], workers) as once_more:
                    outcome = next(once_more)
                result = (
                    outcome if isinstance(outcome, ClipError) else read_entry(outcome, cache.layout)
                )
            if result is None:
                raise lost(outcome, row[column])
            if not isinstance(result, ClipError):
                yield row, result
                continue
            skips.append(skip_row(row, stage, result.code, result.detail))
            if too_many(skips, len(chosen), max_skip_fraction):
                write_skips(table, skips)
                raise too_many_error(skips, len(chosen), max_skip_fraction, table)
    write_skips(table, skips)
    delete_oldest(limit)
    warn_of_uneven(f"{stage}@{corpus}", uneven_among(skips, chosen))
