"""The trained replicas on disk: models/replicas.safetensors and the models/replicas.json beside it.

The tensors of a replica are the state of its classifier, named "fold_<k>.seed_<s>.<name>". The JSON
file holds the system, its settings and the widths of the features, the utterances of every bank,
what the validation parts chose, and the SHA-256 of the tensors and of the split.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from stages.corpora.emotions import EMOTIONS
from stages.io.files import file_sha256, has_sha256, read_json, replacing, write_json
from stages.runtime.errors import UserError, first_mistake, one_line
from stages.runtime.params import Positive
from stages.runtime.paths import DESCRIPTION, MODEL, SPLIT
from stages.systems.contract import Layout
from stages.systems.named import SYSTEMS

Width = Annotated[int, Field(ge=1, le=1 << 20)]
REMEDY = "run dvc repro train (with -s -f if it came by dvc pull)"


class Classifiers(BaseModel):
    """What must be known of classifiers to read their tensors, as it may come from anywhere.

    Attributes:
        settings: of the system, whose own schema checks them.
        dims: the width of everything that it learned from (`stages.systems.contract.Clip`).
    """

    model_config = ConfigDict(strict=True)

    system: str
    settings: dict[str, Any]
    folds: int = Field(ge=1, le=100)
    seeds: list[int] = Field(min_length=1, max_length=1000)
    dims: dict[Literal["acoustic", "visual", "linguistic", "mels"], Width] = Field(min_length=1)
    emotions: list[str]
    sha256: str

    @field_validator("system")
    @classmethod
    def _is_known(cls, value: str) -> str:
        if value not in SYSTEMS:
            raise ValueError(f"{ascii(value)[:80]} is none of {', '.join(SYSTEMS)}")
        return value


class Description(Classifiers):
    """What models/replicas.json must hold."""

    bank: dict[str, list[str]]
    chosen: dict[str, dict[str, Positive]]
    split_sha256: str

    @model_validator(mode="after")
    def _has_a_bank_of_each_replica(self) -> Self:
        replicas = set(fold_replicas(self.folds, self.seeds))
        if self.bank.keys() != replicas or self.chosen.keys() != replicas:
            raise ValueError("its banks or choices are not those of its folds and seeds")
        if any(set(of) != set(SYSTEMS[self.system].chooses) for of in self.chosen.values()):
            raise ValueError(f"chosen: is not what {self.system} chooses")
        return self


def replica_name(fold: int, seed: int) -> str:
    """How a replica is called in both files."""
    return f"fold_{fold}.seed_{seed}"


def fold_replicas(folds: int, seeds: Sequence[int]) -> dict[str, tuple[int, int]]:
    """The fold and the seed of every replica by its name, in order."""
    return {replica_name(fold, seed): (fold, seed) for fold in range(folds) for seed in seeds}


def write_tensors(path: Path, states: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Write the states of classifiers by their names.

    Raises:
        UserError: there is no room, or the file cannot be written.
    """
    tensors = {
        f"{replica}.{name}": value.contiguous()
        for replica, state in states.items()
        for name, value in state.items()
    }
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary)
            # Which it keeps from all but its user, unlike every other output.
            os.umask(mask := os.umask(0))
            temporary.chmod(0o666 & ~mask)
        except SafetensorError as error:  # of the disk; it has no errno
            raise UserError(
                f"{path}: cannot be written: {error}; free space or mend access"
            ) from error


def write_model(states: Mapping[str, Mapping[str, Tensor]], description: dict[str, Any]) -> None:
    """Write the states of all replicas by name, and their description.

    Raises:
        UserError: there is no room, or a file cannot be written.
    """
    write_tensors(MODEL, states)
    facts = {"sha256": file_sha256(MODEL), "split_sha256": file_sha256(SPLIT)}
    write_json(DESCRIPTION, description | {"emotions": list(EMOTIONS)} | facts, rounded=False)


def read_description() -> dict[str, Any]:
    """What models/replicas.json says; its keys are those of `Description`.

    Raises:
        UserError: as `read_facts`; or the model was trained on another split (and so perhaps on the
            test voices of this one).
    """
    description = read_facts(DESCRIPTION, MODEL, Description, REMEDY)
    if not has_sha256(SPLIT, description["split_sha256"]):
        raise UserError(f"{MODEL}: was trained on another {SPLIT}; run dvc repro train")
    return description


def read_facts(path: Path, model: Path, schema: type[Classifiers], remedy: str) -> dict[str, Any]:
    """What a file says of the classifiers in another; its keys are those of `schema`.

    Raises:
        UserError: it cannot be read, lacks a key or holds what cannot be; the classifiers know
            other emotions, or are not in the file described.
    """
    content = read_json(path, schema.model_fields)
    try:
        facts = schema.model_validate(content).model_dump()
        own: dict[str, Any] = {"settings": (SYSTEMS[facts["system"]].schema, ...)}
        facts |= create_model("Own", **own).model_validate(content).model_dump()
        views = SYSTEMS[facts["system"]].views(facts["settings"])
        facts["dims"] = {view: facts["dims"][view] for view in views}
    except KeyError as error:
        raise UserError(f"{path}: dims: has no {error.args[0]}; {remedy}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}; {remedy}") from None
    if facts["emotions"] != list(EMOTIONS):
        raise UserError(f"{model}: knows the emotions {facts['emotions']}; {remedy}")
    if not has_sha256(model, facts["sha256"]):
        raise UserError(f"{model}: is not the file that {path} describes; {remedy}")
    return facts


def read_replicas(description: dict[str, Any]) -> Iterator[tuple[int, int, nn.Module]]:
    """Fold, seed and classifier of every replica described.

    Raises:
        UserError: as `read_classifiers`.
    """
    replicas = fold_replicas(description["folds"], description["seeds"])
    found = read_classifiers(MODEL, list(replicas), description, REMEDY)
    for (fold, seed), classifier in zip(replicas.values(), found):
        yield fold, seed, classifier


def read_classifiers(
    path: Path, names: Sequence[str], facts: dict[str, Any], remedy: str
) -> Iterator[nn.Module]:
    """The classifiers of these names, which are all that is in a file.

    Args:
        facts: of `Classifiers`.
        remedy: what to do about a file that cannot be read.

    Raises:
        UserError: the tensors do not fit the facts, or are not finite.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {one_line(error)}; {remedy}") from error
    states: dict[str, dict[str, Tensor]] = {}
    system = SYSTEMS[facts["system"]]
    layout = system.layout(facts)
    for replica in names:
        of_replica = [name for name in tensors if name.startswith(f"{replica}.")]
        state = {name.removeprefix(f"{replica}."): tensors.pop(name) for name in of_replica}
        if wrong := _misfit(state, layout):
            raise UserError(f"{path}: {replica}: {wrong}; {remedy}")
        states[replica] = state
    if tensors:
        raise UserError(f"{path}: {ascii(min(tensors))[:80]} is of no replica; {remedy}")
    for state in states.values():
        yield system.restore(facts, state)


def _misfit(state: Mapping[str, Tensor], layout: Layout) -> str:
    """What is wrong with the tensors of a replica; "" for nothing."""
    for name in sorted(state.keys() ^ layout.keys()):
        return f"has no {name}" if name in layout else f"{ascii(name)[:80]} is none of its tensors"
    for name, shape in layout.items():
        tensor = state[name]
        like = len(tensor.shape) == len(shape) and all(
            length == wanted or (wanted is None and length > 0)
            for length, wanted in zip(tensor.shape, shape)
        )
        if tensor.dtype != torch.float32 or not like:
            return f"{name} is {tensor.dtype} {list(tensor.shape)}"
        if not tensor.isfinite().all():
            return f"{name} is not finite"
        if name.endswith("_std") and not (tensor > 0).all():
            return f"{name} is not positive"
    return ""
