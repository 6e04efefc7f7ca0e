"""What was made of each clip, kept by content, so that no clip is worked on twice.

DVC deletes a stage's outputs before it runs the stage, so what a killed run had finished is kept
outside of them: in $FDAN_CACHE, else $XDG_CACHE_HOME/fdan, else ~/.cache/fdan. An entry's name is
the SHA-256 of all that its content follows from: the bytes of the clip, the stage, its settings,
the code that works on clips and the versions of the libraries that it uses. Nothing in it ever
needs mending: what is damaged counts as absent, and all of it can be deleted at any time.
"""

import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from stages.io.files import file_sha256
from stages.runtime.errors import ClipError, UserError

LIBRARIES = ("av", "face-alignment", "librosa", "numpy", "opencv-python", "scipy", "torch")
FAILURE = "failure"  # the entry of a clip that cannot be used: its code and detail
DIGEST = 32  # bytes of a SHA-256


def cache_folder() -> Path:
    """Where the entries of all projects of this user lie."""
    own = os.environ.get("FDAN_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own).absolute() if own else Path(base).absolute() / "fdan"


@dataclass(frozen=True)
class ClipCache:
    """The entries of one stage with one set of settings.

    Attributes:
        folder: of all entries of this stage.
        origin: SHA-256 of the stage, the settings, the code and the libraries.
    """

    folder: Path
    origin: str

    def entry(self, clip: Path) -> Path | None:
        """Where what is made of a clip is kept; None for a clip that cannot be read."""
        try:
            content = file_sha256(clip)
        except OSError:
            return None
        return self.folder / hashlib.sha256(f"{self.origin} {content}".encode()).hexdigest()


def clip_cache(stage: str, process: str, settings: Mapping[str, Any]) -> ClipCache:
    """The cache of what the function `process`, "module:function", makes of clips."""
    module = process.split(":")[0]
    origin = json.dumps([process, settings, _sources(module), _versions()], sort_keys=True)
    return ClipCache(cache_folder() / stage, hashlib.sha256(origin.encode()).hexdigest())


def read_entry(entry: Path) -> dict[str, np.ndarray] | ClipError | None:
    """What an entry holds: arrays by name, or why there are none; None if absent or damaged."""
    try:
        content = memoryview(entry.read_bytes())
    except OSError:
        return None
    digest, archive = content[:DIGEST], content[DIGEST:]
    if hashlib.sha256(archive).digest() != digest:
        return None
    with np.load(io.BytesIO(archive), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return ClipError(*arrays[FAILURE].tolist()) if FAILURE in arrays else arrays


def write_entry(entry: Path, result: Mapping[str, np.ndarray] | ClipError) -> None:
    """Keep the arrays that were made of a clip, or the reason why none were.

    Written in place, so that nothing else can be left behind: the SHA-256 at the head tells an
    entry that a kill, a power cut or another writer left half written.

    Raises:
        UserError: there is no room, or the folder cannot be written.
    """
    if isinstance(result, ClipError):
        result = {FAILURE: np.array([result.code, result.detail])}
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **result)
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with open(entry, "wb") as file:
            file.write(hashlib.sha256(archive.getbuffer()).digest())
            file.write(archive.getbuffer())
    except OSError as error:
        raise UserError(
            f"{entry.parent}: cannot be written: {error.strerror}; make room, empty it by "
            "python -m stages cache --clear, or set FDAN_CACHE to another folder"
        ) from error


def keep(clip: Path, entry: Path | None, process: str, settings: Mapping[str, Any]) -> None:
    """Keep what the function `process`, "module:function", makes of a clip, or why it cannot.

    Called where the clip is worked on, so that arrays need not travel from process to process.

    Args:
        entry: None for a clip that cannot be read.

    Raises:
        ClipError: the clip cannot be read.
        UserError: there is no room, or the folder cannot be written.
    """
    try:
        result = pkgutil.resolve_name(process)(clip, **settings)._asdict()
    except ClipError as error:
        if entry is None:
            raise
        result = error
    write_entry(entry, result)


@lru_cache
def code_and_libraries() -> str:
    """SHA-256 of all that this process would work with, by which two machines can be compared."""
    package = Path(__file__).parents[1]
    files = sorted(package.rglob("*.py"))
    code = {str(file.relative_to(package)): file_sha256(file) for file in files}
    return hashlib.sha256(json.dumps([code, _versions()]).encode()).hexdigest()


def _sources(module: str) -> dict[str, str]:
    """SHA-256 of the code that works on clips: a stage and what is loaded of stages.media."""
    media = [name for name in sys.modules if name.startswith("stages.media.")]
    files = {name: importlib.util.find_spec(name).origin for name in [module, *media]}
    return {name: file_sha256(Path(file)) for name, file in files.items()}


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in LIBRARIES}
