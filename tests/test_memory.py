"""The memory of a stage does not grow with the corpus: a few clips against ten times as many."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.corpora.listing import COLUMNS
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import write_table
from tests.helpers import ROOT, distinct_clips, write_params
from tests.media_files import write_sound, write_video

SIZE = 112  # 113 kB a clip: what is held on to shows
STEPS = 101  # of a spectrogram of one second


@pytest.fixture(scope="module", params=[20, pytest.param(100, marks=pytest.mark.long)])
def few(request: pytest.FixtureRequest) -> int:
    """How many clips are few; ten times as many are many."""
    return request.param


@pytest.fixture(scope="module")
def project(few: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips that differ, with manifests of few and of many of them."""
    folder = tmp_path_factory.mktemp("memory")
    # Of the smallest backbone: what the network itself needs would hide what is held on to.
    features = {"backbone": "squeezenet1_1", "allow_random_weights": True}
    write_params(folder, frames={"size": SIZE}, features=features)
    for name, count in {"few": few, "many": 10 * few}.items():
        clips = folder / "data/raw" / name
        clips.mkdir(parents=True)
        distinct_clips(write_video(folder / "clip.mp4", frames=3).read_bytes(), clips, count)
        rng = np.random.default_rng(0)
        for i in range(count):
            write_sound(clips / f"{i}.wav", rng.uniform(-0.5, 0.5, (1, 16000)), 16000)
        rows = [
            {
                "id": f"{name}/{i}",
                "emotion": "fear",
                "video": f"{i}.mp4",
                "audio": f"{i}.wav",
                "duration": "1",
            }
            for i in range(count)
        ]
        write_table(folder / f"data/manifest/{name}.csv", COLUMNS, rows)
    return folder


def peak(project: Path, stage: str, corpus: str) -> float:
    """The largest resident size, in MB, of a stage's process or of one of its children."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"stages.{stage}", corpus]
    process = subprocess.Popen(command, cwd=project, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1000


@pytest.mark.parametrize("kept", [False, pytest.param(True, marks=pytest.mark.long)])
@pytest.mark.parametrize("stage", ["frames", "mels"])
def test_ten_times_the_clips_take_the_same_memory(
    project: Path, few: int, stage: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FDAN_CACHE", str(project / "cache"))  # filled by the first of the two
    least, most = peak(project, stage, "few"), peak(project, stage, "many")
    print(f"{stage}: {least:.0f} MB for {few} clips, {most:.0f} MB for {10 * few}")
    assert most <= 1.1 * least


@pytest.mark.long
def test_ten_times_the_features_take_the_same_memory(project: Path, few: int) -> None:
    rng = np.random.default_rng(0)
    for name, count in {"few": few, "many": 10 * few}.items():
        ids = encode_ids([f"{name}/{i}" for i in range(count)])
        with write_arrays(project / f"data/frames/{name}.h5", "frames", {}, 0) as arrays:
            arrays.append("ids", ids)
            arrays.append("ok", np.ones((count, 3), bool))
            for _ in range(count):
                arrays.append("faces", rng.integers(0, 255, (1, 3, SIZE, SIZE, 3), np.uint8))
        with write_arrays(project / f"data/mels/{name}.h5", "mels", {}, 0) as arrays:
            arrays.append("ids", ids)
            arrays.append("offsets", np.arange(count + 1) * STEPS)
            for _ in range(count):
                arrays.append("values", rng.normal(-50, 20, (STEPS, 128)).astype(np.float32))
    least, most = peak(project, "features", "few"), peak(project, "features", "many")
    print(f"features: {least:.0f} MB for {few} clips, {most:.0f} MB for {10 * few}")
    assert most <= 1.1 * least
