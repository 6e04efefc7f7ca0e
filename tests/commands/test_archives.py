"""Archives that lead out of their folder, are not what they say, or unpack to too much."""

import gzip
import io
import random
import shutil
import stat
import struct
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from stages.commands import archives
from stages.commands.archives import unpack
from stages.commands.download import files_in
from stages.runtime.errors import UserError
from tests.mutations import mutate_bytes, random_of

NOISE = random.Random(1).randbytes(200_000)
TREE = {"top/a.wav": NOISE, "top/sub/b.wav": b"b", "c.csv": b""}


def tar_bytes(*members: tuple[str | tarfile.TarInfo, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz", compresslevel=1) as archive:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return output.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def write(path: Path, *members: tuple) -> Path:
    """An archive of the kind that the name says."""
    if path.suffix == ".gz":
        path.write_bytes(tar_bytes(*members))
    else:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for info, content in members:
                archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def refusal(archive: Path) -> str:
    """The error of an archive that is refused, with nothing written outside of the folder."""
    folder = archive.parent / "box/folder"

    def outside() -> set[str]:
        return {name for name in files_in(archive.parent) if not name.startswith("box/folder/")}

    before = outside()
    with pytest.raises(UserError) as caught:
        unpack(archive, folder)
    assert outside() == before
    line = str(caught.value)
    assert line.startswith(f"{archive}: cannot be unpacked: ") and "delete it" in line
    assert "\n" not in line
    return line


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files_in(folder)}


@pytest.fixture(params=["a.zip", "a.tar.gz"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The name of an archive of either kind."""
    return tmp_path / request.param


def test_a_sound_archive(path: Path, tmp_path: Path):
    folder = special("top", tarfile.DIRTYPE) if path.suffix == ".gz" else ("top/", b"")
    unpack(write(path, folder, *TREE.items()), tmp_path / "out")
    assert contents(tmp_path / "out") == TREE


def test_of_a_zip_only_what_is_wanted(tmp_path: Path):
    unpack(write(tmp_path / "a.zip", *TREE.items()), tmp_path / "out", r".*b\.wav")
    assert contents(tmp_path / "out") == {"top/sub/b.wav": b"b"}


def test_modes_of_an_archive_are_not_taken(tmp_path: Path):
    info = tarfile.TarInfo("a")
    info.mode = 0o6777
    unpack(write(tmp_path / "a.tar.gz", (info, b"x")), tmp_path / "out")
    assert stat.S_IMODE((tmp_path / "out/a").stat().st_mode) & 0o7022 == 0


@pytest.mark.parametrize("name", ["../evil", "top/../../evil", "..", "/evil", "a\\..\\b"])
def test_names_that_lead_out(path: Path, tmp_path: Path, name: str):
    name = f"{tmp_path}/evil" if name == "/evil" else name
    assert "leads out" in refusal(write(path, ("good", b"x"), (name, b"x")))


class Unnamed(zipfile.ZipInfo):
    """A member with an empty name, which zipfile only writes where it need not look at it."""

    def is_dir(self) -> bool:
        return False


def test_a_name_that_is_empty_or_too_long_or_that_a_terminal_would_obey(path: Path):
    empty = Unnamed("") if path.suffix == ".zip" else ""
    for name in (empty, ".", "a/.", "a" * 300, "a\x1b[2J", "a\nb", "a\u202eb", "a\r"):
        line = refusal(write(path, (name, b"x"), ("a/b", b"x")))
        assert line.isprintable()


@pytest.mark.parametrize(
    "members", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b"), ("a", "a/b/c"), ("a/b", "c", "a/b/d")]
)
def test_a_name_that_is_of_a_file_and_of_a_folder(path: Path, members: tuple[str, ...]):
    refusal(write(path, *((name, b"x") for name in members)))


def test_a_nul_in_a_name(tmp_path: Path):
    # Neither library writes one.
    path = write(tmp_path / "a.zip", ("goodXevil", b"x"))
    path.write_bytes(path.read_bytes().replace(b"goodXevil", b"good\0evil"))
    assert "leads out" in refusal(path)


@pytest.mark.parametrize("target", ["/etc/passwd", "../../evil", "good"])
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar(tmp_path: Path, kind: bytes, target: str):
    members = [("good", b"x"), special("link", kind, target), ("link/x", b"x")]
    assert "'link' is a link" in refusal(write(tmp_path / "a.tar.gz", *members))


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_in_a_tar(tmp_path: Path, kind: bytes):
    assert "a device" in refusal(write(tmp_path / "a.tar.gz", special("device", kind)))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO])
def test_links_and_devices_in_a_zip(tmp_path: Path, kind: int):
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o644) << 16
    assert "'link' is a link" in refusal(write(tmp_path / "a.zip", (info, b"/etc/passwd")))


def test_a_bomb_by_its_ratio(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(path, ("bomb", bytes(3_000_000)))
    assert "unpacks to more than" in refusal(path)
    monkeypatch.setattr(archives, "MAX_RATIO", 1e6)
    unpack(path, tmp_path / "out")


def test_too_many_members_or_bytes(path: Path, monkeypatch: pytest.MonkeyPatch):
    write(path, *TREE.items())
    with monkeypatch.context() as patch:
        patch.setattr(archives, "MAX_MEMBERS", 2)
        assert "more than 2 members" in refusal(path)
    monkeypatch.setattr(archives, "MAX_BYTES", 200_000)
    assert "more than 200,000 bytes" in refusal(path)


def test_a_zip_that_lies_about_a_size(tmp_path: Path):
    path = write(tmp_path / "a.zip", ("a", bytes(100_000)))
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 100_000), struct.pack("<I", 10)))
    refusal(path)
    assert sum(files_in(tmp_path / "box").values()) <= 10


def test_headers_that_would_fill_the_disk_or_the_memory(tmp_path: Path):
    sparse = special("sparse", tarfile.GNUTYPE_SPARSE)[0]
    header = bytearray(sparse.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"77777777777\0"  # the size to expand to
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    long_name = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)[0]
    long_name.size = 1 << 33
    path = tmp_path / "a.tar.gz"
    for head, said in (
        (bytes(header), "'sparse' is a link, a device or sparse"),
        (long_name.tobuf(tarfile.GNU_FORMAT), "a header of 8589934592 bytes"),
    ):
        path.write_bytes(gzip.compress(head + bytes(4096)))
        assert said in refusal(path)


def test_a_password(tmp_path: Path):
    path = write(tmp_path / "a.zip", ("a", b"x"))
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "password" in refusal(path)


def test_any_part_of_an_archive_is_an_error_and_so_are_noise_and_pages(path: Path):
    whole = write(path, *TREE.items()).read_bytes()
    parts = [whole[:length] for length in (0, 5, 100, len(whole) // 2, len(whole) - 100)]
    for content in (*parts, b"<html>not found</html>", NOISE, gzip.compress(NOISE)):
        path.write_bytes(content)
        refusal(path)


def test_a_nested_archive(tmp_path: Path):
    inner = tar_bytes(("train_splits/a.mp4", NOISE), ("deep.tar.gz", b"as it is"))
    members = {
        "raw/train.tar.gz": inner,
        "raw/._train.tar.gz": b"stub",
        "raw/train.csv": b"csv",
    }
    unpack(write(tmp_path / "a.tar.gz", *members.items()), tmp_path / "out")
    assert contents(tmp_path / "out") == {
        "raw/train/train_splits/a.mp4": NOISE,
        "raw/train/deep.tar.gz": b"as it is",
        "raw/._train.tar.gz": b"stub",
        "raw/train.csv": b"csv",
    }


@pytest.mark.parametrize(
    "name, evil",
    [("raw/train.tar.gz", ("../../evil", b"x")), ("raw/train.tar.gz", ("/evil", b"x")),
     ("raw/train.tar.gz", special("l", tarfile.SYMTYPE, "/")),
     ("raw/train.tar.gz", ("zeros", bytes(30_000_000))), ("../train.tar.gz", ("a", b"x"))],
)  # fmt: skip
def test_evil_in_a_nested_archive(tmp_path: Path, name: str, evil: tuple):
    refusal(write(tmp_path / "a.tar.gz", (name, tar_bytes(("good", NOISE), evil))))


def test_a_file_where_a_nested_archive_needs_a_folder(tmp_path: Path):
    inner = tar_bytes(("a", NOISE))
    refusal(write(tmp_path / "a.tar.gz", ("train", b"x"), ("train.tar.gz", inner)))


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.long)])
def test_mutants_are_refused_in_one_line_or_unpacked(path: Path, tmp_path: Path, count: int):
    whole = write(path, *TREE.items(), ("d.tar.gz", tar_bytes(("e", b"x")))).read_bytes()
    ends: Counter[str] = Counter()
    for index in range(count):
        path.write_bytes(mutate_bytes(random_of(0, index), whole, whole[::-1])[0])
        try:
            unpack(path, tmp_path / str(index))
            ends["unpacked"] += 1
        except UserError as error:
            assert str(error).isprintable(), index
            ends["refused"] += 1
        shutil.rmtree(tmp_path / str(index), ignore_errors=True)
        assert list(tmp_path.iterdir()) == [path], index
    assert ends["refused"] > count // 2, ends


def test_a_damaged_nested_archive(tmp_path: Path):
    refusal(write(tmp_path / "a.tar.gz", ("raw/train.tar.gz", tar_bytes(("a", NOISE))[:-500])))
