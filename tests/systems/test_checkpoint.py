"""The model on disk: what was written comes back, and nothing else is taken for it."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.corpora.emotions import EMOTIONS
from stages.fdan.inference import Bank, SpeechClassifier
from stages.fdan.network import FDAN
from stages.io.files import file_sha256, read_json, write_json
from stages.runtime.errors import UserError
from stages.systems.checkpoint import (
    DESCRIPTION,
    MODEL,
    REMEDY,
    SPLIT,
    Description,
    read_description,
    read_replicas,
    replica_name,
    write_model,
)
from stages.systems.contract import Standardizer
from tests.helpers import params
from tests.mutations import mutate_bytes, random_of

VISUAL, ACOUSTIC = 5, 6
NETWORK = {"dim": 4, "ffn_dim": 3, "layers": 2, "cross_attention": True, "acoustic_only": False}
SETTINGS = {
    **{key: params()[key] for key in ("alpha", "momentum", "weight_decay", "batch_size", "epochs")},
    "classes": len(EMOTIONS),
    "learning_rate": 0.123456789,
    "lmmd": params()["lmmd"],
    "network": NETWORK,
    "select": "uar",
    "patience": 0,
    "inference": "bank",
}
KINDS: dict[str, dict[str, Any]] = {
    "bank": {},
    "no bank": {"bank": False},
    "no attention": {"bank": False, "cross_attention": False},
    "no faces": {"bank": False, "acoustic_only": True},
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory, with a split."""
    monkeypatch.chdir(tmp_path)
    SPLIT.parent.mkdir()
    SPLIT.write_text("the split\n")


def classifier_of(seed: int, bank: bool = True, **flags: bool) -> SpeechClassifier:
    draw = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = FDAN(VISUAL, ACOUSTIC, len(EMOTIONS), **(NETWORK | flags))

    def moments(dim: int) -> Standardizer:
        return Standardizer(torch.randn(dim, generator=draw), torch.rand(dim, generator=draw) + 1)

    faces = Bank(torch.randn(3, VISUAL, generator=draw), torch.randn(2, ACOUSTIC, generator=draw))
    return SpeechClassifier(
        network.eval(),
        moments(ACOUSTIC),
        None if flags.get("acoustic_only") else moments(VISUAL),
        faces if bank else None,
    )


def write(bank: bool = True, **flags: bool) -> dict[tuple[int, int], SpeechClassifier]:
    """Write a model of two folds and two seeds; the classifiers in it."""
    pairs = [(fold, seed) for fold in (0, 1) for seed in (7, 8)]
    names = [replica_name(*pair) for pair in pairs]
    made = {pair: classifier_of(10 * pair[0] + pair[1], bank, **flags) for pair in pairs}
    description = {
        "folds": 2,
        "seeds": [7, 8],
        "dims": {"acoustic": ACOUSTIC, "visual": VISUAL},
        "bank": dict.fromkeys(names, ["a", "b"]),
        "system": "fdan",
        "chosen": dict.fromkeys(names, {"epoch": 3}),
        "settings": SETTINGS
        | {"network": NETWORK | flags, "inference": "bank" if bank else "none"},
    }
    states = dict(zip(names, (of.state_dict() for of in made.values())))
    write_model(states, description)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_every_replica_comes_back_and_predicts_the_same_to_the_bit(kind: str):
    made = write(**KINDS[kind])
    x = torch.randn(4, ACOUSTIC, generator=torch.Generator().manual_seed(0))
    found = list(read_replicas(read_description()))
    assert [(fold, seed) for fold, seed, _ in found] == list(made)
    for fold, seed, classifier in found:
        assert torch.equal(classifier(x), made[fold, seed](x))
        assert not classifier.training


def test_the_tensors_are_named_by_fold_and_seed():
    made = write()
    expected = {
        f"fold_{fold}.seed_{seed}.{name}"
        for (fold, seed), classifier in made.items()
        for name in classifier.state_dict()
    }
    assert set(load_file(MODEL)) == expected


def test_the_description_is_what_was_said_and_what_is_in_the_files():
    write()
    found = read_description()
    assert found["settings"]["learning_rate"] == 0.123456789  # not rounded as metrics are
    assert found["sha256"] == file_sha256(MODEL)
    assert found["split_sha256"] == file_sha256(SPLIT)
    assert found["emotions"] == list(EMOTIONS)


def test_the_same_replicas_give_the_same_bytes():
    files = []
    for _ in range(2):
        write()
        files.append((MODEL.read_bytes(), DESCRIPTION.read_bytes()))
    assert files[0] == files[1]


def complaint() -> str:
    with pytest.raises(UserError) as caught:
        list(read_replicas(read_description()))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b[:-9] + b"\7" + b[-8:], lambda b: b"", lambda b: b + b"\0"],
)
def test_a_damaged_model_is_refused(damage: Callable[[bytes], bytes]):
    write()
    before = MODEL.read_bytes()
    MODEL.write_bytes(damage(before))
    assert MODEL.read_bytes() != before
    assert complaint().startswith(f"{MODEL}: is not the file that {DESCRIPTION} describes; ")


def test_a_missing_model_is_refused():
    write()
    MODEL.unlink()
    assert complaint().endswith(REMEDY)


def test_a_missing_description_is_refused():
    write()
    DESCRIPTION.unlink()
    assert complaint().startswith(f"{DESCRIPTION}: cannot be read")


@pytest.mark.parametrize("key", Description.model_fields)
def test_a_description_that_lacks_a_key_is_refused(key: str):
    write()
    kept = {name: value for name, value in read_json(DESCRIPTION).items() if name != key}
    write_json(DESCRIPTION, kept)
    assert complaint() == f"{DESCRIPTION}: cannot be read: has no {key}; make it again by dvc repro"


def test_a_model_of_another_split_is_refused():
    write()
    SPLIT.write_text("another split\n")
    assert complaint() == f"{MODEL}: was trained on another {SPLIT}; run dvc repro train"


def test_a_model_of_other_emotions_is_refused():
    write()
    write_json(DESCRIPTION, read_json(DESCRIPTION) | {"emotions": ["joy"]})
    assert f"{MODEL}: knows the emotions ['joy']" in complaint()


def recount(content: bytes | dict[str, Any]) -> None:
    """Put a file or tensors in the place of the model, with the checksum in its description."""
    if isinstance(content, bytes):
        MODEL.write_bytes(content)
    else:
        save_file(content, MODEL)
    write_json(DESCRIPTION, read_json(DESCRIPTION) | {"sha256": file_sha256(MODEL)}, rounded=False)


def test_a_width_that_is_missing_is_named():
    write()
    write_json(DESCRIPTION, read_json(DESCRIPTION) | {"dims": {"acoustic": ACOUSTIC}})
    assert complaint().startswith(f"{DESCRIPTION}: dims: has no visual; ")


@pytest.mark.parametrize(
    "changes",
    [
        {"dims": {"acoustic": 7, "visual": VISUAL}},
        {"dims": {"acoustic": ACOUSTIC, "visual": 7}},
        {"folds": 3},
        {"seeds": [7, 9]},
        {"settings": {"inference": "none"}},
        {"settings": {"network": NETWORK | {"layers": 1}}},
        {"settings": {"network": NETWORK | {"layers": 3}}},
        {"settings": {"network": NETWORK | {"dim": 65536}}},
        {"settings": {"network": NETWORK | {"cross_attention": False}}},
        {"settings": {"network": NETWORK | {"acoustic_only": True}}},
    ],
)
def test_a_description_that_does_not_fit_the_model_is_refused(changes: dict[str, Any]):
    write()
    found = read_json(DESCRIPTION) | changes
    found["settings"] = SETTINGS | found["settings"]
    names = [replica_name(k, seed) for k in range(found["folds"]) for seed in found["seeds"]]
    found["bank"], found["chosen"] = dict.fromkeys(names, []), dict.fromkeys(names, {"epoch": 1})
    write_json(DESCRIPTION, found)
    assert complaint().startswith(f"{MODEL}: fold_")
    assert "dvc repro train" in complaint()


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key in Description.model_fields
     for value in (None, True, -1, 0, 1.5, 10**30, 1e300, "x", "\x1b[2J", [], [[]], {}, {"a": {}})]
    + [("seeds", list(range(2000))), ("seeds", ["7"]), ("bank", {"fold_0.seed_7": [1]})]
    + [("settings", SETTINGS | {name: value}) for name in SETTINGS
       for value in (None, "x", -1, 10**30, float("inf"), {})]
    + [("settings", SETTINGS | {"network": NETWORK | {name: value}}) for name in NETWORK
       for value in (None, "x", 0, 10**9, 1.5)],
)  # fmt: skip
def test_a_description_that_holds_what_cannot_be_is_refused(key: str, value: Any):
    write()
    DESCRIPTION.write_text(json.dumps(read_json(DESCRIPTION) | {key: value}))
    line = complaint()
    assert line.startswith((f"{DESCRIPTION}: {key}", f"{DESCRIPTION}: its banks", f"{MODEL}: "))
    assert "dvc repro train" in line and len(line) < 500


@pytest.mark.parametrize("text", ["[" * 300_000, '{"a":' * 300_000, "9" * 5000, "\xff", "[]", ""])
def test_a_description_that_is_no_object_is_refused(text: str):
    write()
    DESCRIPTION.write_text(text, encoding="latin-1")
    assert complaint().startswith(f"{DESCRIPTION}: cannot be read: ")


NAMES = ("network.classifier.weight", "acoustic_std", "visual_mean", "bank_x_v")


@pytest.mark.parametrize(
    "change",
    [
        lambda old: None,
        lambda old: old[:-1],
        lambda old: old.unsqueeze(0),
        lambda old: old.new_empty(0, *old.shape[1:]),
        lambda old: old.double(),
        lambda old: old.half(),
        lambda old: old.to(torch.int32),
        lambda old: old * torch.inf,
        lambda old: torch.full_like(old, torch.nan),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_tensors_that_do_not_fit_are_refused_by_name(name: str, change: Callable[[Tensor], Any]):
    write()
    tensors = load_file(MODEL)
    changed = change(tensors.pop(f"fold_1.seed_8.{name}"))
    if name == "bank_x_v" and changed is not None and changed.shape == (2, VISUAL):
        return  # a bank of fewer faces fits
    if changed is not None:
        tensors[f"fold_1.seed_8.{name}"] = changed
    recount(tensors)
    assert complaint().startswith(f"{MODEL}: fold_1.seed_8: ") and name in complaint()


@pytest.mark.parametrize(
    "name",
    ["fold_1.seed_8.other", "fold_1.seed_9.acoustic_mean", "fold_2.seed_8.acoustic_mean", "x", "",
     "fold_1.seed_8", "fold_1.seed_8.", "fold_01.seed_8.acoustic_mean", "\x1b[2J.a\nb.c"],
)  # fmt: skip
def test_tensors_that_nobody_asked_for_are_refused(name: str):
    write()
    recount(load_file(MODEL) | {name: torch.ones(ACOUSTIC)})
    assert complaint().startswith(f"{MODEL}: ")


def test_a_deviation_that_is_not_positive_is_refused():
    write()
    tensors = load_file(MODEL)
    recount(tensors | {"fold_0.seed_7.acoustic_std": torch.zeros(ACOUSTIC)})
    assert "acoustic_std is not positive" in complaint()


@pytest.mark.parametrize("path", [MODEL, DESCRIPTION, SPLIT])
@pytest.mark.parametrize("put", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_is_neither_waited_for_nor_read(path: Path, put: Callable[[Path], Any]):
    write()
    path.unlink()
    put(path)
    assert complaint().endswith(("make it again by dvc repro", "run dvc repro train", REMEDY))


def test_links_of_dvc_are_read_and_what_is_behind_them_is_never_written_to():
    made = write()
    for path in (MODEL, DESCRIPTION):
        path.rename(path.name)
        path.symlink_to(f"../{path.name}")
    assert len(list(read_replicas(read_description()))) == len(made)
    before = Path(MODEL.name).read_bytes()
    write(bank=False)
    assert Path(MODEL.name).read_bytes() == before and not MODEL.is_symlink()


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.long)])
@pytest.mark.parametrize("path", [MODEL, DESCRIPTION])
def test_mutants_are_refused_in_one_line_or_give_shares_or_overflow(path: Path, count: int):
    write()
    whole, description = path.read_bytes(), DESCRIPTION.read_bytes()
    x = torch.randn(2, ACOUSTIC, generator=torch.Generator().manual_seed(0))
    ends: Counter[str] = Counter()
    for index in range(count):
        content, _ = mutate_bytes(random_of(0, index), whole, whole[::-1])
        DESCRIPTION.write_bytes(description)
        try:
            recount(content) if path == MODEL else path.write_bytes(content)
            for *_, classifier in read_replicas(read_description()):
                shares = classifier(x)  # parameters of 1e38 overflow, and evaluate says so
                assert shares.shape == (2, len(EMOTIONS)), index
                assert shares.isnan().all() or shares.sum(1).allclose(torch.ones(2)), index
            ends["read"] += 1
        except UserError as error:
            assert len(str(error).splitlines()) == 1 and "dvc repro" in str(error), index
            ends["refused"] += 1
    assert ends["refused"], ends
