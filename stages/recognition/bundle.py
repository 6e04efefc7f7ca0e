"""A model that can be applied to new clips, and all that must be known for it: models/bundle/.

`model.safetensors` holds the system as trained on all utterances, once a seed
("all.seed_<s>.<tensor>"), and the replicas of the folds ("fold_<k>.seed_<s>.<tensor>"), whose
disagreement on a clip shows how far the answer depends on who was trained on. `model.json` holds
every setting from decoding to probabilities, and where all of it comes from (`Contents`). Nothing
is unpickled. The encoder's weights are not in it; they are known by their SHA-256.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from stages.corpora.emotions import EMOTIONS
from stages.io.files import file_sha256, write_json
from stages.runtime.params import Encoders, Frames, Mels, Modality, Positive
from stages.runtime.paths import CONTENTS, TENSORS
from stages.scoring.calibration import RANGE
from stages.systems.checkpoint import (
    Classifiers,
    fold_replicas,
    read_classifiers,
    read_facts,
    write_tensors,
)
from stages.systems.contract import ACOUSTIC, MELS
from stages.systems.named import SYSTEMS

VERSION = 2  # of what a bundle holds
REMEDY = "make it again by dvc repro model"


class Data(BaseModel):
    """What the model was trained on; the corpora as params.yaml names them.

    Attributes:
        licences: of each corpus, on which terms it may be used; "" where only its owner knows.
    """

    model_config = ConfigDict(strict=True)

    acoustic: str
    visual: list[str]
    utterances: int
    faces: int
    speakers: int
    licences: dict[str, str]


class Encoded(BaseModel):
    """The encoder of a modality, of which what is shown must be there."""

    model_config = ConfigDict(extra="allow")

    name: str
    weights_source: str


class Result(BaseModel):
    """metrics/details.json of the folds, of which what is shown must be there."""

    model_config = ConfigDict(extra="allow")

    system: str
    acoustic: str
    visual: list[str]
    protocol: str
    war: float
    uar: float
    w_f1: float
    ci95: dict[str, dict[str, float]]
    n_correct: float
    n_test: int
    n_seeds: int
    n_folds: int
    n_speakers: int
    n_test_with_trained_face: int
    n_test_with_suspected_copy: int
    n_test_with_trained_text: int
    text_leak: bool
    labels_shuffled: bool
    skipped_unevenly: dict[str, Any]
    test_modalities: list[Modality] = Field(min_length=1)
    encoders: dict[Modality, Encoded]
    classes: dict[str, dict[str, float]]
    calibration: dict[str, float]


class Contents(Classifiers):
    """What models/bundle/model.json must hold.

    Attributes:
        frames, mels, encoders: of params.yaml.
        sources: where the weights of the encoder of each modality are from: file and SHA-256, or
            the seed.
        chosen: for the training on all utterances, from what the folds chose, e.g. {"epoch": 83}.
        temperature: by which logits are divided (`stages.scoring.calibration`); None where there
            was no validation part to fit it on.
        trained_on: `fingerprint` of each utterance, sorted.
    """

    version: int = Field(ge=VERSION, le=VERSION)
    frames: Frames
    mels: Mels
    encoders: Encoders
    sources: dict[Modality, str]
    chosen: dict[str, Positive]
    temperature: float | None = Field(ge=RANGE[0], le=RANGE[1])
    data: Data
    result: Result
    trained_on: list[str]

    @model_validator(mode="after")
    def _has_what_is_chosen(self) -> Self:
        if set(self.chosen) != set(SYSTEMS[self.system].chooses):
            raise ValueError(f"chosen: is not what {self.system} chooses")
        if set(self.sources) != set(self.dims) - {MELS}:
            raise ValueError("sources: are not of the encoders that it learned from")
        return self


class Bundle(NamedTuple):
    """A bundle as it was read.

    Attributes:
        contents: with the keys of `Contents`.
        final: the classifiers trained on all utterances, one a seed.
        folds: those of the folds, of each all seeds.
    """

    contents: dict[str, Any]
    final: list[nn.Module]
    folds: list[nn.Module]


def fingerprint(seen: Mapping[str, np.ndarray]) -> str:
    """By what an utterance is known again: the first digits of a SHA-256 of what was heard of it.

    Args:
        seen: by view, of which the voice or, for what learns from them, the spectrogram counts.
    """
    heard = b"".join(seen[view].tobytes() for view in (ACOUSTIC, MELS) if view in seen)
    return hashlib.sha256(heard).hexdigest()[:16]


def final_name(seed: int) -> str:
    """How a classifier that was trained on all utterances is called."""
    return f"all.seed_{seed}"


def write_bundle(
    folder: Path, states: Mapping[str, Mapping[str, Tensor]], contents: Mapping[str, Any]
) -> None:
    """Write the states of all classifiers by name, and what is to be known of them.

    Raises:
        UserError: there is no room, or a file cannot be written.
    """
    write_tensors(folder / TENSORS, states)
    facts = {
        "version": VERSION,
        "emotions": list(EMOTIONS),
        "sha256": file_sha256(folder / TENSORS),
    }
    write_json(folder / CONTENTS, {**contents, **facts}, rounded=False)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle, which may come from anywhere.

    Raises:
        UserError: a file cannot be read, lacks something or holds what cannot be.
    """
    contents = read_contents(folder)
    finals = [final_name(seed) for seed in contents["seeds"]]
    names = [*finals, *fold_replicas(contents["folds"], contents["seeds"])]
    classifiers = list(read_classifiers(folder / TENSORS, names, contents, REMEDY))
    return Bundle(contents, classifiers[: len(finals)], classifiers[len(finals) :])


def read_contents(folder: Path) -> dict[str, Any]:
    """What a bundle says of itself, with the keys of `Contents`.

    Raises:
        UserError: as `read_bundle`, but for the tensors.
    """
    return read_facts(folder / CONTENTS, folder / TENSORS, Contents, REMEDY)
