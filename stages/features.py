"""Features: what the frozen backbone makes of every face and every spectrogram.

In:  data/frames/<corpus>.h5, data/mels/<corpus>.h5
Out: data/features/<corpus>.h5
       visual_ids [Nv], visual float32 [Nv, 3, D], visual_ok bool [Nv, 3] (frame not missing)
       acoustic_ids [Na], acoustic float32 [Na, D]
Paper: Section 2, X_v and X_a, "visual and acoustic features extracted by the pre-trained
ResNet-34". A spectrogram is shown to it as a grey picture, low frequencies at the bottom.
Run: dvc repro features@<corpus>, or python -m stages.features <corpus>
"""

from collections.abc import Iterator
from itertools import pairwise

import h5py
import numpy as np

from stages.encoders.frozen import freeze
from stages.extraction.clip_cache import delete_oldest, size_limit, warn_if_open_to_others
from stages.io.arrays import decode_ids, open_arrays, write_arrays
from stages.runtime.command import run_stage
from stages.runtime.device import pick_device
from stages.runtime.params import check_random_weights, read_params
from stages.runtime.paths import features_path, frames_path, mels_path
from stages.runtime.progress import track
from stages.runtime.space import features_bytes


def crops(frames: h5py.File) -> Iterator[tuple[str, np.ndarray]]:
    """The id of each clip, and its faces, uint8 [3, S, S, 3]."""
    for i, name in enumerate(decode_ids(frames["ids"][...])):
        yield name, frames["faces"][i]


def spectrograms(mels: h5py.File) -> Iterator[tuple[str, np.ndarray]]:
    """The id of each clip, and its spectrogram, float32 [T, n_mels] in dB."""
    for name, (start, end) in zip(decode_ids(mels["ids"][...]), pairwise(mels["offsets"][...])):
        yield name, mels["values"][start:end]


def main(corpus: str) -> None:
    """Write the features of a corpus."""
    params = read_params()
    settings = params.features.model_dump()
    check_random_weights(corpus, settings["weights"], settings.pop("allow_random_weights"))
    limit = size_limit()
    warn_if_open_to_others()
    label = f"features@{corpus}"
    frozen = freeze(settings, label)
    with (
        open_arrays(frames_path(corpus), "frames") as frames,
        open_arrays(mels_path(corpus), "mels") as mels,
    ):
        n_visual, n_acoustic = len(frames["ids"]), len(mels["ids"])
        out = features_path(corpus)
        expected_bytes = features_bytes(n_acoustic + (frames["ok"].size if n_visual else 0))
        with write_arrays(
            out, "features", settings | {"weights_source": frozen.source}, expected_bytes
        ) as arrays:
            arrays.append("visual_ids", frames["ids"][...])
            arrays.append("acoustic_ids", mels["ids"][...])
            if n_visual:
                arrays.append("visual_ok", frames["ok"][...])
            visual = frozen.faces(crops(frames))
            for rows in track(visual, n_visual, f"{label} visual", "clips"):
                arrays.append("visual", rows[None])
            acoustic = frozen.voices(spectrograms(mels))
            for rows in track(acoustic, n_acoustic, f"{label} acoustic", "clips"):
                arrays.append("acoustic", rows)
    delete_oldest(limit)
    print(
        f"{label}: {n_visual} visual and {n_acoustic} acoustic samples through "
        f"{settings['backbone']}, {frozen.source}, on {pick_device()}"
    )


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
