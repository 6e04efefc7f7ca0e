"""The one reader of params.yaml: every value typed, in range, and named when it is not.

YAML is read with ruamel as DVC itself does, never with PyYAML, which takes the `1e-05`
that `dvc exp run -S alpha=1e-5` writes for a string. The whole file is checked each
time; a stage gets only the keys that it asks for, which are those that dvc.yaml declares, but for
those of WITHOUT_EFFECT.
"""

import difflib
import math
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from stages.runtime.errors import UserError, one_line

PARAMS_FILE = Path("params.yaml")
MAX_SEED = 2**32 - 1
SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother, SHORT.maxlong = 2, 80, 80, 500


@dataclass(frozen=True)
class Rule:
    """What a param may be: `allowed` for people, `parse` raises ValueError for anything else."""

    allowed: str
    parse: Callable[[Any], Any]


def real(low: float, high: float = math.inf, *, above: bool = False) -> Rule:
    """A finite number in [low, high], or in (low, high] with `above`."""

    def parse(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
        if not math.isfinite(number) or number < low or number > high or (above and number == low):
            raise ValueError
        return number

    bound = f"a number {'>' if above else '>='} {low:g}"
    return Rule(bound if high == math.inf else f"{bound} and <= {high:g}", parse)


def whole(low: int, high: int | None = None) -> Rule:
    """An integer in [low, high]."""

    def parse(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = int(value)
        if number != float(value) or number < low or (high is not None and number > high):
            raise ValueError
        return number

    return Rule(f"an integer >= {low}" + ("" if high is None else f" and <= {high}"), parse)


def choice(*names: str) -> Rule:
    """One of a few words."""

    def parse(value: Any) -> str:
        if value not in names:
            raise ValueError
        return value

    return Rule("one of " + ", ".join(names), parse)


def flag() -> Rule:
    """true or false, and nothing that merely looks like it."""

    def parse(value: Any) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    return Rule("true or false", parse)


def word(pattern: str, allowed: str) -> Rule:
    """A string that matches `pattern` whole."""

    def parse(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError
        return value

    return Rule(allowed, parse)


def either(first: Rule, second: Rule) -> Rule:
    """What obeys one of two rules."""

    def parse(value: Any) -> Any:
        try:
            return first.parse(value)
        except ValueError:
            return second.parse(value)

    return Rule(f"{first.allowed}, or {second.allowed}", parse)


def list_of(rule: Rule) -> Rule:
    """A list of one or more different values, each of which obeys `rule`."""

    def parse(value: Any) -> list:
        if not isinstance(value, list) or not value:
            raise ValueError
        items = [rule.parse(item) for item in value]
        if len(set(items)) < len(items):
            raise ValueError
        return items

    return Rule(f"a list, without repeats, of {rule.allowed}", parse)


CORPUS = word(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", "corpus names in lower case, e.g. ravdess")

RULES: dict[str, Rule] = {
    "corpora": list_of(CORPUS),
    "visual": list_of(CORPUS),
    "acoustic": CORPUS,
    "seed": whole(0, MAX_SEED),
    "max_skip_fraction": real(0, 1),
    "workers": word(r"local|(tcp|tls|ws|wss)://\S+", "local, or a scheduler as tcp://host:8786"),
    "sample.speakers": whole(2, 16),
    "sample.sentences": whole(1, 30),
    "sample.seed": whole(0, MAX_SEED),
    "frames.detector": choice("haar", "sfd", "blazeface", "yunet"),
    "frames.min_face": real(0.01, 1),
    "frames.margin": real(0, 2),
    "frames.size": whole(32, 1024),
    "frames.align": flag(),
    "frames.no_face": choice("centre_crop", "nearest", "skip"),
    "mels.sample_rate": whole(4000, 192000),
    "mels.n_fft": whole(64, 65536),
    "mels.win_length": whole(16, 65536),
    "mels.hop_length": whole(1, 65536),
    "mels.n_mels": whole(8, 512),
    "mels.fmin": real(0),
    "mels.fmax": real(0, above=True),
    "mels.ref": real(0, above=True),
    "mels.amin": real(0, above=True),
    "mels.surround": choice("mean", "centre"),
    "mels.min_seconds": real(0),
    "mels.max_seconds": real(0, above=True),
    "features.backbone": word(r"[a-z0-9_]+", "the name of a torchvision classification model"),
    "features.weights": choice("random", "imagenet"),
    "features.precision": choice("fp32", "bf16"),
    "features.seed": whole(0, MAX_SEED),
    "features.allow_random_weights": flag(),
    "features.db_min": real(-300, 300),
    "features.db_max": real(-300, 300),
    "protocol": choice("paper", "speaker", "sentence", "speaker_sentence", "official"),
    "folds": whole(1, 100),
    "validation": real(0, 0.5),
    "duplicates": choice("refuse", "drop"),
    "shuffle_labels": flag(),
    "allow_missing_classes": flag(),
    "seeds": whole(1, 1000),
    "selection": choice("validation", "last"),
    "inference": choice("bank", "prototypes", "none"),
    "cross_attention": flag(),
    "acoustic_only": flag(),
    "alpha": real(0),
    "learning_rate": real(0, above=True),
    "momentum": real(0, 0.9999),
    "weight_decay": real(0),
    "batch_size": whole(2, 65536),
    "epochs": whole(1, 100000),
    "network.dim": whole(1, 65536),
    "network.ffn_dim": whole(1, 65536),
    "network.layers": whole(1, 32),
    "lmmd.kernels": whole(1, 16),
    "lmmd.ratio": real(1, 10, above=True),
    "lmmd.bandwidth": either(choice("mean", "median"), real(0, above=True)),
    "lmmd.classes": choice("all", "common"),
}


# No output depends on these, so that no stage runs again for them.
WITHOUT_EFFECT = frozenset({"workers"})


def load(*keys: str, path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Check the whole of params.yaml and return the values of `keys`, by their dotted names.

    Raises:
        UserError: the file cannot be read, a key is unknown or missing, or a value is of the
            wrong type or out of range; the message names the key, the value and the range.
    """
    values = check(_read(path), str(path))
    return {key: values[key] for key in keys}


def section(name: str, path: Path = PARAMS_FILE) -> dict[str, Any]:
    """Like `load` for all keys of one section, without its name: {"n_mels": 128, ...}."""
    prefix = f"{name}."
    keys = [key for key in RULES if key.startswith(prefix)]
    return {key.removeprefix(prefix): value for key, value in load(*keys, path=path).items()}


def refuse_random_weights(corpus: str, weights: str, insist: bool) -> None:
    """Raise UserError for a real corpus with random `weights`, unless one insists."""
    if weights == "random" and corpus.split("_")[0] != "sample" and not insist:
        raise UserError(
            f"params.yaml: features.weights: random weights say nothing about {corpus}; set "
            "imagenet, or features.allow_random_weights: true to insist"
        )


def check(tree: Any, source: str = "params.yaml") -> dict[str, Any]:
    """Parse a nested mapping of params into dotted keys and typed values (see `load`)."""
    given = _flatten(tree, source)
    for key in given:
        if key not in RULES:
            shown = key if key.isprintable() and len(key) <= 80 else _shown(key)
            close = difflib.get_close_matches(key[:80], RULES, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(RULES)}"
            raise UserError(f"{source}: {shown}: no such param; {hint}")
    values = {}
    for key, rule in RULES.items():
        if key not in given:
            raise UserError(f"{source}: {key}: missing; give it {rule.allowed}")
        try:
            values[key] = rule.parse(given[key])
        except (ValueError, TypeError, OverflowError):
            shown = _shown(given[key])
            raise UserError(f"{source}: {key}: {shown} is not {rule.allowed}") from None
    _check_together(values, source)
    return values


def _read(path: Path) -> Any:
    try:
        return YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; run from the root of the project") from None
    except Exception as error:
        # Beside its own errors ruamel lets through what a date 2001-13-45, an int of thousands of
        # digits or a list in 5000 brackets raises: ValueError, RecursionError and others.
        reason = one_line(error)[:500]
        raise UserError(f"{path}: cannot be read as YAML: {reason}; mend it") from None


def _flatten(tree: Any, source: str, prefix: str = "") -> dict[str, Any]:
    """{"mels": {"n_mels": 64}} becomes {"mels.n_mels": 64}; lists stay whole."""
    if not isinstance(tree, dict):
        where = prefix.rstrip(".") or "the file"
        raise UserError(f"{source}: {where}: {_shown(tree)} is not a mapping of params; mend it")
    flat: dict[str, Any] = {}
    sections = {key.split(".")[0] for key in RULES if "." in key}
    for key, value in tree.items():
        name = key if isinstance(key, str) else _shown(key)
        if not prefix and name in sections:
            flat.update(_flatten(value, source, f"{name}."))
        elif not prefix and "." in name:
            raise UserError(f"{source}: {_shown(name)}: write it inside its section, without a dot")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _shown(value: Any) -> str:
    """A value as a message quotes it: on one line, and short whatever it is.

    A few lines of YAML can hold a list, by `&` and `*`, whose whole text fills the memory.
    """
    try:
        text = SHORT.repr(value)
    except ValueError:  # 0xfff...: Python writes no int of more than 4300 digits
        text = "a number of thousands of digits"
    return text if len(text) <= 500 else f"{text[:500]}..."


def _check_together(values: dict[str, Any], source: str) -> None:
    """Refuse values that are each in range but make no sense side by side."""
    for key, wanted in [("visual", values["visual"]), ("acoustic", [values["acoustic"]])]:
        for corpus in wanted:
            if corpus not in values["corpora"]:
                listed = ", ".join(values["corpora"])
                raise UserError(f"{source}: {key}: {corpus} is not in corpora ({listed}); add it")
    unvalidated = values["validation"] == 0 and values["protocol"] != "official"
    if values["selection"] == "validation" and unvalidated:
        raise UserError(
            f"{source}: selection: validation chooses the epoch on voices that validation: 0 does "
            "not leave; set selection: last, or validation above 0"
        )
    bounds = [
        ("mels.win_length", "<=", "mels.n_fft", values["mels.n_fft"]),
        ("mels.fmin", "<", "mels.fmax", values["mels.fmax"]),
        ("mels.fmax", "<=", "half of mels.sample_rate", values["mels.sample_rate"] / 2),
        ("mels.min_seconds", "<", "mels.max_seconds", values["mels.max_seconds"]),
        ("features.db_min", "<", "features.db_max", values["features.db_max"]),
    ]
    for key, relation, name, bound in bounds:
        if values[key] > bound or (relation == "<" and values[key] == bound):
            raise UserError(f"{source}: {key}: {values[key]} is not {relation} {name} ({bound})")
