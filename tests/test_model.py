"""The stages model and card: a bundle of what was trained on everything, and its card."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages import card, evaluate, model, split, train
from stages.corpora.emotions import EMOTIONS
from stages.corpora.registry import layout_of
from stages.io.files import read_json
from stages.recognition.bundle import Bundle, fingerprint, read_bundle
from stages.runtime.paths import BUNDLE, MODEL_CARD
from stages.splits.dataset import Features, read_split
from stages.systems.checkpoint import read_description, read_replicas
from tests.feature_files import prepare, utterances, work_in, write_corpus, write_params


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def make(**changes: Any) -> Bundle:
    """The bundle of a small corpus."""
    prepare(utterances("sample", speakers=3), **{"seeds": 2, "validation": 0.2} | changes)
    train.main()
    evaluate.main()
    model.main()
    return read_bundle(BUNDLE)


def test_the_bundle_holds_the_replicas_of_the_folds_and_one_more_a_seed():
    found = make()
    x = torch.from_numpy(
        np.stack(list(Features(read_split()[0]["features_sha256"]).acoustic.values()))
    )
    of_folds = [classifier(x) for *_, classifier in read_replicas(read_description())]
    assert len(found.final) == 2 and len(found.folds) == 4
    for classifier, expected in zip(found.folds, of_folds, strict=True):
        assert torch.equal(classifier(x), expected)
    for classifier in found.final:
        assert not any(torch.equal(classifier(x), other) for other in of_folds)


def test_it_is_trained_on_everything_that_was_split_and_scaled_by_it():
    found = make()
    split, rows = read_split()
    features = Features(split["features_sha256"])
    voices = [features.acoustic[row["id"]] for row in rows if row["modality"] == "acoustic"]
    for classifier in found.final:
        np.testing.assert_allclose(classifier.acoustic_mean, np.mean(voices, 0), atol=1e-5)
    contents = found.contents
    assert contents["trained_on"] == sorted(fingerprint({"acoustic": x[None]}) for x in voices)
    assert contents["data"] == {
        "acoustic": "sample",
        "visual": ["sample"],
        "utterances": 42,
        "faces": 42,
        "speakers": 3,
        "licences": {"sample": layout_of("sample").LICENCE},
    }


def test_of_fewer_classes_it_says_these_and_gives_the_others_nothing():
    prepare(utterances("sample"), seeds=1, validation=0.2, classes=["sadness", "anger", "fear"])
    for stage in (train, evaluate, model, card):
        stage.main()
    found = read_bundle(BUNDLE)
    features = Features(read_split()[0]["features_sha256"])
    x = torch.from_numpy(np.stack(list(features.acoustic.values())))  # of all seven
    faces = torch.from_numpy(next(iter(features.visual.values())))
    others = [i for i, name in enumerate(EMOTIONS) if name not in ("anger", "fear", "sadness")]
    for classifier in [*found.final, *found.folds]:
        assert not classifier(x)[:, others].any()
        for voice in (None, x[:1]):
            shares = classifier.with_faces(faces, voice)
            assert not shares[others].any() and shares.sum() == pytest.approx(1)
    assert found.contents["data"]["utterances"] == 24
    text = MODEL_CARD.read_text()
    assert "It says which of anger, fear, sadness a clip of speech sounds like" in text
    assert "sample, 3 classes (anger, fear, sadness), protocol paper" in text


def test_its_epochs_are_the_median_of_those_that_the_folds_kept():
    found = make(seeds=3, noise=1.5, epochs=40)
    kept = sorted(of["epoch"] for of in read_description()["chosen"].values())
    assert len(set(kept)) > 1
    assert found.contents["chosen"]["epoch"] == (kept[2] + kept[3]) // 2


def test_its_result_and_temperature_are_those_of_the_folds():
    contents = make(noise=1.0).contents
    details = read_json(Path("metrics/details.json"))
    assert contents["result"]["uar"] == details["uar"]
    assert contents["temperature"] == details["calibration"]["temperature"]


def test_without_a_validation_part_there_is_no_temperature():
    contents = make(validation=0, selection="last").contents
    assert contents["temperature"] is None
    assert contents["result"]["calibration"]["n_validation"] == 0
    assert contents["chosen"] == {"epoch": 8}
    card.main()
    assert "are not calibrated" in MODEL_CARD.read_text()


def test_a_model_of_voices_alone_is_bundled(tmp_path: Path):
    contents = make(visual=[], acoustic_only=True).contents
    assert contents["data"]["faces"] == 0


def test_the_same_results_give_the_same_bytes():
    make()
    first = [path.read_bytes() for path in sorted(BUNDLE.iterdir())]
    model.main()
    assert [path.read_bytes() for path in sorted(BUNDLE.iterdir())] == first
    card.main()
    assert "all 42 utterances of `sample`" in MODEL_CARD.read_text()


@pytest.mark.parametrize("system", ["fdan", "linear_probe"])
def test_of_another_corpus_that_is_tested_nothing_is_learned(system: str):
    learned, tested = utterances("sample", speakers=5), utterances("savee", speakers=3)
    write_corpus(Path(), "sample", learned)
    write_corpus(Path(), "savee", tested, seed=1)
    corpora = ["sample", "savee"]
    write_params(Path(), corpora=corpora, visual=corpora, test="savee", system=system, seeds=2)
    for stage in (split, train, evaluate, model, card):
        stage.main()
    features = Features(read_split()[0]["features_sha256"])
    contents = read_bundle(BUNDLE).contents
    assert contents["trained_on"] == sorted(
        fingerprint({"acoustic": features.acoustic[row["id"]][None]}) for row in learned
    )
    data, seen = contents["data"], ["sample"] if system == "fdan" else []
    assert (data["acoustic"], data["visual"], data["speakers"]) == ("sample", seen, 5)
    assert (data["utterances"], data["faces"]) == (70, 70 * len(seen))
    assert list(data["licences"]) == ["sample"]
    result = contents["result"]
    assert (result["acoustic"], result["test"], result["n_folds"]) == ("sample", "savee", 1)
    assert (result["n_test"], result["n_speakers"]) == (42, 3) and result["uar"] > 0.5
    assert ", tested on savee, " in MODEL_CARD.read_text(encoding="utf-8")


def test_recordings_of_the_corpus_that_is_tested_are_not_learned_under_another_name():
    rows = [
        {
            "modality": modality,
            "id": f"{corpus}/{number}",
            "sentence": "",
            "carried": carried,
            "fold_0": role,
        }
        for modality, corpus, number, carried, role in (
            ("visual", "ravdess", 1, "", "train"),
            ("visual", "ravdess", 2, "", "out"),
            ("visual", "ravdess_grey", 1, "", "out"),
            ("visual", "tess", 3, "recording=ravdess/2", "out"),
            ("acoustic", "ravdess", 1, "", "train"),
            ("acoustic", "ravdess", 4, "", "validation"),
            ("acoustic", "ravdess_grey", 2, "", "test"),
        )
    ]
    found = [(row["modality"], row["id"]) for row in model.learnable(rows, "ravdess_grey")]
    assert found == [("visual", "ravdess/1"), ("acoustic", "ravdess/1"), ("acoustic", "ravdess/4")]
    assert model.learnable(rows, "") == rows
