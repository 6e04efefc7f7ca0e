"""The memory of a stage does not grow with the corpus: ten times the clips take the same."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages.corpora.listing import COLUMNS
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import write_table
from tests.helpers import both, changed
from tests.media_files import write_sound, write_video

ROOT = Path(__file__).parent.parent
# What a stage holds on to of 180 clips shows: 450 kB of frames each, 250 kB of a spectrogram.
SIZE = 224
SECONDS = 5


@pytest.fixture(scope="module", params=[20, pytest.param(100, marks=pytest.mark.long)])
def few(request: pytest.FixtureRequest) -> int:
    """How many clips the smaller corpus has; the larger has ten times as many."""
    return request.param


@pytest.fixture(scope="module")
def project(few: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two corpora of clips that all differ, with their manifests."""
    folder = tmp_path_factory.mktemp("memory")
    tree = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["frames"]["size"] = SIZE
    # Of the smallest network: what the network itself needs would hide what is held on to.
    changed(tree, {"encoders": both(name="squeezenet1_1", allow_random_weights=True)})
    YAML(typ="safe").dump(tree, folder / "params.yaml")
    for name, count in {"few": few, "many": 10 * few}.items():
        clips = folder / "data/raw" / name
        clips.mkdir(parents=True)
        video = write_video(folder / "clip.mp4", frames=3).read_bytes()
        rng = np.random.default_rng(0)
        for i in range(count):
            # An empty box of the container, so that no two clips are the same.
            box = b"\0\0\0\x18free" + f"{name}{i:012}".encode()
            (clips / f"{i}.mp4").write_bytes(video + box)
            write_sound(clips / f"{i}.wav", rng.uniform(-0.5, 0.5, (1, 16000 * SECONDS)), 16000)
        rows = [
            {
                "id": f"{name}/{i}",
                "emotion": "fear",
                "video": f"{i}.mp4",
                "audio": f"{i}.wav",
                "duration": str(SECONDS),
            }
            for i in range(count)
        ]
        write_table(folder / f"data/manifest/{name}.csv", COLUMNS, rows)
    return folder


# In between, as the kernel counts what a process held before it became another program: here that
# of the tests.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=sys.stderr)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def peak(project: Path, stage: str, corpus: str) -> float:
    """The largest resident size, in MB, of a stage's process or of one of its children."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, sys.executable, "-m", f"stages.{stage}", corpus],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return int(done.stdout) / 1000


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("stage", ["frames", "mels"])
def test_ten_times_the_clips_take_the_same_memory(
    project: Path, few: int, stage: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FDAN_CACHE", str(project / "cache"))  # filled by the first of the two
    of_few, of_many = peak(project, stage, "few"), peak(project, stage, "many")
    print(f"{stage}: {of_few:.0f} MB for {few} clips, {of_many:.0f} MB for ten times as many")
    assert of_many <= 1.1 * of_few


# Of fewer clips it does not fill the batches that are prepared while the network works on one.
@pytest.mark.parametrize("few", [pytest.param(100, marks=pytest.mark.long)], indirect=True)
def test_ten_times_the_features_take_the_same_memory(project: Path, few: int) -> None:
    rng = np.random.default_rng(0)
    for name, count in {"few": few, "many": 10 * few}.items():
        ids = encode_ids([f"{name}/{i}" for i in range(count)])
        with write_arrays(project / f"data/frames/{name}.h5", "frames", {}, 0) as arrays:
            arrays.append("ids", ids)
            arrays.append("ok", np.ones((count, 3), bool))
            for _ in range(count):
                arrays.append("faces", rng.integers(0, 255, (1, 3, 112, 112, 3), np.uint8))
        with write_arrays(project / f"data/mels/{name}.h5", "mels", {}, 0) as arrays:
            arrays.append("ids", ids)
            arrays.append("offsets", np.arange(count + 1) * 100)
            for _ in range(count):
                arrays.append("values", rng.normal(-50, 20, (100, 128)).astype(np.float32))
    for stage in ("visual_features", "acoustic_features"):
        of_few, of_many = peak(project, stage, "few"), peak(project, stage, "many")
        print(f"{stage}: {of_few:.0f} MB for {few} clips, {of_many:.0f} MB for ten times as many")
        assert of_many <= 1.1 * of_few
