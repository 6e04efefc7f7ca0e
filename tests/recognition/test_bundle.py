"""A bundle: what was written comes back, and nothing else is taken for one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.io.files import file_sha256, read_json, write_json
from stages.recognition.bundle import Contents, read_bundle
from stages.runtime.errors import UserError
from stages.runtime.paths import CONTENTS, TENSORS
from tests.bundle_files import DIM, write_small_bundle
from tests.helpers import user_error
from tests.mutations import mutate_bytes, random_of

KINDS: dict[str, dict[str, Any]] = {
    "bank": {},
    "no attention": {"cross_attention": False},
    "no faces": {"acoustic_only": True},
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_classifier_comes_back_and_predicts_the_same_to_the_bit(kind: str, tmp_path: Path):
    inference = "none" if kind == "no attention" else "bank"
    made = list(write_small_bundle(tmp_path, KINDS[kind], inference=inference).values())
    found = read_bundle(tmp_path)
    assert (len(found.final), len(found.folds)) == (2, 4)
    x = torch.randn(3, DIM, generator=torch.Generator().manual_seed(0))
    for classifier, expected in zip([*found.final, *found.folds], made, strict=True):
        assert torch.equal(classifier(x), expected(x)) and not classifier.training


def test_the_same_model_gives_the_same_bytes_that_others_may_read(tmp_path: Path):
    files = []
    for name in ("a", "b"):
        write_small_bundle(tmp_path / name)
        files.append([(tmp_path / name / file).read_bytes() for file in (CONTENTS, TENSORS)])
        assert {path.stat().st_mode & 0o777 for path in (tmp_path / name).iterdir()} == {0o644}
    assert files[0] == files[1]


@pytest.mark.parametrize("key", Contents.model_fields)
def test_contents_that_lack_a_key_are_refused(key: str, tmp_path: Path):
    write_small_bundle(tmp_path)
    path = tmp_path / CONTENTS
    write_json(path, {name: value for name, value in read_json(path).items() if name != key})
    assert user_error(read_bundle, tmp_path).startswith(f"{path}: cannot be read: has no {key}; ")


@pytest.mark.parametrize("value", [None, True, -1, 1e300, "x", "\x1b[2J", [], [[]], {}, {"a": {}}])
@pytest.mark.parametrize("key", Contents.model_fields)
def test_contents_that_hold_what_cannot_be_are_refused(key: str, value: Any, tmp_path: Path):
    fits = {("temperature", None), ("trained_on", "[]")}
    if (
        key,
        str(value) if value == [] else value if not isinstance(value, list | dict) else 0,
    ) in fits:
        return
    write_small_bundle(tmp_path)
    path = tmp_path / CONTENTS
    path.write_text(json.dumps(read_json(path) | {key: value}))
    said = user_error(read_bundle, tmp_path)
    assert said.startswith((f"{path}: {key}", f"{tmp_path / TENSORS}: ")) and len(said) < 500


@pytest.mark.parametrize(
    "part, key, value",
    [
        ("mels", "n_mels", 0),
        ("mels", "other", 1),
        ("frames", "detector", "none"),
        ("encoders", "allow_random_weights", 1),
        ("data", "speakers", "four"),
        ("result", "uar", "good"),
        ("result", "classes", {"anger": 1}),
        ("settings", "epochs", 0),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(
    part: str, key: str, value: Any, tmp_path: Path
):
    write_small_bundle(tmp_path)
    path = tmp_path / CONTENTS
    contents = read_json(path)
    contents[part][key] = value
    path.write_text(json.dumps(contents))
    assert f"{path}: {part}.{key}" in user_error(read_bundle, tmp_path)


def test_tensors_that_are_not_those_described_are_refused(tmp_path: Path):
    write_small_bundle(tmp_path)
    path = tmp_path / TENSORS
    tensors = load_file(path)
    save_file(tensors | {"all.seed_7.acoustic_mean": torch.zeros(DIM)}, path)
    assert user_error(read_bundle, tmp_path).startswith(f"{path}: is not the file that ")
    for changed, wrong in [
        ({"all.seed_9.acoustic_mean": torch.zeros(DIM)}, "is of no replica"),
        ({"all.seed_7.acoustic_mean": torch.zeros(3)}, "all.seed_7: acoustic_mean is "),
        ({"fold_1.seed_8.acoustic_std": torch.zeros(DIM)}, "acoustic_std is not positive"),
    ]:
        save_file(tensors | changed, path)
        facts = read_json(tmp_path / CONTENTS) | {"sha256": file_sha256(path)}
        write_json(tmp_path / CONTENTS, facts, rounded=False)
        assert wrong in user_error(read_bundle, tmp_path)


@pytest.mark.parametrize("name", [CONTENTS, TENSORS])
def test_a_file_that_is_not_there_is_named_with_what_makes_it(name: str, tmp_path: Path):
    write_small_bundle(tmp_path)
    (tmp_path / name).unlink()
    said = user_error(read_bundle, tmp_path)
    assert said.startswith(str(tmp_path)) and "dvc repro" in said


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.long)])
def test_mutants_of_the_contents_are_read_or_refused_in_one_line(count: int, tmp_path: Path):
    write_small_bundle(tmp_path)
    path = tmp_path / CONTENTS
    whole = path.read_bytes()
    refused = 0
    for index in range(count):
        content, _ = mutate_bytes(random_of(0, index), whole, whole[::-1])
        path.write_bytes(content)
        try:
            read_bundle(tmp_path)
        except UserError as error:
            assert len(str(error).splitlines()) == 1, index
            refused += 1
    assert refused > count / 2
