"""The frozen backbone of params.yaml, applied to the faces and to the voices of clips.

Paper: Section 2, X_v and X_a, "visual and acoustic features extracted by the pre-trained
ResNet-34". A spectrogram is shown to it as a grey picture, low frequencies at the bottom.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from stages.encoders.embed import face_images, make_embed, spectrogram_images
from stages.encoders.encode import CLIPS, encode
from stages.encoders.pictures import PRECISION, feature_dim, for_inference, make_backbone
from stages.extraction.clip_cache import clip_cache
from stages.runtime.device import check_precision, name_of, pick_device
from stages.runtime.errors import UserError

# Of the id of each clip and an array: float32 [pictures of a clip, D] of each, in their order.
Encode = Callable[[Iterable[tuple[str, np.ndarray]]], Iterator[np.ndarray]]


class Frozen(NamedTuple):
    """What the backbone makes of clips.

    Attributes:
        source: where its weights are from, the file's name and SHA-256, or the seed.
        faces: of crops uint8 [3, S, S, 3] the features [3, D] of each clip.
        voices: of a spectrogram float32 [T, n_mels] in dB the features [1, D] of each clip.
    """

    source: str
    faces: Encode
    voices: Encode


def freeze(settings: Mapping[str, Any], label: str) -> Frozen:
    """The backbone on the device of this machine.

    Args:
        settings: `features` of params.yaml.
        label: who wants it, for messages.

    Raises:
        UserError: it is not known, its weights cannot be had, or the hardware has not the
            precision; of the functions: it gives values that are not finite.
    """
    name, precision, seed = settings["backbone"], settings["precision"], settings["seed"]
    db_range = {key: settings[key] for key in ("db_min", "db_max")}
    device = pick_device()
    check_precision(precision, device)
    backbone, source = make_backbone(name, settings["weights"], seed)
    dtype = PRECISION[precision]
    network = make_embed(for_inference(backbone, dtype), device, dtype)

    def embed(images: torch.Tensor) -> np.ndarray:
        return require_finite(network(images), label, name)

    made_with = {
        "backbone": name,
        "weights": source,
        "precision": precision,
        "clips in a batch": CLIPS[device],
        "hardware": name_of(device),
    }

    def applied_to(to_images: Callable[..., torch.Tensor], pictures: int, **shown: float) -> Encode:
        layout = {"values": ("float32", (pictures, feature_dim(backbone)))}
        cache = clip_cache("features", to_images, made_with | shown, layout)
        images = partial(to_images, device=device, **shown)
        return lambda clips: encode(clips, images, embed, cache, device)

    return Frozen(source, applied_to(face_images, 3), applied_to(spectrogram_images, 1, **db_range))


def require_finite(features: np.ndarray, label: str, backbone: str) -> np.ndarray:
    """Return `features`, or raise UserError where the backbone overflowed."""
    if not np.isfinite(features).all():
        raise UserError(
            f"{label}: {backbone} gives values that are not finite; "
            "choose other features.weights or features.backbone"
        )
    return features
