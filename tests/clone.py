"""A copy of the project in which real `dvc` commands run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from tests.helpers import ROOT, changed


class Repository:
    """A folder in which `git` and `dvc` are run."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "GIT_AUTHOR_NAME": "test",
            "GIT_AUTHOR_EMAIL": "test@example.org",
            "GIT_COMMITTER_NAME": "test",
            "GIT_COMMITTER_EMAIL": "test@example.org",
        }

    def run(self, *command: str, code: int = 0) -> str:
        """Run a command in the folder; returns its stdout and stderr."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert done.returncode == code, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def dvc(self, *arguments: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments, code=code)


class Clone(Repository):
    """A git and DVC repository in a temporary folder, with the project's files in it.

    Args:
        changes: to params.yaml.
        shared: where the caches of DVC and of clips lie, so that what another clone has made
            already is restored; by default it has caches of its own.
    """

    def __init__(self, folder: Path, changes: dict, shared: Path | None = None):
        super().__init__(folder)
        listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
        for name in filter(None, names.decode().split("\0")):
            # The committed results belong to the committed params, not to those of this clone.
            if (ROOT / name).is_file() and name not in ("dvc.lock", "metrics/test.json"):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        self.change_params(changes)
        self.run("git", "init", "-q")
        if shared:
            self.environment["FDAN_CACHE"] = str(shared / "clips")
            self.dvc("cache", "dir", "--local", str(shared / "dvc"))
        self.commit("start")

    def change_params(self, changes: dict) -> None:
        yaml = YAML()
        path = self.folder / "params.yaml"
        params = yaml.load(path)
        yaml.dump(changed(params, changes), path)

    def commit(self, message: str) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "-q", "-m", message)

    def metrics(self) -> dict:
        return json.loads((self.folder / "metrics/details.json").read_text())
