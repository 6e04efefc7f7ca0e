"""Models of Hugging Face, by name or folder, through transformers.

Each has a licence of its own, that of its model card. transformers is not in requirements.txt, as
the usual encoders do without it.
"""

from collections.abc import Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError

from stages.io.files import file_sha256
from stages.runtime.errors import UserError, one_line

PACKAGE = "transformers==5.24.0"


class Pretrained(NamedTuple):
    """A model with its weights, in float32 and in eval mode, and what makes its input.

    Attributes:
        preprocessor: of transformers, of sound or of text.
        model: takes what the preprocessor gives.
        source: the files of the weights with their SHA-256, and the version of transformers.
    """

    preprocessor: Any
    model: Any
    source: str


def pretrained(
    name: str, modality: str, kind: str, device: str, not_needed: Collection[str] = ()
) -> Pretrained:
    """A model and its preprocessor, on a device.

    What Hugging Face's cache (HF_HOME) holds is used as it is, without asking for a newer version.

    Args:
        name: "owner/name", or a folder that holds a model, with a "/".
        modality: whose `encoders.<modality>.name` it is, for messages.
        kind: of the preprocessor, as "AutoTokenizer".
        not_needed: tensors, by parts of their names, that the weights may lack.

    Raises:
        UserError: transformers is not installed, there is no such model, or its weights cannot be
            had or are not all there.
    """
    try:
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise UserError(
            f"params.yaml: encoders.{modality}.name: {name} needs transformers "
            f"({one_line(error)[:200]}); pip install {PACKAGE}"
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        try:
            found = _load(transformers, name, kind, local_files_only=True)
        except OSError:
            found = _load(transformers, name, kind, local_files_only=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{name}: cannot be loaded ({one_line(error)[:200]}); give the folder of a whole "
            f"model, or fetch it where there is a network (hf download {name}) and copy HF_HOME"
        ) from error
    preprocessor, model, info = found
    missing = sorted(
        key for key in info["missing_keys"] if not any(part in key for part in not_needed)
    )
    if missing:  # transformers would leave them random
        raise UserError(f"{name}: its weights lack {len(missing)} tensors, as {missing[0]}")
    model.to(device).requires_grad_(False)  # it comes in eval mode
    return Pretrained(preprocessor, model, _source(transformers, name))


def hidden_layers(model: Any, inputs: Any, needed: int) -> Sequence[torch.Tensor]:
    """What the first layers of a network make of one clip, each [T, D].

    After the last comes the final LayerNorm, where the network has one.
    """
    found = model(**inputs, output_hidden_states=True)
    # The first of hidden_states is before all layers, and the last of a large model (since
    # transformers 5) before its final LayerNorm.
    states = [*found.hidden_states[1 : model.config.num_hidden_layers], found.last_hidden_state]
    return [state[0] for state in states[:needed]]


def _load(transformers: Any, name: str, kind: str, **where: bool) -> tuple[Any, Any, Any]:
    """The preprocessor, the model in float32, and what was found of its weights."""
    preprocessor = getattr(transformers, kind).from_pretrained(name, **where)
    model, info = transformers.AutoModel.from_pretrained(
        name, dtype=torch.float32, output_loading_info=True, **where
    )
    return preprocessor, model, info


def _source(transformers: Any, name: str) -> str:
    """The files of the weights that were loaded, as transformers prefers them, and its version.

    Which may change features: transformers 5 has another last layer than 4.
    """
    config = transformers.utils.cached_file(name, "config.json", local_files_only=True)
    folder = Path(config).parent
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    weights = [f"{file.name} sha256 {file_sha256(file)}" for file in files]
    return ", ".join([name, *weights, f"transformers {transformers.__version__}"])
