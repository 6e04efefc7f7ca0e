"""Archives that lead out of their folder, are not what they say, or unpack to too much."""

import gzip
import io
import random
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from stages.commands.download import archives
from stages.commands.download.archives import Limits, files_in, merge, scratch, unpack
from stages.runtime.errors import UserError

NOISE = random.Random(1).randbytes(200_000)
TREE = {"top/a.wav": NOISE, "top/sub/b.wav": b"b", "c.csv": b""}


def regular(name: str, content: bytes = b"x") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def tar_bytes(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz", compresslevel=1) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return output.getvalue()


def write_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path.write_bytes(tar_bytes(*members))
    return path


def write_zip(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in members:
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def zip_special(name: str, kind: int, content: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o644) << 16
    return info, content


def run(archive: Path, folder: Path, **options) -> list[int]:
    return list(unpack(archive, folder, **options))


def refusal(archive: Path, **options) -> str:
    """The error of an archive that is refused, with nothing outside of the folder."""
    box = archive.parent / "box"
    before = files_in(archive.parent)
    with scratch(box / "folder") as folder, pytest.raises(UserError) as caught:
        run(archive, folder, **options)
    assert files_in(archive.parent) == before, "something was written elsewhere"
    line = str(caught.value)
    assert line.startswith(str(archive)) and "delete it" in line and "\n" not in line
    return line


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


@pytest.fixture(params=["a.zip", "a.tar.gz"])
def sound(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    if path.suffix == ".zip":
        return write_zip(path, ("top/", b""), *TREE.items())
    folder = special("top", tarfile.DIRTYPE)
    return write_tar(path, folder, *(regular(name, TREE[name]) for name in TREE))


def test_a_sound_archive(sound: Path, tmp_path: Path):
    positions = run(sound, tmp_path / "out")
    assert contents(tmp_path / "out") == TREE
    assert positions == sorted(positions) and 0 < positions[-1] <= sound.stat().st_size


def test_only_what_is_wanted(sound: Path, tmp_path: Path):
    run(sound, tmp_path / "out", wanted=lambda name: name.endswith("b.wav"))
    assert contents(tmp_path / "out") == {"top/sub/b.wav": b"b"}


def test_modes_and_owners_of_an_archive_are_not_taken(tmp_path: Path):
    info, content = regular("a")
    info.mode = 0o6777
    run(write_tar(tmp_path / "a.tar.gz", (info, content)), tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out/a").stat().st_mode) & 0o7111 == 0


# The six evil archives, as tar and as zip.


@pytest.mark.parametrize("name", ["../evil", "top/../../evil", "..", "/evil", "a\\..\\b"])
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_names_that_lead_out(tmp_path: Path, name: str, kind: str):
    write = write_zip if kind == "zip" else write_tar
    name = f"{tmp_path}/evil" if name == "/evil" else name
    members = [("good", b"x"), (name, b"x")]
    if kind == "tar.gz":
        members = [regular(*member) for member in members]
    assert "leads out" in refusal(write(tmp_path / f"a.{kind}", *members))
    assert not Path("/evil").exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../evil", "good"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar(tmp_path: Path, kind: bytes, target: str):
    archive = write_tar(
        tmp_path / "a.tar.gz", regular("good"), special("link", kind, target), regular("link/x")
    )
    assert "link" in refusal(archive)


@pytest.mark.parametrize(
    "kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE]
)
def test_devices_in_a_tar(tmp_path: Path, kind: bytes):
    archive = write_tar(tmp_path / "a.tar.gz", special("device", kind))
    if kind == tarfile.CONTTYPE:  # counts as a regular file, and is one
        assert run(archive, tmp_path / "out") == []
    else:
        assert "device" in refusal(archive)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO])
def test_links_and_devices_in_a_zip(tmp_path: Path, kind: int):
    archive = write_zip(tmp_path / "a.zip", zip_special("link", kind, b"/etc/passwd"))
    assert "'link' is a link or a device" in refusal(archive)


def test_a_nul_in_a_name(tmp_path: Path):
    # Neither library writes one.
    path = write_zip(tmp_path / "a.zip", ("goodXevil", b"x"))
    path.write_bytes(path.read_bytes().replace(b"goodXevil", b"good\0evil"))
    assert "leads out" in refusal(path)
    path = write_tar(tmp_path / "b.tar.gz", (regular("goodXevil")))
    info = regular("good")[0]
    info.pax_headers = {"path": "good\0evil"}
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"x"))
    path.write_bytes(output.getvalue())
    assert "leads out" in refusal(path)


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_bomb_by_its_ratio(tmp_path: Path, kind: str):
    zeros = bytes(3_000_000)
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        write_zip(path, ("bomb", zeros))
    else:
        write_tar(path, regular("bomb", zeros))
    assert "unpacks to more than" in refusal(path)
    run(path, tmp_path / "out", limits=Limits(ratio=1e6))


def test_too_many_members_or_bytes(sound: Path):
    assert "more than 2 members" in refusal(sound, limits=Limits(members=2))
    assert "more than 200,000 bytes" in refusal(sound, limits=Limits(bytes=200_000))


def test_a_limit_holds_against_headers_that_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Should a library ever give more than the header announced."""
    true = archives.Member
    monkeypatch.setattr(archives, "Member", lambda *fields: true(*fields[:2], 0, fields[3]))
    path = write_zip(tmp_path / "a.zip", ("a", NOISE))
    folder = tmp_path / "out"
    with pytest.raises(UserError, match="unpacks to more than 1,000 bytes"):
        run(path, folder, limits=Limits(bytes=1000))
    assert sum(files_in(folder).values()) <= 1000


def test_a_zip_that_lies_about_a_size(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", ("a", bytes(100_000)))
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 100_000), struct.pack("<I", 10)))
    assert "is damaged" in refusal(path)


def test_a_sparse_file(tmp_path: Path):
    info = tarfile.TarInfo("sparse")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"77777777777\0"  # the size to expand to
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(bytes(header) + bytes(1024)))
    assert "sparse" in refusal(path)


def test_a_header_that_would_fill_the_memory(tmp_path: Path):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096)))
    assert "a header of 8589934592 bytes" in refusal(path)


def test_a_password(tmp_path: Path):
    path = write_zip(tmp_path / "a.zip", ("a", b"x"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "is damaged" in refusal(path)


def test_a_name_twice(tmp_path: Path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = write_zip(tmp_path / "a.zip", ("top/a", b"x"), ("top/a", b"y"))
    assert "holds top/a twice" in refusal(path)
    path = write_tar(tmp_path / "a.tar.gz", regular("a"), regular("./a"))
    assert "holds a twice" in refusal(path)


def test_any_part_of_an_archive_is_an_error(sound: Path, tmp_path: Path):
    whole = sound.read_bytes()
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 100):
        sound.write_bytes(whole[:length])
        assert "is damaged" in refusal(sound)


def test_noise_and_pages_are_errors(tmp_path: Path):
    for name in ("a.zip", "a.tar.gz"):
        for content in (b"<html>not found</html>", NOISE, gzip.compress(NOISE)):
            (tmp_path / name).write_bytes(content)
            assert "is damaged" in refusal(tmp_path / name)


def test_a_nested_archive(tmp_path: Path):
    inner = tar_bytes(regular("train_splits/a.mp4", NOISE), regular("deep.tar.gz", b"as it is"))
    path = write_tar(
        tmp_path / "a.tar.gz",
        regular("raw/train.tar.gz", inner),
        regular("raw/._train.tar.gz", b"stub"),
        regular("raw/train.csv", b"csv"),
    )
    run(path, tmp_path / "out", nested=True)
    assert contents(tmp_path / "out") == {
        "raw/train/train_splits/a.mp4": NOISE,
        "raw/train/deep.tar.gz": b"as it is",
        "raw/._train.tar.gz": b"stub",
        "raw/train.csv": b"csv",
    }
    run(path, tmp_path / "plain")
    assert contents(tmp_path / "plain")["raw/train.tar.gz"] == inner


@pytest.mark.parametrize(
    "evil",
    [regular("../../evil"), regular("/evil"), special("l", tarfile.SYMTYPE, "/"),
     regular("zeros", bytes(3_000_000))],
)  # fmt: skip
def test_evil_in_a_nested_archive(tmp_path: Path, evil: tuple[tarfile.TarInfo, bytes]):
    nested = regular("raw/train.tar.gz", tar_bytes(regular("good"), evil))
    refusal(write_tar(tmp_path / "a.tar.gz", nested), nested=True)


def test_a_damaged_nested_archive(tmp_path: Path):
    inner = tar_bytes(regular("a", NOISE))[:-500]
    path = write_tar(tmp_path / "a.tar.gz", regular("raw/train.tar.gz", inner))
    assert "is damaged" in refusal(path, nested=True)


def test_an_evil_name_of_a_nested_archive(tmp_path: Path):
    nested = regular("../train.tar.gz", tar_bytes(regular("a")))
    assert "leads out" in refusal(write_tar(tmp_path / "a.tar.gz", nested), nested=True)


def test_a_python_without_the_filter_refuses_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(archives, "_data_filter", lambda member, path: member)
    for index, evil in enumerate((
        regular("../evil"), regular("/evil"), special("l", tarfile.SYMTYPE, "/etc"),
        special("l", tarfile.LNKTYPE, "x"), special("d", tarfile.CHRTYPE),
    )):  # fmt: skip
        assert "is not unpacked" in refusal(write_tar(tmp_path / f"{index}.tar.gz", evil))


def test_a_folder_that_cannot_be_written(sound: Path, tmp_path: Path):
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(UserError, match="out: cannot be written|out.*free space"):
        run(sound, tmp_path / "out")


def test_scratch_is_empty_and_goes(tmp_path: Path):
    folder = tmp_path / "a/b"
    folder.mkdir(parents=True)
    (folder / "left").touch()
    with pytest.raises(KeyError), scratch(folder):
        assert list(folder.iterdir()) == []
        (folder / "new").touch()
        raise KeyError
    assert not folder.exists()


def tree(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_merge_adds_to_what_is_there(tmp_path: Path):
    target = tree(tmp_path / "to", {"a/1": b"1", "mine": b"m"})
    merge(tree(tmp_path / "from", {"a/1": b"1", "a/2": b"2", "b/c/3": b"3"}), target)
    assert contents(target) == {"a/1": b"1", "a/2": b"2", "b/c/3": b"3", "mine": b"m"}


def test_merge_overwrites_nothing(tmp_path: Path):
    target = tree(tmp_path / "to", {"z": b"mine"})
    source = tree(tmp_path / "from", {"a": b"1", "z": b"other"})
    with pytest.raises(UserError, match="to/z: is there already with another content"):
        merge(source, target)
    assert contents(target) == {"z": b"mine"}
    (target / "z").unlink()
    (target / "z").symlink_to("nowhere")
    with pytest.raises(UserError, match="to/z: is there already"):
        merge(source, target)
    (target / "z").unlink()
    (target / "z").mkdir()
    with pytest.raises(UserError, match="to/z: is there already"):
        merge(source, target)


def test_merge_under_a_file(tmp_path: Path):
    target = tree(tmp_path / "to", {"a": b"a file"})
    with pytest.raises(UserError, match="to: cannot be written"):
        merge(tree(tmp_path / "from", {"a/b": b"1"}), target)
