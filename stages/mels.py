"""Mels: the log-Mel spectrogram of every voice.

In:  data/manifest/<corpus>.csv, data/raw/<corpus>/
Out: data/mels/<corpus>.h5
       ids [N], values float32 [sum T, n_mels] in dB, offsets int64 [N + 1]: the spectrogram of
       ids[i] is values[offsets[i]:offsets[i + 1]], one row every hop_length samples
     data/skipped/<corpus>.mels.csv
Paper: Section 3.2, "we extract the Mel spectrograms as the features of the acoustic signals";
it gives none of the settings, so params.yaml does.
"""

from contextlib import closing
from pathlib import Path
from pkgutil import resolve_name
from typing import NamedTuple

import librosa
import numpy as np

from stages.extraction.extract import MANIFESTS, extract
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import read_table
from stages.media.audio import check_speech, read_audio
from stages.runtime.command import run_on_corpus
from stages.runtime.params import load, section
from stages.runtime.space import mels_bytes


def log_mel(
    wave: np.ndarray,
    *,
    sample_rate: int,
    n_fft: int,
    win_length: int,
    hop_length: int,
    n_mels: int,
    fmin: float,
    fmax: float,
    ref: float,
    amin: float,
) -> np.ndarray:
    """Log-Mel spectrogram in dB against the fixed reference `ref`, float32 [T, n_mels].

    A fixed reference, and no `top_db`, keeps loudness comparable between clips and silence low.

    Args:
        wave: float32 [samples] in [-1, 1]; padded with zeros up to one window.
    """
    wave = np.pad(wave, (0, max(0, n_fft - len(wave))))
    mel = librosa.feature.melspectrogram(
        y=wave,
        sr=sample_rate,
        n_fft=n_fft,
        win_length=win_length,
        hop_length=hop_length,
        n_mels=n_mels,
        fmin=fmin,
        fmax=fmax,
        power=2.0,
    )
    return librosa.power_to_db(mel, ref=ref, amin=amin, top_db=None).T.astype(np.float32)


class Mel(NamedTuple):
    """The log-Mel spectrogram of one clip, float32 [T, n_mels] in dB."""

    values: np.ndarray


def clip_mel(
    path: Path,
    surround: str,
    min_seconds: float,
    max_seconds: float,
    sample_rate: int,
    **settings: float,
) -> Mel:
    """Read the voice of a clip, at most `max_seconds` of it, as a log-Mel spectrogram.

    Raises:
        ClipError: the clip cannot be decoded or holds no speech.
    """
    wave = read_audio(path, sample_rate, surround=surround)[: int(max_seconds * sample_rate)]
    check_speech(wave, sample_rate, min_seconds)
    return Mel(log_mel(wave, sample_rate=sample_rate, **settings))


def main(corpus: str) -> None:
    params = load("max_skip_fraction", "workers")
    settings = section("mels")
    utterances = read_table(MANIFESTS / f"{corpus}.csv", ["id", "emotion", "audio", "duration"])
    # librosa compiles parts of itself when first used and keeps them beside its files; workers that
    # did so at the same time were seen to damage what is kept.
    librosa.feature.melspectrogram(y=np.zeros(2048, np.float32))
    process = resolve_name("stages.mels:clip_mel")
    results = extract(utterances, "audio", process, settings, corpus, "mels", **params)
    seconds = sum(float(row["duration"] or 0) for row in utterances)
    ids: list[str] = []
    offsets = [0]
    out = Path(f"data/mels/{corpus}.h5")
    expected_bytes = mels_bytes(len(utterances), seconds, settings)
    with closing(results) as clips, write_arrays(out, "mels", settings, expected_bytes) as arrays:
        for row, mel in clips:
            ids.append(row["id"])
            offsets.append(offsets[-1] + len(mel["values"]))
            arrays.append("values", mel["values"])
        arrays.append("ids", encode_ids(ids))
        arrays.append("offsets", np.array(offsets, np.int64))
    rate = settings["sample_rate"] / settings["hop_length"]
    print(f"mels@{corpus}: {len(ids)} spectrograms, {offsets[-1] / rate:.0f} s of speech")


if __name__ == "__main__":
    run_on_corpus(main, __doc__)
