"""params.yaml: every value typed and in range, every complaint one line that helps."""

import copy
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from stages.runtime.errors import UserError
from stages.runtime.params import RULES, check, load, section

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
        (tree[sections[0]] if sections else tree)[key] = value
    return tree


def without(key: str) -> dict[str, Any]:
    tree = copy.deepcopy(TREE)
    *sections, name = key.split(".")
    del (tree[sections[0]] if sections else tree)[name]
    return tree


def complaint(tree: Any) -> str:
    with pytest.raises(UserError) as caught:
        check(tree)
    return str(caught.value)


def complaint_about_file(path: Path, text: str | bytes) -> str:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(UserError) as caught:
        load("alpha", path=path)
    return str(caught.value)


def with_line(key: str, value: str) -> str:
    """The text of the project's params.yaml with one line changed."""
    text, count = re.subn(rf"(?m)^( *{key}:).*$", rf"\1 {value}", TEXT, count=1)
    assert count == 1
    return text


def test_the_params_of_the_project_pass():
    assert check(TREE).keys() == RULES.keys()


@pytest.mark.parametrize("key", RULES)
def test_every_rule_has_its_key_in_the_params_of_the_project(key: str):
    assert f"{key}: missing" in complaint(without(key))


@pytest.mark.parametrize("key", RULES)
def test_a_missing_key_is_told_with_what_it_may_be(key: str):
    assert complaint(without(key)) == f"params.yaml: {key}: missing; give it {RULES[key].allowed}"


@pytest.mark.parametrize("key, written", AS_DVC_WRITES.items())
def test_a_float_as_dvc_writes_it_is_read_as_a_float(key: str, written: str, tmp_path: Path):
    path = tmp_path / "params.yaml"
    path.write_text(with_line(key, written), encoding="utf-8")
    value = load(key, path=path)[key]
    assert isinstance(value, float) and value == float(written)


def test_what_dvc_makes_of_1e_5_in_a_file_is_read_as_that_float(tmp_path: Path):
    serialize = pytest.importorskip("dvc.utils.serialize")
    path = tmp_path / "params.yaml"
    path.write_text(TEXT, encoding="utf-8")
    with serialize.modify_yaml(path) as tree:
        tree["alpha"] = 1e-5
    assert "alpha: 1e-05" in path.read_text(encoding="utf-8")
    assert load("alpha", path=path) == {"alpha": 1e-5}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_its_name(protocol: str):
    assert check(changed(protocol=protocol))["protocol"] == protocol


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
    value = load(name, path=path)[name]
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    "name, given_value, expected",
    [
        ("alpha", 1e-05, 1e-05),
        ("alpha", "1e-4", 1e-4),
        ("alpha", 0, 0.0),
        ("epochs", 1, 1),
        ("epochs", "20", 20),
        ("epochs", 3.0, 3),
        ("momentum", 0.99, 0.99),
        ("network__layers", 2, 2),
        ("visual", ["sample"], ["sample"]),
        ("features__backbone", "vit_b_16", "vit_b_16"),
        ("seed", 2**32 - 1, 2**32 - 1),
        ("seeds", 1, 1),
        ("seeds", "10", 10),
        ("folds", 1, 1),
        ("validation", 0.5, 0.5),
        ("validation", "1e-1", 0.1),
        ("duplicates", "drop", "drop"),
        ("selection", "last", "last"),
        ("inference", "prototypes", "prototypes"),
        ("inference", "none", "none"),
        ("cross_attention", False, False),
        ("acoustic_only", True, True),
        ("lmmd__bandwidth", "mean", "mean"),
        ("lmmd__bandwidth", "median", "median"),
        ("lmmd__bandwidth", 2, 2.0),
        ("lmmd__bandwidth", "1e-3", 1e-3),
        ("lmmd__classes", "common", "common"),
    ],
)
def test_a_good_value_is_read_as_its_type(name: str, given_value: Any, expected: Any):
    value = check(changed(**{name: given_value}))[name.replace("__", ".")]
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(
    "name, value",
    [
        ("alpha", -1),
        ("alpha", math.nan),
        ("alpha", math.inf),
        ("alpha", "abc"),
        ("alpha", ".nan"),
        ("alpha", "nan"),
        ("alpha", ""),
        ("alpha", True),
        ("alpha", None),
        ("alpha", [0.1]),
        ("alpha", {"value": 0.1}),
        ("alpha", 10**400),
        ("alpha", "1\n2"),
        ("learning_rate", 0),
        ("momentum", 1),
        ("epochs", 0),
        ("epochs", 2.5),
        ("epochs", "2.5"),
        ("epochs", math.inf),
        ("epochs", math.nan),
        ("epochs", True),
        ("batch_size", 1),
        ("seed", -1),
        ("seed", 2**64),
        ("protocol", "Paper"),
        ("protocol", ["paper"]),
        ("shuffle_labels", "true"),
        ("shuffle_labels", 1),
        ("corpora", "sample"),
        ("corpora", []),
        ("corpora", ["sample", "sample"]),
        ("corpora", ["sample", 3]),
        ("corpora", ["sample", ["ravdess"]]),
        ("acoustic", "RAVDESS"),
        ("acoustic", "../sample"),
        ("features__backbone", "resnet-34"),
        ("lmmd__ratio", 1),
        ("sample__speakers", 17),
        ("frames__align", "no"),
        ("protocol", "test"),
        ("protocol", None),
        ("folds", 0),
        ("folds", 101),
        ("validation", -0.1),
        ("validation", 0.51),
        ("validation", True),
        ("duplicates", "keep"),
        ("duplicates", False),
        ("seeds", 0),
        ("seeds", 1001),
        ("seeds", 2.5),
        ("seeds", [1, 2]),
        ("selection", "test"),
        ("selection", "uar"),
        ("inference", None),
        ("inference", ["bank"]),
        ("inference", "batch"),
        ("cross_attention", "false"),
        ("cross_attention", 0),
        ("acoustic_only", "true"),
        ("acoustic_only", None),
        ("lmmd__bandwidth", 0),
        ("lmmd__bandwidth", -1),
        ("lmmd__bandwidth", math.inf),
        ("lmmd__bandwidth", math.nan),
        ("lmmd__bandwidth", "Mean"),
        ("lmmd__bandwidth", "mode"),
        ("lmmd__bandwidth", True),
        ("lmmd__bandwidth", None),
        ("lmmd__bandwidth", ["mean"]),
        ("lmmd__bandwidth", 10**400),
        ("lmmd__classes", "C"),
        ("lmmd__classes", True),
    ],
)
def test_a_bad_value_is_told_with_its_key_and_its_range_in_one_line(name: str, value: Any):
    key = name.replace("__", ".")
    expected = f"params.yaml: {key}: {value!r} is not {RULES[key].allowed}"
    assert complaint(changed(**{name: value})) == expected
    assert "\n" not in expected


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=4,
)


@given(st.sampled_from(list(RULES)), anything)
def test_any_value_is_either_read_or_refused_in_one_line_that_names_its_key(key: str, value: Any):
    try:
        read = check(changed(**{key.replace(".", "__"): value}))[key]
    except UserError as error:
        assert key in str(error) and len(str(error).splitlines()) == 1
    else:
        assert RULES[key].parse(read) == read


@given(st.dictionaries(st.text(), anything, min_size=1))
def test_any_unknown_key_is_refused_in_one_line(unknown: dict[str, Any]):
    tree = TREE | {f"x{key}": value for key, value in unknown.items()}
    assert len(complaint(tree).splitlines()) == 1


@pytest.mark.parametrize(
    "tree, key, nearest",
    [
        (TREE | {"aplha": 1}, "aplha", "alpha"),
        (TREE | {"batchsize": 1}, "batchsize", "batch_size"),
        (TREE | {"network": TREE["network"] | {"layer": 1}}, "network.layer", "network.layers"),
        (TREE | {"n_mels": 64}, "n_mels", "mels.n_mels"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_name(tree: dict, key: str, nearest: str):
    assert complaint(tree) == f"params.yaml: {key}: no such param; did you mean {nearest}?"


def test_an_unknown_key_like_no_other_is_told_with_all_names():
    assert "known: corpora, visual" in complaint(TREE | {"zzzzzz": 1})


def test_a_key_in_a_wrong_section_is_refused():
    tree = without("alpha")
    tree["network"]["alpha"] = 0.001
    assert complaint(tree).startswith("params.yaml: network.alpha: no such param")


def test_a_key_of_a_section_may_not_stand_outside_it_as_well():
    assert "mels.n_mels" in complaint(TREE | {"mels.n_mels": 64})


@pytest.mark.parametrize("value", [None, 3, "x", [1]])
def test_a_section_that_is_no_mapping_is_refused(value: Any):
    expected = f"params.yaml: mels: {value!r} is not a mapping of params; mend it"
    assert complaint(TREE | {"mels": value}) == expected


@pytest.mark.parametrize("tree", [None, [], "alpha", 3])
def test_a_file_that_holds_no_mapping_is_refused(tree: Any):
    assert complaint(tree).startswith("params.yaml: the file: ")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"visual": ["sample", "savee"]}, "visual: savee is not in corpora (sample); add it"),
        ({"acoustic": "meld"}, "acoustic: meld is not in corpora (sample); add it"),
        ({"mels__win_length": 2048}, "mels.win_length: 2048 is not <= mels.n_fft (1024)"),
        ({"mels__fmin": 8000}, "mels.fmin: 8000.0 is not < mels.fmax (8000.0)"),
        ({"mels__fmax": 8001}, "mels.fmax: 8001.0 is not <= half of mels.sample_rate (8000.0)"),
        ({"mels__min_seconds": 60}, "mels.min_seconds: 60.0 is not < mels.max_seconds (60.0)"),
        ({"features__db_min": 30}, "features.db_min: 30.0 is not < features.db_max (30.0)"),
    ],
)
def test_values_that_contradict_each_other_are_refused(changes: dict[str, Any], message: str):
    assert complaint(changed(**changes)) == f"params.yaml: {message}"


@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if name != "official"])
def test_an_epoch_cannot_be_chosen_on_no_voices(protocol: str):
    message = complaint(changed(protocol=protocol, validation=0, selection="validation"))
    assert message.startswith(
        "params.yaml: selection: validation chooses the epoch on voices that "
        "validation: 0 does not leave; "
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
    found = check(changed(protocol=protocol, validation=validation, selection=selection))
    assert (found["validation"], found["selection"]) == (validation, selection)


def test_values_that_just_agree_are_read():
    assert check(changed(mels__win_length=1024, mels__fmax=8000))["mels.win_length"] == 1024


def test_load_gives_the_keys_asked_for_in_their_order():
    assert list(load("seed", "mels.n_mels", path=PROJECT)) == ["seed", "mels.n_mels"]


def test_load_checks_the_keys_that_were_not_asked_for(tmp_path: Path):
    message = complaint_about_file(tmp_path / "params.yaml", with_line("epochs", "0"))
    assert message.endswith("params.yaml: epochs: 0 is not an integer >= 1 and <= 100000")


def test_section_gives_its_keys_without_its_name():
    assert section("network", path=PROJECT) == TREE["network"]


def test_a_missing_file_is_told_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match="params.yaml: not found; run from the root"):
        load("alpha", path=tmp_path / "params.yaml")


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
    assert len(complaint(changed(**{"x" * 100_000: 1}))) < 1500
