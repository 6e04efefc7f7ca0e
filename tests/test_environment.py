"""Odd machines: no home folder, a locale that is not UTF-8, a clone of another user."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest

from tests.helpers import ROOT, write_params
from tests.media_files import sine, write_sound

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NOBODY = 65534
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@t")
SITE = sysconfig.get_paths()["purelib"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Params and a corpus of two recordings whose names are not ASCII."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, corpora=["folder"], visual=["folder"], acoustic="folder")
    root = tmp_path / "data/raw/folder"
    (root / "音频").mkdir(parents=True)
    rows = ["id,speaker,emotion,video,audio"]
    for number, emotion in enumerate(("anger", "fear")):
        write_sound(root / f"音频/{number}.wav", sine(200 + number, 0.5, 16000), 16000, "pcm_s16le")
        rows.append(f"甲_{number},甲,{emotion},,音频/{number}.wav")
    (root / "不用.wav").touch()  # in no row, and so named
    (root / "utterances.csv").write_text("\n".join(rows), encoding="utf-8")
    return tmp_path


def said(*words: str, code: int = 0, **changes: str | None) -> str:
    """What a command says that ends with `code` and without a traceback."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | changes
    environment = {name: value for name, value in environment.items() if value is not None}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, env=environment, capture_output=True)
    output = (done.stdout + done.stderr).decode(errors="replace")
    assert "Traceback" not in output and done.returncode == code, output
    return output


@pytest.mark.parametrize(
    "locale",
    [ASCII, {**ASCII, "PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "ascii"},
     {"PYTHONIOENCODING": "latin-1:strict"}, {"PYTHONUTF8": "0", "LC_ALL": "en_US.ISO-8859-1"}],
)  # fmt: skip
def test_names_are_utf8_in_any_locale(locale: dict[str, str]):
    said("stages.manifest", "folder")
    expected = Path("data/manifest/folder.csv").read_bytes()
    assert "甲_0".encode() in expected
    Path("data/manifest/folder.csv").unlink()
    said("stages.manifest", "folder", **locale)
    assert Path("data/manifest/folder.csv").read_bytes() == expected
    if "PYTHONIOENCODING" in locale and len(locale) > 1:
        said("stages.mels", "folder", **locale)
        assert "\\u7532" in said("stages", "check", "folder", code=1, **locale)  # it names errors


@pytest.mark.parametrize("home", ["/proc/nowhere", None])
def test_without_a_home_the_caches_are_in_the_project(home: str | None):
    own = {"HOME": home, "XDG_CACHE_HOME": None, "FDAN_CACHE": None}
    if home is None:  # then the user's entry tells, and root's cannot be taken away
        own["XDG_CACHE_HOME"] = "/proc/nowhere"
    said("stages.manifest", "folder", **own)
    said("stages.mels", "folder", **own)
    assert len(list(Path("data/.cache/fdan/mels").iterdir())) == 2
    assert str(Path("data/.cache/fdan").absolute()) in said("stages", "cache", **own)


def python_of_nobody() -> list[str]:
    """A command by which a user without any rights runs this Python's libraries."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("not root, or no setpriv: cannot be another user")
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{name}"):
        command = [*become, "env", f"PYTHONPATH={ROOT}:{SITE}", "PYTHONDONTWRITEBYTECODE=1",
                   "HOME=/nonexistent", python]  # fmt: skip
        tried = subprocess.run([*command, "-c", "import numpy, stages"], capture_output=True)
        if tried.returncode == 0:
            return command
    pytest.skip("no Python that another user can run")


def test_a_user_who_can_write_nowhere_else_has_spectrograms(project: Path):
    python = python_of_nobody()
    with tempfile.TemporaryDirectory() as own:  # pytest's folders are for its user alone
        folder = Path(own, "project")
        shutil.copytree(project, folder)
        for path in [Path(own), folder, *folder.rglob("*")]:
            os.chown(path, NOBODY, NOBODY)
        for stage in ("manifest", "mels"):
            command = [*python, "-m", f"stages.{stage}", "folder"]
            environment = {"PATH": os.environ["PATH"]}
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stderr
        assert (folder / "data/mels/folder.h5").exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a clone of another user")
@pytest.mark.parametrize("words", [["compare", "HEAD"], ["tables", "show", "grid"]])
def test_a_clone_of_another_user_is_one_line(
    project: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HOME", str(project / "home"))
    for command in (("init", "-q"), ("add", "params.yaml"), ("commit", "-qm", "x")):
        subprocess.run([*GIT, *command], check=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q"], check=True)
    os.chown(project, NOBODY, NOBODY)
    os.chown(project / ".git", NOBODY, NOBODY)
    line = said("stages", *words, code=2)
    assert line.count("\n") == 1 and "not owned by current user" in line
    advice = f"git config --global --add safe.directory {project}"
    assert advice in line
    Path("home").mkdir(exist_ok=True)
    subprocess.run(advice.split(), check=True)
    assert "not owned" not in said("stages", *words, code=2 if words[0] == "compare" else 0)


def test_a_folder_without_git_is_one_line():
    line = said("stages", "compare", "HEAD", code=2)
    assert "git cannot read it" in line and "clone the project by git" in line
