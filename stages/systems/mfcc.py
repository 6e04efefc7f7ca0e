"""Mel-frequency cepstral coefficients (MFCCs): what GM-TCNet and TIM-Net hear of a clip.

The published code of both takes 39 of them from librosa with its defaults, of clips cut or padded
with zeros to one length about their middle. They are the discrete cosine transform (DCT) over the
frequencies of a log-Mel spectrogram in dB, which `data/mels` has of every clip. With

    dvc exp run -S mels.sample_rate=22050 -S mels.n_fft=2048 -S mels.win_length=2048 \
        -S mels.hop_length=512 -S mels.fmin=0 -S mels.fmax=11025

they are librosa's (`tests/systems/test_mfcc.py`). With the `mels` of params.yaml as it comes they
are others: windows of 25 ms every 10 ms in place of 93 ms every 23 ms, up to 8 kHz. One difference
is left: the cut is between frames, so that those at its edges hear what lies beyond it.
"""

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, Field, create_model
from scipy.fft import dct
from torch import Tensor, nn
from torch.nn.functional import pad

from stages.runtime.params import Learned, Params
from stages.systems.contract import MELS, Clip
from stages.systems.neural import NeuralSystem, with_epochs

COEFFICIENTS = 39
TOP_DB = 80.0  # below the loudest value of a clip all is silence, by librosa's default


def mfcc(mels: Tensor, frames: int, silence: float) -> Tensor:
    """MFCCs float32 [frames, 39] of the log-Mel spectrogram float32 [T, n_mels] of one clip.

    Args:
        mels: in dB; at least 39 frequencies.
        frames: kept in the middle of it; a shorter one has silence around it.
        silence: the dB of no sound at all.
    """
    missing = frames - len(mels)  # below 0 for a longer one, which `pad` cuts
    framed = pad(mels, (0, 0, missing // 2, missing - missing // 2), value=silence)
    heard = framed.clamp(min=float(framed.max()) - TOP_DB).numpy()
    coefficients = dct(heard, type=2, norm="ortho", axis=1)[:, :COEFFICIENTS]
    return torch.from_numpy(np.ascontiguousarray(coefficients, np.float32))


class CausalConv1d(nn.Conv1d):
    """Convolution over time with a kernel of 2 or 1, of what is and what was, not what will be."""

    def forward(self, x: Tensor) -> Tensor:
        """From [n, channels, T] to [n, channels', T]."""
        return super().forward(pad(x, (self.dilation[0] * (self.kernel_size[0] - 1), 0)))


def keras_initial(network: nn.Module) -> None:
    """Draw parameters as Keras does, which both were published for: Glorot's uniform, biases 0.

    PyTorch's own are smaller by half and more; nothing between MFCCs and network makes up for it.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv1d | nn.Linear):
            # What stands side by side in one convolution is several layers of as many channels.
            for part in layer.weight.split(COEFFICIENTS):
                nn.init.xavier_uniform_(part)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def of_mfccs(section: type[Learned]) -> type[BaseModel]:
    """The schema of the settings of a system that hears MFCCs, by its section of params.yaml."""
    added: dict[str, Any] = {"frames": (int, Field(ge=1, le=1 << 20)), "silence": (float, ...)}
    schema = with_epochs(section)
    return create_model(schema.__name__, __base__=schema, **added)


class MfccSystem(NeuralSystem):
    """What GM-TCNet and TIM-Net share: MFCCs as they are, and Adam as both codes have it."""

    standardised = False

    def settings(self, params: Params, classes: Sequence[str]) -> dict[str, Any]:
        """Its section, and its `seconds` in frames of the spectrogram, with the dB of silence."""
        found, mels = super().settings(params, classes), params.mels
        frames = 1 + round(found["seconds"] * mels.sample_rate) // mels.hop_length
        silence = 10 * log10(mels.amin) - 10 * log10(max(mels.amin, mels.ref))
        return found | {"frames": frames, "silence": silence}

    def views(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The log-Mel spectrogram."""
        return (MELS,)

    def widths(self, dims: Mapping[str, int], settings: Mapping[str, Any]) -> Mapping[str, int]:
        """39 MFCCs."""
        return {MELS: COEFFICIENTS}

    def prepare(self, clip: Clip, settings: Mapping[str, Any]) -> Clip:
        """The MFCCs of its middle."""
        return {MELS: mfcc(clip[MELS], settings["frames"], settings["silence"])}

    def optimizer(self, network: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(
            network.parameters(),
            lr=settings["learning_rate"],
            betas=(0.93, 0.98),
            weight_decay=settings["weight_decay"],
        )
