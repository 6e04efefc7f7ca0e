"""What was made of a clip: kept by content, absent when damaged, reported and cleared."""

import hashlib
import importlib.metadata
import io
import math
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.extraction import clip_cache
from stages.extraction.clip_cache import (
    cache_folder,
    delete_oldest,
    size_limit,
)
from stages.io.arrays import Layout
from stages.media.crops import clip_faces
from stages.media.spectrogram import clip_mel
from stages.runtime.errors import ClipError, UserError
from tests.clip_work import process

ROOT = Path(__file__).parents[2]
ARRAYS = {
    "faces": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
    "ok": np.array([True, False]),
    "times": np.array([0.5, -1e300, 0]),
    "by_columns": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    "none": np.empty((0, 5), np.int16),
}


VALUES = {"values": np.arange(3)}


def layout_of(arrays: dict[str, np.ndarray]) -> Layout:
    return {name: (str(array.dtype), array.shape) for name, array in arrays.items()}


def write_entry(entry: Path, result: dict[str, np.ndarray] | ClipError) -> None:
    clip_cache.write_entry(
        entry, result, {} if isinstance(result, ClipError) else layout_of(result)
    )


def read_entry(entry: Path, like: dict[str, np.ndarray] = ARRAYS) -> Any:
    return clip_cache.read_entry(entry, layout_of(like))


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"a voice")
    return path


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    return tmp_path / "cache/mels/entry"


def entry_of(clip: Path, function: Callable[..., Any] = clip_mel, **settings: Any) -> str:
    """The name of the entry of a clip, which is all that it is found by."""
    return clip_cache.clip_cache("mels", function, settings).entry(clip).name


def test_arrays_come_back_as_they_were(entry: Path) -> None:
    write_entry(entry, ARRAYS)
    found = read_entry(entry)
    assert list(found) == list(ARRAYS)
    for name, values in ARRAYS.items():
        assert found[name].dtype == values.dtype and found[name].shape == values.shape
        np.testing.assert_array_equal(found[name], values)


def test_the_same_arrays_give_the_same_bytes(entry: Path) -> None:
    write_entry(entry, ARRAYS)
    first = entry.read_bytes()
    write_entry(entry, ARRAYS)
    assert entry.read_bytes() == first


@pytest.mark.parametrize("detail", ["the file is empty", "", "Zürich, 音声 \udcff"])
def test_a_failure_comes_back_as_it_was(entry: Path, detail: str) -> None:
    write_entry(entry, ClipError("unreadable", detail))
    found = read_entry(entry)
    assert isinstance(found, ClipError)
    assert (found.code, found.detail) == ("unreadable", detail)


def test_objects_are_neither_kept_nor_read(entry: Path) -> None:
    with pytest.raises(ValueError):
        write_entry(entry, {"values": np.array([{}, None])})


def test_an_absent_entry_is_none(entry: Path) -> None:
    assert read_entry(entry) is None
    entry.mkdir(parents=True)
    assert read_entry(entry) is None


def test_an_entry_cut_anywhere_counts_as_absent(entry: Path) -> None:
    write_entry(entry, VALUES)
    whole = entry.read_bytes()
    for length in range(len(whole)):
        entry.write_bytes(whole[:length])
        assert read_entry(entry, VALUES) is None, length


def test_an_entry_with_one_other_byte_counts_as_absent(entry: Path) -> None:
    write_entry(entry, VALUES)
    whole = entry.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        entry.write_bytes(damaged)
        assert read_entry(entry, VALUES) is None, place


def test_a_damaged_entry_is_written_anew(entry: Path) -> None:
    write_entry(entry, ARRAYS)
    entry.write_bytes(entry.read_bytes()[:-9] + bytes(900))
    write_entry(entry, VALUES)
    np.testing.assert_array_equal(read_entry(entry, VALUES)["values"], np.arange(3))
    assert list(entry.parent.iterdir()) == [entry]  # and nothing beside it


def test_a_valid_entry_is_never_written_over(entry: Path) -> None:
    write_entry(entry, ARRAYS)
    before = entry.stat()
    write_entry(entry, ARRAYS)
    assert entry.stat() == before and list(entry.parent.iterdir()) == [entry]


def forged(arrays: dict[str, Any]) -> bytes:
    """An entry with the right checksum, as anybody can write one."""
    archive = io.BytesIO()
    np.savez(archive, **arrays)
    return hashlib.sha256(archive.getvalue()).digest() + archive.getvalue()


FORGED = {
    "no archive": hashlib.sha256(b"text").digest() + b"text",
    "nothing": hashlib.sha256(b"").digest(),
    "no arrays": forged({}),
    "another name": forged({"value": np.arange(3)}),
    "one more": forged({"values": np.arange(3), "others": np.arange(3)}),
    "another type": forged({"values": np.arange(3.0)}),
    "another shape": forged({"values": np.arange(4)}),
    "another rank": forged({"values": np.arange(3)[None]}),
    "objects": forged({"values": np.array([{}, None, 1])}),
    "half a failure": forged({"failure": np.array(["unreadable"])}),
    "a failure of numbers": forged({"failure": np.array(3)}),
}


@pytest.mark.parametrize("what", FORGED)
def test_an_entry_of_other_content_counts_as_absent_and_is_written_anew(
    entry: Path, what: str
) -> None:
    entry.parent.mkdir(parents=True)
    entry.write_bytes(FORGED[what])
    assert read_entry(entry, VALUES) is None
    write_entry(entry, VALUES)
    assert list(read_entry(entry, VALUES)) == ["values"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_entry_of_numbers_that_are_not_finite_counts_as_absent(entry: Path, bad: float) -> None:
    entry.parent.mkdir(parents=True)
    entry.write_bytes(forged({"values": np.array([0, bad])}))
    assert read_entry(entry, {"values": np.zeros(2)}) is None


def test_a_pipe_or_a_link_counts_as_absent(entry: Path, tmp_path: Path) -> None:
    write_entry(tmp_path / "other", VALUES)
    entry.parent.mkdir(parents=True)
    os.mkfifo(entry)
    assert read_entry(entry, VALUES) is None
    entry.unlink()
    entry.symlink_to(tmp_path / "other")
    assert read_entry(entry, VALUES) is None and read_entry(tmp_path / "other", VALUES)


def test_the_cache_is_its_user_s_alone_and_else_there_is_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_entry(cache_folder() / "mels/entry", VALUES)
    for folder in (cache_folder(), cache_folder() / "mels"):
        assert folder.stat().st_mode & 0o777 == 0o700
    clip_cache.warn_if_open_to_others()
    assert capsys.readouterr().err == ""
    cache_folder().chmod(0o770)
    clip_cache.warn_if_open_to_others()
    assert "others can write to the cache of clips; chmod 700" in capsys.readouterr().err


def test_a_link_is_replaced_and_what_is_behind_it_stays(entry: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    entry.parent.mkdir(parents=True)
    entry.symlink_to(tmp_path / "thesis.tex")
    write_entry(entry, ARRAYS)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
    assert list(read_entry(entry)) == list(ARRAYS) and not entry.is_symlink()


def test_neither_the_name_nor_the_time_of_a_clip_matters(clip: Path) -> None:
    expected = entry_of(clip, n_mels=128)
    os.utime(clip, (0, 0))
    copy = clip.with_name("moved.mp4")
    shutil.copy(clip, copy)
    assert entry_of(clip, n_mels=128) == entry_of(copy, n_mels=128) == expected


def test_the_bytes_of_the_clip_and_the_settings_matter(clip: Path) -> None:
    other = clip.with_name("other.wav")
    other.write_bytes(b"A voice")
    names = [
        entry_of(clip, n_mels=128),
        entry_of(other, n_mels=128),
        entry_of(clip, n_mels=64),
        entry_of(clip, n_fft=128),
        entry_of(clip, n_mels="128"),
        entry_of(clip, function=clip_faces, n_mels=128),
        entry_of(clip, function=process, n_mels=128),
    ]
    assert len(set(names)) == len(names)


def test_the_order_of_the_settings_does_not_matter(clip: Path) -> None:
    assert entry_of(clip, n_mels=64, n_fft=512) == entry_of(clip, n_fft=512, n_mels=64)


@pytest.mark.parametrize("library", ["av", "librosa", "numpy", "scipy"])
def test_another_version_of_a_library_matters(
    clip: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    before = entry_of(clip)
    version = importlib.metadata.version

    def other(name: str) -> str:
        return "0.0" if name == library else version(name)

    monkeypatch.setattr(importlib.metadata, "version", other)
    assert entry_of(clip) != before


def test_the_code_that_works_on_clips_matters(tmp_path: Path, clip: Path) -> None:
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    script = """
import sys
from pathlib import Path
from stages.extraction.clip_cache import clip_cache
from stages.media.spectrogram import clip_mel
for changed in ["", "nothing", "media/audio", "media/container", "media/faces", "runtime/progress"]:
    if changed == "nothing":
        import stages.media.crops  # as check does
    elif changed:
        with open(f"stages/{changed}.py", "a") as file:
            file.write("# changed")
    print(changed, clip_cache("mels", clip_mel, {}).entry(Path(sys.argv[1])).name)
"""
    command = [sys.executable, "-c", script, str(clip)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, text=True)
    names = dict(line.split(" ") for line in done.stdout.splitlines())
    assert names[""] == names["nothing"]
    concerned = ["", "media/audio", "media/container"]
    assert len({names[changed] for changed in concerned}) == len(concerned)
    assert names["media/container"] == names["media/faces"] == names["runtime/progress"]


@pytest.mark.parametrize(
    "imported", ["from stages.encoders.helper import work", "from stages.encoders import helper"]
)
def test_the_code_beside_a_function_matters_wherever_it_lives(
    imported: str, tmp_path: Path, clip: Path
) -> None:
    shutil.copytree(ROOT / "stages", tmp_path / "stages")
    room = tmp_path / "stages/encoders"
    (room / "speech.py").write_text(
        f"from typing import NamedTuple\n{imported}\n"
        "class Pooled(NamedTuple):\n    def layout(settings): return {}\n"
        "def encode(clip) -> Pooled: pass"
    )
    (room / "helper.py").write_text("def work(clip): pass")
    script = """
import sys
from pathlib import Path
from stages.encoders.speech import encode
from stages.extraction.clip_cache import clip_cache
for changed in ["", "speech", "helper", "pictures"]:
    if changed:
        with open(f"stages/encoders/{changed}.py", "a") as file:
            file.write("# changed")
    print(changed, clip_cache("speech", encode, {}).entry(Path(sys.argv[1])).name)
"""
    command = [sys.executable, "-c", script, str(clip)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, text=True)
    names = dict(line.split(" ") for line in done.stdout.splitlines())
    assert len({names[changed] for changed in ["", "speech", "helper"]}) == 3
    assert names["helper"] == names["pictures"]  # which is not loaded


def test_a_clip_that_cannot_be_read_has_no_entry(tmp_path: Path) -> None:
    cache = clip_cache.clip_cache("mels", clip_mel, {})
    for path in (tmp_path / "absent.wav", tmp_path):
        with pytest.raises(OSError):
            cache.entry(path)


def test_where_the_cache_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FDAN_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.setenv("FDAN_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_folder() == Path("/caches/fdan")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache/fdan"


def test_a_folder_that_cannot_be_written_is_one_line_that_names_the_way_out(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError) as raised:
        write_entry(tmp_path / "file/mels/entry", ARRAYS)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path}/file/mels: cannot be written: Not a directory; ")
    assert "FDAN_CACHE" in message and "python -m stages cache --clear" in message
    assert "\n" not in message


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 256 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("cannot mount a disk; only root can")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_one_line_and_what_was_written_of_the_entry_is_no_entry(
    full_disk: Path,
) -> None:
    small, large = full_disk / "mels/small", full_disk / "mels/large"
    write_entry(small, ARRAYS)
    with pytest.raises(UserError, match="No space left on device; .*FDAN_CACHE"):
        write_entry(large, {"values": np.zeros(1 << 20, np.uint8)})
    assert not large.exists() and read_entry(small) is not None


def test_a_file_that_may_not_grow_is_one_line(entry: Path) -> None:
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, usual[1]))
    try:
        with pytest.raises(UserError, match="File too large; .*FDAN_CACHE"):
            write_entry(entry, {"values": np.zeros(5000, np.uint8)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)
    assert read_entry(entry) is None


def entries_used(*hours_ago: float, size: int = 1000) -> list[Path]:
    """Entries in the cache, last used so many hours ago."""
    found = []
    for number, hours in enumerate(hours_ago):
        entry = cache_folder() / f"stage{number % 2}" / f"{number:064x}"
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_bytes(bytes(size))
        os.utime(entry, (0, time.time() - hours * 3600))
        found.append(entry)
    return found


@pytest.mark.parametrize(
    "limit, left", [(4000, [0, 1, 2, 3]), (3999, [0, 1, 3]), (2000, [0, 3]), (0, [0])]
)
def test_what_was_used_longest_ago_goes_first_and_what_is_in_use_stays(
    limit: float, left: list[int]
) -> None:
    entries = entries_used(1, 50, 70, 30)
    (cache_folder() / "thesis.tex").write_bytes(bytes(9000))
    (cache_folder() / "stage0/thesis.tex").write_bytes(bytes(9000))
    delete_oldest(limit)
    assert [number for number, entry in enumerate(entries) if entry.exists()] == left
    assert len(list(cache_folder().rglob("thesis.tex"))) == 2


def test_a_cache_that_is_not_there_has_nothing_to_delete() -> None:
    delete_oldest(0)


def test_the_limit_is_a_number_of_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert size_limit() == 100e9
    for text, expected in {"": 100e9, "0.5": 5e8, "0": 0, "inf": math.inf}.items():
        monkeypatch.setenv("FDAN_CACHE_GB", text)
        assert size_limit() == expected
    for text in ("nan", "-1", "10 GB"):
        monkeypatch.setenv("FDAN_CACHE_GB", text)
        with pytest.raises(UserError, match=f"^FDAN_CACHE_GB: '{text}' is not a number of giga"):
            size_limit()


def test_each_part_of_a_clip_has_its_own_entry(clip: Path) -> None:
    cache = clip_cache.clip_cache("mels", clip_mel, {})
    spans = [(0.0, 1.0), (1.0, 2.0), (0.0, 2.0), (0.0, float("inf"))]
    parts = [{}, *({"span": span} for span in spans), {"crop": "left"}, {"crop": "right"}]
    parts.append({"span": spans[0], "crop": "left"})
    assert len({cache.entry(clip, part) for part in parts}) == len(parts)
    assert cache.entry(clip, parts[1]) == cache.entry(clip, {"span": (0.0, 1.0)})
    assert cache.entry(clip) == cache.entry(clip, {})


def test_a_recording_that_changes_has_other_entries_for_its_spans(clip: Path) -> None:
    cache = clip_cache.clip_cache("mels", clip_mel, {})
    part = {"span": (0.0, 1.0)}
    before = cache.entry(clip, part)
    clip.write_bytes(b"another voice")
    assert cache.entry(clip, part) != before
