"""Corpora from a server on this machine that stands for their publishers'."""

import fcntl
import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.commands.download import download, lfs, remote
from stages.commands.download.archives import files_in
from stages.commands.download.download import DOWNLOADS, RAW, TERMS, main, parse_actors
from stages.commands.download.remote import Remote
from stages.corpora.ravdess import read as read_ravdess
from stages.runtime.errors import UserError
from tests.file_server import Served, Server, serving

ROOT = Path(__file__).parents[3]
LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(remote, "PAUSE", 0.001)
    with serving() as running:
        yield running


def start(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """As on the command line."""
    main(words)


def noise(name: str, size: int = 50_000) -> bytes:
    return random.Random(name).randbytes(size)


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def tree(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


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


@pytest.fixture
def zenodo(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A record of three actors with two takes each, and something else."""
    actors = range(1, 4)
    files = {
        f"Video_Speech_Actor_{actor:02}.zip": zip_bytes(
            [take(modality, actor, emotion) for modality in ("01", "02") for emotion in (1, 3)]
        )
        for actor in actors
    }
    speech = zip_bytes([take("03", actor, emotion) for actor in actors for emotion in (1, 3)])
    files |= {download.RAVDESS_SPEECH: speech, "Audio_Song_Actors_01-24.zip": b"not wanted"}
    record = {
        "files": [
            {"key": name, "size": len(content), "checksum": f"md5:{md5(content)}"}
            for name, content in files.items()
        ]
    }
    for name, content in files.items():
        server.served[f"/files/{name}?download=1"] = Served(content)
    server.served["/record"] = Served(json.dumps(record).encode())
    monkeypatch.setattr(download, "RAVDESS_RECORD", f"{server.address}/record")
    monkeypatch.setattr(download, "RAVDESS_FILE", server.address + "/files/{}?download=1")
    monkeypatch.setattr(download, "RAVDESS_SIZE", len(speech))
    monkeypatch.setattr(download, "RAVDESS_MD5", md5(speech))
    monkeypatch.setattr(download, "ACTORS", actors)
    return server


def paths_asked(server: Server) -> list[str]:
    asked = [path.partition("?")[0].removeprefix("/files/") for path, _ in server.requests]
    server.requests.clear()
    return asked


def ravdess_files(actors: range) -> dict[str, bytes]:
    names = [take(m, actor, e) for actor in actors for m in ("01", "02", "03") for e in (1, 3)]
    return {name: noise(name) for name in names}


def test_ravdess(zenodo: Server, monkeypatch: pytest.MonkeyPatch, capsys):
    start(monkeypatch, "ravdess")
    assert tree(RAW / "ravdess") == ravdess_files(range(1, 4))
    videos = [f"Video_Speech_Actor_{actor:02}.zip" for actor in range(1, 4)]
    assert paths_asked(zenodo) == ["/record", download.RAVDESS_SPEECH, *videos]
    out, err = capsys.readouterr()
    assert "CC BY-NC-SA 4.0" in out and "Livingstone" in out and "data/raw/ravdess: in place" in out
    assert "rm data/raw/.downloads/ravdess/*.zip" in out
    assert "Video_Speech_Actor_03.zip, unpacking: " in err

    found = read_ravdess(RAW / "ravdess", "ravdess")
    assert [bool(each.audio and each.video) for each in found.utterances] == [True] * 6


def test_a_second_run_does_nothing(zenodo: Server, monkeypatch: pytest.MonkeyPatch):
    start(monkeypatch, "ravdess")
    for archive in DOWNLOADS.glob("ravdess/*.zip"):
        archive.unlink()  # as the command itself suggests
    paths_asked(zenodo)
    times = {path: path.stat().st_mtime_ns for path in RAW.rglob("*.mp4")}
    start(monkeypatch, "ravdess")
    start(monkeypatch, "ravdess", "--actors", "2")
    assert paths_asked(zenodo) == []
    assert times == {path: path.stat().st_mtime_ns for path in RAW.rglob("*.mp4")}


def test_some_actors_then_more(zenodo: Server, monkeypatch: pytest.MonkeyPatch):
    start(monkeypatch, "ravdess", "--actors", "1")
    assert tree(RAW / "ravdess") == ravdess_files(range(1, 2))
    paths_asked(zenodo)
    start(monkeypatch, "ravdess", "--actors", "1")
    assert paths_asked(zenodo) == []
    start(monkeypatch, "ravdess", "--actors", "1-2")
    assert tree(RAW / "ravdess") == ravdess_files(range(1, 3))
    assert paths_asked(zenodo) == ["/record", "Video_Speech_Actor_02.zip"]
    start(monkeypatch, "ravdess")
    assert tree(RAW / "ravdess") == ravdess_files(range(1, 4))


def test_a_file_that_went_missing_comes_back(zenodo: Server, monkeypatch: pytest.MonkeyPatch):
    start(monkeypatch, "ravdess")
    lost = RAW / "ravdess" / take("01", 2, 3)
    lost.unlink()
    start(monkeypatch, "ravdess")
    assert lost.read_bytes() == noise(take("01", 2, 3))


def test_a_changed_file_is_not_overwritten(zenodo: Server, monkeypatch: pytest.MonkeyPatch):
    start(monkeypatch, "ravdess")
    mine = RAW / "ravdess" / take("01", 2, 3)
    mine.write_bytes(b"cut by hand")
    with pytest.raises(UserError, match=f"{mine}: is there already with another content"):
        start(monkeypatch, "ravdess")
    assert mine.read_bytes() == b"cut by hand"


def test_what_was_not_put_there_by_us_stays_alone(zenodo: Server, monkeypatch: pytest.MonkeyPatch):
    mine = RAW / "ravdess/mine.mp4"
    mine.parent.mkdir(parents=True)
    mine.touch()
    with pytest.raises(UserError, match="data/raw/ravdess: was not put there by this command"):
        start(monkeypatch, "ravdess")
    mine.unlink()
    mine.parent.rmdir()
    mine.parent.symlink_to("/tmp")
    with pytest.raises(UserError, match="data/raw/ravdess: is a link"):
        start(monkeypatch, "ravdess")


def test_a_killed_run_goes_on(zenodo: Server, monkeypatch: pytest.MonkeyPatch):
    """Killed while moving, as nothing can be tidied up then."""
    true = download.merge

    def killed(source: Path, target: Path) -> None:
        raise SystemExit(137)

    monkeypatch.setattr(download, "merge", killed)
    with pytest.raises(SystemExit):
        start(monkeypatch, "ravdess")
    assert not (RAW / "ravdess").exists()
    left = DOWNLOADS / "ravdess/unpacking/Actor_01/half.mp4"
    left.parent.mkdir(parents=True)
    left.touch()
    monkeypatch.setattr(download, "merge", true)
    start(monkeypatch, "ravdess")
    assert tree(RAW / "ravdess") == ravdess_files(range(1, 4))
    assert paths_asked(zenodo).count(download.RAVDESS_SPEECH) == 1


def test_an_evil_archive_leaves_nothing(zenodo: Server, monkeypatch: pytest.MonkeyPatch):
    evil = zip_bytes(["good.wav", "../../../evil.wav"])
    zenodo.served[f"/files/{download.RAVDESS_SPEECH}?download=1"].content = evil
    monkeypatch.setattr(download, "RAVDESS_SIZE", len(evil))
    monkeypatch.setattr(download, "RAVDESS_MD5", md5(evil))
    with pytest.raises(UserError, match="leads out of it"):
        start(monkeypatch, "ravdess")
    assert not (RAW / "ravdess").exists() and not list(Path().rglob("*.wav"))


def test_a_record_without_the_file_and_no_record(zenodo: Server, monkeypatch: pytest.MonkeyPatch):
    zenodo.served["/record"].content = b'{"files": []}'
    with pytest.raises(UserError, match="/record: lists no Video_Speech_Actor_01.zip"):
        start(monkeypatch, "ravdess")
    zenodo.served["/record"].content = b'{"files": [{"key": "a"}]}'
    with pytest.raises(UserError, match="/record: lists no files with checksums"):
        start(monkeypatch, "ravdess")
    del zenodo.served["/record"]
    with pytest.raises(UserError, match="/record: HTTP Error 404"):
        start(monkeypatch, "ravdess")


def test_no_room_for_all_of_it(zenodo: Server, monkeypatch: pytest.MonkeyPatch):
    record = json.loads(zenodo.served["/record"].content)
    record["files"][2]["size"] = 1 << 60
    zenodo.served["/record"].content = json.dumps(record).encode()
    with pytest.raises(UserError, match="data/raw/ravdess: no space"):
        start(monkeypatch, "ravdess")
    assert paths_asked(zenodo) == ["/record"]


@pytest.mark.parametrize(
    ("text", "actors"),
    [("1", [1]), ("1-3", [1, 2, 3]), ("24,1-2,2", [1, 2, 24]), (" 7 , 9-9", [7, 9])],
)
def test_actors(text: str, actors: list[int]):
    assert parse_actors(text) == actors


@pytest.mark.parametrize("text", ["", "0", "25", "3-1", "1-25", "1,,2", "all", "1-2-3", "-1"])
def test_other_actors(text: str):
    with pytest.raises(UserError, match="--actors: .*; write e.g. 1-3"):
        parse_actors(text)


# MELD


def tar_bytes(files: dict[str, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return output.getvalue()


@pytest.fixture
def meld(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    train = tar_bytes({"train_splits/dia0_utt0.mp4": noise("train")})
    test = tar_bytes({
        "output_repeated_splits_test/dia0_utt0.mp4": noise("test"),
        "output_repeated_splits_test/._dia0_utt0.mp4": b"stub",
    })  # fmt: skip
    table = b"Sr No.,Utterance\r\n"
    whole = tar_bytes({
        "MELD.Raw/train.tar.gz": train,
        "MELD.Raw/train_sent_emo.csv": table,
        "MELD.Raw/test.tar.gz": test,
    })  # fmt: skip
    server.served["/first"] = Served(whole)
    server.served["/second"] = Served(whole)
    addresses = (f"{server.address}/first", f"{server.address}/second")
    checksum = f"sha256:{hashlib.sha256(whole).hexdigest()}"
    monkeypatch.setattr(
        download, "MELD", Remote(addresses, len(whole), checksum, note=download.MELD.note)
    )
    return server


MELD_FILES = {
    "MELD.Raw/train/train_splits/dia0_utt0.mp4": noise("train"),
    "MELD.Raw/test/output_repeated_splits_test/dia0_utt0.mp4": noise("test"),
    "MELD.Raw/test/output_repeated_splits_test/._dia0_utt0.mp4": b"stub",
    "MELD.Raw/train_sent_emo.csv": b"Sr No.,Utterance\r\n",
}


def test_meld(meld: Server, monkeypatch: pytest.MonkeyPatch, capsys):
    start(monkeypatch, "meld")
    assert tree(RAW / "meld") == MELD_FILES
    assert sorted(path.name for path in DOWNLOADS.glob("meld/*")) == [
        "MELD.Raw.tar.gz", "MELD.Raw.tar.gz.json", "lock",
    ]  # fmt: skip
    out = capsys.readouterr().out
    assert "GPL-3.0" in out and "Poria" in out and "third parties recorded" in out
    assert "rm data/raw/.downloads/meld/*.gz" in out
    start(monkeypatch, "meld")
    assert paths_asked(meld) == ["/first"]


def test_meld_goes_on_at_the_second_address(meld: Server, monkeypatch: pytest.MonkeyPatch):
    meld.served["/first"].breaks = [40_000]
    meld.served["/first"].states = []
    monkeypatch.setattr(remote, "RETRIES", -1)
    start(monkeypatch, "meld")
    assert tree(RAW / "meld") == MELD_FILES
    assert meld.ranges() == ["", "bytes=40000-"]


def test_meld_with_other_content(meld: Server, monkeypatch: pytest.MonkeyPatch):
    for served in meld.served.values():
        served.content = bytes(len(served.content))
    with pytest.raises(UserError, match="/first: other content.*third parties.*/second: other"):
        start(monkeypatch, "meld")
    assert not (RAW / "meld").exists()


def test_meld_fetched_elsewhere(meld: Server, monkeypatch: pytest.MonkeyPatch):
    path = DOWNLOADS / "meld/MELD.Raw.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(meld.served["/first"].content)
    start(monkeypatch, "meld")
    assert tree(RAW / "meld") == MELD_FILES and meld.requests == []


# CREMA-D

CLIPS = {f"AudioWAV/{n}_DFA_ANG_XX.wav": noise(f"{n}.wav", 3000) for n in range(1001, 1006)}
CLIPS |= {f"VideoFlash/{n}_DFA_ANG_XX.flv": noise(f"{n}.flv", 9000) for n in range(1001, 1006)}
CLIPS |= {"VideoFlash/copy.flv": CLIPS["VideoFlash/1001_DFA_ANG_XX.flv"]}  # one object, two names
TABLE = {"SentenceFilenames.csv": b"Stimulus_Number,Filename\n"}


@pytest.fixture
def cremad(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A repository on this disk, reached by the address of its LFS, as /crema.git."""
    repository = tmp_path / "origin"
    repository.mkdir()
    files = CLIPS | {"AudioMP3/1001_DFA_ANG_XX.mp3": b"the same once more"}
    for name, content in files.items():
        path = repository / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(LFS_POINTER.format(hashlib.sha256(content).hexdigest(), len(content)))
        server.served[f"/object/{hashlib.sha256(content).hexdigest()}"] = Served(content)
    for name, content in TABLE.items():
        (repository / name).write_bytes(content)
    (repository / "link.wav").symlink_to("/etc/passwd")
    git = ["git", "-C", str(repository), "-c", "user.name=t", "-c", "user.email=t@t"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)

    def batch(question: bytes) -> bytes:
        asked = json.loads(question)
        assert asked["operation"] == "download"
        assert len(asked["objects"]) <= lfs.BATCH
        return json.dumps({
            "objects": [
                {
                    **item,
                    "actions": {
                        "download": {
                            "href": f"{server.address}/object/{item['oid']}",
                            "header": {"Authorization": "ticket"},
                        }
                    },
                }
                for item in asked["objects"]
            ]
        }).encode()  # fmt: skip

    server.served["/crema.git/info/lfs/objects/batch"] = Served(posted=batch)
    address = f"{server.address}/crema.git"
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{repository}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", address)
    monkeypatch.setattr(download, "CREMAD", (f"file://{tmp_path}/none.git", address))
    monkeypatch.setattr(lfs, "BATCH", 4)
    return server


def test_cremad(cremad: Server, monkeypatch: pytest.MonkeyPatch, capsys):
    start(monkeypatch, "cremad")
    assert tree(RAW / "cremad") == CLIPS | TABLE | {"link.wav": b"/etc/passwd"}
    assert not (RAW / "cremad/link.wav").is_symlink()
    assert sorted(os.listdir(DOWNLOADS / "cremad")) == ["lock", "repository.json"]
    assert "Open Database License" in capsys.readouterr().out
    tickets = [
        headers.get("Authorization") for path, headers in cremad.requests if "/object/" in path
    ]
    assert tickets == ["ticket"] * len(CLIPS)
    paths_asked(cremad)
    start(monkeypatch, "cremad")
    assert paths_asked(cremad) == []


def test_cremad_goes_on(cremad: Server, monkeypatch: pytest.MonkeyPatch):
    last = f"/object/{hashlib.sha256(CLIPS['VideoFlash/1005_DFA_ANG_XX.flv']).hexdigest()}"
    cremad.served[last].states = [404]
    with pytest.raises(UserError, match=f"{last}: HTTP Error 404"):
        start(monkeypatch, "cremad")
    assert not (RAW / "cremad").exists()
    first = set(paths_asked(cremad))
    start(monkeypatch, "cremad")
    assert tree(RAW / "cremad") == CLIPS | TABLE | {"link.wav": b"/etc/passwd"}
    assert not first & {path for path in paths_asked(cremad) if "object/" in path and path != last}


def test_cremad_with_wrong_bytes(cremad: Server, monkeypatch: pytest.MonkeyPatch):
    name = hashlib.sha256(CLIPS["AudioWAV/1001_DFA_ANG_XX.wav"]).hexdigest()
    cremad.served[f"/object/{name}"].content = bytes(3000)
    with pytest.raises(UserError, match=f"other content, deleted: expected sha256 {name}"):
        start(monkeypatch, "cremad")
    assert not (RAW / "cremad").exists()


@pytest.mark.parametrize(
    "answer", [b"{}", b'{"objects": [{"oid": "x", "error": {"code": 404}}]}', b'{"objects": [1]}',
               b'{"objects": []}'],
)  # fmt: skip
def test_cremad_without_its_objects(cremad: Server, monkeypatch: pytest.MonkeyPatch, answer: bytes):
    cremad.served["/crema.git/info/lfs/objects/batch"].posted = lambda _: answer
    with pytest.raises(UserError, match="crema.git: does not give all files"):
        start(monkeypatch, "cremad")


def test_cremad_that_cannot_be_cloned(cremad: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(download, "CREMAD", ("file:///none.git",))
    with pytest.raises(UserError, match="file:///none.git: cannot be cloned .*none.git.*again"):
        start(monkeypatch, "cremad")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="git: cannot be run"):
        start(monkeypatch, "cremad")


def test_cremad_that_is_not_complete(cremad: Server, monkeypatch: pytest.MonkeyPatch):
    start(monkeypatch, "cremad")
    (RAW / "cremad" / "AudioWAV/1001_DFA_ANG_XX.wav").unlink()
    with pytest.raises(UserError, match="data/raw/cremad: is not complete; move it away"):
        start(monkeypatch, "cremad")


def test_cremad_killed_while_tidying(cremad: Server, monkeypatch: pytest.MonkeyPatch):
    def killed(*_: object, **__: object) -> None:
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(download, "write_json", killed)
        with pytest.raises(SystemExit):
            start(patch, "cremad")
    start(monkeypatch, "cremad")
    assert tree(RAW / "cremad") == CLIPS | TABLE | {"link.wav": b"/etc/passwd"}


# SAVEE and the command itself


def command(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stages", "download", *words],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip


def test_savee_says_where_to_register_and_what_to_put_where(tmp_path: Path):
    (tmp_path / "params.yaml").touch()
    ended = command(tmp_path, "savee")
    assert ended.returncode == 2
    assert "Register: http" in ended.stdout and "data/raw/savee/AudioData/" in ended.stdout
    assert re.fullmatch(r"error: data/raw/savee/AudioData: is missing.*\n", ended.stderr)


def test_savee_in_place(server: Server, monkeypatch: pytest.MonkeyPatch, capsys):
    for part in ("AudioData", "AudioVisualClip"):
        with pytest.raises(UserError, match=f"data/raw/savee/{part}: is missing"):
            start(monkeypatch, "savee")
        (RAW / "savee" / part).mkdir(parents=True)
    start(monkeypatch, "savee")
    assert "data/raw/savee: in place" in capsys.readouterr().out


def test_mistakes_on_the_command_line(server: Server, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SystemExit) as ended:
        start(monkeypatch, "iemocap")
    assert ended.value.code == 2
    with pytest.raises(UserError, match="--actors: is for ravdess alone"):
        start(monkeypatch, "meld", "--actors", "1")


def test_two_runs_at_once(server: Server, monkeypatch: pytest.MonkeyPatch):
    (DOWNLOADS / "meld").mkdir(parents=True)
    with open(DOWNLOADS / "meld/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="meld is being fetched by another run"):
            start(monkeypatch, "meld")


def test_a_folder_that_cannot_be_made(server: Server, monkeypatch: pytest.MonkeyPatch):
    Path("data").write_text("")
    with pytest.raises(UserError, match="data/raw: cannot be written: .*Not a directory"):
        start(monkeypatch, "meld")


def test_what_is_fetched_is_ignored_by_git():
    assert "/data/*" in (ROOT / ".gitignore").read_text().splitlines()
    assert Path("data") in DOWNLOADS.parents


def test_terms_name_licence_and_citation():
    assert set(TERMS) == {"ravdess", "cremad", "meld", "savee"}
    for text in TERMS.values():
        assert "Cite: " in text and max(map(len, text.splitlines())) <= 100
