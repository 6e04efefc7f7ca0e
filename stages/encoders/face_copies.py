"""Augmented copies of the faces of a clip, for the training part: mirrored, in other colours."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def face_copies(augmentation: Mapping[str, Any]) -> int:
    """How many copies params.yaml's `augmentation` asks for; 0 where nothing of faces is on."""
    return augmentation["copies"] if augmentation["flip"] or augmentation["colour"] else 0


def copied(faces: np.ndarray, augmentation: Mapping[str, Any], copy: int) -> np.ndarray:
    """A copy of the faces uint8 [n, S, S, 3] of a clip, all of them changed alike.

    What is drawn follows from the faces, the number of the copy and the seed alone.
    """
    import torch  # which takes seconds to load
    from torchvision.transforms import v2

    jitter = v2.ColorJitter(*3 * [augmentation["colour"]])  # brightness, contrast, saturation
    flip = v2.RandomHorizontalFlip(0.5 if augmentation["flip"] else 0.0)
    what = hashlib.sha256(f"{copy} {augmentation['seed']} ".encode() + faces.tobytes()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(what[:4]))
        images = flip(jitter(torch.from_numpy(faces).permute(0, 3, 1, 2)))
    return np.ascontiguousarray(images.permute(0, 2, 3, 1).numpy())
