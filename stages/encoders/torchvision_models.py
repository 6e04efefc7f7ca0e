"""Encoder of pictures: any classification model of torchvision.

Paper: Section 2, "the pre-trained ResNet-34 on ImageNet is selected as the feature extraction for
visual and speech modalities, respectively". It is never trained here.

Takes: pictures 224 x 224, normalised as ImageNet's are.
Gives: what enters the classifier, D = 512 for resnet34.
Weights: IMAGENET1K_V1, through torch.hub's cache; torchvision is BSD-3-Clause, ImageNet's pictures
    are for research.
"""

import torch
import torchvision
from torch import nn

from stages.encoders.pictures import GlobalPool, PictureEncoder
from stages.encoders.weights import Published, checkpoint_path, fetching, warn_if_renamed
from stages.io.files import file_sha256
from stages.runtime.errors import UserError

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

# The attribute that holds the classifier, by which torchvision's families differ.
HEADS = ("fc", "classifier", "heads", "head")


def load(name: str, weights: str, seed: int) -> PictureEncoder:
    """A model whose output [N, D] is what enters its classifier.

    That is already pooled in most families; SqueezeNet's maps are pooled here, and VGG's and
    AlexNet's are flat, as their classifiers take them.

    Args:
        name: a torchvision classification model, e.g. "resnet34" (D = 512).
        weights: "imagenet" for torchvision's IMAGENET1K_V1, or "random" for torchvision's own
            initialisation from `seed`.

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
        model, source = load_published(name)
    head = next(attribute for attribute in HEADS if hasattr(model, attribute))
    setattr(model, head, GlobalPool())
    return PictureEncoder(model.eval().requires_grad_(False), MEAN, STD, source)


def load_published(name: str) -> tuple[nn.Module, str]:
    """A whole model with its IMAGENET1K_V1 weights, and the name and SHA-256 of their file.

    Raises:
        UserError: there is no such model, or its weights cannot be fetched.
    """
    entry = imagenet_weights(name)
    with fetching(entry.url):  # the hash is checked at download
        model = torchvision.models.get_model(name, weights=entry, progress=False)
    path = checkpoint_path(entry.url)
    warn_if_renamed(path)
    return model, f"{path.name} sha256 {file_sha256(path)}"


def published(name: str, weights: str) -> Published | None:
    """Where the weights of a model are published; None for random ones.

    Raises:
        UserError: there is no such model, or no such weights of it.
    """
    require_model(name)
    if weights == "random":
        return None
    entry = imagenet_weights(name)
    return Published(entry.url, round(entry.meta["_file_size"] * 2**20))


def imagenet_weights(name: str) -> torchvision.models.WeightsEnum:
    """The IMAGENET1K_V1 weights that torchvision has of a model, with their `url`.

    Raises:
        UserError: there is no such model, or no such weights of it.
    """
    require_model(name)
    members = torchvision.models.get_model_weights(name).__members__
    if "IMAGENET1K_V1" not in members:
        raise UserError(f"{name!r} has no IMAGENET1K_V1 weights in torchvision")
    return members["IMAGENET1K_V1"]


def require_model(name: str) -> None:
    """Raise UserError if torchvision has no classification model of that name."""
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise UserError(
            f"{name!r} is not a torchvision classification model; "
            "see torchvision.models.list_models(), or set efficientnet_lite0"
        )
