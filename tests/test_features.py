"""Features: what the backbone is shown, and what is kept of it."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stages import features
from stages.encoders.embed import face_images
from stages.features import (
    acoustic_features,
    ahead,
    main,
    require_finite,
    visual_features,
)
from stages.io.arrays import decode_ids, encode_ids, open_arrays, read_settings, write_arrays
from stages.runtime.errors import UserError
from tests.encoders.test_embed import HIGH, LOW, picture
from tests.feature_files import PARAMS, write_params
from tests.helpers import ROOT


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(UserError, match="features@ravdess: vgg11 gives values that are not finite"):
        require_finite(np.array([[0, np.inf]]), "ravdess", "vgg11")


def test_batches_are_prepared_ahead_and_no_further_than_two():
    made = []

    def batches():
        for i in range(6):
            made.append(i)
            yield torch.tensor(i)

    taken = []
    for batch in ahead(batches()):
        taken.append(int(batch))
        time.sleep(0.05)
        assert taken[-1] < made[-1] <= taken[-1] + 2 or made[-1] == 5
    assert taken == made == list(range(6))


def test_what_goes_wrong_ahead_is_raised():
    def batches():
        yield torch.tensor(0)
        raise UserError("a damaged file")

    found = ahead(batches())
    assert int(next(found)) == 0
    with pytest.raises(UserError, match="a damaged file"):
        next(found)


CLIPS = 5
LENGTHS = [20, 7, 33, 20, 9]
NAMES = [f"sample/{i}" for i in range(CLIPS)]


def write_inputs(root: Path, corpus: str = "sample", clips: int = CLIPS, **changes: Any) -> None:
    """Params, and frames and mels of a few clips, whose first face is missing."""
    write_params(root, features=PARAMS["features"] | {"backbone": "squeezenet1_1"} | changes)
    rng = np.random.default_rng(0)
    ids = encode_ids(NAMES[:clips])
    with write_arrays(root / f"data/frames/{corpus}.h5", "frames", {}, 0) as arrays:
        arrays.append("ids", ids)
        if clips:
            ok = np.ones((clips, 3), bool)
            ok[0, 0] = False
            arrays.append("ok", ok)
            arrays.append("faces", rng.integers(0, 256, (clips, 3, 32, 32, 3), dtype=np.uint8))
    with write_arrays(root / f"data/mels/{corpus}.h5", "mels", {}, 0) as arrays:
        arrays.append("ids", ids)
        arrays.append("offsets", np.cumsum([0, *LENGTHS[:clips]]))
        if clips:
            mels = rng.uniform(LOW, HIGH, (sum(LENGTHS[:clips]), 40)).astype(np.float32)
            arrays.append("values", mels)


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, on a machine without a GPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path


def mean_and_corner(images: Tensor) -> np.ndarray:
    """What stands for a backbone: two numbers that tell pictures apart."""
    return torch.stack([images.mean((1, 2, 3)), images[:, 0, 0, 0]], dim=1).numpy()


@pytest.mark.parametrize("at_once", [1, 2, 5, 16])
def test_every_face_keeps_its_place_however_many_are_embedded_at_once(
    at_once: int, project: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(features.CLIPS, "cpu", at_once)
    write_inputs(project)
    with open_arrays(Path("data/frames/sample.h5"), "frames") as frames:
        found = np.stack(list(visual_features(frames, mean_and_corner, "cpu")))
        expected = [
            mean_and_corner(face_images(torch.from_numpy(clip))) for clip in frames["faces"][...]
        ]
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-6)


@pytest.mark.parametrize("at_once", [1, 2, 5, 16])
def test_every_voice_keeps_its_place_however_many_are_embedded_at_once(
    at_once: int, project: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(features.CLIPS, "cpu", at_once)
    write_inputs(project)
    with open_arrays(Path("data/mels/sample.h5"), "mels") as mels:
        found = np.stack(list(acoustic_features(mels, mean_and_corner, LOW, HIGH, "cpu")))
        values = np.split(mels["values"][...], np.cumsum(LENGTHS)[:-1])
    expected = [mean_and_corner(picture(mel)[None])[0] for mel in values]
    np.testing.assert_allclose(found, np.stack(expected), rtol=1e-6)


def test_the_file_holds_the_features_of_every_face_and_every_voice(project: Path):
    write_inputs(project)
    main("sample")
    with open_arrays(Path("data/features/sample.h5"), "features") as file:
        assert decode_ids(file["visual_ids"][...]) == NAMES == decode_ids(file["acoustic_ids"][...])
        assert file["visual"].shape == (CLIPS, 3, 512) and file["visual"].dtype == np.float32
        assert file["acoustic"].shape == (CLIPS, 512) and file["acoustic"].dtype == np.float32
        assert file["visual_ok"][...].sum() == 3 * CLIPS - 1 and not file["visual_ok"][0, 0]


def test_the_file_says_what_it_was_made_with(project: Path):
    write_inputs(project, clips=0, seed=4, db_min=LOW, db_max=HIGH)
    main("sample")
    with open_arrays(Path("data/features/sample.h5"), "features") as file:
        assert read_settings(file) == {
            "backbone": "squeezenet1_1",
            "precision": "fp32",
            "weights": "random",
            "seed": 4,
            "db_min": LOW,
            "db_max": HIGH,
            "weights_source": "seed 4",
        }


def test_the_same_input_gives_the_same_bytes(project: Path):
    write_inputs(project)
    main("sample")
    first = Path("data/features/sample.h5").read_bytes()
    main("sample")
    assert Path("data/features/sample.h5").read_bytes() == first


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
            "import joblib, sys; from stages import features; features.CLIPS['cpu'] = 1\n"
            f"joblib.cpu_count = lambda: {cores if number else 2}\n"
            "features.main('sample')"
        )
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", **changes}
        subprocess.run(
            [sys.executable, "-c", script],
            cwd=root,
            env=environment,
            umask=0o77 if number else 0o22,
            check=True,
        )
        found.append((root / "data/features/sample.h5").read_bytes())
    assert found[0] == found[1] == found[2]


def test_features_that_are_not_finite_leave_no_file(project: Path, monkeypatch: pytest.MonkeyPatch):
    write_inputs(project)
    overflowing = lambda images: np.full((len(images), 2), np.nan)  # noqa: E731
    monkeypatch.setattr(features, "make_embed", lambda *_: overflowing)
    with pytest.raises(UserError, match="not finite"):
        main("sample")
    assert list(Path("data/features").iterdir()) == []


def test_a_corpus_without_any_clip_gives_an_empty_file(project: Path):
    write_inputs(project, clips=0)
    main("sample")
    with open_arrays(Path("data/features/sample.h5"), "features") as file:
        assert len(file["visual_ids"]) == len(file["acoustic_ids"]) == 0


def test_bfloat16_is_refused_by_the_stage_where_the_cpu_lacks_it(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    write_inputs(project, precision="bf16")
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(UserError, match="features.precision: the CPU has no bfloat16"):
        main("sample")
    assert not Path("data/features").exists()


def test_random_weights_are_refused_for_a_real_corpus(project: Path):
    write_inputs(project, "ravdess")
    with pytest.raises(UserError, match="random weights say nothing about ravdess; set imagenet"):
        main("ravdess")


@pytest.mark.parametrize("corpus, insist", [("ravdess", True), ("sample_noisy", False)])
def test_random_weights_are_accepted_for_the_sample_and_on_request(
    corpus: str, insist: bool, project: Path
):
    write_inputs(project, corpus, clips=1, allow_random_weights=insist)
    main(corpus)
    assert Path(f"data/features/{corpus}.h5").exists()
