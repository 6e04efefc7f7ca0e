"""Skip tables: what was left out is named, sorted and counted."""

from pathlib import Path

import pytest

from stages.files import read_table
from stages.skips import (
    COLUMNS,
    EXCLUDED_BY_RULE,
    refuse,
    skip_row,
    table_path,
    too_many,
    write_skips,
)


def failed(identity: str, code: str = "unreadable") -> dict[str, str]:
    return skip_row({"id": identity, "emotion": "fear", "speaker": "s"}, "mels", code, "detail")


def test_a_row_names_the_utterance_the_stage_and_the_reason():
    assert failed("sample/a") == {
        "id": "sample/a", "emotion": "fear", "stage": "mels", "code": "unreadable",
        "detail": "detail",
    }


def test_each_corpus_and_stage_has_its_table():
    assert table_path("ravdess", "frames") == Path("data/skipped/ravdess.frames.csv")


def test_a_table_is_sorted_by_id_and_code(tmp_path: Path):
    rows = [failed("b"), failed("a", "silent"), failed("a", "no_audio")]
    write_skips(tmp_path / "t.csv", rows)
    found = [(row["id"], row["code"]) for row in read_table(tmp_path / "t.csv")]
    assert found == [("a", "no_audio"), ("a", "silent"), ("b", "unreadable")]


def test_a_table_of_nothing_has_its_header(tmp_path: Path):
    write_skips(tmp_path / "t.csv", [])
    assert (tmp_path / "t.csv").read_text() == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    "failures, total, fraction, expected",
    [(2, 100, 0.02, False), (3, 100, 0.02, True), (0, 10, 0.0, False), (1, 10, 0.0, True),
     (10, 10, 1.0, False), (0, 0, 0.0, False)],
)
def test_too_many_is_more_than_the_fraction(
    failures: int, total: int, fraction: float, expected: bool
):
    assert too_many([failed(str(i)) for i in range(failures)], total, fraction) is expected


@pytest.mark.parametrize("code", sorted(EXCLUDED_BY_RULE))
def test_what_a_rule_leaves_out_does_not_count_as_failed(code: str):
    assert not too_many([failed("a", code)], 1, 0.0)


def test_a_refusal_names_the_first_five_and_the_remedy():
    rows = [failed(f"sample/{i}") for i in range(7)]
    message = str(refuse(rows, 50, 0.02, Path("data/skipped/sample.mels.csv")))
    assert message.startswith("data/skipped/sample.mels.csv: more than max_skip_fraction=0.02 of")
    assert "sample/4 (unreadable: detail)" in message and "sample/5" not in message
    assert message.endswith("mend them or raise max_skip_fraction")
    assert len(message.splitlines()) == 1
