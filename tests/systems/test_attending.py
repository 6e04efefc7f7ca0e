"""Query tokens, CADF and SDT as systems: trained, chosen and tested by the same stages as all."""

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import evaluate, split, train
from stages.corpora.emotions import CODES
from stages.corpora.iemocap import EMOTION
from stages.corpora.listing import list_corpus
from stages.io.files import read_json, read_table
from stages.runtime.paths import METRICS, MODEL, PREDICTIONS
from stages.splits.dataset import Features, read_split
from stages.splits.protocols import TEST
from stages.systems.checkpoint import read_description, read_replicas
from stages.systems.contract import Reader
from stages.systems.named import SYSTEMS
from tests.corpora.test_iemocap import film, voice, write_dialogue
from tests.corpora.trees import make
from tests.feature_files import (
    in_dialogues,
    in_sessions,
    prepare,
    utterances,
    work_in,
    write_corpus,
    write_params,
)
from tests.helpers import user_error

SMALL: dict[str, Any] = {
    "dim": 16, "heads": 2, "epochs": 12, "batch_size": 14, "learning_rate": 0.01, "dropout": 0.1
}  # fmt: skip
ON: dict[str, dict[str, Any]] = {
    "query_tokens": {"ffn_dim": 32, "layers": 1, "queries": 3, "decoder_layers": 1},
    "cadf": {"ffn_dim": 32, "layers": 1},
    "sdt": {"temperature": 1.0},
}
BOTH = ["acoustic", "visual"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def params_of(system: str, **own: Any) -> dict[str, Any]:
    """Changes to params.yaml for a small network that reads faces and voices."""
    section = SMALL | ON[system] | {"modalities": BOTH} | own
    return {"system": system, system: section, "protocol": "speaker"}


def result() -> dict[str, Any]:
    """metrics/details.json of what was split."""
    train.main()
    evaluate.main()
    return read_json(METRICS / "details.json")


@pytest.mark.parametrize("system", ON)
def test_it_learns_what_can_be_learned(system: str):
    prepare(utterances("sample", speakers=6), **params_of(system))
    found = result()
    assert found["uar"] > 0.95 and found["test_modalities"] == BOTH


@pytest.mark.parametrize("system", ON)
def test_shuffled_labels_give_chance(system: str):
    rows = utterances("sample", speakers=6, sentences=5)
    prepare(rows, shuffle_labels=True, **params_of(system, epochs=3))
    found = result()
    assert found["n_test"] == 210 and found["uar"] < 0.25


@pytest.mark.parametrize("system", ON)
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(system: str):
    prepare(noise=2.0, seeds=2, **params_of(system, epochs=2))
    train.main()
    first = MODEL.read_bytes()
    train.main()
    assert MODEL.read_bytes() == first
    one, other = (of.state_dict() for fold, _, of in read_replicas(read_description()) if not fold)
    assert any((one[name] != other[name]).any() for name in one)


@pytest.mark.parametrize("system", ON)
def test_a_modality_may_be_missing_at_test(system: str):
    """What is left out by test_modalities, and what an utterance does not have, are the same."""
    prepare(utterances("sample", speakers=6), noise=1.0, **params_of(system, epochs=3))
    result()
    both = PREDICTIONS.read_bytes()
    found, rows = read_split()
    features = Features(found["features_sha256"])
    settings = read_description()["settings"]
    of_test = [row for row in rows if row["modality"] == "acoustic" and row["fold_0"] == TEST]
    _, _, classifier = next(read_replicas(read_description()))

    def told(**more: Any) -> np.ndarray:
        clips = Reader(SYSTEMS[system], settings, features, rows, **more).clips(of_test)
        return SYSTEMS[system].probabilities(classifier, clips).numpy()

    whole, left_out = told(), told(modalities=["acoustic"])
    features.visual = {}
    assert np.array_equal(told(), left_out) and np.abs(whole - left_out).max() > 0.01

    write_params(Path(), test_modalities=["acoustic"], **params_of(system, epochs=3))
    evaluate.main()
    assert read_json(METRICS / "details.json")["test_modalities"] == ["acoustic"]
    assert PREDICTIONS.read_bytes() != both


@pytest.mark.parametrize(
    "system, changes, said",
    [
        ("sdt", {"heads": 3}, "sdt.heads: 3 does not divide sdt.dim (16)"),
        ("cadf", {"dim": 15, "heads": 5}, "cadf.dim: 15 is not an even number from 2 to 8192"),
        (
            "cadf",
            {"modalities": ["visual"]},
            "cadf.modalities: ['visual'] is not a list, without repeats, of two of acoustic, "
            "visual, linguistic",
        ),
        ("cadf", {"kernel": 4}, "cadf.kernel: 4 is not 1, 3, 5, 7 or 9"),
        ("query_tokens", {"masking": 1.5}, "query_tokens.masking: 1.5 is not a number >= 0 and <="),
    ],
)
def test_sizes_that_do_not_fit_are_refused(system: str, changes: dict[str, Any], said: str):
    write_params(Path(), **params_of(system, **changes))
    assert user_error(split.main).startswith(f"params.yaml: {said}")


def test_without_queries_or_a_modality_the_checkpoint_has_nothing_of_it():
    prepare(**params_of("query_tokens", epochs=1, queries=0, modalities=["acoustic"]))
    train.main()
    _, _, classifier = next(read_replicas(read_description()))
    names = {name.removeprefix("network.") for name in classifier.state_dict()}
    assert not [name for name in names if name.startswith(("queries", "decoder", "norm"))]
    assert not [name for name in names if "visual" in name]
    assert [name for name in names if name.startswith("encoders.acoustic.")]


@pytest.mark.parametrize("system", ["query_tokens", "sdt"])
def test_only_what_reads_dialogues_hears_the_other_turns_and_those_of_its_own_alone(system: str):
    rows = in_dialogues(in_sessions(utterances("sample", speakers=6, sentences=4)), takes=4)
    rows = [row | {"turn": str(i + 1)} for i, row in enumerate(rows)]
    changes = params_of(system, epochs=1, modalities=["acoustic"])
    prepare(rows, **changes | {"protocol": "session", "folds": 3})
    train.main()
    found, split_rows = read_split()
    features = Features(found["features_sha256"])
    settings = read_description()["settings"]
    _, _, classifier = next(read_replicas(read_description()))
    one, *others = [row for row in split_rows if row["modality"] == "acoustic"]

    def told() -> np.ndarray:
        clips = Reader(SYSTEMS[system], settings, features, split_rows).clips([one])
        return SYSTEMS[system].probabilities(classifier, clips).numpy()

    before = told()
    for row in others:
        if row["dialogue"] != one["dialogue"]:
            features.acoustic[row["id"]] += 1
    assert np.array_equal(told(), before)
    features.acoustic[max(row["id"] for row in others if row["dialogue"] == one["dialogue"])] += 1
    assert np.array_equal(told(), before) == (system == "query_tokens")


def write_iemocap(root: Path) -> list[dict[str, str]]:
    """The manifest of a small IEMOCAP: five sessions of two dialogues, and turns left out."""
    codes = ["ang", "neu", "sad", "exc", "xxx", "hap", "neu", "fru", "sad", "ang"]
    for session in range(1, 6):
        for wearer in "FM":
            name = f"Ses0{session}{wearer}_impro01"
            turns = [
                (f"{'FM'[i % 2]}{i:03}", 4.0 * i, 4.0 * i + 3, code) for i, code in enumerate(codes)
            ]
            said = [f"{name}_{of} [000.0000-003.0000]: {name} {of}." for of, *_ in turns[1:]]
            write_dialogue(root, name, turns, said)
            make(root, *(voice(name, turn[0]) for turn in turns), film(name))
    found = list_corpus(root, "iemocap").utterances
    return [asdict(item) | {"duration": "3.000"} for item in found]


@pytest.mark.parametrize("heard", [["acoustic", "linguistic"], ["linguistic"]])
def test_iemocap_is_tested_a_session_at_a_time(heard: list[str], project: Path):
    rows = write_iemocap(project / "data/raw/iemocap")
    classes = ["anger", "happiness", "neutral", "sadness"]
    changes = params_of("query_tokens", epochs=10, modalities=heard) | {
        "protocol": "session", "folds": 5, "corpora": ["iemocap"], "visual": ["iemocap"],
        "acoustic": "iemocap", "classes": classes,
        "encoders": {"linguistic": {"name": "all-MiniLM-L6-v2", "sequences": True}},
    }  # fmt: skip
    write_params(Path(), **changes)
    texts = [row for row in rows if row["text"]]  # of each dialogue the first turn has none
    write_corpus(Path(), "iemocap", rows, texts=texts)
    split.main()
    found = result()
    assert len(texts) == 70 and found["test_modalities"] == heard
    said = read_table(PREDICTIONS)
    assert found["n_test"] == len(rows) == len(said) == 80 and found["n_folds"] == 5
    folds = defaultdict(set)
    for row in said:
        folds[row["fold"]].add(row["id"].split("/")[1][:5])
    assert sorted(map(sorted, folds.values())) == [[f"Ses0{i}"] for i in range(1, 6)]
    assert {row["predicted"] for row in said} <= {row["actual"] for row in said}
    right = [row["predicted"] == row["actual"] for row in said]
    recalls = [
        np.mean([of for of, row in zip(right, said) if row["actual"] == code])
        for code in sorted({row["actual"] for row in said})
    ]
    assert len(recalls) == 4 and set(EMOTION.values()) == set(classes) == set(found["classes"])
    assert found["war"] == pytest.approx(np.mean(right), abs=1e-4)  # WA
    assert found["uar"] == pytest.approx(np.mean(recalls), abs=1e-4)  # UA
    # Of the turns of a session without a text all the same is said, where no voice is heard.
    known = {row["id"] for row in texts}
    silent = {(row["fold"], *map(row.get, CODES)) for row in said if row["id"] not in known}
    assert len(silent) == (5 if heard == ["linguistic"] else 10)
    assert np.mean([of for of, row in zip(right, said) if row["id"] in known]) > 0.95
