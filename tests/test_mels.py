"""Mels: the array file of a corpus."""

from pathlib import Path

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages import mels
from stages.corpora.listing import COLUMNS
from stages.extraction import workers
from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.io.files import write_table
from stages.media.spectrogram import log_mel
from tests.media.test_spectrogram import CLIP, SETTINGS, make_wav, noise

PARAMS = Path(__file__).parents[1] / "params.yaml"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with three voices of different lengths, worked on by one process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers.joblib, "cpu_count", lambda: 1)
    tree = YAML(typ="safe").load(PARAMS.read_text(encoding="utf-8"))
    YAML(typ="safe").dump(tree | {"max_skip_fraction": 0.5}, tmp_path / "params.yaml")
    rows = []
    for i, samples in enumerate([8000, 4000, 12000]):
        make_wav(tmp_path / f"data/raw/sample/{i}.wav", noise(samples, i))
        rows.append(
            dict.fromkeys(COLUMNS, "")
            | {"id": f"sample/{i}", "emotion": "fear", "audio": f"{i}.wav", "duration": "0.5"}
        )
    rows.append(dict.fromkeys(COLUMNS, "") | {"id": "sample/3", "video": "face_without_voice.mp4"})
    write_table(Path("data/manifest/sample.csv"), COLUMNS, rows)
    return tmp_path


@pytest.mark.usefixtures("no_children")
def test_the_spectrograms_of_a_corpus_lie_one_after_another(project: Path):
    mels.main("sample")
    with open_arrays(Path("data/mels/sample.h5"), "mels") as file:
        assert decode_ids(file["ids"][...]) == ["sample/0", "sample/1", "sample/2"]
        assert file["offsets"][...].tolist() == [0, 51, 51 + 26, 51 + 26 + 76]
        assert file["values"].shape == (153, 128)
        samples = (noise(4000, 1) * 32768).astype("<i2").astype(np.float32) / 32768
        np.testing.assert_allclose(file["values"][51:77], log_mel(samples, **SETTINGS), atol=1e-3)


@pytest.mark.usefixtures("no_children")
def test_the_file_says_what_it_was_made_with(project: Path):
    mels.main("sample")
    with open_arrays(Path("data/mels/sample.h5"), "mels") as file:
        assert read_settings(file) == CLIP


def test_the_same_voices_give_the_same_bytes_kept_or_made_anew(
    project: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    mels.main("sample")
    first = Path("data/mels/sample.h5").read_bytes()
    mels.main("sample")
    assert Path("data/mels/sample.h5").read_bytes() == first
    monkeypatch.setenv("FDAN_CACHE", str(project / "empty"))
    request.getfixturevalue("no_children")
    mels.main("sample")
    assert Path("data/mels/sample.h5").read_bytes() == first


@pytest.mark.usefixtures("no_children")
def test_a_voice_that_cannot_be_read_is_left_out_of_the_spectrograms(project: Path):
    Path("data/raw/sample/1.wav").write_bytes(b"no sound")
    mels.main("sample")
    with open_arrays(Path("data/mels/sample.h5"), "mels") as file:
        assert decode_ids(file["ids"][...]) == ["sample/0", "sample/2"]
        assert file["offsets"][...].tolist() == [0, 51, 51 + 76]


@pytest.mark.usefixtures("no_children")
def test_a_corpus_without_voices_gives_an_empty_file(project: Path):
    write_table(Path("data/manifest/sample.csv"), COLUMNS, [])
    mels.main("sample")
    with open_arrays(Path("data/mels/sample.h5"), "mels") as file:
        assert decode_ids(file["ids"][...]) == [] and file["offsets"][...].tolist() == [0]
