"""The seven emotions of the paper (Section 3.1), in its order, and their two-letter codes."""

from collections.abc import Sequence

EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
CODES = ("AN", "DI", "FE", "HA", "NE", "SA", "SU")


def task_classes(classes: str | Sequence[str]) -> tuple[str, ...]:
    """The emotions that `classes` of params.yaml names, "all" or a list, in the order above."""
    return tuple(emotion for emotion in EMOTIONS if classes == "all" or emotion in classes)
