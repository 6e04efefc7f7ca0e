"""What the stages frames and mels share: every clip of a corpus through one function.

Clips are worked on by a process a core, and come back in the order of the manifest, so that a
stage's output does not depend on how many cores there are.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import joblib

from stages.failures import ClipError
from stages.progress import track
from stages.skips import refuse, skip_row, table_path, too_many, write_skips

MANIFESTS = Path("data/manifest")


def extract(
    utterances: list[dict[str, str]],
    column: str,
    process: Callable[..., Any],
    settings: dict[str, Any],
    corpus: str,
    stage: str,
    max_skip_fraction: float,
) -> Iterator[tuple[dict[str, str], Any]]:
    """Yield (utterance, process(path, **settings)) for every utterance whose clip can be used.

    Args:
        utterances: rows of the manifest; those without a path in `column` are passed over.
        column: "video" or "audio".
        process: raises ClipError for a clip that cannot be used; must be importable.

    Writes the stage's skip table at the end, or when too many clips have failed.

    Raises:
        UserError: more than `max_skip_fraction` of the clips failed.
    """
    chosen = [row for row in utterances if row[column]]
    root = Path("data/raw").resolve() / corpus
    tasks = (joblib.delayed(_attempt)(process, root / row[column], settings) for row in chosen)
    parallel = joblib.Parallel(joblib.cpu_count(), return_as="generator", pre_dispatch="4*n_jobs")
    skips: list[dict[str, str]] = []
    table = table_path(corpus, stage)
    # The results first, so that zip exhausts them and joblib sees its work taken.
    results = track(zip(parallel(tasks), chosen), len(chosen), f"{stage}@{corpus}", "clips")
    for result, row in results:
        if not isinstance(result, ClipError):
            yield row, result
            continue
        skips.append(skip_row(row, stage, result.code, result.detail))
        if too_many(skips, len(chosen), max_skip_fraction):
            write_skips(table, skips)
            warnings.filterwarnings("ignore", "[0-9]+ tasks which were still being processed")
            raise refuse(skips, len(chosen), max_skip_fraction, table)
    write_skips(table, skips)


def _attempt(process: Callable[..., Any], path: Path, settings: dict[str, Any]) -> Any:
    """Run in a worker: the result, or the ClipError as a value (an exception would end the run)."""
    try:
        return process(path, **settings)
    except ClipError as error:
        return error
