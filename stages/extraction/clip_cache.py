"""What was made of each clip, kept by content, so that no clip is worked on twice.

DVC deletes a stage's outputs before it runs the stage, so what a killed run had finished is kept
outside of them: in $FDAN_CACHE, else $XDG_CACHE_HOME/fdan, else ~/.cache/fdan. An entry's name is
the SHA-256 of all that its content follows from: the bytes of the clip (for features those of its
crops or its spectrogram), the part of it that is used, the function, its settings, the code that
works on clips and the versions of the libraries that it uses. Nothing in it ever needs repair: what
is damaged, or is not what the function returns, counts as absent, and all of it can be deleted at
any time. The folder is its user's alone. Above $FDAN_CACHE_GB (100) a stage deletes at its end what
was used longest ago.
"""

import ast
import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import secrets
import stat
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from stages.io.arrays import Layout, fits
from stages.io.files import file_sha256
from stages.runtime.errors import ClipError, UserError

LIBRARIES = (
    "av",
    "face-alignment",
    "librosa",
    "numpy",
    "opencv-python",
    "scipy",
    "torch",
    "torchvision",
)
FAILURE = "failure"  # the entry of a clip that cannot be used: its code and detail
DIGEST = 32  # bytes of a SHA-256
# As a pattern, for FDAN_CACHE may name a folder of other things; a kill leaves names that go on.
ENTRY = "[0-9a-f]" * 2 * DIGEST + "*"
IN_USE = 24 * 3600.0  # seconds since its last use in which a run may still want an entry


def cache_folder() -> Path:
    """The folder of the entries of all projects of this user."""
    own = os.environ.get("FDAN_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(own).absolute() if own else Path(base).absolute() / "fdan"


@dataclass(frozen=True)
class ClipCache:
    """The entries of one stage with one set of settings.

    Attributes:
        folder: of all entries of this stage.
        origin: SHA-256 of the stage, the settings, the code and the libraries.
        layout: of the arrays that the function returns.
    """

    folder: Path
    origin: str
    layout: Layout

    def entry(self, clip: Path, part: Mapping[str, Any] | None = None) -> Path:
        """Where what is made of a clip, or of a part of it, is kept.

        Args:
            part: settings beside those of all clips (`stages.corpora.span.used_part`).

        Raises:
            OSError: the clip cannot be read.
        """
        status = clip.stat()
        return self._named(f"{_content(clip, status.st_size, status.st_mtime_ns)} {part or {}}")

    def entry_of(self, array: np.ndarray) -> Path:
        """Where what is made of an array of a clip is kept."""
        content = hashlib.sha256(f"{array.dtype} {array.shape} ".encode())
        content.update(np.ascontiguousarray(array).data)
        return self._named(content.hexdigest())

    def _named(self, content: str) -> Path:
        return self.folder / hashlib.sha256(f"{self.origin} {content}".encode()).hexdigest()


@lru_cache
def _content(clip: Path, size: int, changed: int) -> str:
    """Its SHA-256, once for all parts of a recording while it does not change."""
    return file_sha256(clip)


def clip_cache(
    stage: str,
    function: Callable[..., Any],
    settings: Mapping[str, Any],
    layout: Layout | None = None,
) -> ClipCache:
    """The cache of what a stage's `function` makes of clips with its settings.

    Args:
        layout: of what it makes; unless given, `function` returns a NamedTuple of arrays, whose
            class has a `layout` of the settings.
    """
    layout = layout or function.__annotations__["return"].layout(settings)
    name = f"{function.__module__}:{function.__qualname__}"
    made_with = [name, settings, _sources(function.__module__), _versions()]
    origin = json.dumps(made_with, sort_keys=True)
    return ClipCache(cache_folder() / stage, hashlib.sha256(origin.encode()).hexdigest(), layout)


def read_entry(entry: Path, layout: Layout) -> dict[str, np.ndarray] | ClipError | None:
    """What an entry holds: arrays by name, or why there are none.

    None where it is absent, damaged, no plain file, or holds other arrays than those of `layout`.
    """
    try:
        # Neither a link is followed nor the writer of a pipe waited for.
        descriptor = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return None
            content = memoryview(file.read())
    except OSError:
        return None
    digest, archive = content[:DIGEST], content[DIGEST:]
    if hashlib.sha256(archive).digest() != digest:
        return None
    try:
        with np.load(io.BytesIO(archive), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if FAILURE in arrays:
            code, detail = arrays[FAILURE].tolist()
            return ClipError(str(code), str(detail))
    except Exception:  # whatever NumPy makes of bytes that it did not write
        return None
    return arrays if fits(arrays, layout) else None


def is_kept(entry: Path, layout: Layout) -> bool:
    """Whether there is an entry as `read_entry` takes it; it then counts as used now."""
    if read_entry(entry, layout) is None:
        return False
    with contextlib.suppress(OSError):  # of another user
        os.utime(entry)
    return True


def write_entry(entry: Path, result: Mapping[str, np.ndarray] | ClipError, layout: Layout) -> None:
    """Keep the arrays that were made of a clip, or the reason why none were.

    Several may make the same of equal clips at once: each writes a file of its own and renames it,
    unless the entry is there by then.

    Raises:
        UserError: there is no room, or the folder cannot be written.
    """
    if isinstance(result, ClipError):
        result = {FAILURE: np.array([result.code, result.detail])}
    archive = io.BytesIO()
    np.savez(archive, allow_pickle=False, **result)
    own = entry.with_name(f"{entry.name}.{secrets.token_hex(8)}")
    try:
        with contextlib.suppress(FileExistsError):
            entry.parent.parent.mkdir(0o700, parents=True)
        entry.parent.mkdir(0o700, exist_ok=True)
        try:
            with open(own, "xb") as file:
                file.write(hashlib.sha256(archive.getbuffer()).digest())
                file.write(archive.getbuffer())
            if read_entry(entry, layout) is None:
                with contextlib.suppress(FileNotFoundError):  # another process empties the cache
                    os.replace(own, entry)
        finally:
            own.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{entry.parent}: cannot be written: {error.strerror}; make room, empty it by "
            "python -m stages cache --clear, or set FDAN_CACHE to another folder"
        ) from error


def lost(entry: object, clip: str) -> UserError:
    """The error of an entry that was kept, or found, and is not there when its stage needs it."""
    return UserError(
        f"{entry}: what was made of {clip} is not there; keep the cache while a stage runs, and "
        "where all workers see it (FDAN_CACHE)"
    )


def keep(
    clip: Path,
    entry: Path,
    layout: Layout,
    function: Callable[..., Any],
    settings: Mapping[str, Any],
) -> None:
    """Keep what `function(clip, **settings)` returns, a NamedTuple of arrays, or why it cannot.

    Called where the clip is worked on, so that arrays need not travel from process to process.

    Raises:
        UserError: there is no room, or the folder cannot be written.
    """
    try:
        result = function(clip, **settings)._asdict()
        if not fits(result, layout):
            result = ClipError("nonfinite", "what comes of it is not all finite numbers")
    except ClipError as error:
        result = error
    write_entry(entry, result, layout)


def warn_if_open_to_others() -> None:
    """Print a warning where others may write to the cache: they could put results there."""
    folder = cache_folder()
    with contextlib.suppress(OSError):
        if folder.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            print(
                f"warning: {folder}: others can write to the cache of clips; chmod 700 {folder}",
                file=sys.stderr,
            )


def size_limit() -> float:
    """Bytes that all entries may take together.

    Raises:
        UserError: FDAN_CACHE_GB is no such number.
    """
    text = os.environ.get("FDAN_CACHE_GB") or "100"
    with contextlib.suppress(ValueError):
        if float(text) >= 0:
            return float(text) * 1e9
    raise UserError(f"FDAN_CACHE_GB: {text!r} is not a number of gigabytes; set one, e.g. 100")


def delete_oldest(limit: float) -> None:
    """Delete the entries that were used longest ago until all fit into `limit` bytes.

    What was used within a day stays, as another run may be about to read it.
    """
    found = []
    for entry in cache_folder().glob(f"*/{ENTRY}"):
        with contextlib.suppress(OSError):  # another run deletes, too
            status = entry.stat()
            found.append((status.st_mtime, status.st_size, entry))
    excess = sum(size for _, size, _ in found) - limit
    for used, size, entry in sorted(found):
        if excess <= 0 or used > time.time() - IN_USE:
            break
        with contextlib.suppress(OSError):  # of another user
            entry.unlink()
            excess -= size


@lru_cache
def code_and_libraries() -> str:
    """SHA-256 of all that this process would work with, by which two machines can be compared."""
    package = Path(__file__).parents[1]
    files = sorted(package.rglob("*.py"))
    code = {str(file.relative_to(package)): file_sha256(file) for file in files}
    return hashlib.sha256(json.dumps([code, _versions()]).encode()).hexdigest()


def _sources(module: str) -> dict[str, str]:
    """SHA-256 of a module and of what it imports of its room and of media, by name.

    What else is loaded does not count: `check` loads more than the stages whose cache it fills.
    """
    rooms = (f"{module.rpartition('.')[0]}.", "stages.media.")
    found: dict[str, str] = {}
    names = [module]
    while names:
        name = names.pop()
        spec = importlib.util.find_spec(name)
        if name in found or spec is None or spec.origin is None:
            continue
        file = Path(spec.origin)
        found[name] = file_sha256(file)
        for node in ast.walk(ast.parse(file.read_bytes())):
            module = getattr(node, "module", None) or ""
            if isinstance(node, ast.ImportFrom) and module.startswith(rooms):
                names.append(module)
            elif isinstance(node, ast.ImportFrom) and f"{module}." in rooms:  # modules of a room
                names += [f"{module}.{alias.name}" for alias in node.names]
    return found


def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in LIBRARIES}
