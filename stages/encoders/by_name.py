"""The encoders by their names, and messages that name the key of params.yaml."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

from stages.encoders import (
    efficientnet_lite0,
    egemaps,
    hand_features,
    huggingface,
    huggingface_text,
    speech,
    torchvision_models,
    twine_shuf_pat,
    whisper,
)
from stages.encoders.weights import Packaged, Published
from stages.runtime.errors import UserError

# Of the waveform, without weights or layers: their `load` takes nothing.
FORMULAS = {module.NAME: module for module in (egemaps, twine_shuf_pat, hand_features)}


def is_speech(name: str) -> bool:
    """Whether an encoder takes the waveform; all others take pictures."""
    return name in (*FORMULAS, whisper.NAME) or name.isupper() or "/" in name


def pictures_module(name: str) -> ModuleType:
    """The file of an encoder of pictures."""
    return efficientnet_lite0 if name == efficientnet_lite0.NAME else torchvision_models


def published(modality: str, name: str, weights: str) -> Published | Packaged | None:
    """Where the weights of an encoder come from.

    None for random ones, for formulas, which have none, and for a model of Hugging Face, whose
    files only transformers knows.

    Raises:
        UserError: there is no such encoder, or no such weights of it, or a package that it needs is
            not installed.
    """
    check_weights(modality, name, weights)
    if not is_speech(name):
        with naming(modality):
            return pictures_module(name).published(name, weights)
    if name in FORMULAS:
        FORMULAS[name].load()
        return None
    if "/" in name:
        _require_transformers(modality, name)
        return None
    if name == whisper.NAME:
        return whisper.WEIGHTS
    from stages.encoders import wav2vec2  # which loads torchaudio

    return Published(wav2vec2.address(name))


def published_text(name: str, layer: int | str) -> Packaged | None:
    """Where the weights of an encoder of text come from; None as of `published`, or for none.

    Raises:
        UserError: a package that it needs is not installed, or it has no such layer, as far as is
            known unloaded.
    """
    if name == "none":
        return None
    _require_transformers("linguistic", name)
    if name != huggingface_text.NAME:
        return None
    speech.check_layer(layer, name, huggingface_text.LAYERS, "linguistic")
    return huggingface_text.WEIGHTS


def _require_transformers(modality: str, name: str) -> None:
    if find_spec("transformers") is None:
        raise UserError(
            f"params.yaml: encoders.{modality}.name: {name} needs transformers; "
            f"pip install {huggingface.PACKAGE}"
        )


def check_weights(modality: str, name: str, weights: str) -> None:
    """Raise UserError where `weights` are of the other kind of encoder."""
    if is_speech(name) != (weights == "published"):
        right = "published" if is_speech(name) else "imagenet, or random"
        raise UserError(
            f"params.yaml: encoders.{modality}.weights: {name} has no weights {weights!r}; "
            f"set {right}"
        )


def check_sequences(name: str, sequences: bool) -> None:
    """Raise UserError where an encoder has no sequence to keep."""
    if sequences and not is_speech(name):
        raise UserError(
            f"params.yaml: encoders.acoustic.sequences: {name} gives one vector a clip; set false, "
            "or choose an encoder of speech"
        )


def check_layer(name: str, layer: int | str) -> None:
    """Raise UserError where an encoder of speech has no such layer, as far as is known unloaded."""
    if name == whisper.NAME:
        speech.check_layer(layer, name, whisper.LAYERS)
    elif is_speech(name) and name not in FORMULAS and "/" not in name:
        from stages.encoders import wav2vec2  # which loads torchaudio

        speech.check_layer(layer, name, wav2vec2.depth(name))


@contextmanager
def naming(modality: str) -> Iterator[None]:
    """Wrap what may find that there is no such encoder, so that its message names the key."""
    try:
        yield
    except UserError as error:
        raise UserError(f"params.yaml: encoders.{modality}.name: {error}") from error
