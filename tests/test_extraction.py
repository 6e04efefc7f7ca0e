"""Every clip through one function: in order, and failures become rows."""

import time
from pathlib import Path
from typing import Any

import pytest

from stages import extraction
from stages.extraction import extract
from stages.failures import ClipError, UserError
from stages.files import read_table

TABLE = Path("data/skipped/sample.mels.csv")


def process(path: Path, wait: bool = False) -> str:
    """What stands for work on a clip: its name says how it ends."""
    name = path.name
    if name.startswith("bad"):
        raise ClipError("unreadable", f"{name} is\nno clip")
    if name.startswith("user"):
        raise UserError("this a person must mend")
    if wait:
        time.sleep(0.2 if name.endswith("0") else 0)
    return f"made of {path.parent.name}/{name}"


def rows_of(*names: str) -> list[dict[str, str]]:
    """An empty name is an utterance without a clip."""
    return [{"id": f"sample/{i}", "emotion": "fear", "audio": name} for i, name in enumerate(names)]


@pytest.fixture(autouse=True)
def one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(extraction.joblib, "cpu_count", lambda: 1)


def results(rows: list[dict[str, str]], fraction: float = 0.5, **settings: Any) -> list:
    return list(extract(rows, "audio", process, settings, "sample", "mels", fraction))


def test_each_utterance_comes_with_the_result_of_its_clip():
    rows = rows_of("a.wav", "b.wav")
    assert results(rows) == [(rows[0], "made of sample/a.wav"), (rows[1], "made of sample/b.wav")]


def test_two_processes_keep_the_order(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(extraction.joblib, "cpu_count", lambda: 2)
    rows = rows_of(*(f"clip{i}" for i in range(12)), "bad0", "clip12")
    expected = [(row, f"made of sample/{row['audio']}") for row in rows if row["audio"] != "bad0"]
    assert results(rows, wait=True) == expected
    assert [row["id"] for row in read_table(TABLE)] == ["sample/12"]


def test_an_utterance_without_a_clip_is_passed_over():
    rows = rows_of("a.wav", "", "b.wav")
    assert [row for row, _ in results(rows)] == [rows[0], rows[2]]


def test_a_clip_that_cannot_be_used_becomes_a_row():
    rows = rows_of("a.wav", "bad.wav", "b.wav")
    assert [row for row, _ in results(rows)] == [rows[0], rows[2]]
    assert read_table(TABLE) == [
        {"id": "sample/1", "emotion": "fear", "stage": "mels", "code": "unreadable",
         "detail": "bad.wav is no clip"}
    ]


def test_the_table_is_written_when_nothing_was_left_out():
    results(rows_of("a.wav"))
    assert read_table(TABLE) == []


def test_nothing_to_do_is_no_failure():
    assert results([]) == [] and read_table(TABLE) == []


def test_too_many_failures_stop_the_stage_and_are_named():
    rows = rows_of("a.wav", "bad1.wav", "b.wav", "bad2.wav", "never_reached.wav")
    expected = r"max_skip_fraction=0.25 of 5 .*sample/3 \(unreadable: bad2"
    with pytest.raises(UserError, match=expected):
        results(rows, fraction=0.25)
    assert [row["id"] for row in read_table(TABLE)] == ["sample/1", "sample/3"]


def test_as_many_failures_as_allowed_do_not_stop_the_stage():
    assert len(results(rows_of("a.wav", "bad1.wav", "b.wav", "c.wav"), fraction=0.25)) == 3


def test_the_fraction_is_of_the_utterances_that_have_a_clip():
    with pytest.raises(UserError, match="of 2 utterances"):
        results(rows_of("bad.wav", "a.wav", *[""] * 20), fraction=0.1)


def test_what_a_person_must_mend_ends_the_stage():
    with pytest.raises(UserError, match="this a person must mend"):
        results(rows_of("a.wav", "user.wav"))
