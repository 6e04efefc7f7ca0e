"""Acoustic features: what the frozen encoder makes of every voice.

In:  data/mels/<corpus>.h5, and for an encoder of speech data/manifest/<corpus>.csv,
     data/raw/<corpus>/
Out: data/features/acoustic/<corpus>.h5
       ids [N], pooled float32 [N, D]; with encoders.acoustic.sequences also values float16
       [sum of T, D'], the sequences of all clips in a row, and offsets int64 [N + 1] of each;
       those of augmented copies follow as in data/mels, pooled [(K + 1) N, D]
Paper: Section 2, X_a, "visual and acoustic features extracted by the pre-trained ResNet-34". A
spectrogram is shown to it as a grey picture, low frequencies at the bottom. Which clips have
features is the same for every encoder, those that have a spectrogram, so that two can be compared.
Run: dvc repro acoustic_features@<corpus>, or python -m stages.acoustic_features <corpus>
"""

from collections.abc import Generator
from contextlib import closing
from itertools import cycle, pairwise

import h5py
import numpy as np

from stages.encoders.frozen import freeze_acoustic
from stages.encoders.speech import SAMPLE_RATE
from stages.extraction.clip_cache import delete_oldest, size_limit, warn_if_open_to_others
from stages.extraction.waveforms import waveforms
from stages.io.arrays import decode_ids, open_arrays, read_settings, write_arrays
from stages.media.augmentation import augmentation_heard
from stages.runtime.command import run_stage
from stages.runtime.params import check_random_weights, read_params
from stages.runtime.paths import features_path, mels_path
from stages.runtime.progress import track
from stages.runtime.space import features_bytes


def spectrograms(mels: h5py.File) -> Generator[tuple[str, np.ndarray], None, None]:
    """The id of each clip, then of each copy, and its spectrogram, float32 [T, n_mels] in dB."""
    ids = cycle(decode_ids(mels["ids"][...]))
    for (start, end), name in zip(pairwise(mels["offsets"][...]), ids):
        yield name, mels["values"][start:end]


def main(corpus: str) -> None:
    """Write the acoustic features of a corpus."""
    params = read_params()
    settings, insist = params.encoders.acoustic.model_dump(), params.encoders.allow_random_weights
    workers, limit = params.workers, size_limit()
    warn_if_open_to_others()
    label = f"acoustic_features@{corpus}"
    with open_arrays(mels_path(corpus), "mels") as mels:
        ids = mels["ids"][...]
        if len(ids):
            check_random_weights(corpus, "encoders.acoustic.weights", settings["weights"], insist)
        encoder = freeze_acoustic(settings, label)
        augmentation = read_settings(mels).get("augmentation", {})
        if augmentation and encoder.waveform and not augmentation_heard(augmentation):
            print(f"{label}: no copies: {settings['name']} hears waveforms, which have no masks")
            augmentation = {}
        copies = augmentation.get("copies", 0)
        total = (1 + copies) * len(ids)
        out, expected_bytes = features_path("acoustic", corpus), features_bytes(total)
        made_with = settings | {"weights_source": encoder.source}
        end = 0
        with write_arrays(out, "acoustic features", made_with, expected_bytes) as arrays:
            arrays.append("ids", ids)
            if settings["sequences"]:
                arrays.append("offsets", np.array([0]))
            clips = (
                waveforms(mels, corpus, SAMPLE_RATE, workers, augmented=True)
                if encoder.waveform
                else spectrograms(mels)
            )
            with closing(clips):
                for found in track(encoder.encode(clips), total, label, "clips"):
                    arrays.append("pooled", found["values"])
                    if settings["sequences"]:
                        end += len(found["sequence"])
                        arrays.append("values", found["sequence"])
                        arrays.append("offsets", np.array([end]))
    delete_oldest(limit)
    clips_said = f"{len(ids)} clips" + (f" and {copies} augmented copies of each" if copies else "")
    print(f"{label}: the voices of {clips_said} through {settings['name']}, {encoder.source}")


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
