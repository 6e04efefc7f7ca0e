"""How large the array files of a corpus become, about, for the check of free space beforehand."""

from collections.abc import Mapping
from typing import Any


def frames_bytes(crops: int, size: int) -> int:
    """Of data/frames/<corpus>.h5: crops uint8 [size, size, 3]."""
    return crops * size**2 * 3


def mels_bytes(clips: int, seconds: float, settings: Mapping[str, Any]) -> int:
    """Of data/mels/<corpus>.h5: float32, n_mels for each hop of `seconds` of sound in all."""
    steps = seconds * settings["sample_rate"] / settings["hop_length"] + clips
    return int(steps * settings["n_mels"] * 4)


def features_bytes(samples: int) -> int:
    """Of data/features: float32, about 512 of them for each crop or each voice."""
    return samples * 512 * 4
