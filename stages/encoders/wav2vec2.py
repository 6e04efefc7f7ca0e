"""wav2vec 2.0, HuBERT and WavLM: the pre-trained pipelines of torchaudio, by its own names.

WAV2VEC2_BASE, WAV2VEC2_LARGE, WAV2VEC2_LARGE_LV60K, WAV2VEC2_XLSR53, WAV2VEC2_XLSR_300M, _1B, _2B;
HUBERT_BASE, _LARGE, _XLARGE; WAVLM_BASE, WAVLM_BASE_PLUS, WAVLM_LARGE. All take 16 kHz and give 50
vectors a second, 12 layers of 768 (base) or 24 of 1024 (large; 378 MB and 1.3 GB of weights).

Papers: Baevski et al. 2020, Hsu et al. 2021, Chen et al. 2022. In torchaudio's documentation each
is "published under MIT License and redistributed with the same license".
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torchaudio import pipelines  # type: ignore[import-untyped]

from stages.encoders.speech import SpeechEncoder, from_layers
from stages.encoders.weights import checkpoint_path, fetching
from stages.io.files import file_sha256
from stages.runtime.errors import UserError

ADDRESS = "https://download.pytorch.org/torchaudio/models/"


def load(name: str, settings: Mapping[str, Any], device: str) -> SpeechEncoder:
    """A pipeline with its weights, which torch.hub's cache holds or gets.

    Raises:
        UserError: there is no such pipeline or layer, or its weights cannot be fetched.
    """
    url = address(name)
    with fetching(url):
        model = getattr(pipelines, name).get_model(
            dl_kwargs={"progress": False, "weights_only": True}
        )
    path = checkpoint_path(url)
    source = f"{path.name} sha256 {file_sha256(path)}"  # whose name promises no hash
    return encoder_of(model, name, source, settings, device)


def address(name: str) -> str:
    """Where the weights of a pipeline are published.

    Raises:
        UserError: as `bundle_of`.
    """
    return ADDRESS + bundle_of(name)._path  # which torchaudio does not tell otherwise


def depth(name: str) -> int:
    """How many layers a pipeline has.

    Raises:
        UserError: as `bundle_of`.
    """
    return bundle_of(name)._params["encoder_num_layers"]


def bundle_of(name: str) -> Any:
    """What torchaudio knows of a pipeline.

    Raises:
        UserError: it has no such pipeline, or it was fine-tuned to write text.
    """
    bundle: Any = getattr(pipelines, name, None)
    if type(bundle) is not pipelines.Wav2Vec2Bundle:  # that of ASR is a subclass
        named = vars(pipelines).items()
        known = [key for key, value in named if type(value) is pipelines.Wav2Vec2Bundle]
        raise UserError(
            f"params.yaml: encoders.acoustic.name: {name!r} is not known; choose {', '.join(known)}"
        )
    return bundle


def encoder_of(
    model: Any, name: str, source: str, settings: Mapping[str, Any], device: str
) -> SpeechEncoder:
    """The encoder that a model of torchaudio is.

    Those that were trained on normalised sound normalise it themselves, over all that they are
    given: one clip here. Padding would change a clip's vectors where the convolutions normalise
    over time (the base models), and WavLM takes no lengths.

    Args:
        model: the torch.nn.Module that a pipeline gives.
    """
    model.to(device).eval().requires_grad_(False)
    transformer = getattr(model, "model", model).encoder.transformer  # within what normalises
    depth = len(transformer.layers)

    def layers(wave: torch.Tensor, needed: int) -> Sequence[torch.Tensor]:
        states, _ = model.extract_features(wave[None], None, needed)
        # Large models have their LayerNorm behind the layers, and not before as this name says of
        # the base models; the list of states is without it.
        if needed == depth and not transformer.layer_norm_first:
            states[-1] = transformer.layer_norm(states[-1])
        return [state[0] for state in states]

    return from_layers(
        layers,
        depth,
        transformer.layer_norm.normalized_shape[0],
        name=name,
        source=source,
        licence="MIT",
        settings=settings,
        device=device,
    )
