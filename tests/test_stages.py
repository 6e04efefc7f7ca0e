"""Every stage script: its command line, its head, and what it imports before it is asked to run."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPTS = sorted(path for path in ROOT.glob("stages/*.py") if not path.stem.startswith("__"))


def stage(name: str, *words: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"stages.{name}", *words]
    environment = {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_help_runs_nothing_and_what_is_not_known_is_refused(script: Path, tmp_path: Path) -> None:
    done = stage(script.stem, "--help", folder=tmp_path)
    assert done.returncode == 0 and f"dvc repro {script.stem}" in done.stdout
    refused = stage(script.stem, "sample", "--alpha", "1", folder=tmp_path)
    assert refused.returncode == 2 and "unrecognized arguments: " in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_head_says_what_goes_in_and_comes_out_and_how_to_run_it(script: Path) -> None:
    head = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8")))
    for label in ("In:", "Out:", "Run:"):
        assert f"\n{label} " in head


def test_another_folder_than_the_root_is_one_line(tmp_path: Path) -> None:
    done = stage("manifest", "sample", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"error: params.yaml: not found; run from the root of the project: cd {ROOT}\n"
    )
