"""Mels: the log-Mel spectrogram of every utterance.

In:  data/manifest/<corpus>.csv, data/raw/<corpus>/
Out: data/mels/<corpus>.h5
       ids [N], values float32 [sum T, n_mels] in dB, offsets int64 [N + 1]: the spectrogram of
       ids[i] is values[offsets[i]:offsets[i + 1]], one row every hop_length samples; where
       params.yaml's augmentation has voices copied, those of copy k of ids[i] follow as number
       k N + i, so that offsets have (K + 1) N + 1
     data/skipped/<corpus>.mels.csv
Paper: Section 3.2, "we extract the Mel spectrograms as the features of the acoustic signals";
it gives none of the settings, so params.yaml does.
Run: dvc repro mels@<corpus>, or python -m stages.mels <corpus>
"""

from contextlib import closing

import numpy as np

from stages.extraction.extract import extract
from stages.extraction.waveforms import each_copy
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import read_table
from stages.media.augmentation import copied_mel, voice_augmentation
from stages.media.spectrogram import clip_mel
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import manifest_path, mels_path
from stages.runtime.progress import track
from stages.runtime.space import mels_bytes


def main(corpus: str) -> None:
    """Write the spectrograms of a corpus."""
    params = read_params()
    limit, workers = params.max_skip_fraction, params.workers
    settings = params.mels.model_dump()
    augmentation = voice_augmentation(params.augmentation.model_dump())
    copies = augmentation.get("copies", 0)
    columns = ["id", "emotion", "audio", "start", "end", "whole", "duration"]
    utterances = read_table(manifest_path(corpus), columns)
    results = extract(utterances, "audio", clip_mel, settings, corpus, "mels", limit, workers)
    seconds = sum(float(row["duration"] or 0) for row in utterances)
    used: list[dict[str, str]] = []
    offsets = [0]
    expected_bytes = (1 + copies) * mels_bytes(len(utterances), seconds, settings)
    made_with = settings | ({"augmentation": augmentation} if augmentation else {})
    file = write_arrays(mels_path(corpus), "mels", made_with, expected_bytes)
    with closing(results) as clips, file as arrays:
        for row, mel in clips:
            used.append(row)
            offsets.append(offsets[-1] + len(mel["values"]))
            arrays.append("values", mel["values"])
        heard = offsets[-1]
        if copies:
            more = each_copy(used, copied_mel, settings, augmentation, corpus, "mels", workers)
            with closing(more) as again:
                total = copies * len(used)
                for _, values in track(again, total, f"mels@{corpus}", "augmented copies"):
                    offsets.append(offsets[-1] + len(values))
                    arrays.append("values", values)
        arrays.append("ids", encode_ids([row["id"] for row in used]))
        arrays.append("offsets", np.array(offsets, np.int64))
    rate = settings["sample_rate"] / settings["hop_length"]
    more_said = f", and {copies} augmented copies of each" if copies else ""
    print(f"mels@{corpus}: {len(used)} spectrograms, {heard / rate:.0f} s of speech{more_said}")


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
