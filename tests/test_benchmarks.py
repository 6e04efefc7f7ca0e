"""The benchmarks still run; what they find is for `python -m tests.benchmarks` to say."""

import pytest
import torch

from tests.benchmarks import features, speech
from tests.benchmarks.__main__ import GROUPS
from tests.benchmarks.timing import rows_of
from tests.benchmarks.whole import (
    EXTRACTION,
    MELD,
    TRAINING,
    Cost,
    growth,
    medians,
    of_clips,
    shares,
)


@pytest.mark.long
@pytest.mark.parametrize("group", GROUPS)
def test_a_group_compares_ours_with_the_usual_way(group: str) -> None:
    rows = list(rows_of(group, repeats=1))
    assert len(rows) >= 2 and len({row.what for row in rows}) == len(rows)
    for row in rows:
        assert row.group == group and (row.aim is None or row.aim > 1)
        if row.found is not None:
            assert 0 < row.found.low <= row.found.ratio <= row.found.high


@pytest.mark.long
def test_speech_encoders_are_measured_or_said_to_be_lacking(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (row,) = list(speech.table(1, ["HUBERT_BASE"]))[2:]
    name, rate, between, memory = (cell.strip() for cell in row.strip("|").split("|"))
    assert (name, between) == ("HUBERT_BASE", f"[{rate}, {rate}]")
    assert float(rate) > 0 and float(memory) > 378  # its weights alone
    absent = speech.whisper.WEIGHTS._replace(module="no_such_module")
    monkeypatch.setattr(speech.whisper, "WEIGHTS", absent)
    cells = speech.measured(speech.whisper.NAME, 1)
    assert cells.startswith("not here: ") and cells.count("|") == 2


def test_bfloat16_is_not_measured_where_the_cpu_only_emulates_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features, "PICTURES", 1)
    monkeypatch.setattr(features, "gemm_peak", lambda dtype: 1e12)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    fp32, bf16, _ = features.rows(repeats=1)
    assert fp32.found is not None
    assert bf16.found is None and bf16.usual.startswith("not here")


@pytest.mark.long
def test_every_stage_runs_on_generated_clips() -> None:
    """35 clips have every emotion in every fold."""
    found = list(of_clips([35], epochs=2, runs=1))
    assert [item.stage for item in found] == [*EXTRACTION, *TRAINING]
    assert all(item.clips == 35 and item.seconds > 0 and item.memory > 10 for item in found)


def test_the_shares_of_the_whole() -> None:
    found = [Cost("frames", 10, 3.0, 200.4), Cost("train", 10, 1.0, 300.0)]
    assert list(shares(found))[2:] == [
        "| frames | 3.0 | 300 | 75% | 200 |",
        "| train | 1.0 | 100 | 25% | 300 |",
        "| all | 4.0 | 400 | 100% | 300 |",
    ]


def test_what_a_clip_more_costs() -> None:
    """10 s to start, and 0.5 s a clip, but 0.8 s from the 20th on in `train`."""
    found = [
        Cost(stage, clips, 10 + 0.5 * clips + (0.3 * max(0, clips - 20) if stage == "train" else 0),
             0)
        for stage in (*EXTRACTION, *TRAINING) for clips in (10, 20, 40)
    ]  # fmt: skip
    rows = list(growth(found, (10, 20, 40)))[2:]
    of_each = (30 + 0.5 * (MELD - 40)) / 60
    assert rows[0] == f"| manifest | 15.0 | 20.0 | 30.0 | +0% | 500 | {of_each:.0f} min |"
    of_train = (36 + 0.7 * (MELD - 40)) / 60  # a straight line has 22 s for 20 clips
    assert f"| train | 15.0 | 20.0 | 36.0 | -9% | 700 | {of_train:.0f} min |" in rows
    all_of_it = 12 * of_each + of_train
    assert rows[-1] == f"| all | 195.0 | 260.0 | 396.0 | -1% | 6700 | {all_of_it:.0f} min |"


def test_the_medians_of_three_runs() -> None:
    runs = [(3.0, 1.0), (1.0, 2.0), (2.0, 9.0)]
    found = [
        Cost(stage, clips, *run) for run in runs for stage in ("mels", "train") for clips in (1, 2)
    ]
    assert medians(found) == [
        Cost(stage, clips, 2.0, 2.0) for stage in ("mels", "train") for clips in (1, 2)
    ]
