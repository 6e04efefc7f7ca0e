"""By what utterances are told at test, and the faces that a probe learns from."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages import best_test_epoch, evaluate, model, train
from stages.fdan.inference import SpeechClassifier
from stages.io.files import read_json, read_table
from stages.recognition.bundle import read_bundle
from stages.recognition.recognise import Recogniser
from stages.runtime.paths import BUNDLE, METRICS, MODEL
from stages.splits.dataset import Features, read_split, select_rows
from stages.splits.leaks import check_dialogues
from stages.splits.protocols import TEST, TRAIN
from stages.systems.checkpoint import read_description, read_replicas
from stages.systems.contract import Reader, fit_standardizer_where_known, in_dialogue
from stages.systems.named import SYSTEMS
from stages.systems.pooled import standardised, vectors
from tests.feature_files import DIM, in_dialogues, prepare, utterances, work_in, write_params
from tests.helpers import user_error

BY_SPEAKER: dict[str, Any] = {"protocol": "speaker", "folds": 2}
WITH_FACES = {"linear_probe": {"modalities": ["acoustic", "visual"]}, "system": "linear_probe"}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work_in(tmp_path, monkeypatch)
    return tmp_path


def details(**changes: Any) -> dict[str, Any]:
    write_params(Path(), **changes)
    evaluate.main()
    return read_json(METRICS / "details.json")


def test_fdan_is_told_by_the_voice_unless_it_is_said_otherwise():
    prepare(**BY_SPEAKER)
    train.main()
    content = MODEL.read_bytes()
    assert details(**BY_SPEAKER)["test_modalities"] == ["acoustic"]
    by_voice = read_table(METRICS / "predictions.csv")
    assert details(**BY_SPEAKER, test_modalities=["acoustic"])["test_modalities"] == ["acoustic"]
    assert read_table(METRICS / "predictions.csv") == by_voice
    for seen in (["acoustic", "visual"], ["visual"]):
        found = details(**BY_SPEAKER, test_modalities=seen)
        assert found["test_modalities"] == seen
        assert read_table(METRICS / "predictions.csv") != by_voice
    assert MODEL.read_bytes() == content  # what is trained is the same


@pytest.mark.parametrize("seen", [["acoustic", "visual"], ["visual"]])
def test_the_faces_of_a_clip_stand_in_the_place_of_the_bank(seen: list[str]):
    prepare(**BY_SPEAKER, noise=2.0, test_modalities=seen)
    train.main()
    evaluate.main()
    split, rows = read_split()
    features = Features(split["features_sha256"])
    told = {row["id"]: row for row in read_table(METRICS / "predictions.csv")}
    for fold, _, classifier in read_replicas(read_description()):
        assert isinstance(classifier, SpeechClassifier)
        for row in select_rows(rows, "acoustic", fold, TEST)[:5]:
            faces = torch.from_numpy(features.visual[row["id"]])
            voice = torch.from_numpy(features.acoustic[row["id"]][None])
            shares = classifier.with_faces(faces, voice if "acoustic" in seen else None)
            np.testing.assert_allclose(
                [float(told[row["id"]][code]) for code in ("AN", "NE")],
                shares[[0, 4]],
                atol=1e-6,
            )


@pytest.mark.parametrize("system", ["fdan", "linear_probe"])
def test_faces_at_test_are_refused_where_the_speaker_is_trained_on(system: str):
    prepare(test_modalities=["acoustic", "visual"], **WITH_FACES | {"system": system})
    said = user_error(train.main if system == "linear_probe" else evaluated)
    assert said.startswith("params.yaml: test_modalities: fold 0: the ")
    assert "set protocol: speaker, or leave out visual" in said


def evaluated() -> None:
    train.main()
    evaluate.main()


def test_a_modality_that_was_not_learned_from_or_is_lacking_is_named():
    prepare(**BY_SPEAKER, system="linear_probe", test_modalities=["acoustic", "visual"])
    assert "learns nothing from visual" in user_error(evaluated)
    write_params(Path(), **BY_SPEAKER, **WITH_FACES, test_modalities=["acoustic"])
    assert "the system needs acoustic, visual" in user_error(evaluated)
    write_params(
        Path(), **BY_SPEAKER, **WITH_FACES | {"linear_probe": {"modalities": ["linguistic"]}}
    )
    assert "learns from linguistic features, of which sample has none" in user_error(evaluated)


def test_the_probe_learns_from_faces_too_and_lacks_none_that_are_not_there():
    rows = utterances("sample", sentences=3)
    prepare(rows, noise=0.2, **BY_SPEAKER, **WITH_FACES)
    evaluated()
    found = read_json(METRICS / "details.json")
    assert found["uar"] == 1.0 and found["visual"] == ["sample"]
    assert found["test_modalities"] == ["acoustic", "visual"]
    description = read_description()
    assert description["dims"] == {"acoustic": DIM, "visual": DIM}
    split, rows = read_split()
    features = Features(split["features_sha256"])
    system, settings = SYSTEMS["linear_probe"], description["settings"]
    reader = Reader(system, settings, features, rows)
    train_rows = select_rows(rows, "acoustic", 0, TRAIN)
    x = np.stack(
        [
            np.concatenate([features.acoustic[name], features.visual[name].mean(0)])
            for name in (row["id"] for row in train_rows)
        ]
    )
    _, _, classifier = next(read_replicas(description))
    np.testing.assert_allclose(classifier.input_mean, x.mean(0), atol=1e-5)
    np.testing.assert_allclose(classifier.input_std, x.std(0), rtol=1e-4)
    # Of a clip without faces the mean of the training part stands for them.
    (clip,) = reader.clips(train_rows[:1])
    lacking = {"acoustic": clip["acoustic"]}
    mean = {**lacking, "visual": classifier.input_mean[None, DIM:]}
    torch.testing.assert_close(
        system.probabilities(classifier, [lacking]), system.probabilities(classifier, [mean])
    )


def test_what_is_not_there_does_not_count_for_the_scale():
    clips = [
        {"acoustic": torch.tensor([[1.0, 2.0]]), "visual": torch.tensor([[4.0], [6.0]])},
        {"acoustic": torch.tensor([[3.0, 2.0]])},
        {"visual": torch.tensor([[1.0]])},
    ]
    x = vectors(clips, {"acoustic": 2, "visual": 1})
    nan = float("nan")
    expected = torch.tensor([[1, 2, 5], [3, 2, nan], [nan, nan, 1]])
    torch.testing.assert_close(x, expected, equal_nan=True)
    scale = fit_standardizer_where_known(x)
    torch.testing.assert_close(scale.mean, torch.tensor([2.0, 2.0, 3.0]))
    torch.testing.assert_close(scale.std, torch.tensor([1.0, 1.0, 2.0]))
    torch.testing.assert_close(
        standardised(scale, x), torch.tensor([[-1.0, 0, 1], [1, 0, 0], [0, 0, -1]])
    )


def test_a_bundle_tells_by_the_modalities_of_its_test():
    prepare(**BY_SPEAKER, **WITH_FACES)
    evaluated()
    model.main()
    recogniser = Recogniser(read_bundle(BUNDLE))
    assert recogniser.usual == ["acoustic", "visual"] == list(recogniser.learned_from)
    assert recogniser.misfit(["acoustic", "visual"]) == ""
    assert "needs acoustic and visual" in recogniser.misfit(["acoustic"])
    assert recogniser.calibrated(("visual", "acoustic"))


def test_the_best_test_epoch_is_told_by_the_same_modalities():
    prepare(**BY_SPEAKER, noise=3.0, best_test_epoch=True)
    train.main()
    found = []
    for seen in (["acoustic"], ["visual"]):
        write_params(Path(), **BY_SPEAKER, best_test_epoch=True, test_modalities=seen)
        best_test_epoch.main()
        found.append(read_json(METRICS / "best_test_epoch.json")["n_correct"])
    assert found[0] != found[1]


def test_a_dialogue_on_two_sides_is_refused_for_what_reads_whole_dialogues():
    rows = in_dialogues(utterances("sample", sentences=4))
    voices = [
        row | {"modality": "acoustic", "fold_0": "test" if "D0" in row["dialogue"] else "train"}
        for row in rows
    ]
    assert check_dialogues(voices, 1) is None
    voices[0]["fold_0"] = "validation"
    said = user_error(check_dialogues, voices, 1)
    assert voices[0]["id"] in said and "of the same dialogue in test" in said
    alone = [row | {"dialogue": ""} for row in voices]
    assert check_dialogues(alone, 1) is None


def test_a_clip_in_a_dialogue_has_a_row_a_turn_and_says_what_is_not_there():
    turns = [
        {"acoustic": np.ones((1, 2), np.float32)},
        {},
        {"acoustic": np.full((2, 2), 3, np.float32), "visual": np.ones((3, 4), np.float32)},
    ]
    clip = in_dialogue(turns, ["b", "a", "b"], 2)
    assert clip["acoustic"].tolist() == [[1, 1], [0, 0], [3, 3]]
    assert clip["acoustic_there"].tolist() == [True, False, True]
    assert clip["visual_there"].tolist() == [False, False, True]
    assert clip["speakers"].tolist() == [0, 1, 0] and clip["turn"].tolist() == [2]
