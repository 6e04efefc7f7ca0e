"""Files in a git repository's Large File Storage (LFS), without git-lfs on the machine.

A clone without git-lfs has pointers in their place: text files with the SHA-256 and the size of
the content. The LFS batch API (github.com/git-lfs/git-lfs, docs/api/batch.md) tells for up to a
hundred of them where the content can be had.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from stages.commands.download.archives import scratch
from stages.commands.download.remote import Remote, fetch, request_json
from stages.io.files import require_space
from stages.runtime.errors import UserError
from stages.runtime.progress import track

POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize ([0-9]+)\n"
)
LONGEST_POINTER = 1024  # bytes, as git-lfs has it
MEDIA_TYPE = "application/vnd.git-lfs+json"
BATCH = 100
CONNECTIONS = 8


def clone(addresses: Sequence[str], folder: Path) -> None:
    """Clone the newest version of a repository to `folder`, pointers as they are, if not there.

    Args:
        addresses: of repositories with the same content; the next is tried where one fails.

    Raises:
        UserError: none can be cloned, or there is no git.
    """
    if folder.exists():
        return
    quiet = {"GIT_LFS_SKIP_SMUDGE": "1", "GIT_TERMINAL_PROMPT": "0"}
    # As text files, links cannot lead out of the folder; a dead line is given up after a minute.
    settings = ["core.symlinks=false", "http.lowSpeedLimit=1", "http.lowSpeedTime=60"]
    options = [word for setting in settings for word in ("--config", setting)]
    reasons = []
    for address in addresses:
        with scratch(folder.with_name(f"{folder.name}.part")) as part:
            command = ["git", "clone", "--quiet", "--depth=1", *options, "--", address, str(part)]
            try:
                git = subprocess.run(
                    command, capture_output=True, text=True, env={**os.environ, **quiet}
                )
            except OSError as error:
                raise UserError(f"git: cannot be run: {error}; install it") from error
            if git.returncode == 0:
                part.rename(folder)
                return
            reasons.append(f"{address}: cannot be cloned ({' '.join(git.stderr.split())[-200:]})")
    raise UserError(f"{'; '.join(reasons)}; run the same command again later")


def pointer(path: Path) -> tuple[str, int] | None:
    """SHA-256 and size in bytes of what a pointer stands for; None if the file is no pointer."""
    if path.stat().st_size > LONGEST_POINTER:
        return None
    found = POINTER.fullmatch(path.read_bytes())
    return (found[1].decode(), int(found[2])) if found else None


def fetch_objects(addresses: Sequence[str], paths: Sequence[Path], label: str) -> None:
    """Put the content in the place of those of `paths` that are pointers, each when it is whole.

    Raises:
        UserError: no address gives it, or there is no room.
    """
    pointers = {path: found for path in paths if (found := pointer(path))}
    if pointers:
        require_space(paths[0], sum(size for _, size in pointers.values()))
    for _ in track(_objects(addresses, pointers), len(pointers), label, "files"):
        pass


def _objects(addresses: Sequence[str], pointers: dict[Path, tuple[str, int]]) -> Iterator[None]:
    paths = list(pointers)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for start in range(0, len(paths), BATCH):
            batch = paths[start : start + BATCH]
            # One batch at a time: the addresses in an answer are good for some minutes only.
            answers = _ask(addresses, [pointers[path] for path in batch])
            yield from pool.map(_replace, batch, answers)


def _ask(addresses: Sequence[str], objects: list[tuple[str, int]]) -> list[Remote]:
    """Where each object (SHA-256, bytes) can be had just now."""
    question = {
        "operation": "download",
        "transfers": ["basic"],
        "objects": [{"oid": oid, "size": size} for oid, size in objects],
    }
    reasons = []
    for address in addresses:
        try:
            reply = request_json(f"{address}/info/lfs/objects/batch", question, MEDIA_TYPE)
            found = {item["oid"]: item["actions"]["download"] for item in reply["objects"]}
            return [_remote(found[oid], oid, size) for oid, size in objects]
        except UserError as reason:
            reasons.append(str(reason))
        except (KeyError, TypeError, AttributeError):
            reasons.append(f"{address}: does not give all files of the repository")
    raise UserError("; ".join(reasons))


def _remote(download: dict[str, Any], oid: str, size: int) -> Remote:
    headers = {str(name): str(value) for name, value in download.get("header", {}).items()}
    return Remote((str(download["href"]),), size, f"sha256:{oid}", headers)


def _replace(path: Path, remote: Remote) -> None:
    whole = path.with_name(f"{path.name}.whole")
    fetch(remote, whole)
    whole.replace(path)
