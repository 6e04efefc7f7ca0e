"""params.yaml as typed settings: `read_params().mels.n_fft`.

The whole file is checked at once: the keys, the type and range of every value, and values that
only make sense together; all that is wrong is named, a line each. `Params.model_json_schema()` is
the JSON schema, for editors.
"""

import difflib
import math
import reprlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    ValidationInfo,
    field_validator,
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


def _no_repeats(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise ValueError
    return values


def _low_to_high(values: list[float]) -> list[float]:
    if len(values) not in (0, 2) or values != sorted(values):
        raise ValueError
    return values


Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_no_bool)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_no_bool)]
Whole = Annotated[int, BeforeValidator(_no_bool)]
Layer = Annotated[int, Field(ge=1, le=1000), BeforeValidator(_no_bool)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1), BeforeValidator(_no_bool)]
Corpus = Annotated[
    str,
    Field(
        pattern="^[a-z][a-z0-9]*(_[a-z0-9]+)*$",
        description="corpus names in lower case, e.g. ravdess",
    ),
]
Corpora = Annotated[
    list[Corpus], Field(json_schema_extra={"uniqueItems": True}), AfterValidator(_no_repeats)
]
Emotion = Literal["anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"]
Emotions = Annotated[
    list[Emotion],
    Field(min_length=2, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_no_repeats),
]


Modality = Literal["acoustic", "visual", "linguistic"]
Modalities = Annotated[
    list[Modality],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_no_repeats),
]


class Section(BaseModel):
    """Settings of which each must be given and none can be added.

    What must fit another setting is checked with the later of the two, so that neither hides what
    else is wrong.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*")
    @classmethod
    def _note(cls, value: Any, info: ValidationInfo) -> Any:
        """Keep what is right for `examine`, whatever else is wrong."""
        if info.context is not None:
            info.context.setdefault(cls, {})[info.field_name] = value
        return value


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

    @field_validator("win_length")
    @classmethod
    def _within_n_fft(cls, value: int, info: ValidationInfo) -> int:
        if value > (n_fft := info.data.get("n_fft", value)):
            raise ValueError(f"mels.win_length: {value} is not <= mels.n_fft ({n_fft})")
        return value

    @field_validator("fmax")
    @classmethod
    def _within_the_spectrum(cls, value: float, info: ValidationInfo) -> float:
        if (fmin := info.data.get("fmin", 0)) >= value:
            raise ValueError(f"mels.fmin: {fmin} is not < mels.fmax ({value})")
        if value > (nyquist := info.data.get("sample_rate", 2 * value) / 2):
            text = f"mels.fmax: {value} is not <= half of mels.sample_rate ({nyquist})"
            raise ValueError(text)
        return value

    @field_validator("max_seconds")
    @classmethod
    def _above_min_seconds(cls, value: float, info: ValidationInfo) -> float:
        if (least := info.data.get("min_seconds", 0)) >= value:
            raise ValueError(f"mels.min_seconds: {least} is not < mels.max_seconds ({value})")
        return value


class Augmentation(Section):
    """Augmented copies of the training part; what is 0, empty or false is off."""

    copies: Whole = Field(ge=1, le=100)
    seed: Seed
    noise_db: Annotated[list[Number], AfterValidator(_low_to_high)] = Field(
        description="[], or the lowest and the highest signal-to-noise ratio in dB, as [10, 20]"
    )
    pitch: Number = Field(ge=0, le=12)
    speed: Number = Field(ge=0, le=0.5)
    time_mask: Number = Field(ge=0, le=0.9)
    mel_mask: Number = Field(ge=0, le=0.9)
    flip: StrictBool
    colour: Number = Field(ge=0, le=1)


class Encoder(Section):
    """A frozen encoder of pictures."""

    name: str = Field(
        pattern="^[a-z0-9_]+$",
        description="the name of a torchvision classification model, or efficientnet_lite0",
    )
    weights: Literal["random", "imagenet", "published"]
    precision: Literal["fp32", "bf16"]
    seed: Seed


class AcousticEncoder(Encoder):
    """A frozen encoder of pictures of spectrograms, or of speech."""

    name: str = Field(
        pattern="^[A-Za-z0-9_./-]+$",
        description="the name of an encoder of pictures, or of speech as whisper-tiny.en",
    )
    layer: Literal["last", "mean"] | Layer
    pool: Literal["mean", "mean_std"]
    sequences: StrictBool
    db_min: Number = Field(ge=-300, le=300)
    db_max: Number = Field(ge=-300, le=300)

    @field_validator("db_max")
    @classmethod
    def _above_db_min(cls, value: float, info: ValidationInfo) -> float:
        if (least := info.data.get("db_min", -math.inf)) >= value:
            key = "encoders.acoustic.db_"
            raise ValueError(f"{key}min: {least} is not < {key}max ({value})")
        return value


class LinguisticEncoder(Section):
    """A frozen encoder of text."""

    name: str = Field(
        pattern="^(none|all-MiniLM-L6-v2|[A-Za-z0-9_.-]*(/[A-Za-z0-9_.-]+)+/?)$",
        description="none, all-MiniLM-L6-v2, or owner/name of a text model of Hugging Face, or "
        "the folder of one, with a /",
    )
    layer: Literal["last", "mean"] | Layer
    sequences: StrictBool


class Encoders(Section):
    """The frozen encoder of each modality."""

    allow_random_weights: StrictBool
    visual: Encoder
    acoustic: AcousticEncoder
    linguistic: LinguisticEncoder


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


class Learned(Section):
    """What every system that is learned by gradient descent over epochs has, but FDAN."""

    epochs: Whole = Field(ge=1, le=100000)
    batch_size: Whole = Field(ge=1, le=65536)
    learning_rate: Positive
    weight_decay: Number = Field(ge=0)


class LinearProbe(Section):
    """The linear probe: the Cs to choose from, and what it reads."""

    c: Annotated[
        list[Positive],
        Field(min_length=1, json_schema_extra={"uniqueItems": True}),
        AfterValidator(_no_repeats),
    ]
    modalities: Modalities


class Knn(Section):
    """K nearest neighbours."""

    k: Whole = Field(ge=1, le=1000)
    metric: Literal["cosine", "euclidean"]


FineTunedNetwork = Literal[
    "vgg16", "vgg19", "resnet18", "resnet34", "resnet50", "efficientnet_lite0"
]


class Finetuned(Learned):
    """Networks of pictures, trained on spectrograms."""

    weights: Literal["random", "imagenet"]
    size: Whole = Field(ge=64, le=1024)
    body_factor: Number = Field(ge=0, le=1)
    momentum: Number = Field(ge=0, le=0.9999)


class GmTcnet(Learned):
    """GM-TCNet."""

    seconds: Number = Field(gt=0, le=3600)


class TimNet(Learned):
    """TIM-Net."""

    seconds: Number = Field(gt=0, le=3600)
    blocks: Whole = Field(ge=1, le=16)
    dropout: Number = Field(ge=0, le=0.9)
    label_smoothing: Number = Field(ge=0, le=0.9)


class Inca(Section):
    """INCA: how many features are tried, and its neighbourhood component analysis and SVM."""

    k_min: Whole = Field(ge=1, le=100000)
    k_max: Whole = Field(ge=1, le=100000)
    k_step: Whole = Field(ge=1, le=100000)
    ridge: Number = Field(ge=0)
    degree: Whole = Field(ge=1, le=10)
    c: Positive

    @field_validator("k_max")
    @classmethod
    def _not_below_k_min(cls, value: int, info: ValidationInfo) -> int:
        if (least := info.data.get("k_min", value)) > value:
            raise ValueError(f"inca.k_min: {least} is not <= inca.k_max ({value})")
        return value


class TfMix(Learned):
    """TF-Mix: the width of its networks, and their dropout."""

    channels: Whole = Field(ge=1, le=4096)
    dropout: Number = Field(ge=0, le=0.9)


class Attending(Learned):
    """A network that attends: what it reads, its width, and what is dropped out in training."""

    key: ClassVar[str]  # of the section
    modalities: Modalities
    dim: Whole = Field(ge=2, le=8192, multiple_of=2, description="an even number from 2 to 8192")
    heads: Whole = Field(ge=1, le=64)
    dropout: Number = Field(ge=0, le=0.9)

    @field_validator("heads")
    @classmethod
    def _divide_dim(cls, value: int, info: ValidationInfo) -> int:
        if (dim := info.data.get("dim", value)) % value:
            raise ValueError(f"{cls.key}.heads: {value} does not divide {cls.key}.dim ({dim})")
        return value


class QueryTokens(Attending):
    """Emotion query tokens, with random masking of modalities."""

    key = "query_tokens"
    ffn_dim: Whole = Field(ge=1, le=65536)
    layers: Whole = Field(ge=1, le=32)
    queries: Whole = Field(ge=0, le=1024)
    decoder_layers: Whole = Field(ge=1, le=32)
    masking: Number = Field(ge=0, le=1)


class Cadf(Attending):
    """Cross-attention fusion of two modalities."""

    key = "cadf"
    modalities: Annotated[Modalities, Field(min_length=2, max_length=2)] = Field(
        description="a list, without repeats, of two of acoustic, visual, linguistic"
    )
    kernel: Literal[1, 3, 5, 7, 9] = Field(description="1, 3, 5, 7 or 9")
    ffn_dim: Whole = Field(ge=1, le=65536)
    layers: Whole = Field(ge=1, le=32)


class Sdt(Attending):
    """Whole dialogues, and self-distillation."""

    key = "sdt"
    speakers: Whole = Field(ge=1, le=1000)
    trained_gates: StrictBool
    temperature: Positive


class Params(Section):
    """All of params.yaml; its comments say what each key does."""

    corpora: Annotated[Corpora, Field(min_length=1)]
    visual: Corpora
    acoustic: Corpus
    test: Literal[""] | Corpus = Field(description="a corpus in corpora, or '' for none")
    seed: Seed
    max_skip_fraction: Number = Field(ge=0, le=1)
    workers: str = Field(
        pattern=r"^(local|(tcp|tls|ws|wss)://\S+)$",
        description="local, or a scheduler as tcp://host:8786",
    )
    sample: Sample
    frames: Frames
    mels: Mels
    augmentation: Augmentation
    text: Literal["corpus", "asr"]
    encoders: Encoders
    protocol: Literal["paper", "speaker", "session", "sentence", "speaker_sentence", "official"]
    folds: Whole = Field(ge=1, le=100)
    train_share: Number = Field(gt=0, le=1)
    validation: Number = Field(ge=0, le=0.5)
    duplicates: Literal["refuse", "drop"]
    shuffle_labels: StrictBool
    test_modalities: Literal["default"] | Modalities
    classes: Literal["all"] | Emotions = Field(
        description=f"all, or a list, without repeats, of two or more of "
        f"{', '.join(get_args(Emotion))}"
    )
    allow_missing_classes: StrictBool
    allow_text_leak: StrictBool
    seeds: Whole = Field(ge=1, le=1000)
    selection: Literal["validation", "last"]
    best_test_epoch: StrictBool
    system: Literal[
        "fdan",
        "majority",
        "linear_probe",
        "knn",
        FineTunedNetwork,
        "gm_tcnet",
        "tim_net",
        "inca",
        "tf_mix",
        "query_tokens",
        "cadf",
        "sdt",
    ]
    class_balance: Literal["none", "weights", "sampler"]
    finetuned: Finetuned
    gm_tcnet: GmTcnet
    tim_net: TimNet
    linear_probe: LinearProbe
    knn: Knn
    inca: Inca
    tf_mix: TfMix
    query_tokens: QueryTokens
    cadf: Cadf
    sdt: Sdt
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

    @field_validator("visual", "acoustic", "test")
    @classmethod
    def _on_disk(cls, value: list[str] | str, info: ValidationInfo) -> list[str] | str:
        corpora = info.data.get("corpora", [])
        wanted = [value] * bool(value) if isinstance(value, str) else value
        absent = [corpus for corpus in wanted if corpora and corpus not in corpora]
        if absent:
            listed = ", ".join(corpora)
            lines = (f"{info.field_name}: {x} is not in corpora ({listed}); add it" for x in absent)
            raise ValueError("\n".join(lines))
        return value

    @field_validator("test")
    @classmethod
    def _is_another(cls, value: str, info: ValidationInfo) -> str:
        if value and value == info.data.get("acoustic"):
            raise ValueError(
                f"test: {value} is what trains, too; set '' to test it in folds, or another corpus"
            )
        return value

    @field_validator("selection")
    @classmethod
    def _can_select(cls, value: str, info: ValidationInfo) -> str:
        empty = info.data.get("validation") == 0
        if value == "validation" and empty and info.data.get("protocol", "official") != "official":
            raise ValueError(
                "selection: validation chooses the epoch on a validation set that validation: 0 "
                "leaves empty; set selection: last, or validation above 0"
            )
        return value

    @field_validator("system")
    @classmethod
    def _has_mfccs(cls, value: str, info: ValidationInfo) -> str:
        n_mels = getattr(info.data.get("mels"), "n_mels", 39)
        if value in ("gm_tcnet", "tim_net") and n_mels < 39:
            raise ValueError(
                f"mels.n_mels: {n_mels} is not >= 39, the number of MFCCs that {value} hears"
            )
        return value

    @field_validator("class_balance")
    @classmethod
    def _has_a_loss(cls, value: str, info: ValidationInfo) -> str:
        system = info.data.get("system")
        if value == "weights" and system in ("majority", "knn", "inca"):
            raise ValueError(
                f"class_balance: {system} has no loss in which emotions could weigh; set sampler, "
                "or none"
            )
        return value

    @field_validator("acoustic_only")
    @classmethod
    def _has_faces(cls, value: bool, info: ValidationInfo) -> bool:
        if not value and info.data.get("visual") == []:
            raise ValueError(
                "visual: names no corpus, whose faces acoustic_only: false trains on; name one, or "
                "set acoustic_only: true"
            )
        return value


def _sections(of: type[Section], prefix: str = "") -> Iterator[tuple[str, type[Section]]]:
    """All sections of params.yaml by their dotted keys, those within others first."""
    for name, field in of.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            key = prefix + name
            yield from _sections(field.annotation, f"{key}.")
            yield key, field.annotation


SECTIONS = dict(_sections(Params))
MAPPING = "a mapping of params"


def read_params(path: Path = PARAMS_FILE) -> Params:
    """Read and check params.yaml.

    Raises:
        UserError: the file cannot be read, or, a line each, keys that are unknown or missing and
            values of the wrong type or out of range, with the key, the value and the range.
    """
    return check_params(read_tree(path), str(path))


def read_tree(path: Path = PARAMS_FILE) -> Any:
    """Read params.yaml without a look at what it holds.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        # As DVC reads it. PyYAML takes the 1e-05 that `dvc exp run -S alpha=1e-5` writes for text.
        return YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the root of the project") from None
    except Exception as error:
        # Beside its own errors ruamel lets through what a date 2001-13-45, an int of thousands of
        # digits or a list in 5000 brackets raises: ValueError, RecursionError and others.
        reason = one_line(error)[:500]
        raise UserError(f"{path}: cannot be read as YAML: {reason}; fix it") from None


def check_params(tree: Any, source: str = PARAMS_FILE.name) -> Params:
    """Check the content of params.yaml (see `read_params`)."""
    params, problems = examine(tree, source)
    if problems:
        raise UserError("\n".join(problems))
    return params


def examine(tree: Any, source: str = PARAMS_FILE.name) -> tuple[Params, list[str]]:
    """What is right in the content of params.yaml, and all that is wrong with it.

    Returns:
        Params, of which what is wrong is absent (`model_fields_set` says what is there, also of a
        section); and a line for each problem.
    """
    problems = []
    meant = set()
    for key in _keys(tree):
        if key not in allowed():
            shown = key if key.isprintable() and len(key) <= 80 else _shown(key)
            close = difflib.get_close_matches(key[:80], allowed(), n=1)
            parent = key.rpartition(".")[0]
            prefix = f"{parent}." if parent in SECTIONS else ""
            beside = [name[len(prefix) :] for name in allowed() if name.startswith(prefix)]
            known = dict.fromkeys(prefix + name.split(".")[0] for name in beside)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            problems.append(f"{shown}: no such param; {hint}")
            meant.update(close)
    right: dict[type, dict[str, Any]] = {}
    try:
        return Params.model_validate(tree, context=right), _lines(problems, source)
    except ValidationError as error:
        found = error.errors(include_url=False)
    for item in found:
        place = item["loc"]  # () for the whole file
        depth = 1  # of the key; what is wrong may lie deeper, within its value
        while ".".join(map(str, place[:depth])) in SECTIONS and depth < len(place):
            depth += 1
        names = place[:depth]
        key = ".".join(map(str, names)) or "the file"
        if item["type"] == "missing":
            if key not in meant:
                problems.append(f"{key}: missing; give it {allowed().get(key, MAPPING)}")
        elif item["type"] in ("extra_forbidden", "invalid_key"):
            if key in allowed():  # else it is among the unknown
                problems.append(f"{key}: write it inside its section, without a dot")
        elif item["type"] == "value_error" and (text := str(item["ctx"]["error"])):
            problems += text.splitlines()  # of values side by side
        else:
            value = tree
            for name in names:
                value = value[name]
            problems.append(f"{key}: {_shown(value)} is not {allowed().get(key, MAPPING)}")
    parts: dict[str, dict[str, Any]] = {}  # what is right of each section, by its dotted key
    for key, of in SECTIONS.items():
        parent, _, name = key.rpartition(".")
        section = of.model_construct(**parts.get(key, {}) | right.get(of, {}))
        parts.setdefault(parent, {})[name] = section
    return Params.model_construct(**parts[""] | right.get(Params, {})), _lines(problems, source)


def _lines(problems: list[str], source: str) -> list[str]:
    return [f"{source}: {problem}" for problem in dict.fromkeys(problems)]


@cache
def allowed() -> dict[str, str]:
    """What each param may be, for people, by its dotted key."""
    schema = Params.model_json_schema()

    def in_words(properties: dict[str, Any], prefix: str) -> dict[str, str]:
        texts: dict[str, str] = {}
        for name, item in properties.items():
            key = prefix + name
            if key in SECTIONS:
                section = schema["$defs"][item["$ref"].rpartition("/")[2]]
                texts |= in_words(section["properties"], f"{key}.")
            else:
                texts[key] = _in_words(item)
        return texts

    return in_words(schema["properties"], "")


def check_random_weights(corpus: str, key: str, weights: str, insist: bool) -> None:
    """Raise UserError for a real corpus with random `weights`, a `key`, unless one insists."""
    if weights == "random" and corpus.split("_")[0] != "sample" and not insist:
        raise UserError(
            f"params.yaml: {key}: random weights say nothing about {corpus}; "
            "set imagenet, or encoders.allow_random_weights: true to insist"
        )


def _in_words(schema: dict[str, Any]) -> str:
    if "description" in schema:
        return schema["description"]
    if "anyOf" in schema:
        return ", or ".join(map(_in_words, schema["anyOf"]))
    if "enum" in schema:
        return "one of " + ", ".join(schema["enum"])
    if "const" in schema:
        return schema["const"]
    if "items" in schema:
        return f"a list, without repeats, of {_in_words(schema['items'])}"
    kind = {"boolean": "true or false", "integer": "an integer", "number": "a number"}
    signs = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<="}
    bounds = [f"{sign} {schema[name]}" for name, sign in signs.items() if name in schema]
    return " ".join([kind[schema["type"]], " and ".join(bounds)]).strip()


def _keys(tree: Any, prefix: str = "") -> Iterator[str]:
    """The dotted keys of all that is in a tree, known or not."""
    for key, value in tree.items() if isinstance(tree, dict) else ():
        name = prefix + (key if isinstance(key, str) else _shown(key))
        if name not in SECTIONS:
            yield name
        elif isinstance(value, dict):
            yield from _keys(value, f"{name}.")


def _shown(value: Any) -> str:
    """A value as a message quotes it: on one line, and short whatever it is.

    A few lines of YAML can hold a list, by `&` and `*`, whose whole text fills the memory.
    """
    try:
        text = SHORT.repr(value)
    except ValueError:  # 0xfff...: Python writes no int of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 500 else f"{text[:500]}..."
