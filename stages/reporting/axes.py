"""A spectrogram on the axes of a figure, as the contact sheet and the answer to a clip show it."""

from collections.abc import Mapping
from typing import Any

import librosa
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

HERTZ = (500, 1000, 2000, 4000, 8000, 16000)
GREY = "#555555"
FONT = 7.0


def draw_mel(
    axis: Axes, mel: np.ndarray, settings: Mapping[str, Any], db_range: tuple[float, float]
) -> None:
    """A log-Mel spectrogram [T, n_mels] in dB, with axes in seconds and kHz.

    Args:
        settings: `mels` of params.yaml.
        db_range: the least and the greatest dB that differ from all beyond.
    """
    step = settings["hop_length"] / settings["sample_rate"]
    bands = mel.shape[1]
    centres = librosa.mel_frequencies(bands + 2, fmin=settings["fmin"], fmax=settings["fmax"])[1:-1]
    hertz = [f for f in HERTZ if centres[0] <= f <= 1.05 * centres[-1]]
    axis.imshow(
        mel.T,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=db_range[0],
        vmax=db_range[1],
        extent=(0, len(mel) * step, -0.5, bands - 0.5),
    )
    axis.set_frame_on(True)
    axis.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axis.set_yticks(np.interp(hertz, centres, range(bands)), [f"{f / 1000:g}" for f in hertz])
    axis.tick_params(labelsize=FONT - 1, length=2, pad=1.5, color=GREY, labelcolor=GREY)
    axis.set_ylabel("kHz", fontsize=FONT - 1, color=GREY, labelpad=1)
    axis.set_xlabel("s", fontsize=FONT - 1, color=GREY)
    axis.xaxis.set_label_coords(1.02, -0.05)
    axis.set_title(
        f"{len(mel) * step:.2f} s, {round(mel.min())} to {round(mel.max())} dB",
        fontsize=FONT,
        color=GREY,
        loc="right",
        pad=3,
    )
