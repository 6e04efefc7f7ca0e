"""`python -m stages`: one command line for what a person runs by hand."""

import subprocess
import sys
from pathlib import Path

import pytest

from stages.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]


def stages(*words: str) -> subprocess.CompletedProcess:
    """Run `python -m stages` and list on stderr what it imports."""
    command = [sys.executable, "-X", "importtime", "-m", "stages", *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_help_lists_every_command_and_imports_none() -> None:
    done = stages("--help")
    assert done.returncode == 0
    for name, (module, purpose) in COMMANDS.items():
        assert f"  {name:12}{purpose}\n" in done.stdout
        assert module not in done.stderr
    assert "numpy" not in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_help_with_an_example(name: str) -> None:
    done = stages(name, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: python -m stages {name}")
    assert f"    python -m stages {name}" in done.stdout


@pytest.mark.parametrize("words", [[], ["chek"], ["cache", "--clean"], ["compare", "a", "b", "c"]])
def test_what_is_not_known_is_refused(words: list[str]) -> None:
    done = stages(*words)
    assert done.returncode == 2 and "error: " in done.stderr
