"""Many clips through a frozen encoder of pictures: in batches of one size, and kept by clip.

What a network gives for a picture can differ in its last bits with the size of the batch, for which
libraries choose other kernels (seen on a CPU for batches of one to three pictures), and did not
differ with its place in a batch, or with the others in it, for any network tried. So every batch
has the same size, the last is filled up, and the features of a clip depend on nothing else.
"""

import ctypes
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import joblib
import numpy as np
import torch
from threadpoolctl import threadpool_limits

from stages.extraction.clip_cache import ClipCache, is_kept, lost, read_entry, write_entry

CLIPS = {"cpu": 4, "cuda": 128}  # in one pass through the network
T = TypeVar("T")
Arrays = Mapping[
    str, np.ndarray
]  # of one clip: "values", pooled, and "sequence" where there is one
X = TypeVar("X")


class Group(NamedTuple):
    """Clips that follow one another, of which no more are to be encoded than fit into a batch.

    Attributes:
        entries: in the cache, of all of them, each with the id of its clip.
        missing: the entries that are not there, each with the array of its clip.
    """

    entries: list[tuple[Path, str]]
    missing: list[tuple[Path, np.ndarray]]


def encode(
    clips: Iterable[tuple[str, np.ndarray]],
    to_images: Callable[[Sequence[np.ndarray]], X],
    embed: Callable[[X], Sequence[Arrays]],
    cache: ClipCache,
    device: str,
    size: int,
) -> Iterator[Arrays]:
    """Yield the features of each clip in their order.

    Args:
        clips: the id of each, and an array, of which `to_images` makes pictures [N, 3, 224, 224],
            as many for every clip; or, for an encoder of something else, what `embed` takes.
        embed: of these, the features of each clip in turn.
        cache: of them.
        size: clips in a batch.

    Raises:
        UserError: the cache cannot be written, or is emptied meanwhile.
    """

    def prepare(group: Group) -> tuple[Group, X | None]:
        arrays = [array for _, array in group.missing]
        filled_up = arrays + arrays[-1:] * (size - len(arrays))
        return group, to_images(filled_up) if arrays else None

    def work(prepared: tuple[Group, X | None]) -> tuple[Group, Sequence[Arrays]]:
        group, images = prepared
        return group, () if images is None else embed(images)

    def keep(worked: tuple[Group, Sequence[Arrays]]) -> Group:
        group, features = worked
        for (entry, _), arrays in zip(group.missing, features):
            write_entry(entry, dict(arrays), cache.layout)
        return group

    groups = grouped(clips, cache, size)
    if device == "cpu":
        done = side_by_side(lambda group: keep(work(prepare(group))), groups)
    else:  # is quicker than a core that prepares pictures and keeps features
        done = map(keep, ahead(map(work, ahead(map(prepare, groups)))))
    for group in done:
        for entry, clip in group.entries:
            kept = read_entry(entry, cache.layout)
            if not isinstance(kept, dict):
                raise lost(entry, clip)
            yield kept


def alone(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """The array of one clip, of an encoder that takes one at a time."""
    (array,) = arrays
    return array


def grouped(
    clips: Iterable[tuple[str, np.ndarray]], cache: ClipCache, size: int
) -> Iterator[Group]:
    """All clips, in groups of which `size` clips, in the last one fewer, are not in the cache."""
    group = Group([], [])
    for clip, array in clips:
        entry = cache.entry_of(array)
        group.entries.append((entry, clip))
        if not is_kept(entry, cache.layout):
            group.missing.append((entry, array))
        if len(group.missing) == size:
            yield group
            group = Group([], [])
    if group.entries:
        yield group


def side_by_side(function: Callable[[T], T], items: Iterator[T]) -> Iterator[T]:
    """What `function` gives for each item; a thread on every core works on one.

    Several threads to one batch would add up in another order, and give other last bits, for each
    number of threads.
    """
    torch.set_num_threads(1)
    threadpool_limits(1)
    # Blocks of 4 MB and more go back to the system at once (glibc's M_MMAP_THRESHOLD, which else
    # grows): kept in the heaps of several threads they would fall apart, and memory would grow.
    ctypes.CDLL(None).mallopt(-3, 4 << 20)
    cores = joblib.cpu_count()
    with ThreadPoolExecutor(cores) as threads:
        # All begin together, so that the first round needs as much memory as any.
        while together := list(islice(items, cores)):
            yield from threads.map(function, together)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items; a thread prepares the next two while another works on one."""
    with ThreadPoolExecutor(1) as thread:
        prepared = deque(thread.submit(next, items, None) for _ in range(2))
        while (item := prepared.popleft().result()) is not None:
            prepared.append(thread.submit(next, items, None))
            yield item
