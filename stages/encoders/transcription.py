"""What is said in a clip, as Whisper tiny.en hears it: English alone.

The weights are those of `whisper`, run by CTranslate2, which wrote them. The library takes fewer
lines than a decoder of our own would, and decodes by beams as OpenAI's program does. Where that one
finds no speech (its thresholds are NO_SPEECH and UNSURE), nothing was said.

Paper: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision".
"""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from importlib.metadata import version

import joblib
import numpy as np
import torch
from librosa import filters

from stages.encoders.encode import Arrays, alone, encode
from stages.encoders.speech import SAMPLE_RATE
from stages.encoders.whisper import HOP, LONGEST, N_FFT, N_MELS, WEIGHTS, log_mel
from stages.extraction.clip_cache import clip_cache
from stages.runtime.errors import UserError, one_line

PACKAGES = "ctranslate2==4.8.5 tokenizers==0.23.3"
SAMPLES = LONGEST * HOP  # 30 s, which Whisper was trained on: a shorter clip is padded with zeros
PROMPT = ["<|startoftranscript|>", "<|notimestamps|>"]
NO_SPEECH, UNSURE = 0.6, -1.0  # above the one probability, and below the other mean log-probability
BEAMS = 5


def load() -> Callable[[np.ndarray], str]:
    """What is said in a clip, float32 [samples] at 16 kHz; "" where nothing is.

    A clip of more than 30 s is heard in parts of equal lengths; a word may be lost between two.

    Raises:
        UserError: a package is not installed, or has other weights.
    """
    require_packages()
    try:
        folder = WEIGHTS.path().parent
    except UserError as error:
        raise UserError(f"params.yaml: text: asr: {error}") from error
    ctranslate2, tokenizers = map(import_module, ("ctranslate2", "tokenizers"))
    model = ctranslate2.models.Whisper(
        str(folder), compute_type="float32", inter_threads=joblib.cpu_count(), intra_threads=1
    )
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    to_mel = torch.from_numpy(filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS))

    def part_text(wave: np.ndarray) -> str:
        padded = np.pad(wave, (0, SAMPLES - len(wave)))
        mel = log_mel(torch.from_numpy(padded), to_mel)[None].contiguous().numpy()
        (heard,) = model.generate(
            ctranslate2.StorageView.from_array(mel),
            [PROMPT],
            beam_size=BEAMS,
            return_scores=True,
            return_no_speech_prob=True,
        )
        silent = heard.no_speech_prob > NO_SPEECH and heard.scores[0] < UNSURE
        return "" if silent else tokenizer.decode(heard.sequences_ids[0])

    def text(wave: np.ndarray) -> str:
        parts = np.array_split(wave, -(-len(wave) // SAMPLES))
        return " ".join(" ".join(map(part_text, parts)).split())

    return text


def require_packages() -> None:
    """Raise UserError where what hears a text is not installed."""
    try:
        for package in ("ctranslate2", "tokenizers"):
            import_module(package)
    except (ImportError, OSError) as error:  # OSError: its library is not for this machine
        raise UserError(
            f"params.yaml: text: asr needs CTranslate2 ({one_line(error)[:200]}); "
            f"pip install {PACKAGES}"
        ) from error


def transcribe(clips: Iterable[tuple[str, np.ndarray]]) -> Iterator[str]:
    """Yield what is said in each clip, in their order.

    Args:
        clips: the id of each, and its waveform, float32 [samples] at 16 kHz.

    Raises:
        UserError: as of `load`.
    """
    listen = load()

    def embed(wave: np.ndarray) -> list[Arrays]:
        return [{"values": np.frombuffer(listen(wave).encode(), np.uint8)}]

    made_with = {"weights": WEIGHTS.sha256, "ctranslate2": version("ctranslate2")}
    cache = clip_cache("transcripts", load, made_with, {"values": ("uint8", (None,))})
    for found in encode(clips, alone, embed, cache, "cpu", 1):
        yield found["values"].tobytes().decode()
