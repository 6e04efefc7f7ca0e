"""Skip tables: what was left out is named, sorted and counted."""

import random
from collections import Counter
from fractions import Fraction
from math import comb
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.io.files import read_table
from stages.io.skips import (
    COLUMNS,
    EXCLUDED_BY_RULE,
    LEAST_RATIO,
    LEAST_SKIPPED,
    SIGNIFICANCE,
    skip_row,
    skipped_unevenly,
    table_path,
    too_many,
    too_many_error,
    uneven_among,
    write_skips,
)


def failed(identity: str, code: str = "unreadable") -> dict[str, str]:
    return skip_row({"id": identity, "emotion": "fear", "speaker": "s"}, "mels", code, "detail")


def test_a_row_names_the_utterance_the_stage_and_the_reason():
    assert failed("sample/a") == {
        "id": "sample/a",
        "emotion": "fear",
        "stage": "mels",
        "code": "unreadable",
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
    [
        (2, 100, 0.02, False),
        (3, 100, 0.02, True),
        (0, 10, 0.0, False),
        (1, 10, 0.0, True),
        (10, 10, 1.0, False),
        (0, 0, 0.0, False),
    ],
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
    message = str(too_many_error(rows, 50, 0.02, Path("data/skipped/sample.mels.csv")))
    assert message.startswith(
        "data/skipped/sample.mels.csv: names the 7 of 50 utterances that cannot be used, more than "
        "max_skip_fraction: 0.02 allows: sample/0 (unreadable: detail), "
    )
    assert "sample/5" not in message
    assert message.endswith(
        "sample/4 (unreadable: detail) and 2 more; fix them, or raise max_skip_fraction"
    )
    assert len(message.splitlines()) == 1


def chance_of(count: int, total: int, others: int, others_total: int) -> Fraction:
    """Of dealing at least so many failures to one emotion, if all utterances fail alike."""
    failures, utterances = count + others, total + others_total
    ways = sum(
        comb(total, k) * comb(others_total, failures - k)
        for k in range(count, min(failures, total) + 1)
    )
    return Fraction(ways, comb(utterances, failures))


numbers = st.integers(0, 12).flatmap(lambda n: st.tuples(st.just(n), st.integers(n, 30)))


@given(st.lists(numbers, min_size=1, max_size=7))
def test_unevenly_skipped_is_what_is_many_and_often_and_more_than_chance(
    pairs: list[tuple[int, int]],
):
    skipped = {f"e{i}": count for i, (count, _) in enumerate(pairs) if count}
    totals = {f"e{i}": total for i, (_, total) in enumerate(pairs)}
    expected = []
    for i, (count, total) in enumerate(pairs):
        others = sum(skipped.values()) - count
        others_total = sum(totals.values()) - total
        chance = chance_of(count, total, others, others_total)
        often = (
            total
            and others_total
            and (Fraction(count, total) >= LEAST_RATIO * Fraction(others, others_total))
        )
        if count >= LEAST_SKIPPED and often and chance < SIGNIFICANCE / len(totals):
            expected.append((f"e{i}", count, total, others, others_total))
    assert skipped_unevenly(skipped, totals) == expected


ALIKE = dict.fromkeys(("anger", "disgust", "fear", "happiness", "neutral", "sadness"), 100)


@pytest.mark.parametrize(
    "skipped, totals, expected",
    [
        ({"fear": 12, "anger": 2, "sadness": 1}, ALIKE, ["fear"]),
        ({"fear": 12, "anger": 12}, ALIKE, ["anger", "fear"]),
        (dict.fromkeys(ALIKE, 12), ALIKE, []),
        ({"fear": 5, "anger": 2, "sadness": 3}, ALIKE, []),  # p = 0.015, of one in six
        ({"fear": 2}, {"fear": 2, "anger": 1000}, []),  # too few to tell
        ({"fear": 150, "anger": 1000}, {"fear": 1000, "anger": 10000}, []),  # sure, but not far
        ({"fear": 40}, {"fear": 100}, []),  # there is nothing else
    ],
)
def test_what_counts_as_uneven(
    skipped: dict[str, int], totals: dict[str, int], expected: list[str]
):
    assert [item.emotion for item in skipped_unevenly(skipped, totals)] == expected


def test_a_corpus_that_loses_clips_by_chance_is_seldom_called_uneven():
    draw = random.Random(0)
    clips = [emotion for emotion, total in ALIKE.items() for _ in range(total)]
    called = sum(bool(skipped_unevenly(Counter(draw.sample(clips, 30)), ALIKE)) for _ in range(300))
    assert called <= 300 * SIGNIFICANCE


def test_what_a_rule_leaves_out_is_not_uneven():
    skips = [failed(str(i), "duplicate") for i in range(9)]
    used = [{"id": f"used{i}", "emotion": "anger"} for i in range(90)]
    assert uneven_among(skips, used) == []
    skips = [row | {"code": "missing_file"} for row in skips]
    (found,) = uneven_among(skips, used)  # what is missing is not among what can be used
    assert found == ("fear", 9, 9, 0, 90) and found.share == 1


def test_an_utterance_that_failed_twice_counts_once():
    skips = [failed("a"), failed("a", "silent"), failed("b")]
    used = [{"id": str(i), "emotion": "anger"} for i in range(90)]
    assert uneven_among(skips, used) == []
