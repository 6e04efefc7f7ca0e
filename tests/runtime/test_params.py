"""params.yaml: every value typed and in range, each complaint one line that helps."""

import copy
import math
import re
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.corpora.emotions import EMOTIONS
from stages.runtime.errors import UserError
from stages.runtime.params import Emotion, Params, allowed, check_params, examine, read_params

PROJECT = Path(__file__).parents[2] / "params.yaml"
TEXT = PROJECT.read_text(encoding="utf-8")
TREE = YAML(typ="safe").load(TEXT)

# A float as `dvc exp run -S` writes it; PyYAML would read a string.
AS_DVC_WRITES = {"alpha": "1e-05", "weight_decay": "1e-04", "learning_rate": "5e-3"}

PROTOCOLS = ["paper", "speaker", "sentence", "speaker_sentence", "official"]


def changed(**values: Any) -> dict[str, Any]:
    """The project's params with some replaced; a double underscore stands for the dot."""
    tree = copy.deepcopy(TREE)
    for name, value in values.items():
        *sections, key = name.split("__")
        reduce(getitem, sections, tree)[key] = value
    return tree


def without(key: str) -> dict[str, Any]:
    tree = copy.deepcopy(TREE)
    *sections, name = key.split(".")
    del reduce(getitem, sections, tree)[name]
    return tree


def complaint(tree: Any) -> str:
    with pytest.raises(UserError) as caught:
        check_params(tree)
    return str(caught.value)


def complaint_about_file(path: Path, text: str | bytes) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError) as caught:
        read_params(path)
    return str(caught.value)


def with_line(key: str, value: str) -> str:
    """The text of the project's params.yaml with one line changed."""
    text, count = re.subn(rf"(?m)^( *{key}:).*$", rf"\1 {value}", TEXT, count=1)
    assert count == 1
    return text


def value_of(params: Params, key: str) -> Any:
    """By its dotted name."""
    for name in key.split("."):
        params = getattr(params, name)
    return params


def test_the_params_of_the_project_are_all_there_are_and_each_is_needed():
    assert check_params(TREE).model_dump().keys() == TREE.keys()
    for key, text in allowed().items():
        assert complaint(without(key)) == f"params.yaml: {key}: missing; give it {text}"


def test_the_emotions_are_those_of_the_corpora():
    assert get_args(Emotion) == EMOTIONS


def test_a_missing_section_is_told():
    tree = {key: value for key, value in TREE.items() if key != "mels"}
    assert complaint(tree) == "params.yaml: mels: missing; give it a mapping of params"
    message = "params.yaml: encoders.visual: missing; give it a mapping of params"
    assert complaint(without("encoders.visual")) == message


@pytest.mark.parametrize("key, written", AS_DVC_WRITES.items())
def test_a_float_as_dvc_writes_it_is_read_as_a_float(key: str, written: str, tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text(with_line(key, written), encoding="utf-8")
    value = value_of(read_params(path), key)
    assert isinstance(value, float) and value == float(written)


def test_what_dvc_makes_of_1e_5_in_a_file_is_read_as_that_float(tmp_path: Path):
    serialize = pytest.importorskip("dvc.utils.serialize")
    path = tmp_path / "params.yaml"
    path.write_text(TEXT, encoding="utf-8")
    with serialize.modify_yaml(path) as tree:
        tree["alpha"] = 1e-5
    assert "alpha: 1e-05" in path.read_text(encoding="utf-8")
    assert read_params(path).alpha == 1e-5


@pytest.mark.parametrize(
    "key, written, expected",
    [
        ("inference", "none", "none"),
        ("cross_attention", "false", False),
        ("acoustic_only", "true", True),
        ("bandwidth", "0.5", 0.5),
        ("bandwidth", "1e-05", 1e-5),
        ("bandwidth", "median", "median"),
    ],
)
def test_a_word_flag_or_number_in_the_file_is_read_as_what_it_looks_like(
    key: str, written: str, expected: Any, tmp_path: Path
):
    path, name = tmp_path / "params.yaml", f"lmmd.{key}" if key == "bandwidth" else key
    path.write_text(with_line(key, written), encoding="utf-8")
    value = value_of(read_params(path), name)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    "name, given_value, expected",
    [
        ("alpha", "1e-4", 1e-4),
        ("alpha", 0, 0.0),
        ("epochs", "20", 20),
        ("epochs", 3.0, 3),
        ("visual", ["sample"], ["sample"]),
        ("encoders__visual__name", "vit_b_16", "vit_b_16"),
        ("seed", 2**32 - 1, 2**32 - 1),
        ("augmentation__noise_db", [10, 20], [10.0, 20.0]),
        ("augmentation__noise_db", [5, 5], [5.0, 5.0]),
        ("lmmd__bandwidth", 2, 2.0),
        ("lmmd__bandwidth", "1e-3", 1e-3),
    ],
)
def test_a_good_value_is_read_as_its_type(name: str, given_value: Any, expected: Any):
    value = value_of(check_params(changed(**{name: given_value})), name.replace("__", "."))
    assert value == expected and type(value) is type(expected)


NO_NUMBERS = [math.nan, math.inf, "nan", ".nan", "abc", "", "1\n2", True, None, [0.1], 10**400]
BAD = {
    "alpha": [-1, {"value": 0.1}, *NO_NUMBERS],
    "classes": ["anger", ["anger"], ["anger", "joy"], ["anger", "anger"], [1, 2], {}, *NO_NUMBERS],
    "patience": [-1, 2.5, *NO_NUMBERS],
    "augmentation.copies": [0, 101, 1.5, *NO_NUMBERS],
    "augmentation.noise_db": [[10], [20, 10], [1, 2, 3], [math.nan, 1], "10", {}, *NO_NUMBERS],
    "augmentation.pitch": [-1, 12.5, *NO_NUMBERS],
    "augmentation.speed": [-0.1, 0.6, *NO_NUMBERS],
    "augmentation.mel_mask": [1, *NO_NUMBERS],
    "augmentation.flip": [1, "yes", None],
    "class_balance": ["weight", None, True, ["weights"]],
    "epochs": [0, 2.5, "2.5", 2**64, *NO_NUMBERS],
    "lmmd.bandwidth": [0, -1, "Mean", ["mean"], *NO_NUMBERS],
    "learning_rate": [0],
    "momentum": [1],
    "folds": [101],
    "protocol": ["Paper", ["paper"], None, True, {"a": 1}],
    "shuffle_labels": ["true", "no", 1, 0, None],
    "corpora": ["sample", [], ["sample", "sample"], ["sample", 3], ["sample", ["ravdess"]]],
    "acoustic": ["RAVDESS", "../sample", "a_", 3, "sample\n"],
    "encoders.visual.name": ["resnet-34"],
    "workers": ["remote", "tcp://", "tcp://a b"],
}


@pytest.mark.parametrize("key", BAD)
def test_a_bad_value_is_told_with_its_key_and_its_range_in_one_line(key: str):
    for value in BAD[key]:
        message = complaint(changed(**{key.replace(".", "__"): value}))
        assert message == f"params.yaml: {key}: {value!r} is not {allowed()[key]}"


@pytest.mark.parametrize(
    "key, text",
    [
        ("epochs", "an integer >= 1 and <= 100000"),
        ("lmmd.ratio", "a number > 1 and <= 10"),
        ("lmmd.bandwidth", "one of mean, median, or a number > 0"),
        ("visual", "a list, without repeats, of corpus names in lower case, e.g. ravdess"),
        ("frames.align", "true or false"),
    ],
)
def test_what_is_allowed_is_said_in_words(key: str, text: str):
    assert allowed()[key] == text


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=4,
)


@given(st.sampled_from(list(allowed())), anything)
def test_any_value_is_either_read_or_refused_in_one_line_that_names_its_key(key: str, value: Any):
    try:
        params = check_params(changed(**{key.replace(".", "__"): value}))
    except UserError as error:
        assert key in str(error)
        # Of what is right by itself and not in corpora visual and acoustic each complain.
        assert len(str(error).splitlines()) <= (2 if key == "corpora" else 1)
    else:
        assert check_params(params.model_dump()) == params


@given(st.dictionaries(st.text(), anything, min_size=1))
def test_every_unknown_key_is_refused_in_one_line(unknown: dict[str, Any]):
    tree = TREE | {f"x{key}": value for key, value in unknown.items()}
    lines = complaint(tree).splitlines()
    assert len(lines) == len(unknown) and all("no such param" in line for line in lines)


@pytest.mark.parametrize(
    "tree, key, nearest",
    [
        (TREE | {"aplha": 1}, "aplha", "alpha"),
        (TREE | {"batchsize": 1}, "batchsize", "batch_size"),
        (TREE | {"network": TREE["network"] | {"layer": 1}}, "network.layer", "network.layers"),
        (TREE | {"n_mels": 64}, "n_mels", "mels.n_mels"),
        (changed(encoders__visual__nam="x"), "encoders.visual.nam", "encoders.visual.name"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_name(tree: dict, key: str, nearest: str):
    assert complaint(tree) == f"params.yaml: {key}: no such param; did you mean {nearest}?"


def test_an_unknown_key_like_no_other_is_told_with_all_names_beside_it():
    told = complaint(TREE | {"zzzzzz": 1})
    names = told.partition("known: ")[2].split(", ")
    assert names == list(Params.model_fields)
    assert complaint(changed(knn__0123456789=1)).endswith("known: knn.k, knn.metric")


def test_a_key_in_a_wrong_section_is_refused():
    tree = without("alpha")
    tree["network"]["alpha"] = 0.001
    assert complaint(tree).startswith("params.yaml: network.alpha: no such param")


def test_a_key_of_a_section_may_not_stand_outside_it_as_well():
    assert "mels.n_mels" in complaint(TREE | {"mels.n_mels": 64})


@pytest.mark.parametrize("value", [None, 3, "x", [1]])
def test_a_section_that_is_no_mapping_is_refused(value: Any):
    for key in ("mels", "encoders", "encoders.visual"):
        expected = f"params.yaml: {key}: {value!r} is not a mapping of params"
        assert complaint(changed(**{key.replace(".", "__"): value})) == expected


@pytest.mark.parametrize("tree", [None, [], "alpha", 3])
def test_a_file_that_holds_no_mapping_is_refused(tree: Any):
    assert complaint(tree).startswith("params.yaml: the file: ")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"visual": ["sample", "savee"]}, "visual: savee is not in corpora (sample); add it"),
        ({"acoustic": "meld"}, "acoustic: meld is not in corpora (sample); add it"),
        ({"test": "meld"}, "test: meld is not in corpora (sample); add it"),
        (
            {"test": "sample"},
            "test: sample is what trains, too; set '' to test it in folds, or another corpus",
        ),
        ({"mels__win_length": 2048}, "mels.win_length: 2048 is not <= mels.n_fft (1024)"),
        (
            {"mels__n_mels": 38, "system": "gm_tcnet"},
            "mels.n_mels: 38 is not >= 39, the number of MFCCs that gm_tcnet hears",
        ),
        ({"mels__fmin": 8000}, "mels.fmin: 8000.0 is not < mels.fmax (8000.0)"),
        ({"mels__fmax": 8001}, "mels.fmax: 8001.0 is not <= half of mels.sample_rate (8000.0)"),
        ({"mels__min_seconds": 60}, "mels.min_seconds: 60.0 is not < mels.max_seconds (60.0)"),
        (
            {"encoders__acoustic__db_min": 30},
            "encoders.acoustic.db_min: 30.0 is not < encoders.acoustic.db_max (30.0)",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str):
    assert complaint(changed(**changes)) == f"params.yaml: {message}"


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "official"])
def test_an_epoch_cannot_be_chosen_on_no_voices(protocol: str):
    message = complaint(changed(protocol=protocol, validation=0, selection="validation"))
    assert message.startswith(
        "params.yaml: selection: validation chooses the epoch on a validation set that "
        "validation: 0 leaves empty; "
    )
    assert "\n" not in message


@pytest.mark.parametrize(
    "protocol, validation, selection",
    [
        ("official", 0, "validation"),
        ("paper", 0, "last"),
        ("official", 0, "last"),
        ("paper", 0.01, "validation"),
    ],
)
def test_an_epoch_can_be_chosen_on_voices_that_are_there_or_need_not_be(
    protocol: str, validation: float, selection: str
):
    check_params(changed(protocol=protocol, validation=validation, selection=selection))


def test_all_that_is_wrong_is_told_at_once_a_line_each():
    tree = changed(alpha=-1, mels__fmin=9000, mels__n_mels=1, mels__win_length=9999, folds="x")
    tree |= {"aplha": 1, "visual": ["sample", "savee"], "acoustic": "meld", "validation": 0}
    del tree["network"]["dim"]
    del tree["epochs"]
    expected = [
        "aplha: no such param; did you mean alpha?",
        "visual: savee is not in corpora (sample); add it",
        "acoustic: meld is not in corpora (sample); add it",
        "mels.win_length: 9999 is not <= mels.n_fft (1024)",
        f"mels.n_mels: 1 is not {allowed()['mels.n_mels']}",
        "mels.fmin: 9000.0 is not < mels.fmax (8000.0)",
        f"folds: 'x' is not {allowed()['folds']}",
        "selection: validation chooses the epoch on a validation set that validation: 0 leaves "
        "empty; set selection: last, or validation above 0",
        f"alpha: -1 is not {allowed()['alpha']}",
        f"epochs: missing; give it {allowed()['epochs']}",
        f"network.dim: missing; give it {allowed()['network.dim']}",
    ]
    assert complaint(tree).splitlines() == [f"params.yaml: {line}" for line in expected]


def test_a_key_that_is_misspelt_is_not_missing_as_well():
    tree = without("alpha") | {"aplha": 0.1}
    assert complaint(tree) == "params.yaml: aplha: no such param; did you mean alpha?"


def test_what_is_right_is_known_beside_what_is_wrong():
    params, problems = examine(changed(alpha=-1, mels__n_mels=1, folds="3"))
    assert len(problems) == 2
    assert params.model_fields_set == TREE.keys() - {"alpha"} and params.folds == 3
    assert params.mels.model_fields_set == TREE["mels"].keys() - {"n_mels"}
    assert params.mels.n_fft == 1024
    params, problems = examine(changed(encoders__acoustic__db_min="x", encoders__visual__seed=-1))
    assert len(problems) == 2 and params.encoders.acoustic.db_max == 30
    assert params.encoders.model_fields_set == TREE["encoders"].keys()
    assert params.encoders.visual.model_fields_set == TREE["encoders"]["visual"].keys() - {"seed"}


def test_faces_are_needed_unless_they_are_said_not_to_be():
    check_params(changed(visual=[], acoustic_only=True))
    assert complaint(changed(visual=[])) == (
        "params.yaml: visual: names no corpus, whose faces acoustic_only: false trains on; name "
        "one, or set acoustic_only: true"
    )


def test_values_that_just_agree_are_read():
    assert check_params(changed(mels__win_length=1024, mels__fmax=8000)).mels.win_length == 1024


def test_a_bad_value_in_the_file_is_told_with_the_file(tmp_path: Path):
    message = complaint_about_file(tmp_path / "params.yaml", with_line("epochs", "0"))
    assert message.endswith("params.yaml: epochs: 0 is not an integer >= 1 and <= 100000")


def test_a_missing_file_is_told_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="params.yaml: not found; run from the root"):
        read_params(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "<<<<<<< HEAD\nalpha: 0.001\n=======\nalpha: 0.01\n>>>>>>> branch\n" + TEXT,
        TEXT.replace("alpha: 0.001", "<<<<<<< HEAD\nalpha: 1\n=======\nalpha: 2\n>>>>>>> b"),
        TEXT.replace("  dim: 256", "  <<<<<<< HEAD\n  dim: 1\n  =======\n  dim: 2\n  >>>>>>> b"),
        TEXT + "\nalpha: 0.1\n",
        TEXT.replace("alpha: ", "alpha: [").replace("epochs: ", "\tepochs: "),
        b"alpha: \xff\xfe\n",
        "alpha: !!python/object/apply:os.getcwd []\n",
        "",
    ],
    ids=[
        "conflict at the top",
        "conflict within",
        "conflict in a section",
        "key twice",
        "broken YAML",
        "not UTF-8",
        "tag of Python",
        "empty",
    ],
)
def test_a_file_that_is_not_good_yaml_is_told_in_one_line(text: str | bytes, tmp_path: Path):
    path = tmp_path / "params.yaml"
    message = complaint_about_file(path, text)
    assert message.startswith(f"{path}: ") and len(message.splitlines()) == 1


DOUBLINGS = ", ".join(f"&a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))


@pytest.mark.parametrize(
    "value",
    [
        "2001-13-45",
        "!!bool maybe",
        "!!int ''",
        "!!timestamp x",
        "9" * 5000,
        "0x" + "f" * 5000,
        "[" * 5000,
        "[" * 5000 + "]" * 5000,
        f"[&a0 [x], {DOUBLINGS}]",
        "&a [*a]",
        "x" * 100_000,
        '"a\\nb"',
        '"\\ud800"',
        "{0xf" + "f" * 5000 + ": 1}",
    ],
    ids=lambda value: value[:20],
)
@pytest.mark.parametrize("key", ["alpha", "dim", "visual", "mels"])
def test_odd_yaml_is_told_in_one_short_line(key: str, value: str, tmp_path: Path):
    path = tmp_path / "params.yaml"
    text = with_line(key, "odd").replace(f"{key}: odd", f"{key}: {value}")
    if key in ("visual", "mels"):  # whose own lines follow
        text = re.sub(rf"(?ms)^({key}:[^\n]*\n)(?:[ -] [^\n]*\n)*", r"\1", text)
    message = complaint_about_file(path, text)
    assert message.startswith(f"{path}: ") and len(message.splitlines()) == 1
    assert len(message) < len(str(path)) + 800


@pytest.mark.parametrize("key", ["1", "null", "[a, b]", "true", "0x" + "f" * 5000, '"\\0"'])
def test_a_key_that_is_no_word_is_no_param(key: str, tmp_path: Path):
    message = complaint_about_file(tmp_path / "params.yaml", f"{TEXT}\n? {key}\n: 1\n")
    assert "no such param" in message and len(message.splitlines()) == 1


def test_a_long_key_is_shortened():
    shown = complaint(changed(**{"x" * 100_000: 1}))
    assert len(shown) < len(complaint(changed(xxx=1))) + 100
