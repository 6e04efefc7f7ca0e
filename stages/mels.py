"""Mels: the log-Mel spectrogram of every utterance.

In:  data/manifest/<corpus>.csv, data/raw/<corpus>/
Out: data/mels/<corpus>.h5
       ids [N], values float32 [sum T, n_mels] in dB, offsets int64 [N + 1]: the spectrogram of
       ids[i] is values[offsets[i]:offsets[i + 1]], one row every hop_length samples
     data/skipped/<corpus>.mels.csv
Paper: Section 3.2, "we extract the Mel spectrograms as the features of the acoustic signals";
it gives none of the settings, so params.yaml does.
Run: dvc repro mels@<corpus>, or python -m stages.mels <corpus>
"""

from contextlib import closing

import numpy as np

from stages.extraction.extract import extract
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import read_table
from stages.media.spectrogram import clip_mel
from stages.runtime.command import run_stage
from stages.runtime.params import read_params
from stages.runtime.paths import manifest_path, mels_path
from stages.runtime.space import mels_bytes


def main(corpus: str) -> None:
    """Write the spectrograms of a corpus."""
    params = read_params()
    limit, workers = params.max_skip_fraction, params.workers
    settings = params.mels.model_dump()
    columns = ["id", "emotion", "audio", "start", "end", "whole", "duration"]
    utterances = read_table(manifest_path(corpus), columns)
    results = extract(utterances, "audio", clip_mel, settings, corpus, "mels", limit, workers)
    seconds = sum(float(row["duration"] or 0) for row in utterances)
    ids: list[str] = []
    offsets = [0]
    expected_bytes = mels_bytes(len(utterances), seconds, settings)
    file = write_arrays(mels_path(corpus), "mels", settings, expected_bytes)
    with closing(results) as clips, file as arrays:
        for row, mel in clips:
            ids.append(row["id"])
            offsets.append(offsets[-1] + len(mel["values"]))
            arrays.append("values", mel["values"])
        arrays.append("ids", encode_ids(ids))
        arrays.append("offsets", np.array(offsets, np.int64))
    rate = settings["sample_rate"] / settings["hop_length"]
    print(f"mels@{corpus}: {len(ids)} spectrograms, {offsets[-1] / rate:.0f} s of speech")


if __name__ == "__main__":
    run_stage(main, __doc__, on_corpus=True)
