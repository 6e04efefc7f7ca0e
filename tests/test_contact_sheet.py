"""The contact sheet: which clips it shows, and that it is repeatable."""

from pathlib import Path

import numpy as np
import pytest

from stages.contact_sheet import choose, main
from stages.corpora.emotions import EMOTIONS
from stages.corpora.listing import COLUMNS
from stages.io.arrays import encode_ids, write_arrays
from stages.io.files import write_table
from tests.feature_files import Rows, utterances, write_params


def rows_of(*names: str, emotion: str = "anger") -> Rows:
    """The first letter of a name is its speaker."""
    return [{"id": name, "speaker": name[0], "emotion": emotion} for name in names]


def chosen(rows: Rows, seen: str = "", heard: str = "") -> list[str]:
    """Those chosen for anger; `seen` and `heard` are names in a row."""
    return choose(rows, set(seen.split()), set(heard.split()))[0]


def test_there_is_one_entry_an_emotion_in_their_order():
    rows = [row for emotion in reversed(EMOTIONS) for row in rows_of(emotion, emotion=emotion)]
    assert choose(rows, set(EMOTIONS), set()) == [[emotion] for emotion in EMOTIONS]


def test_an_emotion_without_clips_has_an_empty_entry():
    assert choose([], set(), set()) == [[]] * len(EMOTIONS)


def test_at_most_two_are_chosen():
    assert len(chosen(rows_of("a1", "b1", "c1"), "a1 b1 c1", "a1 b1 c1")) == 2


def test_those_both_seen_and_heard_come_before_the_others():
    assert chosen(rows_of("a1", "b1", "c1"), seen="a1 b1 c1", heard="b1 c1") == ["b1", "c1"]


def test_those_both_seen_and_heard_come_before_new_speakers():
    assert chosen(rows_of("a1", "a2", "b1"), seen="a1 a2 b1", heard="a1 a2") == ["a1", "a2"]


def test_a_new_speaker_comes_before_one_already_shown():
    rows = rows_of("a1", "a2", "b1")
    assert chosen(rows, seen="a1 a2 b1", heard="a1 a2 b1") == ["a1", "b1"]


def test_one_speaker_alone_fills_both_places():
    assert chosen(rows_of("a1", "a2"), seen="a1 a2", heard="a1 a2") == ["a1", "a2"]


def test_those_neither_seen_nor_heard_are_not_shown():
    assert chosen(rows_of("a1", "b1"), seen="b1") == ["b1"]


def make_project(root: Path, seen: Rows, heard: Rows) -> None:
    write_params(root)
    rng = np.random.default_rng(0)
    write_table(root / "data/manifest/sample.csv", COLUMNS, utterances("sample", 1))
    with write_arrays(root / "data/frames/sample.h5", "frames", {}, 0) as arrays:
        arrays.append("ids", encode_ids([row["id"] for row in seen]))
        if seen:
            faces = rng.integers(0, 255, (len(seen), 3, 8, 8, 3), dtype=np.uint8)
            arrays.append("faces", faces)
    settings = {"hop_length": 160, "sample_rate": 16000}
    with write_arrays(root / "data/mels/sample.h5", "mels", settings, 0) as arrays:
        arrays.append("ids", encode_ids([row["id"] for row in heard]))
        arrays.append("offsets", np.arange(len(heard) + 1) * 20)
        arrays.append("values", rng.uniform(-60, 40, (20 * len(heard), 16)).astype(np.float32))


def sheet() -> bytes:
    main("sample")
    return Path("metrics/contact_sheet/sample.png").read_bytes()


def test_the_same_clips_give_the_same_picture_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    rows = utterances("sample", 1)
    make_project(tmp_path, rows[:5], rows[3:])
    first = sheet()
    assert first == sheet() and first.startswith(b"\x89PNG") and b"Software" not in first


def test_a_corpus_without_any_clip_gives_an_empty_sheet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    make_project(tmp_path, [], [])
    assert sheet().startswith(b"\x89PNG")
