"""Speech models of Hugging Face, by name or folder, through transformers.

Those that give a vector every few milliseconds of a waveform, or of the features that their
preprocessor makes of it: wav2vec 2.0, HuBERT, WavLM, data2vec and their kin, fine-tuned or not.
Each has a licence of its own. transformers is not in requirements.txt, as torchaudio has the usual
ones without it.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from stages.encoders.speech import SAMPLE_RATE, SpeechEncoder, from_layers
from stages.io.files import file_sha256
from stages.runtime.errors import UserError, one_line

PACKAGE = "transformers==5.24.0"
INPUTS = ("input_values", "input_features")  # what speech models call what they take
ONLY_TRAINING = "masked_spec_embed"  # which some checkpoints lack


def load(name: str, settings: Mapping[str, Any], device: str) -> SpeechEncoder:
    """A model with its weights and its preprocessor.

    What Hugging Face's cache (HF_HOME) holds is used as it is, without asking for a newer version.

    Args:
        name: "owner/name", or a folder that holds a model, with a "/".

    Raises:
        UserError: transformers is not installed, there is no such model or layer, its weights
            cannot be had or are not all there, or it encodes something else than speech.
    """
    try:
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise UserError(
            f"params.yaml: encoders.acoustic.name: {name} needs transformers "
            f"({one_line(error)[:200]}); pip install {PACKAGE}"
        ) from error
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        try:
            extractor, model, info = _from_pretrained(transformers, name, local_files_only=True)
        except OSError:
            extractor, model, info = _from_pretrained(transformers, name, local_files_only=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{name}: cannot be loaded ({one_line(error)[:200]}); give the folder of a whole "
            f"model, or fetch it where there is a network (hf download {name}) and copy HF_HOME"
        ) from error
    missing = sorted(key for key in info["missing_keys"] if ONLY_TRAINING not in key)
    if missing:  # transformers would leave them random
        raise UserError(f"{name}: its weights lack {len(missing)} tensors, as {missing[0]}")
    if (
        model.main_input_name not in INPUTS
        or model.config.is_encoder_decoder
        or extractor.sampling_rate != SAMPLE_RATE
    ):
        raise UserError(
            f"params.yaml: encoders.acoustic.name: {name} is no encoder of speech at 16 kHz; "
            "choose one as facebook/hubert-base-ls960, or whisper-tiny.en"
        )
    model.to(device).requires_grad_(False)  # it comes in eval mode
    depth = model.config.num_hidden_layers

    def layers(wave: torch.Tensor, needed: int) -> Sequence[torch.Tensor]:
        clip = extractor(wave.cpu().numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        found = model(**clip.to(device), output_hidden_states=True)
        # The first of hidden_states is before all layers, and the last of a large model (since
        # transformers 5) before its final LayerNorm.
        states = [*found.hidden_states[1:depth], found.last_hidden_state]
        return [state[0] for state in states[:needed]]

    return from_layers(
        layers,
        depth,
        model.config.hidden_size,
        name=name,
        source=_source(transformers, name),
        licence="that of its model card",
        settings=settings,
        device=device,
    )


def _from_pretrained(transformers: Any, name: str, **where: bool) -> tuple[Any, Any, Any]:
    """The preprocessor, the model in float32, and what was found of its weights."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(name, **where)
    model, info = transformers.AutoModel.from_pretrained(
        name, dtype=torch.float32, output_loading_info=True, **where
    )
    return extractor, model, info


def _source(transformers: Any, name: str) -> str:
    """The files of the weights that were loaded, as transformers prefers them, and its version.

    Which may change features: transformers 5 has another last layer than 4.
    """
    config = transformers.utils.cached_file(name, "config.json", local_files_only=True)
    folder = Path(config).parent
    files = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    weights = [f"{file.name} sha256 {file_sha256(file)}" for file in files]
    return ", ".join([name, *weights, f"transformers {transformers.__version__}"])
