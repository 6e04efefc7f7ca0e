"""Networks of pictures, trained on spectrograms from the weights that ImageNet gave them.

VGG-16, VGG-19, ResNet-18, -34 and -50 of Tables 1 and 2, and EfficientNet-Lite0, which is ours: its
ImageNet weights come with a package, so that it needs no download.

The paper's: "fine-tuned on the Mel spectrograms" from ImageNet, momentum 0.99, a weight decay of
0.001 or 0.0001, batches of 32, 300 epochs; the last two of "all experiments". The figures of the
five are counts of the same 96 test utterances. It does not say the learning rate, its schedule, the
size of the pictures, whether all layers learn, or by what the epoch is chosen, and no code of
these five is published. The published code of FDAN chooses the epoch on the test set.

Ours: SGD; all layers learn, those that are published a tenth as fast as the new last layer
(`body_factor`); the rate falls as (1 + 0.0003 step)^-0.75, as in DeepDA, from which FDAN's code
descends. The picture is that of the frozen encoders: the whole spectrogram in grey, with the range
of dB of `encoders.acoustic`, squeezed to `size`. DeepDA's random crops are left out, and so is its
flip from left to right: it would turn the time around. Nothing else is drawn at random but the
order of the utterances, the last layer and, in VGG, dropout.
"""

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from stages.encoders import efficientnet_lite0, torchvision_models
from stages.encoders.pictures import normalise, spectrogram_images

TORCHVISION = ("vgg16", "vgg19", "resnet18", "resnet34", "resnet50")
GAMMA, POWER = 3e-4, -0.75  # of the learning rate


class FineTuned(nn.Module):
    """Grey pictures [n, length, length] in [0, 1] to logits [n, C].

    Attributes:
        body: the published network without its last layer, which had ImageNet's classes.
        last: a new one.
    """

    def __init__(self, name: str, classes: int):
        super().__init__()
        self.name = name
        if name == efficientnet_lite0.NAME:
            self.body, dim = efficientnet_lite0.make_network(), efficientnet_lite0.HEAD
            self.mean, self.std = efficientnet_lite0.MEAN, efficientnet_lite0.STD
        else:
            self.body = torchvision.models.get_model(name, weights=None)
            dim = cut(self.body)
            self.mean, self.std = torchvision_models.MEAN, torchvision_models.STD
        self.last = nn.Linear(dim, classes)

    def load_imagenet(self) -> None:
        """Give the body its published weights.

        Raises:
            UserError: they cannot be had.
        """
        if self.name == efficientnet_lite0.NAME:
            published = efficientnet_lite0.load(self.name, "imagenet", 0).network
        else:
            published, _ = torchvision_models.load_published(self.name)
            cut(published)
        self.body.load_state_dict(published.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        images = x[:, None].expand(-1, 3, -1, -1)
        return self.last(self.body(normalise(images, self.mean, self.std)))


def cut(model: nn.Module) -> int:
    """Take its last layer from a model of torchvision; how many features it had."""
    name, layer = [of for of in model.named_modules() if isinstance(of[1], nn.Linear)][-1]
    model.set_submodule(name, nn.Identity())
    return layer.in_features


def picture(mels: Tensor, db_min: float, db_max: float, length: int) -> Tensor:
    """The grey picture float32 [length, length] of a log-Mel spectrogram [T, n_mels] in dB."""
    values: np.ndarray = mels.numpy()
    return spectrogram_images([values], db_min, db_max, length=length)[0, 0]
