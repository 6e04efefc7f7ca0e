"""Speech encoders: the waveform of one clip to one vector, and to a sequence of vectors.

Each kind is a file beside this one, whose `load` says where its weights are from and under which
licence. A clip is encoded alone and never padded to the length of another, so that what is found
depends on it alone. In one thread, the same clip gives the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from stages.runtime.device import enough_memory
from stages.runtime.errors import UserError

SAMPLE_RATE = 16_000  # Hz, of every encoder
WINDOW = 400  # samples: the least that wav2vec 2.0 and its kin make a vector of, and Whisper's STFT

# Of float32 [samples], and how many layers are needed: as many times [T, D], the first layer first.
# After the deepest layer comes the final LayerNorm, where a network has one.
Layers = Callable[[torch.Tensor, int], Sequence[torch.Tensor]]


class Encoded(NamedTuple):
    """What an encoder makes of one clip: pooled float32 [D], sequence float16 [T, D']."""

    pooled: np.ndarray
    sequence: np.ndarray


@dataclass(frozen=True)
class SpeechEncoder:
    """Encodes one clip at a time.

    Attributes:
        name: as in params.yaml, for messages.
        source: the file and SHA-256 of the weights, or the package and its version; and any rule
            of its own by which clips are prepared.
        licence: of the weights, or of the package.
        dim: D of the pooled vector.
        shortest: samples; a shorter clip is padded with zeros up to it. Which clips are used is
            said by mels.min_seconds and must not depend on the encoder, or two could not be
            compared.
        encode: of float32 [samples], at least `shortest` of them.
    """

    name: str
    source: str
    licence: str
    dim: int
    shortest: int
    encode: Callable[[np.ndarray], Encoded]

    def __call__(self, wave: np.ndarray) -> Encoded:
        """Encode float32 [samples] at 16 kHz in [-1, 1].

        Raises:
            UserError: a value is not finite, or too large for float16; the GPU has no memory left.
        """
        encoded = self.encode(np.pad(wave, (0, max(0, self.shortest - len(wave)))))
        if not all(np.isfinite(values).all() for values in encoded):
            raise UserError(
                f"{self.name}: gives values that are not finite or above {np.finfo('f2').max}; "
                "choose another encoders.acoustic.layer or encoders.acoustic.name"
            )
        return encoded


def load(name: str, settings: Mapping[str, Any], device: str) -> SpeechEncoder:
    """The encoder of a name.

    Args:
        name: "whisper-tiny.en", one of `by_name.FORMULAS` as "eGeMAPSv02", a pipeline of
            torchaudio as "HUBERT_BASE", or a model of Hugging Face as "microsoft/wavlm-base-plus",
            or the folder of one, with a "/".
        settings: `layer`, 1 to the number of layers, "last", or "mean" of all; `pool`, "mean" or
            "mean_std" over time. Formulas have neither.
        device: "cpu" or "cuda".

    Raises:
        UserError: there is no such encoder or layer, or its weights or packages cannot be had.
    """
    # They import this.
    from stages.encoders import by_name, huggingface_speech, wav2vec2, whisper

    if "/" in name:
        return huggingface_speech.load(name, settings, device)
    if name in by_name.FORMULAS:
        return by_name.FORMULAS[name].load()
    if name == whisper.NAME:
        return whisper.load(settings, device)
    return wav2vec2.load(name, settings, device)


def check_layer(layer: int | str, name: str, depth: int, modality: str = "acoustic") -> None:
    """Raise UserError where an encoder, a network of so many layers, has no such layer."""
    if layer not in ("last", "mean", *range(1, depth + 1)):
        raise UserError(
            f"params.yaml: encoders.{modality}.layer: {layer!r} is no layer of {name}; "
            f"give 1 to {depth}, last or mean"
        )


def from_layers(
    layers: Layers,
    depth: int,
    width: int,
    *,
    name: str,
    source: str,
    licence: str,
    settings: Mapping[str, Any],
    device: str,
) -> SpeechEncoder:
    """The encoder that takes a layer of a network as its sequence, and pools it over time.

    Args:
        depth: how many layers the network has.
        width: D' of each.
        name, source, licence: as of SpeechEncoder.
        settings, device: as of `load`.

    Raises:
        UserError: the network has no such layer.
    """
    layer, pool = settings["layer"], settings["pool"]
    check_layer(layer, name, depth)
    needed = depth if layer in ("last", "mean") else layer

    def encode(wave: np.ndarray) -> Encoded:
        with torch.inference_mode(), enough_memory(name, "cut longer clips (mels.max_seconds)"):
            states = layers(torch.tensor(wave, device=device), needed)
            sequence = torch.stack(list(states)).mean(0) if layer == "mean" else states[-1]
            pooled = sequence.mean(0)
            if pool == "mean_std":
                pooled = torch.cat([pooled, sequence.std(0, correction=0)])
            return Encoded(pooled.cpu().numpy(), sequence.half().cpu().numpy())

    dim = 2 * width if pool == "mean_std" else width
    return SpeechEncoder(name, source, licence, dim, WINDOW, encode)
