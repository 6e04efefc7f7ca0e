"""Speech models of Hugging Face, by name or folder, through transformers.

Those that give a vector every few milliseconds of a waveform, or of the features that their
preprocessor makes of it: wav2vec 2.0, HuBERT, WavLM, data2vec and their kin, fine-tuned or not.
torchaudio has the usual ones without transformers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from stages.encoders.huggingface import hidden_layers, pretrained
from stages.encoders.speech import SAMPLE_RATE, SpeechEncoder, from_layers
from stages.runtime.errors import UserError

INPUTS = ("input_values", "input_features")  # what speech models call what they take
ONLY_TRAINING = "masked_spec_embed"  # which some checkpoints lack


def load(name: str, settings: Mapping[str, Any], device: str) -> SpeechEncoder:
    """A model with its weights and its preprocessor.

    Args:
        name: "owner/name", or a folder that holds a model, with a "/".

    Raises:
        UserError: transformers is not installed, there is no such model or layer, its weights
            cannot be had or are not all there, or it encodes something else than speech.
    """
    extractor, model, source = pretrained(
        name, "acoustic", "AutoFeatureExtractor", device, [ONLY_TRAINING]
    )
    if (
        model.main_input_name not in INPUTS
        or model.config.is_encoder_decoder
        or extractor.sampling_rate != SAMPLE_RATE
    ):
        raise UserError(
            f"params.yaml: encoders.acoustic.name: {name} is no encoder of speech at 16 kHz; "
            "choose one as facebook/hubert-base-ls960, or whisper-tiny.en"
        )

    def layers(wave: torch.Tensor, needed: int) -> Sequence[torch.Tensor]:
        clip = extractor(wave.cpu().numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
        return hidden_layers(model, clip.to(device), needed)

    return from_layers(
        layers,
        model.config.num_hidden_layers,
        model.config.hidden_size,
        name=name,
        source=source,
        licence="that of its model card",
        settings=settings,
        device=device,
    )
