"""Speech encoders: how much audio a core encodes in a second of its time, and in what memory."""

import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import torch

from stages.encoders import whisper
from stages.encoders.by_name import FORMULAS
from stages.encoders.speech import SAMPLE_RATE, SpeechEncoder, load
from stages.runtime.errors import UserError

REAL = (whisper.NAME, *FORMULAS)
NAMES = ("HUBERT_BASE", "WAVLM_BASE_PLUS", "HUBERT_LARGE", "WAVLM_LARGE", *REAL)
SECONDS = 4  # of a clip
SETTINGS = {"layer": "last", "pool": "mean"}


def table(repeats: int, names: Sequence[str] = NAMES) -> Iterator[str]:
    """A row an encoder, each measured in a process of its own."""
    yield f"| speech encoder, one clip of {SECONDS} s | seconds of audio a second | range | MB |"
    yield "|---|---|---|---|"
    for name in names:
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            yield f"| {name} | {process.submit(measured, name, repeats).result()} |"


def measured(name: str, repeats: int) -> str:
    """The cells of a row: median rate, its range, and the most memory that the process had.

    The time is that of the CPU, as what else runs would count otherwise.
    """
    torch.set_num_threads(1)
    try:
        encoder = load(name, SETTINGS, "cpu") if name in REAL else random_weights(name)
    except UserError as error:
        return f"not here: {error} | | "
    wave = np.random.default_rng(0).normal(0, 0.1, SECONDS * SAMPLE_RATE).astype(np.float32)
    encoder(wave)
    rates = []
    for _ in range(repeats):
        start = time.process_time()
        encoder(wave)
        rates.append(SECONDS / (time.process_time() - start))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    middle, low, high = statistics.median(rates), min(rates), max(rates)
    return f"{middle:.2g} | [{low:.2g}, {high:.2g}] | {memory:.0f}"


def random_weights(name: str) -> SpeechEncoder:
    """A network of torchaudio in its size; no time depends on what its weights are."""
    from torchaudio import pipelines
    from torchaudio.models import wav2vec2_model, wavlm_model

    from stages.encoders.wav2vec2 import encoder_of

    bundle = getattr(pipelines, name)
    make = wavlm_model if name.startswith("WAVLM") else wav2vec2_model
    return encoder_of(make(**bundle._params), name, "random", SETTINGS, "cpu")
