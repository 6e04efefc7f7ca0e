"""The pipeline on real clips and real weights, where they are at hand."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages import (
    acoustic_features,
    best_test_epoch,
    contact_sheet,
    evaluate,
    frames,
    linguistic_features,
    manifest,
    mels,
    split,
    train,
    transcripts,
    tsne,
    visual_features,
)
from stages.io.arrays import decode_ids, open_arrays
from stages.io.files import read_json, read_table
from stages.media.crops import STATUS
from tests.helpers import both, changed
from tests.media_files import corpora

PROJECT = Path(__file__).parent.parent


def test_ravdess_runs_from_clips_to_metrics(
    torch_home: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = corpora().resolve()
    names = ["ravdess", "ravdess_grey"]
    monkeypatch.chdir(tmp_path)
    Path("data/raw").mkdir(parents=True)
    yaml = YAML()
    params = yaml.load(PROJECT / "params.yaml")
    params.update(corpora=names, visual=names, acoustic="ravdess", epochs=20, seeds=2)
    params["frames"]["detector"] = "yunet"
    changed(params, {"encoders": both(name="squeezenet1_1", weights="imagenet")})
    yaml.dump(params, Path("params.yaml"))
    for name in names:
        Path("data/raw", name).symlink_to(clips / name)
        for stage in (
            manifest,
            frames,
            mels,
            contact_sheet,
            transcripts,
            visual_features,
            acoustic_features,
            linguistic_features,
        ):
            stage.main(name)
    for stage in (split, train, evaluate, best_test_epoch, tsne):
        stage.main()

    with open_arrays(Path("data/frames/ravdess.h5"), "frames") as file:
        assert (len(file["ids"]), (file["status"][...] == STATUS.index("face")).all()) == (10, True)
    with open_arrays(Path("data/mels/ravdess.h5"), "mels") as file:
        ids = decode_ids(file["ids"][...])
    assert len(ids) == 104 and not [name for name in ids if name.split("-")[1] == "02"]
    excluded = read_table(Path("data/skipped/ravdess.manifest.csv"))
    assert [row["code"] for row in excluded] == ["emotion_excluded"] * 16
    metrics = read_json(Path("metrics/details.json"))
    assert (metrics["n_test"], metrics["n_skipped"], metrics["n_classes_present"]) == (104, 0, 7)
    assert metrics["uar"] > 0.3  # chance is 0.143
    assert metrics["n_duplicates"] == 0 and len(metrics["by_seed"]) == 2
    assert metrics["n_test_with_trained_face"] == 52  # those of the grey clips
    rows = read_table(Path("data/split.csv"))
    for name, bank in read_json(Path("models/replicas.json"))["bank"].items():
        column = name.split(".")[0]
        tested = {row["id"] for row in rows if row[column] == "test"}
        assert bank and tested.isdisjoint(face.replace("_grey", "") for face in bank)
