"""The waveforms of a corpus, for what hears a clip itself and not its spectrogram."""

from collections.abc import Collection, Generator
from contextlib import closing

import h5py
import numpy as np

from stages.extraction.extract import each_clip, root_of
from stages.io.arrays import decode_ids, read_settings
from stages.io.files import read_table
from stages.media.audio import clip_waveform, waveform_settings
from stages.runtime.errors import ClipError, UserError
from stages.runtime.paths import manifest_path


def waveforms(
    mels: h5py.File,
    corpus: str,
    sample_rate: int,
    workers: str,
    wanted: Collection[str] | None = None,
) -> Generator[tuple[str, np.ndarray], None, None]:
    """The id of each clip that has a spectrogram, and its waveform, float32 [samples].

    The caller closes it (contextlib.closing), which ends the child processes at once.

    Args:
        mels: the open data/mels/<corpus>.h5.
        sample_rate: of the waveforms, in Hz.
        workers: as params.yaml has it.
        wanted: the ids of those that are to be heard; None for all.

    Raises:
        UserError: a clip of which there is a spectrogram cannot be read.
    """
    ids = set(decode_ids(mels["ids"][...]))
    utterances = read_table(manifest_path(corpus), ["id", "audio", "start", "end", "whole"])
    rows = [
        row for row in utterances if row["id"] in ids and (wanted is None or row["id"] in wanted)
    ]
    settings = waveform_settings(read_settings(mels), sample_rate)
    root = root_of(corpus, rows, "audio")
    stage = "waveforms"  # of the cache of clips
    with closing(each_clip(rows, "audio", clip_waveform, settings, root, stage, workers)) as clips:
        for row, result in clips:
            if isinstance(result, ClipError):
                raise UserError(
                    f"{root / row['audio']}: {result.code}: {result.detail}, though there is a "
                    "spectrogram of it; restore the file, or set mels.sample_rate: 16000"
                )
            yield row["id"], result["values"]
