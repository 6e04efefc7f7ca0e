"""How long the encoders take on this machine for what they have not encoded yet.

Their features are kept by clip, so that only what is not in the cache counts.
"""

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np

from stages.commands.check.clips import Clips
from stages.commands.check.decoding import Decoded
from stages.commands.check.findings import OK, Finding
from stages.commands.check.pretrained import at_hand
from stages.corpora.span import used_part
from stages.encoders.face_copies import face_copies
from stages.encoders.frozen import Frozen, freeze_acoustic, freeze_linguistic, freeze_visual
from stages.encoders.speech import SAMPLE_RATE
from stages.extraction.clip_cache import ClipCache, clip_cache, is_kept, read_entry
from stages.media.audio import clip_waveform, waveform_settings
from stages.media.augmentation import augmentation_heard, voice_augmentation
from stages.media.crops import CROPS, clip_faces
from stages.media.faces import pick_detection_device
from stages.media.spectrogram import clip_mel
from stages.preflight.pretrained_files import encoder_weights, text_weights
from stages.runtime.device import name_of, pick_device
from stages.runtime.errors import UserError
from stages.runtime.paths import RAW

Params = Mapping[str, Any]


class Work(NamedTuple):
    """What an encoder has to do.

    Attributes:
        left: how many clips are not in its cache.
        copies: how many augmented copies there are to be; it is not known which are in its cache.
        of: what they are.
        like: a clip of random numbers that takes as long as the median one.
        measure: how long that is, in words.
    """

    encoder: Frozen
    left: int
    copies: int
    of: str
    like: Callable[[np.random.Generator], np.ndarray]
    measure: str


def encoding_findings(
    corpus: str,
    clips: Clips,
    decoded: Mapping[str, Decoded],
    texts: Mapping[str, str],
    params: Params,
) -> Iterator[Finding]:
    """A line for each modality of which something is to be encoded, by weights that are here.

    Args:
        clips: those that can be used, as far as that is known.
        texts: what is said, by utterance id, of those of which it is known.
    """
    found = {
        "visual": lambda: face_work(corpus, clips, decoded["video"], params),
        "acoustic": lambda: voice_work(corpus, clips, decoded["audio"], params),
        "linguistic": lambda: text_work(texts, params),
    }
    for modality, look in found.items():
        try:
            work = look()
        except UserError:  # as the findings on weights say
            continue
        if work is not None and (work.left or work.copies):
            yield encoding_finding(modality, params["encoders"][modality]["name"], work)


def face_work(corpus: str, clips: Clips, decoded: Decoded, params: Params) -> Work | None:
    """Of the faces; None where there are none, or the weights are not here."""
    frames, settings = params["frames"], params["encoders"]["visual"]
    usable = clips.usable("video")
    if not usable or not at_hand(encoder_weights("visual", settings["name"], settings["weights"])):
        return None
    encoder = freeze_visual(settings, f"check@{corpus}")
    device = pick_detection_device(frames["detector"], frames["align"])
    made = clip_cache("frames", clip_faces, frames | {"device": device})
    kept = encoded(corpus, clips, decoded, made, "faces", encoder.cache)
    shape = (CROPS, frames["size"], frames["size"], 3)
    return Work(
        encoder,
        len(usable) - kept,
        len(usable) * face_copies(params["augmentation"]),
        "faces",
        lambda random: random.integers(0, 256, shape, np.uint8),
        f"{CROPS} pictures",
    )


def voice_work(corpus: str, clips: Clips, decoded: Decoded, params: Params) -> Work | None:
    """Of the voices; None where there are none, or the weights are not here."""
    mels, settings = params["mels"], params["encoders"]["acoustic"]
    usable = clips.usable("audio")
    wanted = encoder_weights("acoustic", settings["name"], settings["weights"], settings["layer"])
    if not usable or not at_hand(wanted, settings["name"]):
        return None
    encoder = freeze_acoustic(settings, f"check@{corpus}")
    lengths = [min(value, mels["max_seconds"]) for value in usable.values() if value]
    seconds = statistics.median(lengths or [mels["max_seconds"]])
    if encoder.waveform:
        made = clip_cache("waveforms", clip_waveform, waveform_settings(mels, SAMPLE_RATE))
        shape: tuple[int, ...] = (int(seconds * SAMPLE_RATE),)
        spread = 0.1
    else:
        made = clip_cache("mels", clip_mel, mels)
        shape = (int(seconds * mels["sample_rate"] / mels["hop_length"]) + 1, mels["n_mels"])
        spread = 20.0  # dB
    kept = encoded(corpus, clips, decoded, made, "values", encoder.cache)
    augmentation = voice_augmentation(params["augmentation"])
    heard = augmentation_heard(augmentation) if encoder.waveform else augmentation
    return Work(
        encoder,
        len(usable) - kept,
        len(usable) * heard.get("copies", 0),
        "voices",
        lambda random: random.normal(0, spread, shape).astype(np.float32),
        f"{seconds:.1f} s",
    )


def text_work(texts: Mapping[str, str], params: Params) -> Work | None:
    """Of the texts; None where none is read or known, or the weights are not here."""
    settings = params["encoders"]["linguistic"]
    name = settings["name"]
    texts = {key: text for key, text in texts.items() if text}
    if not texts or name == "none":
        return None
    if not at_hand(text_weights("corpus", name, settings["layer"]), name):
        return None
    encoder, reader = freeze_linguistic(settings, "check")
    tokens = [reader.tokenize(text).ids for text in texts.values()]
    cache = encoder.cache
    kept = sum(is_kept(cache.entry_of(ids), cache.layout) for ids in tokens)
    median = sorted(tokens, key=len)[len(tokens) // 2]
    return Work(
        encoder, len(tokens) - kept, 0, "texts", lambda random: random.permutation(median),
        f"{len(median)} tokens",
    )  # fmt: skip


def encoded(
    corpus: str, clips: Clips, decoded: Decoded, made: ClipCache, name: str, cache: ClipCache
) -> int:
    """How many of the clips that were decoded have features in the cache.

    Args:
        made: of what the encoder takes of a clip, under `name`.
        cache: of the features.
    """
    count = 0
    for item in clips.usable(decoded.kind):
        if item.id in decoded.samples:
            row = asdict(item)
            entry = made.entry(RAW / corpus / row[decoded.kind], used_part(row, decoded.kind))
            arrays = read_entry(entry, made.layout)
            if isinstance(arrays, dict):
                count += is_kept(cache.entry_of(arrays[name]), cache.layout)
    return count


def encoding_finding(modality: str, name: str, work: Work) -> Finding:
    """How long a stage will take, by clips of random numbers whose features are not kept."""
    random = np.random.default_rng(0)
    count = work.encoder.batch * joblib.cpu_count()
    with tempfile.TemporaryDirectory() as folder:
        into = replace(work.encoder.cache, folder=Path(folder, "features"))
        for _ in range(2):  # at first libraries get ready
            clips = [("", work.like(random)) for _ in range(count)]
            begun = time.perf_counter()
            for _ in work.encoder.encode(clips, into):
                pass
            seconds = (time.perf_counter() - begun) / count
    cores = joblib.cpu_count()
    hardware = name_of("cuda") if pick_device() == "cuda" else f"{cores} cores of the CPU"
    total, more = (timedelta(seconds=math.ceil(seconds * n)) for n in (work.left, work.copies))
    copies = f", and at most {more} for {work.copies:,} augmented copies" if work.copies else ""
    return Finding(
        OK,
        f"the stage {modality}_features takes about {total} for {work.left:,} {work.of} that were "
        f"not encoded yet{copies}: {name} took {seconds:.3f} s each for {count} of random "
        f"numbers, of {work.measure}, the median, on {hardware}",
    )
