"""Where clips are worked on: on the cores of this machine, or by the workers of a Dask cluster.

What is made of a clip goes into the cache of clips and not from process to process, so that neither
the memory of a stage nor its outputs depend on where clips are worked on, and a worker that is lost
costs the clips that it had in hand. All workers of a cluster must see the corpus and the cache
under the same paths, and have the same code and libraries.
"""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import joblib

from stages.extraction.clip_cache import ClipCache, code_and_libraries, read_entry
from stages.extraction.guard import call_in_thread, guards
from stages.runtime.errors import ClipError, UserError, one_line

LOCAL = "local"
PATIENCE = 10.0  # seconds for a scheduler to answer

Call = Callable[..., Any]
Outcome = Path | ClipError


class Job(NamedTuple):
    """What is to be made of each clip of a corpus.

    Attributes:
        root: of the corpus, without links in its path.
        process: name of a function, "module:function".
        settings: its arguments beside the clip.
        code: `code_and_libraries` of who wants it.
    """

    root: Path
    cache: ClipCache
    process: str
    settings: dict[str, Any]
    code: str


@contextlib.contextmanager
def outcomes(job: Job, clips: list[str], workers: str) -> Iterator[Iterator[Outcome]]:
    """Give the outcome of every clip, in their order: its entry in the cache, or why there is none.

    At the end no child process is left and no clip is waiting.

    Args:
        clips: relative to `job.root`.
        workers: "local", or the address of a Dask scheduler.

    Raises:
        UserError: there is no such scheduler, it has no worker, or one that cannot be used.
    """
    where = _here(job, clips) if workers == LOCAL else _on_cluster(job, clips, workers)
    with where as found:
        yield found


def attempt(job: Job, call: Call, clip: str) -> Outcome:
    """Make of a clip what is to be made, unless it is in the cache, and keep it there.

    Args:
        call: as `Guard.call`.
    """
    path = job.root / clip
    entry = job.cache.entry(path)
    if entry is not None and read_entry(entry) is not None:
        return entry
    work = {"entry": entry, "process": job.process, "settings": job.settings}
    try:
        call("stages.extraction.clip_cache:keep", path, work)
    except ClipError as error:  # not of its content, which is kept
        return error
    return entry


def attempt_elsewhere(job: Job, clip: str) -> Outcome:
    """`attempt` by a worker of a cluster.

    Raises:
        UserError: the worker does not see the corpus, or would make something else of its clips.
    """
    import distributed

    worker = distributed.get_worker().address
    if not job.root.is_dir():
        raise UserError(f"{job.root}: worker {worker} does not see it; put it on shared storage")
    if code_and_libraries() != job.code:
        raise UserError(
            f"params.yaml: workers: {worker} has other code or other libraries than this machine; "
            "start it in the same version of the project, with the same requirements.txt"
        )
    return attempt(job, call_in_thread, clip)


@contextlib.contextmanager
def _here(job: Job, clips: list[str]) -> Iterator[Iterator[Outcome]]:
    """One thread for each core, which only waits for its child process."""
    cores = joblib.cpu_count()
    # The children end first, so that no thread waits for one.
    with (
        contextlib.ExitStack() as last,
        guards(cores) as call,
        joblib.parallel_config("threading", n_jobs=cores),
    ):
        yield last.enter_context(_in_order(partial(attempt, job, call), clips))


@contextlib.contextmanager
def _on_cluster(job: Job, clips: list[str], address: str) -> Iterator[Iterator[Outcome]]:
    import distributed  # takes a second, and few use it

    try:
        client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"params.yaml: workers: no Dask scheduler answers at {address} ({one_line(error)}); "
            "start one by `dask scheduler`, or set workers: local"
        ) from error
    with client:
        threads = sum(client.ncores().values())
        if threads < 2:  # joblib would work here instead
            raise UserError(
                f"params.yaml: workers: the workers of the scheduler at {address} have {threads} "
                f"threads; start more by `dask worker {address}`, with PYTHONPATH naming the root "
                "of the project, or set workers: local"
            )
        with (
            joblib.parallel_config("dask", client=client),
            _in_order(partial(attempt_elsewhere, job), clips) as found,
        ):
            yield found


@contextlib.contextmanager
def _in_order(work: Callable[[str], Outcome], clips: list[str]) -> Iterator[Iterator[Outcome]]:
    found = joblib.Parallel(return_as="generator")(joblib.delayed(work)(clip) for clip in clips)
    try:
        yield found
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that what was not asked for is lost
            found.close()
