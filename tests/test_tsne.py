"""The picture of both modalities before and after the adaptation (Fig. 5)."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages import train, tsne
from stages.corpora.emotions import EMOTIONS
from stages.io.files import read_json, read_table
from stages.splits.dataset import Features, select_rows
from tests.feature_files import FRAMES, Rows, prepare, utterances, work_in

TABLE = Path("metrics/tsne.csv")
BEFORE, AFTER = "before adaptation", "after adaptation"
KEYS = ("modality", "role", "emotion", "id")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work_in(tmp_path, monkeypatch)


def make(rows: Rows | None = None, **changes: Any) -> Rows:
    """The table of a small corpus after a short training."""
    prepare(rows or utterances("sample", speakers=2, sentences=2), **{"epochs": 2} | changes)
    train.main()
    tsne.main()
    return read_table(TABLE)


def of_panel(table: Rows, panel: str) -> Rows:
    return [row for row in table if row["panel"] == panel]


def points(table: Rows, panel: str) -> np.ndarray:
    return np.array([(float(row["x"]), float(row["y"])) for row in of_panel(table, panel)])


def test_the_columns_are_those_that_the_plot_needs():
    assert list(make()[0]) == ["panel", "modality", "role", "emotion", "id", "x", "y"]


def test_both_panels_show_the_same_samples():
    table = make()
    before, after = (
        [tuple(row[key] for key in KEYS) for row in of_panel(table, panel)]
        for panel in (BEFORE, AFTER)
    )
    assert before == after and len(before) + len(after) == len(table)


@pytest.mark.parametrize("protocol", ["paper", "speaker"])
def test_it_shows_the_training_samples_and_the_test_voices_of_the_first_fold(protocol: str):
    table = make(protocol=protocol)
    rows = read_table(Path("data/split.csv"))
    for modality in ("acoustic", "visual"):
        for role in ("train", "test"):
            shown = Counter(
                row["id"]
                for row in of_panel(table, AFTER)
                if (row["modality"], row["role"]) == (modality, role)
            )
            expected = [row["id"] for row in select_rows(rows, modality, 0, role)]
            assert shown == dict.fromkeys(expected, FRAMES if modality == "visual" else 1)
    emotion_of = {row["id"]: row["emotion"] for row in utterances("sample")}
    assert all(row["emotion"] == emotion_of[row["id"]] for row in table)


def test_a_network_that_sees_no_faces_has_none_to_show():
    table = make(acoustic_only=True)
    assert {row["modality"] for row in table} == {"acoustic"}
    assert {row["role"] for row in table} == {"train", "test"}


def test_of_many_samples_a_balanced_part_is_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tsne, "LIMIT", 14)
    table = of_panel(make(utterances("sample")), AFTER)
    found = Counter((row["modality"], row["role"], row["emotion"]) for row in table)
    parts = [("acoustic", "train"), ("acoustic", "test"), ("visual", "train")]
    assert found == {(*part, emotion): 2 for part in parts for emotion in EMOTIONS}


def test_coordinates_fill_a_square():
    table = make()
    for panel in (BEFORE, AFTER):
        assert np.abs(points(table, panel)).max(0).tolist() == [1, 1]


def test_the_same_input_gives_the_same_bytes():
    files = []
    for _ in range(2):
        make()
        files.append(TABLE.read_bytes())
        torch.manual_seed(7)
        np.random.seed(7)
    assert files[0] == files[1]


def test_training_moves_the_samples_after_the_adaptation_and_not_those_before():
    short, long = (make(epochs=epochs, selection="last") for epochs in (1, 3))
    assert of_panel(short, BEFORE) == of_panel(long, BEFORE)
    assert of_panel(short, AFTER) != of_panel(long, AFTER)


def test_the_panels_show_standardised_features_and_what_the_classifier_sees(
    monkeypatch: pytest.MonkeyPatch,
):
    """Both checked by what is embedded, sample by sample."""
    embedded = []
    monkeypatch.setattr(tsne, "embed", lambda x: embedded.append(x) or np.zeros((len(x), 2)))
    table = make(epochs=8)
    before, after = embedded
    features = Features(read_json(Path("data/split.json"))["features_sha256"])
    rows = read_table(Path("data/split.csv"))
    learned = {
        "acoustic": features.acoustic_samples(select_rows(rows, "acoustic", 0, "train"))[0],
        "visual": features.visual_samples(select_rows(rows, "visual", 0, "train"))[0],
    }
    fold, _, classifier = next(tsne.read_replicas(tsne.read_description()))
    network = classifier.network
    assert fold == 0
    for i, row in enumerate(of_panel(table, AFTER)):
        raw = {"acoustic": features.acoustic, "visual": features.visual}[row["modality"]]
        mean, std = (of(learned[row["modality"]], 0) for of in (np.mean, np.std))
        candidates = (np.atleast_2d(raw[row["id"]]) - mean) / std
        assert np.abs(candidates - before[i]).max(1).min() < 1e-4
        if row["modality"] == "acoustic":
            logits = network.classifier(torch.from_numpy(after[i : i + 1]))
            found = classifier(torch.from_numpy(raw[row["id"]][None]))
            torch.testing.assert_close(torch.softmax(logits, 1), found, atol=1e-4, rtol=1e-4)


def test_samples_that_are_far_apart_are_shown_apart():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(size=(20, 5)), rng.normal(size=(20, 5)) + 50])
    plane = tsne.embed(x.astype(np.float32))
    centres = plane[:20].mean(0), plane[20:].mean(0)
    spread = max(
        np.linalg.norm(part - centre, axis=1).max()
        for part, centre in zip((plane[:20], plane[20:]), centres)
    )
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * spread


@pytest.mark.parametrize("acoustic_only", [False, True])
@pytest.mark.parametrize("voices", [2, 3])
def test_a_tiny_corpus_is_no_error(voices: int, acoustic_only: bool):
    rows = utterances("sample", speakers=1, sentences=voices, emotions=["fear"])
    table = make(
        rows,
        allow_missing_classes=True,
        acoustic_only=acoustic_only,
        selection="last",
        validation=0,
        inference="none",
    )
    faces = 0 if acoustic_only else FRAMES * voices
    assert len(table) == 2 * (voices + faces)
    assert np.isfinite(points(table, BEFORE)).all() and np.isfinite(points(table, AFTER)).all()
