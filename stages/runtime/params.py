"""params.yaml as typed settings: `read_params().mels.n_fft`.

The whole file is checked at once: the keys, the type and range of every value, and values that
only make sense together. `Params.model_json_schema()` is the JSON schema, for editors.
"""

import difflib
import reprlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML

from stages.runtime.errors import UserError, one_line

PARAMS_FILE = Path("params.yaml")
WITHOUT_EFFECT = frozenset({"workers"})  # on outputs, so that no stage runs again for them
SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother, SHORT.maxlong = 2, 80, 80, 500


def _no_bool(value: Any) -> Any:
    # Of ints beyond 64 bits pydantic cannot say what is wrong with them.
    if isinstance(value, bool) or (isinstance(value, int) and value.bit_length() > 64):
        raise ValueError
    return value


def _no_repeats(values: list[str]) -> list[str]:
    if len(set(values)) < len(values):
        raise ValueError
    return values


Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_bool)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_no_bool)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1), BeforeValidator(_no_bool)]
Corpus = Annotated[
    str,
    Field(
        pattern="^[a-z][a-z0-9]*(_[a-z0-9]+)*$",
        description="corpus names in lower case, e.g. ravdess",
    ),
]
Corpora = Annotated[
    list[Corpus],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_no_repeats),
]


class Section(BaseModel):
    """Settings of which each must be given and none can be added."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Sample(Section):
    """The embedded synthetic corpus."""

    speakers: Whole = Field(ge=2, le=16)
    sentences: Whole = Field(ge=1, le=30)
    seed: Seed


class Frames(Section):
    """Face crops."""

    detector: Literal["haar", "sfd", "blazeface", "yunet"]
    min_face: Number = Field(ge=0.01, le=1)
    margin: Number = Field(ge=0, le=2)
    size: Whole = Field(ge=32, le=1024)
    align: StrictBool
    no_face: Literal["centre_crop", "nearest", "skip"]


class Mels(Section):
    """Log-Mel spectrograms."""

    sample_rate: Whole = Field(ge=4000, le=192000)
    n_fft: Whole = Field(ge=64, le=65536)
    win_length: Whole = Field(ge=16, le=65536)
    hop_length: Whole = Field(ge=1, le=65536)
    n_mels: Whole = Field(ge=8, le=512)
    fmin: Number = Field(ge=0)
    fmax: Positive
    ref: Positive
    amin: Positive
    surround: Literal["mean", "centre"]
    min_seconds: Number = Field(ge=0)
    max_seconds: Positive

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _below("mels.win_length", self.win_length, "<=", "mels.n_fft", self.n_fft)
        _below("mels.fmin", self.fmin, "<", "mels.fmax", self.fmax)
        _below("mels.fmax", self.fmax, "<=", "half of mels.sample_rate", self.sample_rate / 2)
        _below("mels.min_seconds", self.min_seconds, "<", "mels.max_seconds", self.max_seconds)
        return self


class Features(Section):
    """The frozen backbone and what it is shown."""

    backbone: str = Field(
        pattern="^[a-z0-9_]+$", description="the name of a torchvision classification model"
    )
    weights: Literal["random", "imagenet"]
    precision: Literal["fp32", "bf16"]
    seed: Seed
    allow_random_weights: StrictBool
    db_min: Number = Field(ge=-300, le=300)
    db_max: Number = Field(ge=-300, le=300)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        _below("features.db_min", self.db_min, "<", "features.db_max", self.db_max)
        return self


class Network(Section):
    """The width and depth of FDAN."""

    dim: Whole = Field(ge=1, le=65536)
    ffn_dim: Whole = Field(ge=1, le=65536)
    layers: Whole = Field(ge=1, le=32)


class Lmmd(Section):
    """The kernels of the LMMD and the classes that it compares."""

    kernels: Whole = Field(ge=1, le=16)
    ratio: Number = Field(gt=1, le=10)
    bandwidth: Literal["mean", "median"] | Positive
    classes: Literal["all", "common"]


class Params(Section):
    """All of params.yaml; its comments say what each key does."""

    corpora: Corpora
    visual: Corpora
    acoustic: Corpus
    seed: Seed
    max_skip_fraction: Number = Field(ge=0, le=1)
    workers: str = Field(
        pattern=r"^(local|(tcp|tls|ws|wss)://\S+)$",
        description="local, or a scheduler as tcp://host:8786",
    )
    sample: Sample
    frames: Frames
    mels: Mels
    features: Features
    protocol: Literal["paper", "speaker", "sentence", "speaker_sentence", "official"]
    folds: Whole = Field(ge=1, le=100)
    validation: Number = Field(ge=0, le=0.5)
    duplicates: Literal["refuse", "drop"]
    shuffle_labels: StrictBool
    allow_missing_classes: StrictBool
    seeds: Whole = Field(ge=1, le=1000)
    selection: Literal["validation", "last"]
    best_test_epoch: StrictBool
    inference: Literal["bank", "prototypes", "none"]
    cross_attention: StrictBool
    acoustic_only: StrictBool
    alpha: Number = Field(ge=0)
    learning_rate: Positive
    momentum: Number = Field(ge=0, le=0.9999)
    weight_decay: Number = Field(ge=0)
    batch_size: Whole = Field(ge=2, le=65536)
    epochs: Whole = Field(ge=1, le=100000)
    patience: Whole = Field(ge=0, le=100000)
    network: Network
    lmmd: Lmmd

    @model_validator(mode="after")
    def _make_sense_together(self) -> Self:
        for key, wanted in [("visual", self.visual), ("acoustic", [self.acoustic])]:
            for corpus in wanted:
                if corpus not in self.corpora:
                    listed = ", ".join(self.corpora)
                    raise ValueError(f"{key}: {corpus} is not in corpora ({listed}); add it")
        if self.selection == "validation" and self.validation == 0 and self.protocol != "official":
            raise ValueError(
                "selection: validation chooses the epoch on a validation set that validation: 0 "
                "leaves empty; set selection: last, or validation above 0"
            )
        return self


SECTIONS = {
    name
    for name, field in Params.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
MAPPING = "a mapping of params"


def _below(key: str, value: float, relation: str, name: str, bound: float) -> None:
    if value > bound or (relation == "<" and value == bound):
        raise ValueError(f"{key}: {value} is not {relation} {name} ({bound})")


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml.

    Raises:
        UserError: the file cannot be read, a key is unknown or missing, or a value is of the wrong
            type or out of range; the message names the key, the value and the range.
    """
    try:
        # As DVC reads it. PyYAML takes the 1e-05 that `dvc exp run -S alpha=1e-5` writes for text.
        tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the root of the project") from None
    except Exception as error:
        # Beside its own errors ruamel lets through what a date 2001-13-45, an int of thousands of
        # digits or a list in 5000 brackets raises: ValueError, RecursionError and others.
        reason = one_line(error)[:500]
        raise UserError(f"{path}: cannot be read as YAML: {reason}; fix it") from None
    return check_params(tree, str(path))


def check_params(tree: Any, source: str = PARAMS_FILE.name) -> Params:
    """Check the content of params.yaml (see `read_params`)."""
    for key in _keys(tree):
        if key not in allowed():
            shown = key if key.isprintable() and len(key) <= 80 else _shown(key)
            close = difflib.get_close_matches(key[:80], allowed(), n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(allowed())}"
            raise UserError(f"{source}: {shown}: no such param; {hint}")
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
    place = found["loc"]  # () for the whole file
    names = place[:2] if place and place[0] in SECTIONS else place[:1]
    key = ".".join(map(str, names)) or "the file"
    if found["type"] == "missing":
        raise UserError(f"{source}: {key}: missing; give it {allowed().get(key, MAPPING)}")
    if found["type"] == "extra_forbidden":
        raise UserError(f"{source}: {key}: write it inside its section, without a dot")
    if found["type"] == "value_error" and key not in allowed():  # of values side by side
        raise UserError(f"{source}: {found['ctx']['error']}")
    for name in names:
        tree = tree[name]
    raise UserError(f"{source}: {key}: {_shown(tree)} is not {allowed().get(key, MAPPING)}")


@cache
def allowed() -> dict[str, str]:
    """What each param may be, for people, by its dotted key."""
    schema = Params.model_json_schema()
    texts: dict[str, str] = {}
    for name, item in schema["properties"].items():
        if name in SECTIONS:
            section = schema["$defs"][item["$ref"].rpartition("/")[2]]["properties"]
            texts |= {f"{name}.{key}": _in_words(value) for key, value in section.items()}
        else:
            texts[name] = _in_words(item)
    return texts


def check_random_weights(corpus: str, weights: str, insist: bool) -> None:
    """Raise UserError for a real corpus with random `weights`, unless one insists."""
    if weights == "random" and corpus.split("_")[0] != "sample" and not insist:
        raise UserError(
            f"params.yaml: features.weights: random weights say nothing about {corpus}; set "
            "imagenet, or features.allow_random_weights: true to insist"
        )


def _in_words(schema: dict[str, Any]) -> str:
    if "anyOf" in schema:
        return ", or ".join(map(_in_words, schema["anyOf"]))
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if "items" in schema:
        return f"a list, without repeats, of {_in_words(schema['items'])}"
    if "description" in schema:
        return schema["description"]
    kind = {"boolean": "true or false", "integer": "an integer", "number": "a number"}
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<="}
    bounds = [f"{sign} {schema[name]}" for name, sign in signs.items() if name in schema]
    return " ".join([kind[schema["type"]], " and ".join(bounds)]).strip()


def _keys(tree: Any) -> Iterator[str]:
    """The dotted keys of all that is in a tree, known or not."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        name = key if isinstance(key, str) else _shown(key)
        if name not in SECTIONS:
            yield name
        elif isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in _keys(value))


def _shown(value: Any) -> str:
    """A value as a message quotes it: on one line, and short whatever it is.

    A few lines of YAML can hold a list, by `&` and `*`, whose whole text fills the memory.
    """
    try:
        text = SHORT.repr(value)
    except ValueError:  # 0xfff...: Python writes no int of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 500 else f"{text[:500]}..."
