"""A full disk: every stage ends in one line, code 2, and nothing under a final name.

The disk is a tmpfs of a few pages that only the stage sees, in a mount namespace of its own.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from stages import manifest, train
from tests.feature_files import prepare, work_in
from tests.media_files import sine, write_video
from tests.test_features import write_inputs

ROOT = Path(__file__).parent.parent
NO_DISK = 77  # what the shell ends with where nobody may mount one
# A new file finds room for its name there and for nothing in it. What files the stage leaves on the
# disk is told at the end, as nobody else sees it.
FULL_DISK = f"""
mount -t tmpfs -o size=4k tmpfs "$0" && head -c 4096 /dev/zero >"$0"/.full || exit {NO_DISK}
"$@"
code=$?
find "$0" -type f ! -name .full
exit $code
"""


def said_on_full_disk(folder: str, *stage: str, leaves: bool = False) -> str:
    """The one line that a stage says where the disk is full at `folder`; skips the test where
    no such disk can be had.

    Args:
        leaves: whether an empty or damaged file may stay, which nothing takes for a whole one.
    """
    disk = Path(folder).absolute()
    disk.mkdir(parents=True, exist_ok=True)
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", FULL_DISK, str(disk)]
    try:
        done = subprocess.run(
            [*alone, sys.executable, "-m", *stage],
            env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("no unshare here to mount a small disk with")
    if done.returncode == NO_DISK or "unshare: " in done.stderr:
        pytest.skip(f"nobody may mount a small disk here: {done.stderr.strip()}")
    assert done.returncode == 2, done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "Traceback" not in done.stderr, done.stderr
    assert leaves or str(disk) not in done.stdout
    after = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert not [path for path in after if path.suffix == ".tmp"]
    assert {path: after[path] for path in before} == before
    return errors[0]


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project with two clips, seen and heard."""
    monkeypatch.chdir(tmp_path)
    tree = YAML(typ="safe").load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    tree["frames"]["size"] = 32
    YAML(typ="safe").dump(tree, tmp_path / "params.yaml")
    folder = tmp_path / "data/raw/sample/F1"
    folder.mkdir(parents=True)
    for number in (1, 2):
        write_video(folder / f"F1_AN_s{number}.mp4", voice=sine(200 * number, 1.2, 48000))
    manifest.main("sample")


@pytest.mark.parametrize(
    "stage, folder",
    [
        ("frames", "cache"),
        ("mels", "data/mels"),
        pytest.param("manifest", "data/manifest", marks=pytest.mark.long),
        pytest.param("manifest", "data/skipped", marks=pytest.mark.long),
        pytest.param("manifest", "data/.locks", marks=pytest.mark.long),
        pytest.param("frames", "data/frames", marks=pytest.mark.long),
    ],
)
@pytest.mark.usefixtures("clips")
def test_a_full_disk_ends_a_stage_that_reads_clips(
    stage: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FDAN_CACHE", str(Path("cache").absolute()))
    leaves = folder in ("cache", "data/.locks")
    said = said_on_full_disk(folder, f"stages.{stage}", "sample", leaves=leaves)
    assert folder in said and ("no space" in said or "No space" in said or "make room" in said)


@pytest.mark.long
def test_a_full_disk_ends_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path)
    for modality in ("visual", "acoustic"):
        folder = f"data/features/{modality}"
        said = said_on_full_disk(folder, f"stages.{modality}_features", "sample")
        assert said.startswith(f"error: {folder}/sample.h5: no space: needs ")


@pytest.mark.parametrize(
    "stage, folder",
    [
        ("train", "models"),
        pytest.param("train", "metrics", marks=pytest.mark.long),
        pytest.param("evaluate", "metrics", marks=pytest.mark.long),
    ],
)
def test_a_full_disk_ends_a_stage_that_trains_or_tests(
    stage: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work_in(tmp_path, monkeypatch)
    prepare(epochs=1)
    if stage == "evaluate":
        train.main()
    said = said_on_full_disk(folder, f"stages.{stage}")
    assert folder in said and "No space left on device" in said
