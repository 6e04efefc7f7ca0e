"""Mels: the array file of a corpus."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from stages import mels
from stages.corpora.listing import COLUMNS
from stages.extraction import workers
from stages.io.arrays import decode_ids, open_arrays, read_settings
from stages.io.files import write_table
from stages.media.augmentation import copied_mel
from stages.media.spectrogram import log_mel
from tests.helpers import user_error
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


EVERYTHING = {
    "copies": 2,
    "noise_db": [10, 20],
    "pitch": 2,
    "speed": 0.1,
    "time_mask": 0.2,
    "mel_mask": 0.2,
}


def change_augmentation(**changes: Any) -> None:
    path = Path("params.yaml")
    tree = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    tree["augmentation"] |= changes
    YAML(typ="safe").dump(tree, path)


@pytest.mark.usefixtures("no_children")
def test_copies_follow_the_clips_and_have_no_ids(project: Path):
    mels.main("sample")
    with open_arrays(Path("data/mels/sample.h5"), "mels") as file:
        plain = file["values"][...]
    change_augmentation(**EVERYTHING)
    mels.main("sample")
    with open_arrays(Path("data/mels/sample.h5"), "mels") as file:
        assert decode_ids(file["ids"][...]) == ["sample/0", "sample/1", "sample/2"]
        offsets, values = file["offsets"][...], file["values"][...]
        settings = read_settings(file)
    assert len(offsets) == 3 * 3 + 1 and np.array_equal(values[: len(plain)], plain)
    augmentation = settings.pop("augmentation")
    assert settings == CLIP and EVERYTHING.items() <= augmentation.items()
    for copy in (1, 2):
        for i in range(3):
            found = values[slice(*offsets[3 * copy + i :][:2])]
            expected = copied_mel(Path(f"data/raw/sample/{i}.wav"), augmentation, copy, **CLIP)
            np.testing.assert_array_equal(found, expected.values)


def test_copies_have_the_same_bytes_in_any_order_and_with_any_number_of_workers(
    project: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
):
    change_augmentation(**EVERYTHING)
    monkeypatch.setattr(workers.joblib, "cpu_count", lambda: 2)
    mels.main("sample")  # in child processes
    first = Path("data/mels/sample.h5").read_bytes()
    request.getfixturevalue("no_children")

    def no_more(*_: Any) -> None:
        raise AssertionError("a copy that is kept is made again")

    with monkeypatch.context() as patch:
        patch.setattr(workers, "call_in_child", no_more)
        mels.main("sample")
    assert Path("data/mels/sample.h5").read_bytes() == first
    monkeypatch.setenv("FDAN_CACHE", str(project / "empty"))
    monkeypatch.setattr(workers.joblib, "cpu_count", lambda: 1)
    mels.main("sample")
    assert Path("data/mels/sample.h5").read_bytes() == first
    change_augmentation(seed=1)
    mels.main("sample")
    assert Path("data/mels/sample.h5").read_bytes() != first


@pytest.mark.usefixtures("no_children")
def test_a_clip_that_is_lost_before_its_copy_is_made_is_named(
    project: Path, monkeypatch: pytest.MonkeyPatch
):
    change_augmentation(pitch=2)
    real = mels.each_copy

    def losing(*arguments: Any) -> Any:
        Path("data/raw/sample/1.wav").write_bytes(b"no sound")
        return real(*arguments)

    monkeypatch.setattr(mels, "each_copy", losing)
    said = user_error(mels.main, "sample")
    assert "sample/1.wav: unreadable: " in said and said.endswith("or set augmentation off")
    assert not Path("data/mels/sample.h5").exists()


@pytest.mark.usefixtures("no_children")
def test_a_voice_that_cannot_be_read_has_no_copies(project: Path):
    change_augmentation(noise_db=[10, 20])
    Path("data/raw/sample/1.wav").write_bytes(b"no sound")
    mels.main("sample")
    with open_arrays(Path("data/mels/sample.h5"), "mels") as file:
        assert decode_ids(file["ids"][...]) == ["sample/0", "sample/2"]
        assert file["offsets"][...].tolist() == [0, 51, 127, 178, 254]
    write_table(Path("data/manifest/sample.csv"), COLUMNS, [])
    mels.main("sample")
    with open_arrays(Path("data/mels/sample.h5"), "mels") as file:
        assert file["offsets"][...].tolist() == [0]


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
