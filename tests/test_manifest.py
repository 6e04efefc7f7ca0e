"""The manifest: one row an utterance, and what was left out beside it."""

import wave
from pathlib import Path

import pytest

from stages.failures import UserError
from stages.files import read_table
from stages.manifest import COLUMNS, list_corpus, main

ANGRY, HAPPY, CALM = (f"01-{emotion}-01-01-01-02" for emotion in ("05", "03", "02"))


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/raw of an otherwise empty project, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/raw").mkdir(parents=True)
    return tmp_path / "data/raw"


def make_wav(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(b"\1\0" * int(16000 * seconds))


def make_ravdess(raw: Path) -> None:
    make_wav(raw / "ravdess/Actor_02" / f"03-{HAPPY}.wav", 1.25)
    make_wav(raw / "ravdess/Actor_02" / f"03-{CALM}.wav", 1.0)
    (raw / "ravdess/A").mkdir()  # before Actor_02, though its take comes after
    (raw / "ravdess/A" / f"03-{ANGRY}.wav").write_bytes(b"no sound at all")


def test_an_unknown_corpus_is_told_with_those_that_are_known(raw: Path):
    (raw / "savee").mkdir()
    with pytest.raises(UserError, match=r"no reader for 'savee'; name it .*ravdess"):
        list_corpus(raw / "savee", "savee")


@pytest.mark.parametrize("corpus", ["ravdess", "ravdess_grey", "sample"])
def test_a_missing_folder_is_named(corpus: str, raw: Path):
    with pytest.raises(UserError, match=f"{raw / corpus}: no such folder"):
        list_corpus(raw / corpus, corpus)


@pytest.mark.parametrize("corpus", ["ravdess", "sample"])
def test_a_folder_without_clips_is_named(corpus: str, raw: Path):
    (raw / corpus / "Actor_01").mkdir(parents=True)
    with pytest.raises(UserError, match=f"{raw / corpus}: holds no usable clip of {corpus}"):
        list_corpus(raw / corpus, corpus)


def test_there_is_one_row_an_utterance_sorted_by_id(raw: Path):
    make_ravdess(raw)
    main("ravdess")
    rows = read_table(Path("data/manifest/ravdess.csv"))
    assert [row["id"] for row in rows] == [f"ravdess/{HAPPY}", f"ravdess/{ANGRY}"]
    assert list(rows[0]) == COLUMNS


def test_a_row_says_who_says_what_and_how_and_for_how_long(raw: Path):
    make_ravdess(raw)
    main("ravdess")
    assert read_table(Path("data/manifest/ravdess.csv"))[0] == {
        "id": f"ravdess/{HAPPY}", "speaker": "ravdess/02", "emotion": "happiness",
        "sentence": "kids", "split": "", "video": "", "audio": f"Actor_02/03-{HAPPY}.wav",
        "duration": "1.250",
    }


def test_a_clip_that_cannot_be_opened_keeps_its_row_without_a_duration(raw: Path):
    make_ravdess(raw)
    main("ravdess")
    assert read_table(Path("data/manifest/ravdess.csv"))[1]["duration"] == ""


def test_what_a_rule_leaves_out_is_in_the_skip_table(raw: Path):
    make_ravdess(raw)
    main("ravdess")
    (row,) = read_table(Path("data/skipped/ravdess.manifest.csv"))
    assert (row["id"], row["emotion"], row["code"]) == (f"ravdess/{CALM}", "calm",
                                                        "emotion_excluded")


def test_the_corpus_is_not_written_to(raw: Path):
    make_ravdess(raw)
    before = sorted(raw.rglob("*"))
    main("ravdess")
    assert sorted(raw.rglob("*")) == before


def test_the_summary_counts_faces_voices_and_what_was_left_out(
    raw: Path, capsys: pytest.CaptureFixture[str]
):
    make_ravdess(raw)
    main("ravdess")
    assert capsys.readouterr().out == (
        "manifest@ravdess: 2 utterances, 0 with a face and 2 with a voice; 1 left out by rule; "
        "the publisher ships 1440\n"
    )
