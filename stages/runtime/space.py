"""How large the array files of a corpus become, about, for the check of free space beforehand."""

from collections.abc import Mapping
from typing import Any

CROPS = 3  # of a clip: V1 V2 V3


def frames_bytes(clips: int, size: int) -> int:
    """Of data/frames/<corpus>.h5: crops uint8 [clips, 3, size, size, 3]."""
    return clips * CROPS * size**2 * 3


def mels_bytes(voices: int, seconds: float, settings: Mapping[str, Any]) -> int:
    """Of data/mels/<corpus>.h5: float32, n_mels for each hop of `seconds` of sound in all."""
    steps = seconds * settings["sample_rate"] / settings["hop_length"] + voices
    return int(steps * settings["n_mels"] * 4)


def features_bytes(clips: int, voices: int) -> int:
    """Of data/features/<corpus>.h5: float32, 512 of them for each crop and voice."""
    return (clips * CROPS + voices) * 512 * 4
