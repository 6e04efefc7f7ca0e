"""The encoders by their names, and messages that name the key of params.yaml."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from stages.encoders import efficientnet_lite0, torchvision_models
from stages.encoders.weights import Packaged, Published
from stages.runtime.errors import UserError


def module_of(name: str) -> ModuleType:
    """The file of an encoder of pictures."""
    return efficientnet_lite0 if name == efficientnet_lite0.NAME else torchvision_models


def published(modality: str, name: str, weights: str) -> Published | Packaged | None:
    """Where the weights of an encoder come from; None for random ones.

    Raises:
        UserError: there is no such encoder, or no such weights of it.
    """
    with naming(modality):
        return module_of(name).published(name, weights)


@contextmanager
def naming(modality: str) -> Iterator[None]:
    """Wrap what may find that there is no such encoder, so that its message names the key."""
    try:
        yield
    except UserError as error:
        raise UserError(f"params.yaml: encoders.{modality}.name: {error}") from error
