"""The frozen encoders of params.yaml, applied to the faces, the voices and the words of clips.

Paper: Section 2, X_v and X_a, "visual and acoustic features extracted by the pre-trained
ResNet-34". A spectrogram is shown to it as a grey picture, low frequencies at the bottom. Encoders
of speech take the waveform instead.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from stages.encoders import huggingface_text, speech
from stages.encoders.by_name import (
    FORMULAS,
    check_sequences,
    check_weights,
    is_speech,
    naming,
    pictures_module,
)
from stages.encoders.encode import CLIPS, Arrays, alone, encode
from stages.encoders.huggingface_text import TextEncoder
from stages.encoders.pictures import (
    PRECISION,
    face_images,
    feature_dim,
    for_inference,
    make_embed,
    spectrogram_images,
)
from stages.extraction.clip_cache import ClipCache, clip_cache
from stages.runtime.device import check_precision, name_of, pick_device
from stages.runtime.errors import UserError

# Of the id of each clip and an array: of each clip, in their order, "values" float32 [pictures of a
# clip, D], and where settings ask for it "sequence" float16 [T, D']. These are kept in the cache of
# the encoder, or in another one that is given.
Encode = Callable[..., Iterator[Arrays]]


class Frozen(NamedTuple):
    """What an encoder makes of clips.

    Attributes:
        source: where its weights are from, the file's name and SHA-256, or the seed.
        encode: of the faces of each clip, crops uint8 [3, S, S, 3], the features [3, D]; of its
            voice, a spectrogram float32 [T, n_mels] in dB, or of its text, tokens int64 [T], the
            features [1, D].
        cache: of the features.
        batch: clips that go through it together.
        waveform: whether of voices it takes the waveform instead, float32 [samples] at
            `speech.SAMPLE_RATE`.
    """

    source: str
    encode: Encode
    cache: ClipCache
    batch: int
    waveform: bool = False


def freeze_visual(settings: Mapping[str, Any], label: str) -> Frozen:
    """The encoder of faces on the device of this machine.

    Args:
        settings: `encoders.visual` of params.yaml.
        label: who wants it, for messages.

    Raises:
        UserError: it is not known, its weights cannot be had, or the hardware has not the
            precision; of the function: it gives values that are not finite.
    """
    return _freeze("visual", settings, label, face_images, 3)


def freeze_acoustic(settings: Mapping[str, Any], label: str) -> Frozen:
    """The encoder of voices, as `freeze_visual`; `settings` is `encoders.acoustic`."""
    check_weights("acoustic", settings["name"], settings["weights"])
    check_sequences(settings["name"], settings["sequences"])
    if is_speech(settings["name"]):
        return _freeze_speech(settings)
    db_range = {key: settings[key] for key in ("db_min", "db_max")}
    return _freeze("acoustic", settings, label, spectrogram_images, 1, **db_range)


def freeze_linguistic(settings: Mapping[str, Any], label: str) -> tuple[Frozen, TextEncoder]:
    """The encoder of what is said, as `freeze_visual`, and that which makes tokens of a text.

    Args:
        settings: `encoders.linguistic`.
    """
    device, sequences = pick_device(), settings["sequences"]
    encoder = huggingface_text.load(settings, device)
    made_with = {
        "name": settings["name"],
        "weights": encoder.source,
        "layer": settings["layer"],
        "sequences": sequences,
        "hardware": name_of(device),
    }
    layout: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "values": ("float32", (1, encoder.dim))
    }
    if sequences:
        layout["sequence"] = ("float16", (None, encoder.dim))
    cache = clip_cache("features", huggingface_text.load, made_with, layout)

    def embed(ids: np.ndarray) -> list[Arrays]:
        found = encoder.encode(ids)
        with np.errstate(over="ignore"):
            arrays = {"values": found.mean(0, keepdims=True), "sequence": found.astype(np.float16)}
        return [{key: require_finite(arrays[key], label, settings["name"]) for key in layout}]

    return _frozen(encoder.source, alone, embed, cache, device, 1), encoder


def require_finite(features: np.ndarray, label: str, name: str) -> np.ndarray:
    """Return `features`, or raise UserError where the encoder overflowed."""
    if not np.isfinite(features).all():
        raise UserError(
            f"{label}: {name} gives values that are not finite; choose another name or other "
            "weights in params.yaml's encoders"
        )
    return features


def _freeze(
    modality: str,
    settings: Mapping[str, Any],
    label: str,
    to_images: Callable[..., torch.Tensor],
    pictures: int,
    **shown: float,
) -> Frozen:
    name, precision = settings["name"], settings["precision"]
    device = pick_device()
    check_precision(precision, device, f"encoders.{modality}.precision")
    load = pictures_module(name).load
    with naming(modality):
        encoder = load(name, settings["weights"], settings["seed"])
    dtype = PRECISION[precision]
    fused = encoder._replace(network=for_inference(encoder.network, dtype))
    network = make_embed(fused, device, dtype)

    def embed(images: torch.Tensor) -> list[Arrays]:
        found = require_finite(network(images), label, name)
        return [{"values": values} for values in found.reshape(-1, pictures, found.shape[1])]

    made_with = {
        "name": name,
        "weights": encoder.source,
        "precision": precision,
        "clips in a batch": CLIPS[device],
        "hardware": name_of(device),
        "pictures": to_images.__name__,
    }
    layout = {"values": ("float32", (pictures, feature_dim(encoder.network)))}
    cache = clip_cache("features", load, made_with | shown, layout)
    images = partial(to_images, device=device, **shown)
    return _frozen(encoder.source, images, embed, cache, device, CLIPS[device])


def _freeze_speech(settings: Mapping[str, Any]) -> Frozen:
    """An encoder that takes the waveform of one clip at a time."""
    device = "cpu" if settings["name"] in FORMULAS else pick_device()
    encoder = speech.load(settings["name"], settings, device)
    made_with = {
        "name": settings["name"],
        "weights": encoder.source,
        "layer": settings["layer"],
        "pool": settings["pool"],
        "hardware": name_of(device),
    }
    layout: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "values": ("float32", (1, encoder.dim))
    }
    if settings["sequences"]:
        made_with["sequences"] = True
        layout["sequence"] = ("float16", (None, None))
    cache = clip_cache("features", speech.load, made_with, layout)

    def embed(wave: np.ndarray) -> list[Arrays]:
        pooled, sequence = encoder(wave)
        arrays = {"values": pooled[None], "sequence": sequence}
        return [{name: arrays[name] for name in layout}]

    return _frozen(encoder.source, alone, embed, cache, device, 1)._replace(waveform=True)


def _frozen(
    source: str,
    prepare: Callable[[Sequence[np.ndarray]], Any],
    embed: Callable[[Any], Sequence[Arrays]],
    cache: ClipCache,
    device: str,
    batch: int,
) -> Frozen:
    def encoded(
        clips: Iterable[tuple[str, np.ndarray]], into: ClipCache = cache
    ) -> Iterator[Arrays]:
        return encode(clips, prepare, embed, into, device, batch)

    return Frozen(source, encoded, cache, batch)
