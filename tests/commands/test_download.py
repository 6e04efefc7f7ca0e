"""Corpora from a server on this machine that stands for their publishers'."""

import errno
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import urllib3

from stages.commands import download
from stages.commands.download import DOWNLOADS, MIB, SOURCES, fetch, files_in, main, merge
from stages.corpora.ravdess import VOICES_ARCHIVE
from stages.corpora.ravdess import read as read_ravdess
from stages.corpora.source import Archive
from stages.runtime.command import LOCKS, alone, run
from stages.runtime.errors import UserError
from stages.runtime.paths import RAW
from tests.file_server import Served, Server, serving

ROOT = Path(__file__).parents[2]
CONTENT = random.Random(1).randbytes(3 * MIB + 500)
OTHER = random.Random(2).randbytes(len(CONTENT))
PATH = Path("downloads/file.zip")
PART = Path("downloads/file.zip.part")


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(download, "RETRIES", download.RETRIES.new(backoff_factor=0))
    with serving() as running:
        running.served["/file"] = Served(CONTENT)
        yield running


def noise(name: str, size: int = 50_000) -> bytes:
    return random.Random(name).randbytes(size)


def checksum(content: bytes, kind: str = "sha256") -> str:
    return f"{kind}:{hashlib.new(kind, content).hexdigest()}"


def tree(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


def paths_asked(server: Server) -> list[str]:
    asked = [path.partition("?")[0] for path, _ in server.requests]
    server.requests.clear()
    return asked


def error_of(*words: str) -> str:
    """The one line in which a download is refused."""
    with pytest.raises(UserError) as caught:
        main(words)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# One file from a server that breaks off, lies, changes, refuses or hangs


def archive(server: Server, *paths: str, kind: str = "sha256") -> Archive:
    addresses = tuple(server.address + path for path in paths or ("/file",))
    return Archive(addresses, len(CONTENT), checksum(CONTENT, kind))


def fetch_error(wanted: Archive) -> str:
    """The one line of the UserError, with nothing under the final name."""
    with pytest.raises(UserError) as caught:
        fetch(wanted, PATH)
    assert not PATH.exists() and "\n" not in str(caught.value)
    assert "run the same command again" in str(caught.value)
    return str(caught.value)


def leave(have: int, content: bytes = CONTENT) -> None:
    """What a run that was stopped leaves."""
    PART.parent.mkdir()
    PART.write_bytes(content[:have])


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_file_comes_whole_and_is_asked_for_once(server: Server, kind: str, capfd):
    for _ in range(2):
        fetch(archive(server, kind=kind), PATH)
        assert PATH.read_bytes() == CONTENT and list(PATH.parent.iterdir()) == [PATH]
    assert paths_asked(server) == ["/file"]
    assert "file.zip: 4 MiB in " in capfd.readouterr().err


def test_another_file_in_its_place_is_kept_and_named(server: Server):
    PATH.parent.mkdir()
    PATH.write_bytes(b"mine")
    with pytest.raises(UserError, match=r"file\.zip: has another checksum than sha256:.*delete it"):
        fetch(archive(server), PATH)
    assert PATH.read_bytes() == b"mine" and server.requests == []


@pytest.mark.parametrize("have", [1, MIB, len(CONTENT) - 1, len(CONTENT)])
def test_the_next_run_resumes_where_the_last_stopped(server: Server, have: int):
    leave(have)
    fetch(archive(server), PATH)
    assert PATH.read_bytes() == CONTENT and list(PATH.parent.iterdir()) == [PATH]
    assert server.ranges() == ([f"bytes={have}-"] if have < len(CONTENT) else [])


def test_it_resumes_where_the_line_broke(server: Server):
    server.served["/file"].breaks = [MIB + 5, 5]
    fetch(archive(server), PATH)
    assert PATH.read_bytes() == CONTENT
    assert server.ranges() == ["", f"bytes={MIB + 5}-", f"bytes={MIB + 10}-"]


def test_parts_of_two_versions_are_never_taken_for_a_file(server: Server):
    leave(MIB, OTHER)
    said = f"{server.address}/file: gives other content than {checksum(CONTENT)}, deleted"
    assert said in fetch_error(archive(server))
    assert list(PATH.parent.iterdir()) == []
    fetch(archive(server), PATH)
    assert PATH.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_anew(server: Server):
    server.served["/file"].ranges = False
    leave(MIB)
    fetch(archive(server), PATH)
    assert PATH.read_bytes() == CONTENT and len(server.requests) == 1


def test_a_line_that_brings_nothing_new_is_given_up_and_what_came_is_kept(server: Server):
    server.served["/file"].breaks = [MIB, *[0] * 9]
    assert "IncompleteRead" in fetch_error(archive(server))
    assert PART.stat().st_size == MIB and len(server.requests) == 2


@pytest.mark.parametrize("have", [0, MIB])
@pytest.mark.parametrize("length", [1000, len(CONTENT) + 1000])
def test_a_file_of_another_length_is_refused_at_once(server: Server, have: int, length: int):
    leave(have)
    server.served["/file"].length = length
    said = f"announces {have + length:,} bytes, {len(CONTENT):,} were expected"
    assert said in fetch_error(archive(server))
    assert PART.stat().st_size == have and len(server.requests) == 1


def test_more_content_than_there_should_be_is_not_read_to_its_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
):
    sizes = []
    digest = hashlib.file_digest

    def file_digest(file: io.BufferedReader, kind: str) -> object:
        sizes.append(os.fstat(file.fileno()).st_size)
        return digest(file, kind)

    monkeypatch.setattr(hashlib, "file_digest", file_digest)
    server.served["/file"] = Served(CONTENT + bytes(9 * MIB), length=-1)
    assert "gives other content" in fetch_error(archive(server))
    assert max(sizes) < len(CONTENT) + MIB and list(PATH.parent.iterdir()) == []


def test_an_archive_that_a_server_calls_compressed_for_the_way_is_left_as_it_is(server: Server):
    server.served["/file"].headers["Content-Encoding"] = "x-gzip"
    fetch(archive(server), PATH)
    assert PATH.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "first", [Served(states=[404] * 9), Served(OTHER), Served(length=3, content=b"abc")]
)
def test_the_next_address_is_tried(server: Server, first: Served):
    server.served["/first"] = first
    fetch(archive(server, "/first", "/file"), PATH)
    assert PATH.read_bytes() == CONTENT


def test_the_next_address_resumes_where_the_first_broke(server: Server):
    server.served["/first"] = Served(CONTENT, breaks=[MIB, *[0] * 9])
    fetch(archive(server, "/first", "/file"), PATH)
    assert PATH.read_bytes() == CONTENT and server.ranges()[-1] == f"bytes={MIB}-"


def test_passing_states_are_waited_for(server: Server):
    server.served["/file"].states = [503, 429, 500, 502]
    server.served["/file"].headers["Retry-After"] = "0"
    fetch(archive(server), PATH)
    assert PATH.read_bytes() == CONTENT


@pytest.mark.parametrize("state, requests", [(404, 1), (403, 1), (503, 5)])
def test_a_state_that_stays_is_an_error(server: Server, state: int, requests: int):
    server.served["/file"].states = [state] * 20
    assert f"{state} " in fetch_error(archive(server))
    assert len(server.requests) == requests


def test_a_server_that_hangs(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.1)
    monkeypatch.setattr(download, "RETRIES", urllib3.Retry(0))
    server.served["/file"].seconds = 20
    assert "Read timed out" in fetch_error(archive(server))


@pytest.mark.parametrize(
    "address, said", [("http://127.0.0.1:9/file", "Connection refused"), ("file:///etc/passwd", ""),
                      ("data:,x", ""), ("nonsense", ""), ("http://[x/", "")],
)  # fmt: skip
def test_no_server_and_what_is_none(server: Server, address: str, said: str):
    line = fetch_error(replace(archive(server), addresses=(address,)))
    assert line.startswith(f"{address}: ") and said in line and f"put it at {PATH}" in line


@pytest.mark.parametrize("where", ["ftp://127.0.0.1/file", "file:///etc/passwd", "https://[::1]/",
                                   "data:,x", "\x1b]0;x\x07://x", "//", "http://[x/"])  # fmt: skip
def test_a_redirect_to_another_scheme_or_to_nowhere(server: Server, where: str):
    server.served["/file"] = Served(states=[302] * 40, headers={"Location": where})
    line = fetch_error(archive(server))
    assert f"put it at {PATH}" in line and "Connection refused" not in line


def test_a_redirect_to_another_address_is_followed(server: Server):
    server.served["/old"] = Served(states=[302], headers={"Location": "/file"})
    fetch(archive(server, "/old"), PATH)
    assert PATH.read_bytes() == CONTENT


# What a terminal would obey: clear the screen, set the title, go back to the start of the line
ESCAPES = "\x1b[2J\x1b]0;x\x07\r\x9b"


def test_nothing_that_a_server_says_reaches_the_terminal_raw(
    server: Server, monkeypatch: pytest.MonkeyPatch, capfd
):
    Path("params.yaml").touch()
    source = replace(SOURCES["ravdess"], record=f"{server.address}/records/1")
    monkeypatch.setitem(SOURCES, "ravdess", source)
    in_json = json.dumps(ESCAPES)[1:-1]
    redirect = {"Location": f"ftp://{ESCAPES}".replace("\r", "")}
    for answer in (
        Served(states=[404], reason=f"Not {ESCAPES}"),
        Served(states=[302], headers=redirect),
        Served(ESCAPES.encode()),
        Served(f'{{"files": "{in_json}"}}'.encode()),
        Served(f'{{"files": [{{"{in_json}": 1, "key": "x", "size": "{in_json}"}}]}}'.encode()),
        Served(b"x", headers={"Content-Encoding": "gzip"}),
    ):
        server.served["/api/records/1"] = answer
        with pytest.raises(SystemExit) as ended:
            run(lambda: main(["ravdess"]))
        assert ended.value.code == 2
        error = capfd.readouterr().err
        assert error.count("\n") == 1 and error.rstrip("\n").isprintable(), error
        assert "/records/1: its list of files cannot be read: " in error


# RAVDESS


def take(modality: str, actor: int, emotion: int) -> str:
    kind = "wav" if modality == "03" else "mp4"
    return f"Actor_{actor:02}/{modality}-01-0{emotion}-01-01-01-{actor:02}.{kind}"


def zip_bytes(names: list[str]) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        for name in names:
            archive.writestr(name, noise(name))
    return output.getvalue()


def serve_record(server: Server, files: dict[str, bytes]) -> None:
    record = [
        {"key": name, "size": len(content), "checksum": checksum(content, "md5")}
        for name, content in files.items()
    ]
    server.served["/api/records/1"] = Served(json.dumps({"files": record}).encode())
    for name, content in files.items():
        server.served[f"/records/1/files/{name}?download=1"] = Served(content)


@pytest.fixture
def ravdess(server: Server, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The archives of a record of three actors with two takes each, and something else."""
    actors = range(1, 4)
    files = {
        f"Video_Speech_Actor_{actor:02}.zip": zip_bytes(
            [take(modality, actor, emotion) for modality in ("01", "02") for emotion in (1, 3)]
        )
        for actor in actors
    }
    voices = zip_bytes([take("03", actor, emotion) for actor in actors for emotion in (1, 3)])
    files |= {VOICES_ARCHIVE: voices, "Audio_Song_Actors_01-24.zip": b"not wanted"}
    serve_record(server, files)
    source = replace(SOURCES["ravdess"], record=f"{server.address}/records/1")
    monkeypatch.setitem(SOURCES, "ravdess", source)
    monkeypatch.setattr(download, "ACTORS", actors)
    return files


def ravdess_files(actors: range) -> dict[str, bytes]:
    names = [take(m, actor, e) for actor in actors for m in ("01", "02", "03") for e in (1, 3)]
    return {name: noise(name) for name in names}


def test_ravdess(ravdess, server: Server, capfd):
    main(["ravdess"])
    assert tree(RAW / "ravdess") == ravdess_files(range(1, 4))
    videos = [f"Video_Speech_Actor_{actor:02}.zip" for actor in range(1, 4)]
    names = [path.rpartition("/")[2] for path in paths_asked(server)]
    assert names == ["1", VOICES_ARCHIVE, *videos]
    out, err = capfd.readouterr()
    assert "CC BY-NC-SA 4.0" in out and "Livingstone" in out and "data/raw/ravdess: in place" in out
    assert "rm data/raw/.downloads/ravdess/*.zip" in out and f"{videos[2]}: unpacking" in err
    found = read_ravdess(RAW / "ravdess", "ravdess")
    assert [bool(each.audio and each.video) for each in found.utterances] == [True] * 6

    for zipped in DOWNLOADS.glob("ravdess/*.zip"):
        zipped.unlink()  # as the command itself suggests
    times = {path: path.stat().st_mtime_ns for path in RAW.rglob("*.mp4")}
    main(["ravdess"])
    main(["ravdess", "--actors", "2"])
    assert paths_asked(server) == []
    assert times == {path: path.stat().st_mtime_ns for path in RAW.rglob("*.mp4")}


def test_some_actors_then_more(ravdess, server: Server):
    main(["ravdess", "--actors", "1"])
    assert tree(RAW / "ravdess") == ravdess_files(range(1, 2))
    paths_asked(server)
    main(["ravdess", "--actors", "1"])
    assert paths_asked(server) == []
    main(["ravdess", "--actors", "1-2"])
    assert tree(RAW / "ravdess") == ravdess_files(range(1, 3))
    assert [path.rpartition("/")[2] for path in paths_asked(server)] == [
        "1", "Video_Speech_Actor_02.zip",
    ]  # fmt: skip
    main(["ravdess"])
    assert tree(RAW / "ravdess") == ravdess_files(range(1, 4))


def test_a_lost_file_comes_back_and_a_changed_one_is_not_overwritten(ravdess):
    main(["ravdess"])
    file = RAW / "ravdess" / take("01", 2, 3)
    file.unlink()
    main(["ravdess"])
    assert file.read_bytes() == noise(take("01", 2, 3))
    file.write_bytes(b"cut by hand")
    assert f"{file}: is there already with another content" in error_of("ravdess")
    assert file.read_bytes() == b"cut by hand"


def test_what_was_not_put_there_by_us_stays_alone(ravdess):
    mine = RAW / "ravdess/mine.mp4"
    mine.parent.mkdir(parents=True)
    mine.touch()
    assert "data/raw/ravdess: was not put there by this command" in error_of("ravdess")
    mine.unlink()
    mine.parent.rmdir()
    mine.parent.symlink_to("/tmp")
    assert "data/raw/ravdess: is a link" in error_of("ravdess")


def killed(*_: object, **__: object) -> None:
    raise SystemExit(137)


def test_a_killed_run_resumes(ravdess, server: Server, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(download, "merge", killed)
        with pytest.raises(SystemExit):
            main(["ravdess"])
    assert not (RAW / "ravdess").exists()
    left = DOWNLOADS / "ravdess/unpacking/Actor_01/half.mp4"  # nothing is tidied up by kill -9
    left.parent.mkdir(parents=True)
    left.touch()
    main(["ravdess"])
    assert tree(RAW / "ravdess") == ravdess_files(range(1, 4))
    assert paths_asked(server).count(f"/records/1/files/{VOICES_ARCHIVE}") == 1


def test_an_evil_archive_leaves_nothing(ravdess, server: Server):
    serve_record(server, ravdess | {VOICES_ARCHIVE: zip_bytes(["good.wav", "../../../evil.wav"])})
    assert "leads out of it" in error_of("ravdess")
    assert not (RAW / "ravdess").exists() and not list(Path().rglob("*.wav"))


def test_an_archive_of_impossible_names_is_not_taken_for_a_full_disk(ravdess, server: Server):
    for names in (["a.wav", "a.wav/b.wav"], [f"{'a' * 300}.wav"], ["."]):
        serve_record(server, ravdess | {VOICES_ARCHIVE: zip_bytes(names)})
        (DOWNLOADS / "ravdess" / VOICES_ARCHIVE).unlink(missing_ok=True)
        assert f"{VOICES_ARCHIVE}: cannot be unpacked: " in error_of("ravdess")
        assert not (RAW / "ravdess").exists()


@pytest.mark.parametrize(
    "record, said",
    [(b'{"files": []}', "/records/1: has no Audio_Speech_Actors_01-24.zip; look there"),
     (b'{"files": [{"key": "a"}]}', "/records/1: its list of files cannot be read: files.0.size: "),
     (b"<html>", "cannot be read: Invalid JSON"), (b"[]", "cannot be read: Input should be an obj"),
     (b"[" * 300_000, "cannot be read: Invalid JSON: recursion limit exceeded"),
     (b'{"files":' * 300_000, "recursion limit exceeded"), (b"\xff\x1b", "Invalid JSON"),
     (b'{"files": [{"key": "a", "size": Infinity, "checksum": 1}]}', "cannot be read: files.0.si"),
     (b'{"files": [{"key": "a", "size": 1, "checksum": "sha9:1"}]}', "cannot be read: files.0.ch"),
     (None, "/records/1: its list of files cannot be read: 404")],
)  # fmt: skip
def test_a_record_without_the_file_and_no_record(ravdess, server: Server, record, said: str):
    server.served["/api/records/1"] = Served(record) if record else Served(states=[404])
    assert said in error_of("ravdess")


def test_no_room_for_all_of_it(ravdess, server: Server):
    served = server.served["/api/records/1"]
    record = json.loads(served.content)
    record["files"][2]["size"] = 1 << 60
    served.content = json.dumps(record).encode()
    assert "data/raw/ravdess: no space" in error_of("ravdess")
    assert paths_asked(server) == ["/api/records/1"]


def test_a_disk_that_fills_up(ravdess, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download.os, "replace", full)
    assert "data/raw: cannot be written: [Errno 28] No space left" in error_of("ravdess")


@pytest.mark.parametrize(
    ("text", "actors"),
    [("1", [1]), ("1-3", [1, 2, 3]), ("24,1-2,2", [1, 2, 24]), (" 7 , 9-9", [7, 9])],
)
def test_actors(text: str, actors: list[int]):
    assert download.parse_actors(text) == actors


@pytest.mark.parametrize("text", ["0", "25", "3-1", "1-25", "1,,2", "all", "1-2-3", "=-1"])
def test_other_actors(text: str):
    assert re.match("--actors: .*; write e.g. 1-3", error_of("ravdess", f"--actors={text}"))


# MELD


def tar_bytes(files: dict[str, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return output.getvalue()


def test_meld(server: Server, monkeypatch: pytest.MonkeyPatch, capsys):
    train = {"train_splits/dia0_utt0.mp4": noise("train")}
    table = {"MELD.Raw/train_sent_emo.csv": b"Sr No.,Utterance\r\n"}
    whole = tar_bytes({"MELD.Raw/train.tar.gz": tar_bytes(train)} | table)
    server.served["/meld"] = Served(whole)
    (name,) = SOURCES["meld"].archives
    of_it = Archive((f"{server.address}/meld",), len(whole), checksum(whole))
    monkeypatch.setitem(SOURCES, "meld", replace(SOURCES["meld"], archives={name: of_it}))
    for _ in range(2):
        main(["meld"])
        assert tree(RAW / "meld") == {"MELD.Raw/train/train_splits/dia0_utt0.mp4": noise("train"),
                                      **table}  # fmt: skip
    assert sorted(os.listdir(DOWNLOADS / "meld")) == [name, f"{name}.json"]
    assert paths_asked(server) == ["/meld"]
    out = capsys.readouterr().out
    assert "GPL-3.0" in out and "third parties recorded" in out and "meld/*.gz  # frees" in out


# CREMA-D

CLIPS = {f"AudioWAV/{n}_DFA_ANG_XX.wav": noise(f"{n}.wav", 3000) for n in range(1001, 1006)}
CLIPS |= {f"VideoFlash/{n}_DFA_ANG_XX.flv": noise(f"{n}.flv", 9000) for n in range(1001, 1006)}
CLIPS |= {"VideoFlash/copy.flv": CLIPS["VideoFlash/1001_DFA_ANG_XX.flv"]}  # one object, two names
TABLE = {"SentenceFilenames.csv": b"Stimulus_Number,Filename\n"}
FILES = CLIPS | TABLE | {"link.wav": b"/etc/passwd"}
OBJECTS = "/crema.git/info/lfs/objects/batch"


def object_of(name: str) -> str:
    return f"/object/{hashlib.sha256(CLIPS[name]).hexdigest()}"


@pytest.fixture
def cremad(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A repository on this disk, reached by the address of its LFS, as /crema.git."""
    repository = tmp_path / "origin"
    repository.mkdir()
    for name, content in (CLIPS | {"AudioMP3/1001_DFA_ANG_XX.mp3": b"the same once more"}).items():
        path = repository / name
        path.parent.mkdir(exist_ok=True)
        oid = hashlib.sha256(content).hexdigest()
        path.write_text(
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n"
        )
        server.served[f"/object/{oid}"] = Served(content)
    for name, content in TABLE.items():
        (repository / name).write_bytes(content)
    (repository / "link.wav").symlink_to("/etc/passwd")
    git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)

    def batch(question: bytes) -> bytes:
        asked = json.loads(question)["objects"]
        assert 0 < len(asked) <= download.BATCH
        ticket = {"header": {"Authorization": "ticket"}}
        for item in asked:
            href = f"{server.address}/object/{item['oid']}"
            item["actions"] = {"download": {"href": href} | ticket}
        return json.dumps({"objects": asked}).encode()

    kind = {"Content-Type": "application/vnd.git-lfs+json"}
    server.served[OBJECTS] = Served(posted=batch, headers=kind)
    address = f"{server.address}/crema.git"
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{repository}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", address)
    addresses = (f"file://{tmp_path}/none.git", address)
    monkeypatch.setitem(SOURCES, "cremad", replace(SOURCES["cremad"], repositories=addresses))
    monkeypatch.setattr(download, "BATCH", 4)
    return server


def test_cremad(cremad: Server, capsys):
    main(["cremad"])
    assert tree(RAW / "cremad") == FILES
    assert not (RAW / "cremad/link.wav").is_symlink()
    assert os.listdir(DOWNLOADS / "cremad") == ["repository.json"]
    assert "Open Database License" in capsys.readouterr().out
    tickets = [
        headers.get("Authorization") for path, headers in cremad.requests if "/object/" in path
    ]
    assert tickets == ["ticket"] * (len(CLIPS) - 1)
    paths_asked(cremad)
    main(["cremad"])
    assert paths_asked(cremad) == []
    (RAW / "cremad/AudioWAV/1001_DFA_ANG_XX.wav").unlink()
    assert "data/raw/cremad: is not complete; move it away" in error_of("cremad")


def test_cremad_resumes(cremad: Server):
    last = object_of("VideoFlash/1005_DFA_ANG_XX.flv")
    cremad.served[last].states = [404]
    assert re.search(f"crema.git: FileNotFoundError: .*{last}", error_of("cremad"))
    assert not (RAW / "cremad").exists()
    first = set(paths_asked(cremad)) - {OBJECTS}
    main(["cremad"])
    assert tree(RAW / "cremad") == FILES
    assert not first - {last} & set(paths_asked(cremad))


def test_cremad_with_wrong_bytes(cremad: Server):
    wrong = object_of("AudioWAV/1001_DFA_ANG_XX.wav")
    right, cremad.served[wrong].content = cremad.served[wrong].content, bytes(3000)
    said = f"crema.git: gives other content than that of SHA-256 {wrong.rpartition('/')[2]}"
    assert said in error_of("cremad")
    assert not (RAW / "cremad").exists()
    cremad.served[wrong].content = right
    main(["cremad"])
    assert tree(RAW / "cremad") == FILES


@pytest.mark.parametrize(
    "answer", [b"{}", b'{"objects": [{"oid": "x", "size": 1, "error": {"code": 404}}]}',
               b'{"objects": [1]}', b"<html>", b"[" * 300_000],
)  # fmt: skip
def test_cremad_without_its_objects(cremad: Server, answer: bytes):
    cremad.served[OBJECTS].posted = lambda _: answer
    assert "/crema.git: " in error_of("cremad") and not (RAW / "cremad").exists()


def test_cremad_that_cannot_be_cloned(cremad: Server, monkeypatch: pytest.MonkeyPatch):
    nowhere = replace(SOURCES["cremad"], repositories=("file:///none.git",))
    monkeypatch.setitem(SOURCES, "cremad", nowhere)
    assert re.match("file:///none.git: cannot be cloned .*none.git.*again", error_of("cremad"))
    monkeypatch.setenv("PATH", "")
    assert "git: cannot be run" in error_of("cremad")


def test_cremad_is_led_from_https_to_no_http(cremad: Server, tmp_path: Path, monkeypatch):
    key, cert = tmp_path / "key", tmp_path / "cert"
    made = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost", "-keyout", key,
            "-out", cert]  # fmt: skip
    if shutil.which("openssl") is None or subprocess.run(made, capture_output=True).returncode:
        pytest.skip("no openssl to make a certificate with")
    with serving((cert, key)) as led:
        monkeypatch.setenv("GIT_SSL_NO_VERIFY", "1")
        path = "/crema.git/info/refs?service=git-upload-pack"
        led.served[path] = Served(states=[302], headers={"Location": cremad.address + path})
        address = f"{led.address}/crema.git"
        monkeypatch.setitem(SOURCES, "cremad", replace(SOURCES["cremad"], repositories=(address,)))
        assert "crema.git: cannot be cloned" in error_of("cremad")
        assert led.requests and cremad.requests == []


def test_cremad_killed_while_tidying(cremad: Server, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(download, "write_json", killed)
        with pytest.raises(SystemExit):
            main(["cremad"])
    main(["cremad"])
    assert tree(RAW / "cremad") == FILES


# SAVEE, the command itself and its parts


def test_savee_says_where_to_register_and_what_to_put_where(server: Server, capsys):
    for part in ("AudioData", "AudioVisualClip"):
        assert error_of("savee").startswith(f"data/raw/savee/{part}: is missing, and cannot be")
        (RAW / "savee" / part).mkdir(parents=True)
    main(["savee"])
    out = capsys.readouterr().out
    assert "Register: http" in out and "data/raw/savee/AudioData/" in out
    assert out.endswith("data/raw/savee: in place\n")


def test_mistakes_on_the_command_line(server: Server):
    with pytest.raises(SystemExit) as ended:
        main(["iemocap"])
    assert ended.value.code == 2
    assert "--actors: is for ravdess alone" in error_of("meld", "--actors", "1")


def test_two_runs_at_once(server: Server):
    Path("params.yaml").touch()  # as at the root of the project
    with alone("download@meld"):
        other = subprocess.run(
            [sys.executable, "-m", "stages", "download", "meld"],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        )  # fmt: skip
    assert other.returncode == 2 and f"error: {LOCKS}/download@meld: another run" in other.stderr


def test_a_folder_that_cannot_be_made(server: Server):
    Path("data").write_text("")
    assert re.match("data/raw: cannot be written: .*Not a directory", error_of("meld"))


def test_what_is_fetched_is_ignored_by_git():
    assert "/data/*" in (ROOT / ".gitignore").read_text().splitlines()
    assert Path("data") in DOWNLOADS.parents


def test_terms_name_licence_and_citation():
    assert set(SOURCES) == {"ravdess", "cremad", "meld", "savee"}
    for source in SOURCES.values():
        assert "Cite: " in source.terms and max(map(len, source.terms.splitlines())) <= 100


def plant(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_merge_adds_to_what_is_there_and_overwrites_nothing(tmp_path: Path):
    target = plant(tmp_path / "to", {"a/1": b"1", "mine": b"m"})
    merge(plant(tmp_path / "from", {"a/1": b"1", "a/2": b"2", "b/c/3": b"3"}), target)
    whole = {"a/1": b"1", "a/2": b"2", "b/c/3": b"3", "mine": b"m"}
    assert tree(target) == whole
    source = plant(tmp_path / "other", {"a/0": b"0", "z": b"z"})
    for plant_z in (
        lambda z: z.write_bytes(b"mine"), lambda z: z.symlink_to("nowhere"), Path.mkdir,
    ):  # fmt: skip
        plant_z(target / "z")
        with pytest.raises(UserError, match="to/z: is there already with another content"):
            merge(source, target)
        assert not (target / "a/0").exists()
        (target / "z").rmdir() if (target / "z").is_dir() else (target / "z").unlink()
