"""Where clips are worked on: on the cores of this machine, or by the workers of a Dask cluster.

What is made of a clip goes into the cache of clips and not from process to process, so that neither
the memory of a stage nor its outputs depend on where clips are worked on, and a worker that is lost
costs the clips that it had in hand. All workers of a cluster must see the corpus and the cache
under the same paths, and have the same code and libraries.
"""

import contextlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import joblib

from stages.extraction.clip_cache import ClipCache, code_and_libraries, is_kept, keep
from stages.extraction.guard import call_in_child, guarded_threads
from stages.runtime.errors import ClipError, UserError, one_line
from stages.runtime.progress import track

LOCAL = "local"
PATIENCE = 10.0  # seconds for a scheduler to answer

Outcome = Path | ClipError
Part = dict[str, Any]


class Job(NamedTuple):
    """What is to be made of each clip of a corpus.

    Attributes:
        root: of the corpus, without links in its path.
        function: of a clip and the settings.
        code: `code_and_libraries` of who wants it.
    """

    root: Path
    cache: ClipCache
    function: Callable[..., Any]
    settings: dict[str, Any]
    code: str


@contextlib.contextmanager
def outcomes(
    job: Job, clips: Sequence[str], workers: str, parts: Sequence[Part] | None = None
) -> Iterator[Iterator[Outcome]]:
    """Give the outcome of every clip, in their order: its entry in the cache, or why there is none.

    At the end no child process is left and no clip is waiting.

    Args:
        clips: relative to `job.root`.
        workers: "local", or the address of a Dask scheduler.
        parts: what of each clip is used (`stages.corpora.span.used_part`); None for all of all.

    Raises:
        UserError: there is no such scheduler, it has no worker, or one that cannot be used.
    """
    work = partial(attempt, job)
    parts = parts or [{}] * len(clips)
    if workers == LOCAL:
        with guarded_threads(joblib.cpu_count()) as threads:
            yield threads.map(work, clips, parts)
        return

    import distributed  # takes a second, and few use it

    try:
        client = distributed.Client(workers, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"params.yaml: workers: no Dask scheduler answers at {workers} ({one_line(error)}); "
            "start one by `dask scheduler`, or set workers: local"
        ) from error
    with client:
        if not client.ncores():
            raise UserError(
                f"params.yaml: workers: the scheduler at {workers} has no workers; start some by "
                f"`dask worker {workers}`, with PYTHONPATH naming the root of the project, or set "
                "workers: local"
            )
        yield (future.result() for future in client.map(work, clips, parts, pure=False))


def of_each(
    function: Callable[..., Any], clips: Sequence[tuple[Path, Mapping[str, Any]]], label: str
) -> list[Any]:
    """What `function` makes of each clip with its settings, in child processes.

    A ClipError or a UserError that it raises stands in the place of the result.
    """

    def result(clip: tuple[Path, Mapping[str, Any]]) -> Any:
        try:
            return call_in_child(function, *clip)
        except (ClipError, UserError) as error:
            return error

    with guarded_threads(joblib.cpu_count()) as threads:
        return list(track(threads.map(result, clips), len(clips), label, "clips"))


def attempt(job: Job, clip: str, part: Part) -> Outcome:
    """Make of a clip, or a part of it, what is to be made, unless the cache has it; keep it there.

    Raises:
        UserError: this machine does not see the corpus, or would make something else of its clips.
    """
    if not job.root.is_dir():
        raise UserError(
            f"{job.root}: worker {platform.node()} does not see it; put it on shared storage"
        )
    if code_and_libraries() != job.code:
        raise UserError(
            f"params.yaml: workers: {platform.node()} has other code or other libraries than this "
            "machine; start it in the same version of the project, with the same requirements.txt"
        )
    path = job.root / clip
    try:
        entry = job.cache.entry(path, part)
    except OSError as error:
        return ClipError("unreadable", f"cannot be opened: {error.strerror}")
    if is_kept(entry, job.cache.layout):
        return entry
    work = {
        "entry": entry,
        "layout": job.cache.layout,
        "function": job.function,
        "settings": job.settings | part,
    }
    try:
        call_in_child(keep, path, work)
    except ClipError as error:  # of the child; what the function says of a clip is kept
        return error
    return entry
