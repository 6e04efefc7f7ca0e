"""What encoders of pictures share: how faces and spectrograms become pictures, and these vectors.

An encoder of pictures is a file of this room with two functions:

    load(name, weights, seed) -> PictureEncoder
    published(name, weights) -> where its weights come from, None for random ones

Both raise a UserError where there is no such encoder, and `load` where its weights cannot be had.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.fx.experimental.optimization import fuse
from torch.nn.functional import interpolate

from stages.runtime.device import enough_memory

IMAGE_SIZE = 224
PRECISION = {"fp32": torch.float32, "bf16": torch.bfloat16}

Embed = Callable[[torch.Tensor], np.ndarray]
Channels = tuple[float, float, float]


class PictureEncoder(NamedTuple):
    """A frozen network that makes a vector of each picture.

    Attributes:
        network: of normalised pictures [N, 3, 224, 224] what enters its classifier, [N, D]; in eval
            mode.
        mean, std: of each channel of pictures in [0, 1], by which they are normalised.
        source: where its weights are from: the file's name and SHA-256, or the seed.
    """

    network: nn.Module
    mean: Channels
    std: Channels
    source: str


class GlobalPool(nn.Module):
    """Mean over space of [N, D, H, W] to [N, D]; leaves [N, D] as it is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features [N, D]."""
        return x.flatten(2).mean(2) if x.ndim > 2 else x


class _Tracer(torch.fx.Tracer):
    """Records what a model does, but for GlobalPool, which looks at shapes."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, GlobalPool) or super().is_leaf_module(module, name)


def spectrogram_images(
    spectrograms: Sequence[np.ndarray],
    db_min: float,
    db_max: float,
    device: str = "cpu",
    length: int = IMAGE_SIZE,
) -> torch.Tensor:
    """Log-Mel spectrograms as grey pictures [N, 3, length, length] in [0, 1], made on the device.

    [db_min, db_max] spans black to white; time runs to the right over the whole width.

    Args:
        spectrograms: N times float32 [T, n_mels] in dB.
    """
    values = torch.from_numpy(np.concatenate(spectrograms)).to(device)
    grey = ((values - db_min) / (db_max - db_min)).clamp(0, 1).flip(1)
    size = (length, length)
    pictures = [
        interpolate(part.T[None, None], size, mode="bilinear", align_corners=False, antialias=True)
        for part in grey.split([len(spectrogram) for spectrogram in spectrograms])
    ]
    return torch.cat(pictures).expand(-1, 3, -1, -1)


def face_images(crops: Sequence[np.ndarray], device: str = "cpu") -> torch.Tensor:
    """Crops of faces as pictures [sum of n, 3, 224, 224] in [0, 1], made on the device.

    Args:
        crops: of some clips, each uint8 [n, S, S, 3].
    """
    images = torch.from_numpy(np.concatenate(crops)).to(device).permute(0, 3, 1, 2).float() / 255
    if images.shape[-1] == IMAGE_SIZE:
        return images
    size = (IMAGE_SIZE, IMAGE_SIZE)
    return interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def normalise(images: torch.Tensor, mean: Channels, std: Channels) -> torch.Tensor:
    """Images float [N, 3, H, W] less the mean of each channel, in units of its deviation."""
    channels = [torch.tensor(of, device=images.device).view(1, 3, 1, 1) for of in (mean, std)]
    return (images - channels[0]) / channels[1]


def make_embed(encoder: PictureEncoder, device: str, dtype: torch.dtype = torch.float32) -> Embed:
    """A function from pictures [N, 3, 224, 224] in [0, 1] to features float32 [N, D].

    Where a GPU has not the memory for all pictures at once it gets one half, then the other.

    Args:
        dtype: what the network computes with.

    Raises:
        UserError: by the function, where the memory does not do for half of them either.
    """
    network = encoder.network

    def forward(images: torch.Tensor) -> torch.Tensor:
        images = normalise(images.to(device), encoder.mean, encoder.std)
        images = images.to(memory_format=torch.channels_last)
        with torch.inference_mode():
            return network(images.to(dtype)).float().cpu()

    def embed(images: torch.Tensor) -> np.ndarray:
        with enough_memory("features", "choose a smaller encoder"):
            try:
                return forward(images).numpy()
            except torch.OutOfMemoryError:
                pass  # outside of the handler, whose error holds on to what was computed
            halves = images.split((len(images) + 1) // 2)
            return torch.cat([forward(half) for half in halves]).numpy()

    with enough_memory("features", "choose a smaller encoder"):
        network.to(device)
    return embed


def feature_dim(network: nn.Module) -> int:
    """D of the features [N, D] that a network gives, found without computing any."""
    shapes = {name: values.to("meta") for name, values in network.state_dict().items()}
    images = torch.empty(1, 3, IMAGE_SIZE, IMAGE_SIZE, device="meta")
    return torch.func.functional_call(network, shapes, images).shape[1]


def for_inference(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A model that gives the same features sooner.

    Batch norms are folded into the convolutions before them, and weights laid out with the channels
    last.

    Args:
        dtype: to compute with. float32 changes features in their last bits, bfloat16 in the third
            digit.
    """
    traced = torch.fx.GraphModule(model, _Tracer().trace(model))
    fused: Any = fuse(traced, no_trace=True)  # nn.Module.to is typed without memory_format
    return fused.to(dtype, memory_format=torch.channels_last)
