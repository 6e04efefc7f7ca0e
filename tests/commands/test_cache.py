"""The command that shows and empties the clip cache."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.commands import cache
from stages.extraction.clip_cache import cache_folder, clip_cache, write_entry
from stages.media.spectrogram import clip_mel

ROOT = Path(__file__).parents[2]
ARRAYS = {"values": np.arange(5)}


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.wav"
    path.write_bytes(b"sound")
    return path


def command(capsys: pytest.CaptureFixture, *words: str) -> str:
    cache.main(words)
    return capsys.readouterr().out


def test_the_report_tells_the_place_and_the_size(capsys: pytest.CaptureFixture, clip: Path) -> None:
    for stage, sizes in {"mels": [500_000, 1_000_000], "frames": [20_000_000]}.items():
        for size in sizes:
            entry = clip_cache(stage, clip_mel, {"n": size}).entry(clip)
            write_entry(entry, {"values": np.zeros(size, np.uint8)}, {})
    assert command(capsys).splitlines() == [
        f"{cache_folder()}:",
        "  frames: 1 clips, 20.0 MB",
        "  mels: 2 clips, 1.5 MB",
    ]


def test_an_empty_cache_has_a_report_too(capsys: pytest.CaptureFixture) -> None:
    assert command(capsys) == f"{cache_folder()}:\n"
    assert command(capsys, "--clear") == f"{cache_folder()}:\nemptied\n"


def test_clearing_deletes_the_entries_and_nothing_else(
    capsys: pytest.CaptureFixture, clip: Path
) -> None:
    entry = clip_cache("mels", clip_mel, {}).entry(clip)
    write_entry(entry, ARRAYS, {})
    others = [cache_folder() / "thesis.tex", cache_folder() / "mels/thesis.tex"]
    for other in others:
        other.write_text("years of work")  # of who has set FDAN_CACHE to a folder in use
    assert command(capsys, "--clear").splitlines()[1:] == [
        "  mels: 1 clips, 0.0 MB",
        "emptied",
    ]
    assert not entry.exists() and all(other.exists() for other in others)
    assert command(capsys) == f"{cache_folder()}:\n"


def test_it_is_a_command(tmp_path: Path) -> None:
    environment = {**os.environ, "FDAN_CACHE": str(tmp_path / "cache")}
    words = [sys.executable, "-m", "stages", "cache"]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/cache:\n")
