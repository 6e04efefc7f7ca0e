"""Pictures of faces and spectrograms, and what the frozen backbone makes of them."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn.functional import interpolate

from stages.encoders.pictures import IMAGE_SIZE, normalise
from stages.runtime.device import enough_memory

Embed = Callable[[torch.Tensor], np.ndarray]


def spectrogram_images(
    spectrograms: Sequence[np.ndarray], db_min: float, db_max: float, device: str = "cpu"
) -> torch.Tensor:
    """Log-Mel spectrograms as grey pictures [N, 3, 224, 224] in [0, 1], made on the device.

    [db_min, db_max] spans black to white; time runs to the right over the whole width.

    Args:
        spectrograms: N times float32 [T, n_mels] in dB.
    """
    values = torch.from_numpy(np.concatenate(spectrograms)).to(device)
    grey = ((values - db_min) / (db_max - db_min)).clamp(0, 1).flip(1)
    size = (IMAGE_SIZE, IMAGE_SIZE)
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


def make_embed(backbone: torch.nn.Module, device: str, dtype: torch.dtype = torch.float32) -> Embed:
    """A function from pictures [N, 3, 224, 224] in [0, 1] to features float32 [N, D].

    Where a GPU has not the memory for all pictures at once it gets one half, then the other.

    Args:
        dtype: what the backbone computes with.

    Raises:
        UserError: by the function, where the memory does not do for half of them either.
    """

    def forward(images: torch.Tensor) -> torch.Tensor:
        images = normalise(images.to(device)).to(memory_format=torch.channels_last)
        with torch.inference_mode():
            return backbone(images.to(dtype)).float().cpu()

    def embed(images: torch.Tensor) -> np.ndarray:
        with enough_memory("features", "choose a smaller features.backbone"):
            try:
                return forward(images).numpy()
            except torch.OutOfMemoryError:
                pass  # outside of the handler, whose error holds on to what was computed
            halves = images.split((len(images) + 1) // 2)
            return torch.cat([forward(half) for half in halves]).numpy()

    with enough_memory("features", "choose a smaller features.backbone"):
        backbone.to(device)
    return embed
