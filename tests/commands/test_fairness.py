"""Recall by speaker and by sex, and what of their gaps is chance: generated predictions."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from stages.commands.compare import Predictions
from stages.commands.fairness import as_markdown, fairness, main, read_sexes
from stages.corpora.emotions import CODES
from stages.corpora.listing import COLUMNS
from stages.io.files import write_table
from stages.runtime.paths import PREDICTIONS, manifest_path
from stages.scoring.intervals import wilson
from tests.helpers import user_error


def result(hit: np.ndarray, speakers: list[str], rng: np.random.Generator) -> Predictions:
    """Utterances that are right where `hit` bool [n, S] says so, and else wrong at random.

    Emotions go round within each speaker.
    """
    n, seeds = hit.shape
    places: dict[str, int] = {}
    actual = []
    for name in speakers:
        actual.append(places.setdefault(name, 0) % len(CODES))
        places[name] += 1
    true = np.array(actual)
    wrong = (true[:, None] + rng.integers(1, len(CODES), (n, seeds))) % len(CODES)
    ids = [f"c/{i:04}" for i in range(n)]
    return Predictions("workspace", ids, speakers, true, np.where(hit, true[:, None], wrong))


def spoken(counts: dict[str, int]) -> list[str]:
    return [name for name, count in counts.items() for _ in range(count)]


def chances(shares: dict[str, float], each: int, seeds: int = 1) -> Predictions:
    """A result whose recall is another for every speaker."""
    rng = np.random.default_rng(0)
    speakers = spoken(dict.fromkeys(shares, each))
    right = np.array([shares[name] for name in speakers])
    return result(rng.random((len(speakers), seeds)) < right[:, None], speakers, rng)


def by_letter(result: Predictions) -> dict[str, str]:
    return {name: {"F": "female", "M": "male"}[name[0]] for name in result.speakers}


def test_a_group_has_its_own_recall_and_intervals() -> None:
    rng = np.random.default_rng(0)
    hit = np.ones((42, 2), bool)
    hit[:7, 0] = False  # one of six rounds of F1, by one seed of two
    found = fairness(result(hit, spoken({"F1": 21, "M1": 21}), rng), {"F1": "female"}, 200)
    best, worst = found.speakers
    assert (best.name, best.war, best.uar, best.sex) == ("M1", 1, 1, "")
    assert (worst.name, worst.n_test, worst.sex) == ("F1", 21, "female")
    assert worst.war == worst.uar == pytest.approx(1 - 3.5 / 21)
    assert worst.war_interval == wilson(17.5, 21)
    low, high = worst.uar_interval
    assert low < worst.uar < high <= 1
    assert found.n_untold == 1 and found.sex_gaps == {} and found.emotions == []
    assert [group.name for group in found.sexes] == ["female"]


def test_one_speaker_who_is_not_understood_is_found() -> None:
    found = fairness(chances({"F1": 0.8, "F2": 0.8, "M1": 0.8, "M2": 0.3}, 70), {}, 500)
    gap = found.speaker_gaps["uar"]
    assert gap.low == "M2" and gap.gap > 0.3 and gap.expected < 0.2
    assert gap.p == pytest.approx(1 / 501) and gap.interval[0] > 0.2
    said = as_markdown(found)
    assert "is more than chance explains" in said
    assert "The sex of the speakers is not told" in said


def test_of_many_speakers_with_few_utterances_a_large_gap_is_chance() -> None:
    found = fairness(chances({f"F{i}": 0.6 for i in range(30)}, 14), {}, 300)
    gap = found.speaker_gaps["uar"]
    assert gap.gap > 0.4 and gap.expected == pytest.approx(gap.gap, abs=0.15)
    assert gap.p is not None and gap.p > 0.05
    assert "is no more than chance explains" in as_markdown(found)
    # And it is the mean of what is drawn anew, where there is no difference.
    drawn = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        speakers = spoken({f"F{i}": 14 for i in range(30)})
        one = fairness(result(rng.random((420, 1)) < 0.6, speakers, rng), {}, 2)
        drawn.append(one.speaker_gaps["uar"].gap)
    assert gap.expected == pytest.approx(np.mean(drawn), abs=0.04)


def test_a_speaker_of_few_utterances_is_told_and_not_in_the_gap() -> None:
    rng = np.random.default_rng(0)
    speakers = spoken({"F1": 30, "F2": 30, "F3": 9})
    hit = rng.random((69, 1)) < 0.7
    hit[60:] = False
    found = fairness(result(hit, speakers, rng), {}, 200)
    assert found.speakers[-1].name == "F3" and found.n_in_gap == 2
    assert {found.speaker_gaps["uar"].high, found.speaker_gaps["uar"].low} == {"F1", "F2"}
    assert "Speakers of fewer than 10 utterances, who are not in the gap: 1." in as_markdown(found)
    found = fairness(result(hit[40:], speakers[40:], rng), {}, 200)
    assert found.speaker_gaps == {} and "No gap between speakers" in as_markdown(found)


def test_a_mix_of_emotions_that_is_another_is_no_difference_between_speakers() -> None:
    """One emotion is hard, and one speaker says it more often."""
    rng = np.random.default_rng(0)
    speakers = spoken({"F1": 200, "F2": 200})
    true = np.where(np.arange(400) % 200 < np.repeat([150, 50], 200), 0, 1)
    hit = rng.random(400) < np.where(true == 0, 0.3, 0.95)
    predicted = np.where(hit, true, 2)[:, None]
    found = fairness(
        Predictions("w", [f"c/{i:03}" for i in range(400)], speakers, true, predicted), {}, 500
    )
    gap = found.speaker_gaps["war"]
    assert gap.gap > 0.2 and gap.p is not None and gap.p > 0.05


@pytest.mark.parametrize("equal", [True, False])
def test_predictions_that_do_not_depend_on_the_speaker_are_significant_once_in_twenty(
    equal: bool,
) -> None:
    alarms: dict[str, list[bool]] = {"speakers": [], "sexes": []}
    for seed in range(200):
        rng = np.random.default_rng(seed)
        sizes = [28] * 4 if equal else [12, 18, 24, 30]  # of utterances of a speaker
        of = {f"{sex}{i}": size for i, size in enumerate(sizes) for sex in "FM"}
        speakers = spoken(of)
        true = rng.integers(0, len(CODES), len(speakers))
        hit = rng.random((len(true), 2)) < 0.4 + 0.08 * true[:, None]  # some are easier
        predicted = np.where(hit, true[:, None], (true[:, None] + 1) % len(CODES))
        ids = [f"c/{i:03}" for i in range(len(true))]
        one = Predictions("w", ids, speakers, true, predicted)
        found = fairness(one, by_letter(one), 200)
        for kind, gaps in (("speakers", found.speaker_gaps), ("sexes", found.sex_gaps)):
            p = gaps["uar"].p
            assert p is not None
            alarms[kind].append(p <= 0.05)
    for kind, found_in in alarms.items():
        assert 0.01 <= np.mean(found_in) <= 0.09, kind


def test_men_who_are_not_understood_are_found() -> None:
    shares = {f"F{i}": 0.8 for i in range(5)} | {f"M{i}": 0.5 for i in range(5)}
    one = chances(shares, 42, seeds=2)
    found = fairness(one, by_letter(one), 1000)
    gap = found.sex_gaps["uar"]
    assert (gap.high, gap.low) == ("female", "male") and gap.gap == pytest.approx(0.3, abs=0.07)
    assert gap.p == pytest.approx(2 / 252)  # these five of ten, or the other five
    assert gap.by_speaker is not None and gap.by_speaker[0] > 0.1 and gap.interval[0] > 0.1
    assert {(of.emotion, of.sex) for of in found.emotions if of.n_test == 30} == {
        (of.emotion, sex) for of in found.emotions for sex in ("female", "male")
    }
    recalls = [of.recall for of in found.emotions if of.sex == "male"]
    assert np.mean(recalls) == pytest.approx(found.sexes[1].uar)


def test_one_woman_who_is_hard_to_hear_does_not_stand_for_all() -> None:
    shares = {f"F{i}": 0.7 for i in range(4)} | {f"M{i}": 0.7 for i in range(4)} | {"F0": 0.0}
    one = chances(shares, 70)
    found = fairness(one, by_letter(one), 500)
    assert found.sex_gaps["uar"].gap > 0.1 and found.sex_gaps["uar"].interval[0] > 0
    assert found.sex_gaps["uar"].p is not None and found.sex_gaps["uar"].p > 0.05


@pytest.mark.parametrize("men, enough", [(2, False), (3, False), (4, True)])
def test_too_few_speakers_of_a_sex_are_said(men: int, enough: bool) -> None:
    """Three of six can be divided in ten ways but for exchange: none is rarer than 1 in 10."""
    shares = {f"F{i}": 0.8 for i in range(3)} | {f"M{i}": 0.4 for i in range(men)}
    one = chances(shares, 28)
    found = fairness(one, by_letter(one), 200)
    assert (found.sex_gaps["uar"].p is not None) == enough
    assert ("too few speakers of each sex" in as_markdown(found)) == (not enough)
    assert (found.sex_gaps["uar"].by_speaker is not None) == (men >= 3)


def test_the_same_predictions_give_the_same_numbers() -> None:
    one = chances({"F1": 0.8, "M1": 0.7}, 21)
    assert fairness(one, by_letter(one), 100) == fairness(one, by_letter(one), 100)


def test_many_speakers_fit_a_screen() -> None:
    found = fairness(chances({f"F{i:02}": 0.6 for i in range(50)}, 10), {}, 50)
    lines = as_markdown(found).splitlines()
    assert len(lines) < 40 and max(len(line) for line in lines if line[:1] == "|") <= 100
    assert any("... 30 more: --json" in line for line in lines)
    few = result(
        np.ones((45, 1), bool), spoken({f"G{i}": 9 for i in range(5)}), np.random.default_rng(0)
    )
    both = chances({f"F{i:02}": 0.6 for i in range(20)}, 10)
    mixed = dataclasses.replace(
        both,
        ids=both.ids + [f"d/{name}" for name in few.ids],
        speakers=both.speakers + few.speakers,
        actual=np.concatenate([both.actual, few.actual]),
        predicted=np.concatenate([both.predicted, few.predicted]),
    )
    said = as_markdown(fairness(mixed, {}, 50))
    assert "... 5 more: --json" in said and "G0" not in said and "F19" in said


def written(folder: Path, one: Predictions, sexes: dict[str, str], columns: list[str]) -> None:
    rows = [
        {"id": name, "speaker": who, "fold": 0, "seed": seed, "actual": CODES[true]}
        | {"predicted": CODES[predicted[seed]]}
        for name, who, true, predicted in zip(one.ids, one.speakers, one.actual, one.predicted)
        for seed in range(one.predicted.shape[1])
    ]
    write_table(folder / PREDICTIONS, list(rows[0]), rows)
    manifest = [
        dict.fromkeys(columns, "") | {"id": name, "speaker": who, "sex": sexes.get(who, "")}
        for name, who in zip(one.ids, one.speakers)
    ]
    kept = [{column: row[column] for column in columns} for row in manifest]
    write_table(folder / manifest_path("c"), columns, kept)


def test_the_workspace_is_read_with_its_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    one = chances({"F1": 0.8, "M1": 0.7, "X1": 0.6}, 21, seeds=2)
    written(tmp_path, one, {"F1": "female", "M1": "male"}, COLUMNS)
    assert read_sexes(one) == {"F1": "female", "M1": "male"}
    main(["--json"])
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(json.dumps(dataclasses.asdict(fairness(one, read_sexes(one)))))
    main([])
    said = capsys.readouterr().out
    assert "63 test utterances of 3 speakers, 2 seeds of workspace" in said
    assert "Speakers whose sex is not told, who are of neither: 1." in said


def test_a_manifest_of_before_tells_no_sex_and_none_at_all_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = chances({"F1": 0.8, "M1": 0.7}, 21)
    written(tmp_path, one, {"F1": "female"}, ["id", "speaker"])
    assert read_sexes(one) == {}
    manifest_path("c").unlink()
    assert "data/manifest/c.csv" in user_error(main, [])
