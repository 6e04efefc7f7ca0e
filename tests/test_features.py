"""The feature stages: what the encoders are shown, and what is kept of it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from stages import acoustic_features, visual_features
from stages.encoders import frozen
from stages.encoders.frozen import require_finite
from stages.io.arrays import decode_ids, encode_ids, open_arrays, read_settings, write_arrays
from stages.io.files import file_sha256
from stages.runtime.errors import UserError
from stages.runtime.paths import features_path
from stages.splits.dataset import Features
from tests.encoders.test_pictures import HIGH, LOW
from tests.feature_files import write_params
from tests.helpers import ROOT, both


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="^predict: vgg11 gives values that are not finite"):
        require_finite(np.array([[0, np.inf]]), "predict", "vgg11")


CLIPS = 5
NAMES = [f"sample/{i}" for i in range(CLIPS)]
MODALITIES = ("visual", "acoustic")


def main(corpus: str) -> None:
    """Run the feature stage of each modality."""
    visual_features.main(corpus)
    acoustic_features.main(corpus)


def features_of(corpus: str) -> list[bytes]:
    """The content of what the stages write."""
    return [features_path(modality, corpus).read_bytes() for modality in MODALITIES]


def write_inputs(root: Path, corpus: str = "sample", clips: int = CLIPS, **changes: Any) -> None:
    """Params, and frames and mels of a few clips, whose first face is missing.

    Args:
        changes: to the encoders of both modalities; `acoustic` to that of the voices alone.
    """
    of_voices = changes.pop("acoustic", {})
    encoders = both(**{"name": "squeezenet1_1"} | changes)
    encoders["acoustic"] = encoders["acoustic"] | of_voices
    write_params(root, encoders=encoders)
    rng = np.random.default_rng(0)
    ids = encode_ids([f"sample/{i}" for i in range(clips)])
    lengths = [(20, 7, 33, 20, 9)[i % 5] for i in range(clips)]
    with write_arrays(root / f"data/frames/{corpus}.h5", "frames", {}, 0) as arrays:
        arrays.append("ids", ids)
        if clips:
            ok = np.ones((clips, 3), bool)
            ok[0, 0] = False
            arrays.append("ok", ok)
            arrays.append("faces", rng.integers(0, 256, (clips, 3, 32, 32, 3), dtype=np.uint8))
    with write_arrays(root / f"data/mels/{corpus}.h5", "mels", {}, 0) as arrays:
        arrays.append("ids", ids)
        arrays.append("offsets", np.cumsum([0, *lengths]))
        if clips:
            rng = np.random.default_rng(1)  # so that more clips begin with the same ones
            mels = rng.uniform(LOW, HIGH, (sum(lengths), 40)).astype(np.float32)
            arrays.append("values", mels)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, on a machine without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path


def test_the_file_holds_the_features_of_every_face_and_every_voice(project: Path):
    write_inputs(project)
    main("sample")
    with open_arrays(Path("data/features/visual/sample.h5"), "visual features") as file:
        assert decode_ids(file["ids"][...]) == NAMES
        assert file["pooled"].shape == (CLIPS, 3, 512) and file["pooled"].dtype == np.float32
        assert file["ok"][...].sum() == 3 * CLIPS - 1 and not file["ok"][0, 0]
    with open_arrays(Path("data/features/acoustic/sample.h5"), "acoustic features") as file:
        assert decode_ids(file["ids"][...]) == NAMES
        assert file["pooled"].shape == (CLIPS, 512) and file["pooled"].dtype == np.float32


def test_copies_of_faces_and_of_spectrograms_follow_those_of_the_clips(project: Path):
    write_inputs(project)
    main("sample")
    plain = {}
    for modality in MODALITIES:
        with open_arrays(features_path(modality, "sample"), f"{modality} features") as file:
            plain[modality] = file["pooled"][...]
    path = Path("params.yaml")
    tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    tree["augmentation"] |= {"copies": 2, "colour": 0.5}
    YAML(typ="safe").dump(tree, path)
    with open_arrays(Path("data/mels/sample.h5"), "mels") as file:
        arrays = {name: file[name][...] for name in file}
    steps = np.diff(arrays["offsets"])
    values = [arrays["values"], arrays["values"] * 0.9, arrays["values"] * 0.8]
    made_with = {"augmentation": {"copies": 2, "pitch": 1.0}}
    with write_arrays(Path("data/mels/sample.h5"), "mels", made_with, 0) as writer:
        writer.append("ids", arrays["ids"])
        writer.append("values", np.concatenate(values))
        writer.append("offsets", np.cumsum([0, *steps, *steps, *steps]))
    main("sample")
    for modality, first in plain.items():
        with open_arrays(features_path(modality, "sample"), f"{modality} features") as file:
            assert decode_ids(file["ids"][...]) == NAMES
            found = file["pooled"][...].reshape(3, *first.shape)
            assert modality == "acoustic" or len(file["ok"]) == CLIPS
        assert np.array_equal(found[0], first)
        distance = np.abs(found[1:] - first).reshape(2, CLIPS, -1).max(2)
        assert distance.min() > 1e-4 and not np.array_equal(found[1], found[2])
    sha256 = {of: {"sample": file_sha256(features_path(of, "sample"))} for of in MODALITIES}
    features = Features(sha256)
    for copy in range(3):
        of_first = features.views(NAMES[0], ["visual"], copy=copy)["visual"]
        assert of_first.shape == (2, 512)  # its first face is missing


def test_the_file_says_what_it_was_made_with(project: Path):
    db_range, of_speech = {"db_min": LOW, "db_max": HIGH}, {"layer": "last", "pool": "mean_std"}
    of_speech["sequences"] = False
    write_inputs(project, clips=0, seed=4, acoustic=db_range)
    main("sample")
    for modality, shown in {"visual": {}, "acoustic": db_range | of_speech}.items():
        with open_arrays(features_path(modality, "sample"), f"{modality} features") as file:
            assert read_settings(file) == shown | {
                "name": "squeezenet1_1",
                "precision": "fp32",
                "weights": "random",
                "seed": 4,
                "weights_source": "seed 4",
            }


def test_the_same_input_gives_the_same_bytes_made_anew_or_kept(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    write_inputs(project)
    found = []
    for cache in ("one", "other", "other"):
        monkeypatch.setenv("FDAN_CACHE", str(project / cache))
        main("sample")
        found.append(features_of("sample"))
    assert found[0] == found[1] == found[2]


@pytest.fixture
def pictures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures were given to the network, batch by batch."""
    sizes = []
    real = frozen.make_embed

    def counting(*arguments: Any) -> Any:
        embed = real(*arguments)
        return lambda images: (sizes.append(len(images)), embed(images))[1]

    monkeypatch.setattr(frozen, "make_embed", counting)
    return sizes


def test_more_clips_cost_no_more_than_those(project: Path, pictures: list[int]):
    write_inputs(project, clips=4)
    main("sample")
    assert sorted(pictures) == [4, 12]
    write_inputs(project, clips=5)
    main("sample")
    assert sorted(pictures) == [4, 4, 12, 12]
    main("sample")
    assert len(pictures) == 4


CHANGES = {
    "network": {"name": "mobilenet_v3_small"},
    "weights": {"seed": 1},
    "precision": {"precision": "bf16"},
    "range": {"acoustic": {"db_min": LOW - 1}},
    "network of voices": {"acoustic": {"name": "mobilenet_v3_small"}},
}


@pytest.mark.parametrize("what", CHANGES)
def test_with_another_setting_nothing_is_taken_that_it_changes(
    what: str, project: Path, pictures: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    write_inputs(project, clips=1)
    main("sample")
    pictures.clear()
    write_inputs(project, clips=1, **CHANGES[what])
    main("sample")
    assert sorted(pictures) == ([4] if "acoustic" in CHANGES[what] else [4, 12])
    kept = features_of("sample")
    monkeypatch.setenv("FDAN_CACHE", str(project / "empty"))
    main("sample")
    assert features_of("sample") == kept


def test_on_other_hardware_nothing_is_taken(
    project: Path, pictures: list[int], monkeypatch: pytest.MonkeyPatch
):
    write_inputs(project, clips=1)
    main("sample")
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another")
    main("sample")
    assert sorted(pictures) == [4, 4, 12, 12]


def test_a_kill_costs_at_most_what_was_under_way(
    project: Path, pictures: list[int], monkeypatch: pytest.MonkeyPatch
):
    """Of six batches of faces, on two cores; the fourth is begun with the third under way."""
    write_inputs(project, clips=24)
    script = """
import joblib, os, signal
from stages import visual_features
from stages.encoders import frozen
joblib.cpu_count = lambda: 2
real, batches = frozen.make_embed, []
def killed(*arguments):
    embed = real(*arguments)
    def one(images):
        batches.append(len(images))
        if len(batches) == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return embed(images)
    return one
frozen.make_embed = killed
visual_features.main("sample")
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", script], env=environment)
    assert done.returncode == -signal.SIGKILL
    main("sample")
    assert pictures.count(12) in (3, 4) and pictures.count(4) == 6
    kept = features_of("sample")
    monkeypatch.setenv("FDAN_CACHE", str(project / "empty"))
    main("sample")
    assert features_of("sample") == kept


@pytest.mark.parametrize("cores", [1, 3])
def test_neither_threads_nor_surroundings_change_a_byte(project: Path, cores: int):
    found = []
    for number, changes in enumerate(
        [
            {"OMP_NUM_THREADS": "1"},
            {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "3"},
            {"OMP_NUM_THREADS": "4", "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7", "LC_ALL": "C"},
        ]
    ):
        root = project / f"{cores} cores, no. {number}"
        root.mkdir()
        write_inputs(root)
        script = (
            "import joblib; from stages import acoustic_features, visual_features\n"
            "from stages.encoders import encode\n"
            "encode.CLIPS['cpu'] = 1\n"
            f"joblib.cpu_count = lambda: {cores if number else 2}\n"
            "visual_features.main('sample'); acoustic_features.main('sample')"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **changes}
        environment["FDAN_CACHE"] = str(root / "cache")
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=root,
            env=environment,
            umask=0o77 if number else 0o22,
            check=True,
        )
        found += [[(root / features_path(name, "sample")).read_bytes() for name in MODALITIES]]
    assert found[0] == found[1] == found[2]


def test_features_that_are_not_finite_leave_no_file(project: Path, monkeypatch: pytest.MonkeyPatch):
    write_inputs(project)
    overflowing = lambda images: np.full((len(images), 2), np.nan)  # noqa: E731
    monkeypatch.setattr(frozen, "make_embed", lambda *_: overflowing)
    for stage in (visual_features, acoustic_features):
        with pytest.raises(UserError, match="not finite"):
            stage.main("sample")
    assert [path for path in Path("data/features").rglob("*") if path.is_file()] == []


def test_a_corpus_without_any_clip_gives_an_empty_file(project: Path):
    write_inputs(project, clips=0)
    main("sample")
    for modality in MODALITIES:
        with open_arrays(features_path(modality, "sample"), f"{modality} features") as file:
            assert len(file["ids"]) == 0


def test_bfloat16_is_refused_by_the_stage_where_the_cpu_lacks_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    write_inputs(project, precision="bf16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    for stage in (visual_features, acoustic_features):
        with pytest.raises(
            UserError, match="encoders.(visual|acoustic).precision: the CPU has no bfloat16"
        ):
            stage.main("sample")
    assert not Path("data/features").exists()


def test_random_weights_are_refused_for_a_real_corpus(project: Path):
    write_inputs(project, "ravdess")
    for stage in (visual_features, acoustic_features):
        with pytest.raises(UserError, match="random weights say nothing about ravdess; set imagen"):
            stage.main("ravdess")


def test_without_clips_random_weights_do_not_matter(project: Path):
    """Who has voices alone need not care for the encoder of faces."""
    write_inputs(project, "ravdess", clips=0)
    main("ravdess")


@pytest.mark.parametrize("corpus, insist", [("ravdess", True), ("sample_noisy", False)])
def test_random_weights_are_accepted_for_the_sample_and_on_request(
    corpus: str, insist: bool, project: Path
):
    write_inputs(project, corpus, clips=1, allow_random_weights=insist)
    main(corpus)
    assert features_of(corpus)
