"""No name in params.yaml reaches a shell: DVC is given names that a shell would run."""

import subprocess
import sys

import pytest
from dvc.repo import Repo

from tests.clone import Clone

HOSTILE = [
    "x; touch pwned",
    "x'; touch pwned; '",
    'x"; touch pwned; "',
    "x`touch pwned`",
    "x$(touch pwned)",
    "x\ntouch pwned\n",
    "x && touch pwned #",
    "x | touch pwned",
    "x > pwned",
    "x\\'; touch pwned; \\'",
    "--help",
    "$HOME",
    "*",
]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    clone = Clone(tmp_path_factory.mktemp("hostile") / "clone", {"corpora": HOSTILE})
    for name in HOSTILE:
        (clone.folder / "data/raw" / name).mkdir(parents=True)
        (clone.folder / "data/raw" / name / "a.wav").touch()
    return clone


def test_each_name_comes_as_one_word_to_each_stage(clone: Clone) -> None:
    came: dict[str, set[str]] = {}
    with Repo(str(clone.folder)) as repo:
        for stage in repo.index.stages:
            command = f"printf '%s\\0' {stage.cmd}"
            said = subprocess.run(["sh", "-c", command], capture_output=True, cwd=clone.folder)
            python, _, module, *corpus = said.stdout.decode().split("\0")[:-1]
            assert python == "python" and corpus[:-1] in ([], ["--corpus"])
            came.setdefault(module, set()).update(corpus[1:])
    assert sum(names == set(HOSTILE) for names in came.values()) == 8
    assert all(names in (set(), set(HOSTILE)) for names in came.values())
    assert not (clone.folder / "pwned").exists()


def test_dvc_runs_none_of_it_and_the_names_are_refused(clone: Clone) -> None:
    said = clone.dvc("repro", code=255)
    assert said.count("error: ") == 1 and "error: params.yaml: corpora: " in said
    # Nor where the stage that refuses them all is left out.
    settings = clone.folder / "data/checked/settings.json"
    settings.parent.mkdir()
    settings.touch()
    command = [sys.executable, "-m", "dvc", "repro", "--single-item", "--keep-going", "manifest"]
    done = subprocess.run(
        command, cwd=clone.folder, env=clone.environment, capture_output=True, text=True
    )
    assert done.returncode != 0
    # A shell of its own refuses the first of two lines, and argparse what looks like an option.
    assert done.stderr.count("error: params.yaml: corpora: ") == len(HOSTILE) - 2
    assert not list(clone.folder.rglob("pwned*"))
    assert "Traceback" not in done.stderr
