"""Clips of a corpus heard again: the waveforms of those that have a spectrogram, and copies."""

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import closing
from typing import Any

import h5py
import numpy as np

from stages.extraction.extract import each_clip, root_of
from stages.io.arrays import decode_ids, read_settings
from stages.io.files import read_table
from stages.media.audio import clip_waveform, waveform_settings
from stages.media.augmentation import augmentation_heard, copied_waveform
from stages.runtime.errors import ClipError, UserError
from stages.runtime.paths import manifest_path


def waveforms(
    mels: h5py.File,
    corpus: str,
    sample_rate: int,
    workers: str,
    wanted: Collection[str] | None = None,
    augmented: bool = False,
) -> Generator[tuple[str, np.ndarray], None, None]:
    """The id of each clip that has a spectrogram, and its waveform, float32 [samples].

    The caller closes it (contextlib.closing), which ends the child processes at once.

    Args:
        mels: the open data/mels/<corpus>.h5.
        sample_rate: of the waveforms, in Hz.
        workers: as params.yaml has it.
        wanted: the ids of those that are to be heard; None for all.
        augmented: go on with the copies of all clips, as far as the spectrograms have some of which
            more is heard than masks.

    Raises:
        UserError: a clip of which there is a spectrogram cannot be read.
    """
    ids = set(decode_ids(mels["ids"][...]))
    utterances = read_table(manifest_path(corpus), ["id", "audio", "start", "end", "whole"])
    rows = [
        row for row in utterances if row["id"] in ids and (wanted is None or row["id"] in wanted)
    ]
    made_with = read_settings(mels)
    settings = waveform_settings(made_with, sample_rate)
    remedy = "set mels.sample_rate: 16000"
    yield from again(rows, clip_waveform, settings, corpus, "waveforms", workers, remedy)
    if augmented:
        augmentation = augmentation_heard(made_with.get("augmentation", {}))
        yield from each_copy(
            rows, copied_waveform, settings, augmentation, corpus, "waveforms", workers
        )


def each_copy(
    rows: list[dict[str, str]],
    process: Callable[..., Any],
    settings: Mapping[str, Any],
    augmentation: Mapping[str, Any],
    corpus: str,
    stage: str,
    workers: str,
) -> Generator[tuple[str, np.ndarray], None, None]:
    """The id of each clip and an augmented copy of it: the first of all clips, then the next.

    Args:
        process: `copied_waveform` or `copied_mel`.
        augmentation: of `voice_augmentation`; {} for no copies.

    Raises:
        UserError: a clip cannot be read, though it could be before.
    """
    for copy in range(1, augmentation.get("copies", 0) + 1):
        own = {**settings, "augmentation": dict(augmentation), "copy": copy}
        yield from again(rows, process, own, corpus, stage, workers, "set augmentation off")


def again(
    rows: list[dict[str, str]],
    process: Callable[..., Any],
    settings: dict[str, Any],
    corpus: str,
    stage: str,
    workers: str,
    remedy: str,
) -> Generator[tuple[str, np.ndarray], None, None]:
    """The id of each clip of which there is a spectrogram, and what `process` makes of it.

    Args:
        stage: of the cache of clips.
        remedy: what to do where it makes nothing.

    Raises:
        UserError: it makes nothing.
    """
    root = root_of(corpus, rows, "audio")
    with closing(each_clip(rows, "audio", process, settings, root, stage, workers)) as clips:
        for row, result in clips:
            if isinstance(result, ClipError):
                raise UserError(
                    f"{root / row['audio']}: {result.code}: {result.detail}, though there is a "
                    f"spectrogram of it; restore the file, or {remedy}"
                )
            yield row["id"], result["values"]
