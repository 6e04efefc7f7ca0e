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

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pydantic import Field, create_model
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool1d

from stages.encoders.pictures import normalise, spectrogram_images
from stages.runtime.params import Finetuned, Params
from stages.systems.contract import MELS, Clip, Live, Task, Trained
from stages.systems.neural import Batch, NeuralSystem, with_epochs

GAMMA, POWER = 3e-4, -0.75  # of the learning rate


class FineTuned(nn.Module):
    """Grey pictures [n, size, size] in [0, 1] to logits [n, C].

    Attributes:
        body: the published network without its last layer, which had ImageNet's classes.
        last: a new one.
    """

    def __init__(self, name: str, classes: int):
        super().__init__()
        # Which take as long to load as torch itself, and are of no use to other systems.
        import torchvision

        from stages.encoders import efficientnet_lite0, torchvision_models

        if name == efficientnet_lite0.NAME:
            self.body, dim = efficientnet_lite0.make_network(), efficientnet_lite0.HEAD
            self.mean, self.std = efficientnet_lite0.MEAN, efficientnet_lite0.STD
        else:
            self.body = torchvision.models.get_model(name, weights=None)
            dim = cut(self.body)
            if name.startswith("vgg"):
                self.body.avgpool = AveragePool(7)
            self.mean, self.std = torchvision_models.MEAN, torchvision_models.STD
        self.last = nn.Linear(dim, classes)

    def forward(self, batch: Batch) -> Tensor:
        """Logits."""
        images = batch[MELS].x[:, None].expand(-1, 3, -1, -1)
        return self.last(self.body(normalise(images, self.mean, self.std)))


class AveragePool(nn.Module):
    """`AdaptiveAvgPool2d` of squares, whose own gradient is not deterministic on a GPU."""

    def __init__(self, length: int):
        super().__init__()
        self.length = length

    def forward(self, x: Tensor) -> Tensor:
        """From [n, C, L, L] to [n, C, length, length]."""
        each = torch.eye(x.shape[-1], device=x.device)
        weights = adaptive_avg_pool1d(each[None], self.length)[0]
        return weights.T @ x @ weights


def published(name: str) -> nn.Module:
    """The body with its published weights.

    Raises:
        UserError: they cannot be had.
    """
    from stages.encoders import efficientnet_lite0, torchvision_models

    if name == efficientnet_lite0.NAME:
        return efficientnet_lite0.load(name, "imagenet", 0).network
    model, _ = torchvision_models.load_published(name)
    cut(model)
    return model


def cut(model: nn.Module) -> int:
    """Take its last layer from a model of torchvision; how many features it had."""
    name, layer = [of for of in model.named_modules() if isinstance(of[1], nn.Linear)][-1]
    model.set_submodule(name, nn.Identity())
    return layer.in_features


class FineTuning(NeuralSystem):
    """One of these networks, by its name, as params.yaml's `finetuned` has it."""

    section = "finetuned"
    schema = create_model(
        "FinetunedSettings",
        __base__=with_epochs(Finetuned),
        db_min=(float, Field(allow_inf_nan=False)),
        db_max=(float, Field(allow_inf_nan=False)),
    )
    standardised = False

    def __init__(self, name: str):
        self.name = name

    def settings(self, params: Params, classes: Sequence[str]) -> dict[str, Any]:
        """Its section, and the range of dB that pictures show."""
        shown = params.encoders.acoustic.model_dump(include={"db_min", "db_max"})
        return super().settings(params, classes) | shown

    def views(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The log-Mel spectrogram."""
        return (MELS,)

    def prepare(self, clip: Clip, settings: Mapping[str, Any]) -> Clip:
        """Its spectrogram as a grey picture [size, size]."""
        shown = {key: settings[key] for key in ("db_min", "db_max")}
        images = spectrogram_images([clip[MELS].numpy()], **shown, length=settings["size"])
        return {MELS: images[0, 0]}

    def network(
        self, dims: Mapping[str, int], classes: int, settings: Mapping[str, Any]
    ) -> FineTuned:
        """The network, untrained."""
        return FineTuned(self.name, classes)

    def initial(self, network: nn.Module, settings: Mapping[str, Any]) -> None:
        """Give it its published weights where params.yaml says so."""
        assert isinstance(network, FineTuned)
        if settings["weights"] == "imagenet":
            network.body.load_state_dict(published(self.name).state_dict())

    def train_all(
        self, task: Task, folds: int, seeds: Sequence[int], label: str, live: Live | None = None
    ) -> list[Trained]:
        """Train every fold with every seed, in this order."""
        if task.settings["weights"] == "imagenet":
            published(self.name)  # fetched once, not by every process
        return super().train_all(task, folds, seeds, label, live)

    def optimizer(self, network: nn.Module, settings: Mapping[str, Any]) -> torch.optim.Optimizer:
        """SGD, which moves the body by less."""
        assert isinstance(network, FineTuned)
        rate = settings["learning_rate"]
        return torch.optim.SGD(
            [
                {"params": network.body.parameters(), "lr": rate * settings["body_factor"]},
                {"params": network.last.parameters()},
            ],
            rate,
            settings["momentum"],
            weight_decay=settings["weight_decay"],
        )

    def rate(self, step: int, steps: int, settings: Mapping[str, Any]) -> float:
        """By what the learning rates are multiplied in a step."""
        return (1 + GAMMA * step) ** POWER
