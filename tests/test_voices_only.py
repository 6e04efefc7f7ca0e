"""Corpora without faces, as RAVDESS' archive of speech, go all the way with acoustic_only: true."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from stages import (
    acoustic_features,
    best_test_epoch,
    contact_sheet,
    evaluate,
    frames,
    linguistic_features,
    manifest,
    mels,
    plan,
    settings,
    split,
    train,
    transcripts,
    tsne,
    visual_features,
)
from stages.corpora.ravdess import EMOTION
from stages.io.arrays import open_arrays
from stages.io.files import read_json, read_table
from tests.clone import Clone
from tests.feature_files import work_in
from tests.helpers import both, user_error, write_params
from tests.media_files import sine, write_sound

ENCODING = (transcripts, visual_features, acoustic_features, linguistic_features)
CHOSEN = {
    "corpora": ["ravdess"],
    "visual": [],
    "acoustic": "ravdess",
    "acoustic_only": True,
    "folds": 2,
    "seeds": 1,
    "epochs": 2,
    "best_test_epoch": True,
    "max_skip_fraction": 0,
    "encoders": both(name="squeezenet1_1", allow_random_weights=True),
}


@pytest.fixture(scope="module")
def voices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Voices under RAVDESS' names: two actors who say two sentences in each of the emotions."""
    folder = tmp_path_factory.mktemp("voices")
    for code in EMOTION:
        for sentence in (1, 2):
            for actor in (1, 2):
                tone = sine(100 * int(code) + 30 * sentence + 10 * actor, 0.5, 16000)
                path = folder / f"Actor_{actor:02}/03-01-{code}-01-{sentence:02}-01-{actor:02}.wav"
                path.parent.mkdir(exist_ok=True)
                write_sound(path, 0.3 * tone, 16000)
    return folder


@pytest.fixture
def project(
    voices: Path, no_children: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in(tmp_path, monkeypatch)
    write_params(tmp_path, **CHOSEN)
    shutil.copytree(voices, "data/raw/ravdess")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("visual", [[], ["ravdess"]])
def test_every_stage_runs(visual: list[str]) -> None:
    write_params(Path(), **CHOSEN | {"visual": visual})
    settings.main()
    manifest.main("ravdess")
    plan.main()
    for stage in (frames, mels, contact_sheet, *ENCODING):
        stage.main("ravdess")
    for stage in (split, train, evaluate, best_test_epoch, tsne):
        stage.main()

    with open_arrays(Path("data/frames/ravdess.h5"), "frames") as arrays:
        assert list(arrays) == ["ids"] and len(arrays["ids"]) == 0
    assert read_table(Path("data/skipped/ravdess.frames.csv")) == []
    summary = read_json(Path("data/split.json"))
    assert (summary["n_visual"], summary["n_acoustic"]) == (0, 28)
    assert read_json(Path("metrics/test.json"))["n_test"] == 28
    assert read_json(Path("metrics/best_test_epoch.json"))["n_test"] == 28
    assert {row["modality"] for row in read_table(Path("metrics/tsne.csv"))} == {"acoustic"}
    assert Path("metrics/contact_sheet/ravdess.png").stat().st_size > 10_000


@pytest.mark.usefixtures("project")
def test_what_faces_are_needed_for_says_so_at_once() -> None:
    write_params(Path(), **CHOSEN | {"acoustic_only": False})
    remedy = "set acoustic_only: true"
    assert user_error(settings.main).endswith(f"name one, or {remedy}")
    write_params(Path(), **CHOSEN | {"acoustic_only": False, "visual": ["ravdess"]})
    message = user_error(settings.main)
    assert message.startswith("params.yaml: visual: no utterance of ravdess has video; ")
    assert remedy in message
    manifest.main("ravdess")
    assert user_error(plan.main) == message


@pytest.mark.usefixtures("project")
def test_faces_alone_are_refused_at_once() -> None:
    for path in Path("data/raw/ravdess").rglob("*.wav"):
        path.with_name(f"02{path.name[2:]}").with_suffix(".mp4").touch()
        path.unlink()
    write_params(Path(), **CHOSEN | {"visual": ["ravdess"], "acoustic_only": False})
    assert user_error(settings.main) == (
        "params.yaml: acoustic: no utterance of ravdess has audio, which is what is tested; choose "
        "a corpus with speech"
    )


@pytest.mark.usefixtures("project")
def test_without_faces_a_model_that_needs_them_is_not_trained() -> None:
    """By hand, past dvc and its order."""
    manifest.main("ravdess")
    for stage in (frames, mels, *ENCODING):
        stage.main("ravdess")
    split.main()
    write_params(Path(), **CHOSEN | {"visual": ["ravdess"], "acoustic_only": False})
    assert user_error(train.main) == (
        "params.yaml: system: fdan learns from visual features, of which ravdess has none; set "
        "acoustic_only: true (fdan) or other modalities, or choose another system"
    )


@pytest.mark.long
def test_dvc_repro_runs_to_its_end(voices: Path, tmp_path: Path) -> None:
    clone = Clone(tmp_path, CHOSEN)
    shutil.copytree(voices, clone.folder / "data/raw/ravdess")
    clone.dvc("repro", "evaluate", "contact_sheet", "tsne", "best_test_epoch")
    assert clone.metrics()["n_test"] == 28
    assert "up to date" in clone.dvc("repro", "evaluate")
    clone.dvc("plots", "show")
    before = np.array(sorted(path.stat().st_mtime for path in clone.folder.glob("models/*")))
    output = clone.dvc("exp", "run", "-S", "acoustic_only=false", code=255)
    assert output.count("error: ") == 1 and "or set acoustic_only: true" in output
    after = np.array(sorted(path.stat().st_mtime for path in clone.folder.glob("models/*")))
    assert (before == after).all() and len(after) == 3
