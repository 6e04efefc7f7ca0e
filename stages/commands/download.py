"""Download: fetch a corpus from its publisher, and put it where the pipeline looks for it.

    python -m stages download ravdess [--actors 1-3]
    python -m stages download cremad
    python -m stages download meld
    python -m stages download savee        (says where to register; it cannot be fetched)

In:  the publishers' servers; what an earlier run left in data/raw/.downloads/<corpus>/
Out: data/raw/<corpus>/ as its publisher ships it; data/raw/.downloads/<corpus>/<archive>, which may
     be deleted afterwards, and <archive>.json, the files that came of it and their bytes

Nothing gets its final name before its size and checksum are right, and no file that is there is
replaced. The same command resumes where it was stopped, and does nothing where all is in place.
"""

import argparse
import filecmp
import hashlib
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3
from pydantic import BaseModel, Field, ValidationError
from requests.adapters import HTTPAdapter
from scmrepo.git.lfs import LFSStorage, Pointer

from stages.commands.archives import unpack
from stages.corpora.ravdess import ACTORS, FACES_ARCHIVE, VOICES_ARCHIVE
from stages.corpora.registry import READERS
from stages.corpora.source import Archive
from stages.corpora.walk import is_lfs_pointer
from stages.io.files import file_sha256, read_json, replacing, require_space, write_json
from stages.runtime.command import alone
from stages.runtime.errors import UserError, first_mistake, one_line
from stages.runtime.paths import RAW
from stages.runtime.progress import track

DOWNLOADS = RAW / ".downloads"
REPOSITORY = "repository"  # of CREMA-D, there
SOURCES = {name: reader.SOURCE for name, reader in READERS.items() if hasattr(reader, "SOURCE")}

AGENT = {"User-Agent": "fdan-pipeline"}  # some servers refuse Python's own
TIMEOUT = 30.0  # seconds without a byte
RETRIES = urllib3.Retry(
    4, backoff_factor=1, status_forcelist=(408, 425, 429, 500, 502, 503, 504), retry_after_max=120
)
MIB = 1 << 20
UNPACKED = 1.2  # bytes that come of each of an archive's, about
MEDIA = (".wav", ".flv")  # of CREMA-D; its .mp3 are the same sound once more
BATCH = 100  # files of Git LFS that are asked for at once; their addresses are good for minutes


def download(corpus: str, actors: Sequence[int] = ACTORS) -> None:
    """Fetch what is not in data/raw/<corpus> yet.

    Args:
        actors: of RAVDESS.

    Raises:
        UserError: something cannot be had or is not sound, there is no room, or files of other
            origin are in the way.
        OSError: data/raw cannot be written.
    """
    source = SOURCES[corpus]
    for path in (RAW / corpus / folder for folder in source.folders):
        if not path.is_dir():
            raise UserError(
                f"{path}: is missing, and cannot be fetched without registration; register and "
                "put it there as said above"
            )
    # Archive -> pattern of the members to unpack, "" for all.
    wanted = dict.fromkeys(source.archives, "")
    if source.repositories:
        wanted = {REPOSITORY: ""}
    elif source.record:
        numbers = "|".join(f"{actor:02}" for actor in actors)
        wanted = {VOICES_ARCHIVE: "" if list(actors) == list(ACTORS) else rf".*-({numbers})\.wav"}
        wanted |= {FACES_ARCHIVE.format(actor): "" for actor in actors}
    missing = {
        name: pattern for name, pattern in wanted.items() if not is_done(corpus, name, pattern)
    }
    if not missing:
        return
    require_ours(corpus)
    if source.repositories:
        clone(corpus, source.repositories)
        return
    archives = zenodo_archives(source.record) if source.record else source.archives
    if absent := missing.keys() - archives.keys():
        raise UserError(f"{source.record}: has no {min(absent)}; look there for its new name")
    install(corpus, {name: archives[name] for name in missing}, missing)


class _ZenodoFile(BaseModel):
    key: str
    size: int = Field(ge=0, lt=1 << 62)
    checksum: str = Field(pattern="^md5:[0-9a-f]{32}$")


class _ZenodoRecord(BaseModel):
    files: list[_ZenodoFile]


def zenodo_archives(record: str) -> dict[str, Archive]:
    """The files of a Zenodo record by their names; UserError if it cannot be read."""
    try:
        address = record.replace("/records/", "/api/records/")
        with session_for(address) as session:
            reply = session.get(address, headers=AGENT, timeout=TIMEOUT)
        reply.raise_for_status()
        return {
            file.key: Archive((f"{record}/files/{file.key}?download=1",), file.size, file.checksum)
            for file in _ZenodoRecord.model_validate_json(reply.content).files
        }
    except (requests.RequestException, ValueError) as error:
        reason = first_mistake(error) if isinstance(error, ValidationError) else one_line(error)
        raise UserError(
            f"{record}: its list of files cannot be read: {reason}; run the same command again "
            "later"
        ) from error


def session_for(address: str) -> requests.Session:
    """A session that is led from `address` to no other scheme, as from https to http."""
    session = requests.Session()
    session.adapters.clear()
    session.mount(f"{urlsplit(address).scheme}://", HTTPAdapter(max_retries=RETRIES))
    return session


def install(corpus: str, archives: Mapping[str, Archive], wanted: Mapping[str, str]) -> None:
    """Fetch archives and unpack what is `wanted` of each (see `unpack`) into data/raw/<corpus>."""
    folder = DOWNLOADS / corpus
    needed = sum(
        int(archive.size * (1 + UNPACKED))
        - max(size_of(folder / name), size_of(folder / f"{name}.part"))
        for name, archive in archives.items()
    )
    require_space(RAW / corpus, needed)
    unpacking = folder / "unpacking"
    for name, archive in archives.items():
        fetch(archive, folder / name)
        print(f"{name}: unpacking", file=sys.stderr, flush=True)
        shutil.rmtree(unpacking, ignore_errors=True)  # of a run that was killed
        try:
            unpack(folder / name, unpacking, wanted[name])
            os.sync()
            # First, since is_done looks at the files too: a kill in between is noticed.
            write_json(record_of(corpus, name, wanted[name]), files_in(unpacking))
            merge(unpacking, RAW / corpus)
        finally:
            shutil.rmtree(unpacking, ignore_errors=True)


def fetch(archive: Archive, path: Path) -> None:
    """Fetch an archive to `path`, or check the one that lies there.

    What has come stays in <name>.part until it is whole and its checksum is right, so that parts of
    two versions are never taken for a file. (pooch does as much, but cannot resume.)

    Raises:
        UserError: no address gives it, or another file lies at `path`.
    """
    algorithm, _, expected = archive.checksum.partition(":")

    def is_right(file: Path) -> bool:
        with open(file, "rb") as content:
            return hashlib.file_digest(content, algorithm).hexdigest() == expected

    if path.exists():
        if not is_right(path):
            raise UserError(
                f"{path}: has another checksum than {archive.checksum}; delete it and run the same "
                "command again"
            )
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    reasons = []
    for address in archive.addresses:
        try:
            _receive(address, part, archive.size)
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            reasons.append(f"{address}: {one_line(error)}")
            continue
        if is_right(part):
            os.replace(part, path)
            return
        part.unlink()
        reasons.append(f"{address}: gives other content than {archive.checksum}, deleted")
    raise UserError(
        f"{'; '.join(reasons)}; run the same command again, which resumes, or fetch the file "
        f"elsewhere and put it at {path}"
    )


def _receive(address: str, part: Path, size: int) -> None:
    """Append what is missing to `part`, again and again as long as something comes."""
    with session_for(address) as session:
        while (have := size_of(part)) < size:
            try:
                _append(session, address, part, size)
            except (requests.RequestException, urllib3.exceptions.HTTPError):
                if size_of(part) <= have:
                    raise


def _append(session: requests.Session, address: str, part: Path, size: int) -> None:
    have = size_of(part)
    headers = AGENT | ({"Range": f"bytes={have}-"} if have else {})
    with session.get(address, headers=headers, stream=True, timeout=TIMEOUT) as response:
        response.raise_for_status()
        if not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            have = 0  # the server sends the whole file
        announced = int(response.headers.get("Content-Length", size - have))
        if have + announced != size:
            raise ValueError(f"announces {have + announced:,} bytes, {size:,} were expected")
        # Not decoded: some servers call a .tar.gz a tar that they have compressed for the way.
        chunks = response.raw.stream(MIB, decode_content=False)
        with open(part, "ab" if have else "wb") as file:
            for chunk in track(chunks, math.ceil((size - have) / MIB), part.stem, "MiB"):
                file.write(chunk)
                if file.tell() > size:
                    break  # the checksum will be wrong


def clone(corpus: str, addresses: Sequence[str]) -> None:
    """Put a git repository with its media of Git LFS at data/raw/<corpus>; git-lfs is not needed.

    Raises:
        UserError: no address gives all of it, or something is there already.
    """
    target, repository = RAW / corpus, DOWNLOADS / corpus / REPOSITORY
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target}: is not complete; move it away and run the same command again")
    reasons = []
    for address in addresses:
        try:
            if not repository.exists():
                _git_clone(address, repository)
            _fetch_media(address, repository)
            break
        except _UnavailableError as reason:
            reasons.append(f"{address}: {reason}")
    else:
        raise UserError(f"{'; '.join(reasons)}; run the same command again, which resumes")
    for path in repository.rglob("*"):
        if path.is_file() and is_lfs_pointer(path):  # of the .mp3
            path.unlink()
    shutil.rmtree(repository / ".git", ignore_errors=True)
    write_json(record_of(corpus, REPOSITORY), files_in(repository))
    os.rename(repository, target)


class _UnavailableError(Exception):
    """Why an address does not give what it should."""


def _git_clone(address: str, folder: Path) -> None:
    # As text files, links cannot lead out of the folder; a dead line is given up after a minute.
    settings = ["core.symlinks=false", "http.lowSpeedLimit=1", "http.lowSpeedTime=60"]
    if address.startswith("https://"):
        settings.append("protocol.http.allow=never")  # nor is it led there
    options = ["--quiet", "--depth=1", *(f"--config={setting}" for setting in settings)]
    quiet = os.environ | {"GIT_LFS_SKIP_SMUDGE": "1", "GIT_TERMINAL_PROMPT": "0"}
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    command = ["git", "clone", *options, "--", address, str(part)]
    try:
        git = subprocess.run(command, capture_output=True, text=True, env=quiet)
    except OSError as error:
        raise UserError(f"git: cannot be run: {error}; install it") from error
    if git.returncode != 0:
        raise _UnavailableError(f"cannot be cloned ({' '.join(git.stderr.split())[-200:]})")
    part.rename(folder)


def _fetch_media(address: str, repository: Path) -> None:
    """Put audio and video in the place of their Git LFS pointers, each when it is whole."""
    places: dict[Pointer, list[Path]] = {}
    for path in sorted(repository.rglob("*")):
        if path.suffix in MEDIA and is_lfs_pointer(path):
            with open(path, "rb") as file:
                places.setdefault(Pointer.load(file), []).append(path)
    require_space(repository, sum(item.size * len(paths) for item, paths in places.items()))
    storage = LFSStorage(repository / ".git/lfs")
    os.environ.setdefault("GIT_TERMINAL_PROMPT", "0")  # nobody is asked for a password
    pointers = list(places)
    batches = [pointers[start : start + BATCH] for start in range(0, len(pointers), BATCH)]
    for batch in track(batches, len(batches), repository.parent.name, f"batches of {BATCH} files"):
        absent = [pointer for pointer in batch if not storage.exists(pointer)]
        try:
            if absent:
                storage.fetch(address, absent)
        except Exception as error:  # aiohttp's, fsspec's or scmrepo's, by what the server answers
            raise _UnavailableError(f"{type(error).__name__}: {one_line(error)}") from error
        for pointer in batch:
            content = Path(storage.oid_to_path(pointer.oid))
            if not content.exists():
                raise _UnavailableError("does not give all files of the repository")
            if file_sha256(content) != pointer.oid:  # which scmrepo does not check
                content.unlink()
                raise _UnavailableError(f"gives other content than that of SHA-256 {pointer.oid}")
            for path in places[pointer]:
                with replacing(path) as temporary:
                    shutil.copyfile(content, temporary)
            content.unlink()


def is_done(corpus: str, name: str, wanted: str) -> bool:
    """Whether an archive's files, all of them or the wanted ones, are in data/raw/<corpus>."""
    for record in {record_of(corpus, name), record_of(corpus, name, wanted)}:
        if record.exists():
            files = read_json(record)
            if files and all(size_of(RAW / corpus / path) == files[path] for path in files):
                return True
    return False


def record_of(corpus: str, name: str, wanted: str = "") -> Path:
    """Where it is written down which files came of an archive."""
    part = "-".join(re.findall(r"\d+", wanted))
    return DOWNLOADS / corpus / (f"{name}.{part}.json" if part else f"{name}.json")


def require_ours(corpus: str) -> None:
    """Raise UserError if data/raw/<corpus> is a link or holds what was not put there by us."""
    target = RAW / corpus
    if target.is_symlink():
        raise UserError(f"{target}: is a link, through which nothing is written; remove the link")
    if target.exists() and any(target.iterdir()) and not any((DOWNLOADS / corpus).glob("*.json")):
        raise UserError(
            f"{target}: was not put there by this command; use it as it is, or move it away"
        )


def merge(source: Path, target: Path) -> None:
    """Move all files below `source` to the same place below `target`, on the same disk.

    A file that is there already with the same content stays.

    Raises:
        UserError: a file is there with another content; then nothing has been moved.
    """
    moves = []
    for name in files_in(source):
        if not os.path.lexists(target / name):
            moves.append(name)
        elif not (target / name).is_file() or not filecmp.cmp(source / name, target / name, False):
            raise UserError(
                f"{target / name}: is there already with another content; move it away and run "
                "the same command again"
            )
    for name in moves:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        os.rename(source / name, target / name)


def files_in(folder: Path) -> dict[str, int]:
    """The regular files below a folder: path relative to it -> bytes."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def parse_actors(text: str) -> list[int]:
    """Numbers of actors: "1-3,7" is [1, 2, 3, 7]; UserError where it is not so written."""
    actors: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d{1,2})(?:-(\d{1,2}))?\s*", part)
        span = range(int(found[1]), int(found[2] or found[1]) + 1) if found else range(0)
        if not span or span[0] not in ACTORS or span[-1] not in ACTORS:
            raise UserError(f"--actors: {text!r}: not of actors 1 to 24; write e.g. 1-3 or 1,7-9")
        actors.update(span)
    return sorted(actors)


def main(words: Sequence[str]) -> None:
    """Fetch a corpus into data/raw."""
    parser = argparse.ArgumentParser(
        prog="python -m stages download",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", choices=SOURCES)
    parser.add_argument("--actors", help="of RAVDESS, e.g. 1-3 or 1,7,20-24 (default: all 24)")
    asked = parser.parse_args(words)
    if asked.actors and asked.corpus != "ravdess":
        raise UserError("--actors: is for ravdess alone; leave it out")
    actors = parse_actors(asked.actors) if asked.actors else ACTORS
    print(SOURCES[asked.corpus].terms, flush=True)
    folder = DOWNLOADS / asked.corpus
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with alone(f"download@{asked.corpus}", patience=0):
            download(asked.corpus, actors)
    except OSError as error:
        raise UserError(
            f"{RAW}: cannot be written: {error}; free space or change permissions"
        ) from error
    print(f"{RAW / asked.corpus}: in place")
    kept = [path for path in folder.iterdir() if path.suffix in (".zip", ".gz")]
    if kept:
        gigabytes = sum(path.stat().st_size for path in kept) / 1e9
        print(f"rm {folder}/*{kept[0].suffix}  # frees {gigabytes:.1f} GB")
