"""The model on disk: what was written comes back, and nothing else is taken for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from stages.corpora.emotions import EMOTIONS
from stages.fdan.checkpoint import (
    DESCRIPTION,
    DESCRIPTION_KEYS,
    MODEL,
    SPLIT,
    read_description,
    read_replicas,
    replica_name,
    write_model,
)
from stages.fdan.inference import Bank, SpeechClassifier, Standardizer
from stages.fdan.network import FDAN
from stages.io.files import file_sha256, read_json, write_json
from stages.runtime.errors import UserError

VISUAL, ACOUSTIC = 5, 6
NETWORK = {"dim": 4, "ffn_dim": 3, "layers": 2, "cross_attention": True, "acoustic_only": False}
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
    made = {pair: classifier_of(10 * pair[0] + pair[1], bank, **flags) for pair in pairs}
    description = {
        "folds": 2,
        "seeds": [7, 8],
        "visual_dim": VISUAL,
        "acoustic_dim": ACOUSTIC,
        "inference": "bank",
        "bank": {},
        "settings": {"network": NETWORK | flags, "learning_rate": 0.123456789},
    }
    states = {replica_name(*pair): of.state_dict() for pair, of in made.items()}
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
    assert complaint().endswith("run dvc repro train")


def test_a_missing_description_is_refused():
    write()
    DESCRIPTION.unlink()
    assert complaint().startswith(f"{DESCRIPTION}: cannot be read")


@pytest.mark.parametrize("key", DESCRIPTION_KEYS)
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


@pytest.mark.parametrize(
    "changes",
    [
        {"acoustic_dim": 7},
        {"visual_dim": 7},
        {"folds": 3},
        {"seeds": [7, 9]},
        {"settings": {"network": NETWORK | {"layers": 1}}},
        {"settings": {"network": NETWORK | {"layers": 3}}},
        {"settings": {"network": NETWORK | {"cross_attention": False}}},
        {"settings": {"network": NETWORK | {"acoustic_only": True}}},
    ],
)
def test_a_description_that_does_not_fit_the_model_is_refused(changes: dict[str, Any]):
    write()
    write_json(DESCRIPTION, read_json(DESCRIPTION) | changes)
    assert f"{MODEL}: cannot be read: " in complaint()
