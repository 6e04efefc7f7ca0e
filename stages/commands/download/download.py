"""Download: fetch a corpus from its publisher, and put it where the pipeline looks for it.

    python -m stages.commands.download.download ravdess [--actors 1-3]
    python -m stages.commands.download.download cremad
    python -m stages.commands.download.download meld
    python -m stages.commands.download.download savee        (says where to register; it cannot be fetched)

In:  the publishers' servers; what an earlier run left in data/raw/.downloads/<corpus>/
Out: data/raw/<corpus>/ as its publisher ships it; data/raw/.downloads/<corpus>/<archive>, which may
     be deleted afterwards, and <archive>.json, the files that came of it and their bytes

Nothing comes under its final name before its size and checksum are right, and nothing that is there
is replaced. The same command goes on where it was stopped, and does nothing where all is in place.
"""

import argparse
import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stages.commands.download.archives import files_in, merge, scratch, unpack
from stages.commands.download.lfs import clone, fetch_objects, pointer
from stages.commands.download.remote import Remote, fetch, file_size, request_json, show
from stages.io.files import read_json, require_space, write_json
from stages.runtime.command import run
from stages.runtime.errors import UserError

RAW = Path("data/raw")
DOWNLOADS = RAW / ".downloads"

RAVDESS_RECORD = "https://zenodo.org/api/records/1188976"
RAVDESS_FILE = "https://zenodo.org/records/1188976/files/{}?download=1"
RAVDESS_SPEECH = "Audio_Speech_Actors_01-24.zip"
RAVDESS_SIZE, RAVDESS_MD5 = 208_468_073, "bc696df654c87fed845eb13823edef8a"  # of the speech
ACTORS = range(1, 25)

MELD = Remote(
    (
        "https://web.eecs.umich.edu/~mihalcea/downloads/MELD.Raw.tar.gz",
        "https://huggingface.co/datasets/declare-lab/MELD/resolve/main/MELD.Raw.tar.gz",
    ),
    10_878_146_150,
    "sha256:a56b4407d574195cbce470d86f9c9d72fcfea59b0e34502ecd4babee4a5c613e",
    note="recorded by third parties, not published by the authors",
)

# The mirror first: GitHub often refuses (issue 15 there, "exceeded its LFS budget").
CREMAD = (
    "https://gitlab.com/cs-cooper-lab/crema-d-mirror.git",
    "https://github.com/CheyneyComputerScience/CREMA-D.git",
)
CREMAD_KINDS = (".wav", ".flv")  # not the .mp3, the same sound once more

TERMS = {
    "ravdess": """\
RAVDESS, speech: CC BY-NC-SA 4.0, https://doi.org/10.5281/zenodo.1188976
Cite: Livingstone SR, Russo FA (2018). The Ryerson Audio-Visual Database of Emotional Speech and
  Song (RAVDESS). PLoS ONE 13(5): e0196391.""",
    "cremad": """\
CREMA-D: Open Database License (ODbL) 1.0, contents under the Database Contents License 1.0
Cite: Cao H, Cooper DG, Keutmann MK, Gur RC, Nenkova A, Verma R (2014). CREMA-D: Crowd-sourced
  Emotional Multimodal Actors Dataset. IEEE Transactions on Affective Computing 5(4): 377-390.""",
    "meld": """\
MELD: GPL-3.0 for what its authors made; the clips are of a television series: do not pass them on
Cite: Poria S, Hazarika D, Majumder N, Naik G, Cambria E, Mihalcea R (2019). MELD: A Multimodal
  Multi-Party Dataset for Emotion Recognition in Conversations. ACL 2019.
Its authors publish no checksum; size and SHA-256 are what third parties recorded.""",
    "savee": """\
SAVEE: free of charge for research, after registration; not to be passed on
Cite: Haq S, Jackson PJB (2010). Multimodal Emotion Recognition. In: Wang W (ed.), Machine Audition:
  Principles, Algorithms and Systems. IGI Global, 398-423.
Register: http://kahlan.eps.surrey.ac.uk/savee/Download.html (if that is gone:
  http://personal.ee.surrey.ac.uk/Personal/P.Jackson/SAVEE/Register.html)
Put what you are given, unpacked, here:
  data/raw/savee/AudioData/{DC,JE,JK,KL}/*.wav          480 files, such as DC/a01.wav
  data/raw/savee/AudioVisualClip/{DC,JE,JK,KL}/*.avi    480 files, such as DC/a1.avi
Copies elsewhere mostly hold the sound alone; the faces are in AudioVisualClip.""",
}


@dataclass(frozen=True)
class Archive:
    """An archive of a corpus.

    Attributes:
        growth: about how many bytes come of each of its own.
        wanted: pattern of the members to unpack, the whole name; "" for all.
        nested: whether archives in it are unpacked too.
    """

    remote: Remote
    growth: float = 1.1
    wanted: str = ""
    nested: bool = False


def ravdess(actors: Sequence[int] = ()) -> None:
    """Fetch the speech of RAVDESS: faces and voices of `actors`, all by default."""
    actors = actors or ACTORS
    videos = {f"Video_Speech_Actor_{actor:02}.zip": "" for actor in actors}
    last = "" if list(actors) == list(ACTORS) else "|".join(f"{actor:02}" for actor in actors)
    wanted = {RAVDESS_SPEECH: last and rf".*-({last})\.wav", **videos}
    missing = [name for name in wanted if not is_done("ravdess", name, wanted[name])]
    known = {RAVDESS_SPEECH: (RAVDESS_SIZE, f"md5:{RAVDESS_MD5}")}
    if set(missing) - set(known):
        known = {**zenodo_files(RAVDESS_RECORD), **known}
    for name in missing:
        if name not in known:
            raise UserError(f"{RAVDESS_RECORD}: lists no {name}; see the record what it is now")
    install(
        "ravdess",
        {
            name: Archive(
                Remote((RAVDESS_FILE.format(name),), *known[name]),
                growth=3.0 if name == RAVDESS_SPEECH else 1.1,
                wanted=wanted[name],
            )
            for name in missing
        },
    )


def meld() -> None:
    """Fetch MELD; train.tar.gz, dev.tar.gz and test.tar.gz in it are unpacked too."""
    name = "MELD.Raw.tar.gz"
    if not is_done("meld", name):
        install("meld", {name: Archive(MELD, nested=True)})


def cremad() -> None:
    """Fetch CREMA-D's sound, faces and tables, which are a git repository with LFS."""
    name = "repository"
    if is_done("cremad", name):
        return
    require_free("cremad")
    target, repository = RAW / "cremad", DOWNLOADS / "cremad" / name
    if target.exists() and any(target.iterdir()):
        raise UserError(f"{target}: is not complete; move it away and run the same command again")
    clone(CREMAD, repository)
    paths = [repository / path for path in files_in(repository)]
    fetch_objects(CREMAD, [path for path in paths if path.suffix in CREMAD_KINDS], "cremad")
    for path in paths:
        if pointer(path):
            path.unlink()
    shutil.rmtree(repository / ".git", ignore_errors=True)
    write_json(_record("cremad", name), files_in(repository))
    os.rename(repository, target)


def savee() -> None:
    """Tell whether SAVEE is in place; it cannot be fetched without registration."""
    for part in ("AudioData", "AudioVisualClip"):
        if not (RAW / "savee" / part).is_dir():
            raise UserError(
                f"{RAW / 'savee' / part}: is missing, and SAVEE cannot be fetched without "
                "registration; register and put it there as said above"
            )


FETCH: dict[str, Callable[..., None]] = {
    "ravdess": ravdess,
    "cremad": cremad,
    "meld": meld,
    "savee": savee,
}


def zenodo_files(record: str) -> dict[str, tuple[int, str]]:
    """The files of a Zenodo record by the address of its JSON: name -> bytes, checksum."""
    try:
        files = request_json(record)["files"]
        return {file["key"]: (int(file["size"]), str(file["checksum"])) for file in files}
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{record}: lists no files with checksums; see the record") from error


def install(corpus: str, archives: dict[str, Archive]) -> None:
    """Fetch archives and unpack them into data/raw/<corpus>.

    Raises:
        UserError: one cannot be had or is not sound, there is no room, or files of other origin
            are in the way.
    """
    require_free(corpus)
    folder = DOWNLOADS / corpus
    needed = sum(
        int(archive.remote.size * (1 + archive.growth))
        - max(file_size(folder / name), file_size(folder / f"{name}.part"))
        for name, archive in archives.items()
    )
    require_space(RAW / corpus, needed)
    for name, archive in archives.items():
        path = folder / name
        fetch(archive.remote, path, name)
        wanted = re.compile(archive.wanted).fullmatch if archive.wanted else bool
        with scratch(folder / "unpacking") as unpacked:
            steps = unpack(path, unpacked, wanted=wanted, nested=archive.nested)
            show(steps, path.stat().st_size, f"{name}, unpacking")
            # First, since is_done looks at the files too: a kill in between is noticed.
            write_json(_record(corpus, name, archive.wanted), files_in(unpacked))
            merge(unpacked, RAW / corpus)


def is_done(corpus: str, name: str, wanted: str = "") -> bool:
    """Whether an archive's files, all of them or the wanted ones, are in data/raw/<corpus>."""
    for record in {_record(corpus, name, ""), _record(corpus, name, wanted)}:
        if record.exists():
            files = read_json(record)
            if files and all(file_size(RAW / corpus / path) == files[path] for path in files):
                return True
    return False


def require_free(corpus: str) -> None:
    """Make the folders; UserError if data/raw/<corpus> is a link or holds what is not ours."""
    target = RAW / corpus
    if target.is_symlink():
        raise UserError(f"{target}: is a link, through which nothing is written; remove the link")
    if target.exists() and any(target.iterdir()) and not any(_folder(corpus).glob("*.json")):
        raise UserError(
            f"{target}: was not put there by this command; use it as it is, or move it away"
        )


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


def _folder(corpus: str) -> Path:
    folder = DOWNLOADS / corpus
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _record(corpus: str, name: str, wanted: str = "") -> Path:
    part = "-".join(re.findall(r"\d+", wanted))
    return DOWNLOADS / corpus / (f"{name}.{part}.json" if part else f"{name}.json")


@contextmanager
def _alone(corpus: str) -> Iterator[None]:
    """Two runs would write to the same files."""
    with open(_folder(corpus) / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{lock.name}: {corpus} is being fetched by another run") from error
        yield


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m stages.commands.download.download",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("corpus", choices=FETCH)
    parser.add_argument("--actors", help="of RAVDESS, e.g. 1-3 or 1,7,20-24 (default: all 24)")
    asked = parser.parse_args()
    if asked.actors and asked.corpus != "ravdess":
        raise UserError("--actors: is for ravdess alone; leave it out")
    options = [parse_actors(asked.actors)] if asked.actors else []
    print(TERMS[asked.corpus], flush=True)
    try:
        with _alone(asked.corpus):
            FETCH[asked.corpus](*options)
    except OSError as error:
        raise UserError(f"{RAW}: cannot be written: {error}; free space or mend access") from error
    print(f"{RAW / asked.corpus}: in place")
    kept = [path for path in _folder(asked.corpus).iterdir() if path.suffix in (".zip", ".gz")]
    if kept:
        gigabytes = sum(path.stat().st_size for path in kept) / 1e9
        print(f"rm {DOWNLOADS / asked.corpus}/*{kept[0].suffix}  # frees {gigabytes:.1f} GB")


if __name__ == "__main__":
    run(main)
