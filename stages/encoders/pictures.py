"""The frozen backbone: any torchvision classification model as a feature extractor.

Paper: Section 2, "the pre-trained ResNet-34 on ImageNet is selected as the feature extraction for
visual and speech modalities, respectively". It is never trained here.
"""

from typing import Any

import torch
import torchvision
from torch import nn
from torch.fx.experimental.optimization import fuse

from stages.encoders.weights import checkpoint_path, fetching, warn_if_renamed
from stages.io.files import file_sha256
from stages.runtime.errors import UserError

IMAGE_SIZE = 224
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

PRECISION = {"fp32": torch.float32, "bf16": torch.bfloat16}

# The attribute that holds the classifier, by which torchvision's families differ.
HEADS = ("fc", "classifier", "heads", "head")


class _Tracer(torch.fx.Tracer):
    """Records what a model does, but for GlobalPool, which looks at shapes."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, GlobalPool) or super().is_leaf_module(module, name)


class GlobalPool(nn.Module):
    """Mean over space of [N, D, H, W] to [N, D]; leaves [N, D] as it is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features [N, D]."""
        return x.flatten(2).mean(2) if x.ndim > 2 else x


def make_backbone(name: str, weights: str, seed: int) -> tuple[nn.Module, str]:
    """A frozen model in eval mode whose output [N, D] is what enters its classifier.

    That is already pooled in most families; SqueezeNet's maps are pooled here, and VGG's and
    AlexNet's are flat, as their classifiers take them.

    Args:
        name: a torchvision classification model, e.g. "resnet34" (D = 512).
        weights: "imagenet" for torchvision's IMAGENET1K_V1 through the torch.hub cache, or
            "random" for torchvision's own initialisation from `seed`.

    Returns:
        The model, and where its weights are from: the file's name and SHA-256, or the seed.

    Raises:
        UserError: there is no such model, or its weights cannot be fetched.
    """
    if weights == "random":
        require_model(name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = torchvision.models.get_model(name, weights=None)
        source = f"seed {seed}"
    else:
        entry = imagenet_weights(name)
        with fetching(entry.url):  # the hash is checked at download
            model = torchvision.models.get_model(name, weights=entry, progress=False)
        path = checkpoint_path(entry.url)
        warn_if_renamed(path)
        source = f"{path.name} sha256 {file_sha256(path)}"
    head = next(attribute for attribute in HEADS if hasattr(model, attribute))
    setattr(model, head, GlobalPool())
    model.eval().requires_grad_(False)
    return model, source


def imagenet_weights(name: str) -> torchvision.models.WeightsEnum:
    """The IMAGENET1K_V1 weights that torchvision has of a model, with their `url`.

    Raises:
        UserError: there is no such model, or no such weights of it.
    """
    require_model(name)
    published = torchvision.models.get_model_weights(name).__members__
    if "IMAGENET1K_V1" not in published:
        raise UserError(
            f"params.yaml: features.backbone: torchvision has no IMAGENET1K_V1 weights of {name}"
        )
    return published["IMAGENET1K_V1"]


def feature_dim(backbone: nn.Module) -> int:
    """D of the features [N, D] that a backbone gives, found without computing any."""
    shapes = {name: values.to("meta") for name, values in backbone.state_dict().items()}
    images = torch.empty(1, 3, IMAGE_SIZE, IMAGE_SIZE, device="meta")
    return torch.func.functional_call(backbone, shapes, images).shape[1]


def require_model(name: str) -> None:
    """Raise UserError if torchvision has no classification model of that name."""
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise UserError(
            f"params.yaml: features.backbone: {name!r} is not a torchvision classification model; "
            "see torchvision.models.list_models()"
        )


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


def normalise(images: torch.Tensor) -> torch.Tensor:
    """ImageNet's normalisation of images float [N, 3, H, W] in [0, 1]."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / std
