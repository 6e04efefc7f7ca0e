"""Whether two results differ significantly: generated predictions, and through git and DVC."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.commands.compare import (
    Comparison,
    Predictions,
    as_markdown,
    compare,
    main,
    parse_predictions,
    read_predictions,
)
from stages.corpora.emotions import CODES
from stages.runtime.errors import UserError
from stages.scoring.intervals import interval, resample_weights
from stages.scoring.metrics import MEASURES, confusions
from tests.clone import Repository

ROOT = Path(__file__).parents[2]
HEADER = "id,speaker,fold,seed,actual,predicted"


def result(
    rng: np.random.Generator, hit: np.ndarray, revision: str = "a", speakers: int = 5
) -> Predictions:
    """A result whose seeds recognise what `hit` bool [n, S] says, and else guess at random."""
    n, seeds = hit.shape
    actual = np.arange(n) % len(CODES)
    wrong = (actual[:, None] + rng.integers(1, len(CODES), size=(n, seeds))) % len(CODES)
    return Predictions(
        revision,
        [f"c/{i:04}" for i in range(n)],
        [f"c/S{i % speakers}" for i in range(n)],
        actual,
        np.where(hit, actual[:, None], wrong),
    )


def pair(
    rng: np.random.Generator, share_a: float, share_b: float, n: int = 140, seeds: int = 1
) -> tuple[Predictions, Predictions]:
    """Two results of given accuracies, to both of which the same utterances are hard."""
    hard = rng.random((n, 1))
    hits = [
        rng.random((n, seeds)) < np.clip(share + 0.6 * (0.5 - hard), 0, 1)
        for share in (share_a, share_b)
    ]
    return result(rng, hits[0], "a"), result(rng, hits[1], "b")


def table(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def complaint(*arguments: object) -> str:
    """The one line in which a comparison, or a table with its name, is refused."""
    with pytest.raises(UserError) as caught:
        parse_predictions(*arguments) if isinstance(arguments[0], str) else compare(*arguments)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def significant(found: Comparison) -> list[bool]:
    return [measure.significant for measure in found.measures.values()]


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_result_does_not_differ_from_itself(seeds: int):
    a, _ = pair(np.random.default_rng(0), 0.6, 0.6, seeds=seeds)
    found = compare(a, a, 500)
    assert [measure.difference for measure in found.measures.values()] == [0, 0, 0]
    assert significant(found) == [False] * 3 and (found.only_a, found.only_b) == (0, 0)
    assert [measure.interval for measure in found.measures.values()] == [(0, 0)] * 3
    assert [measure.by_speaker for measure in found.measures.values()] == [(0, 0)] * 3
    assert found.mcnemar_p == 1 and {measure.p for measure in found.measures.values()} == {1}
    assert as_markdown(found).endswith("\na and a predict the same.")


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_much_better_result_is_significant_in_its_direction(seeds: int):
    a, b = pair(np.random.default_rng(0), 0.45, 0.7, seeds=seeds)
    better, worse = compare(a, b, 1000), compare(b, a, 1000)
    for key in MEASURES:
        assert better.measures[key].interval[0] > 0 and worse.measures[key].interval[1] < 0
    assert significant(better) == significant(worse) == [True] * 3
    assert better.only_b > better.only_a == worse.only_b
    assert better.mcnemar_p is None if seeds > 1 else better.mcnemar_p < 0.01
    assert all(measure.p < 0.01 for measure in better.measures.values())


def test_the_measures_are_means_over_the_seeds():
    rng = np.random.default_rng(0)
    hit = np.zeros((14, 2), bool)
    hit[:7, 0] = True
    found = compare(result(rng, np.ones((14, 1), bool)), result(rng, hit), 50)
    assert (found.measures["war"].a, found.measures["war"].b) == (1, 0.25)
    assert found.measures["uar"].difference == pytest.approx(-0.75)
    assert (found.n_test, found.seeds_a, found.seeds_b) == (14, 1, 2)


def test_the_same_two_results_give_the_same_numbers():
    a, b = pair(np.random.default_rng(0), 0.6, 0.65, seeds=2)
    assert compare(a, b, 200) == compare(a, b, 200)


@pytest.mark.parametrize("key", MEASURES)
def test_pairing_gives_a_narrower_interval_than_two_results_on_their_own(key: str):
    rng = np.random.default_rng(0)
    hit = rng.random((280, 1)) < 0.6
    a, b = result(rng, hit), result(rng, hit ^ (rng.random((280, 1)) < 0.1))
    low, high = compare(a, b, 1000).measures[key].interval
    alone = [
        MEASURES[key](confusions(side.actual, side.predicted, rows, len(CODES)))
        for side, rows in ((side, resample_weights(280, 1000, rng)) for side in (a, b))
    ]
    unpaired = interval(alone[1] - alone[0])
    assert high - low < 0.7 * (unpaired[1] - unpaired[0])


@pytest.mark.parametrize("seeds", [1, 3])
def test_equal_systems_differ_significantly_as_seldom_as_the_interval_says(seeds: int):
    rng = np.random.default_rng(0)
    pairs = [pair(rng, 0.6, 0.6, n=105, seeds=seeds) for _ in range(200)]
    false_alarms = np.mean([significant(compare(*each, 300)) for each in pairs], 0)
    assert (0.01 <= false_alarms).all() and (false_alarms <= 0.09).all()


def test_a_difference_that_another_seed_would_undo_is_not_significant():
    rng = np.random.default_rng(0)
    steady = [rng.random((700, 3)) < share for share in ([0.6] * 3, [0.7] * 3)]
    fickle = [rng.random((700, 3)) < share for share in ([0.4, 0.6, 0.8], [0.5, 0.7, 0.9])]
    assert significant(compare(*(result(rng, hit) for hit in steady), 1000)) == [True] * 3
    assert significant(compare(*(result(rng, hit) for hit in fickle), 1000)) == [False] * 3


def test_what_the_seeds_of_one_side_show_counts_for_the_other_too():
    rng = np.random.default_rng(0)
    fickle = result(rng, rng.random((700, 4)) < [0.4, 0.5, 0.7, 0.8])
    one = result(rng, rng.random((700, 1)) < 0.7)
    few, many = compare(one, fickle, 1000), compare(fickle, fickle, 1000)
    widths = [np.ptp(found.measures["uar"].interval) for found in (few, many)]
    assert significant(few) == [False] * 3 and widths[0] > 1.2 * widths[1]


def score(key: str, actual: np.ndarray, predicted: np.ndarray) -> float:
    """A measure by its definition."""
    if key == "war":
        return float(np.mean(actual == predicted))
    if key == "uar":
        return float(np.mean([np.mean(predicted[actual == c] == c) for c in np.unique(actual)]))
    f1 = {
        c: 2
        * np.sum((actual == c) & (predicted == c))
        / (np.sum(actual == c) + np.sum(predicted == c))
        for c in np.unique(actual)
    }
    return float(np.mean([f1[c] for c in actual]))


@pytest.mark.parametrize("key", MEASURES)
def test_the_intervals_are_those_of_the_definition(key: str):
    """Utterances or speakers drawn one by one, with the noise of seeds by Student's t."""
    rng = np.random.default_rng(3)
    skill = np.linspace(0.3, 0.9, 8)[np.arange(56) % 8, None]  # of the speakers
    of_seeds = np.array([[-0.2, 0.0, 0.2], [-0.1, 0.2, 0.3]])
    a, b = (result(rng, rng.random((56, 3)) < skill + shift, speakers=8) for shift in of_seeds)
    b = dataclasses.replace(b, predicted=b.predicted[:, :2])
    repeats = 100
    found = compare(a, b, repeats).measures[key]

    rng = np.random.default_rng(0)
    speakers = np.array(a.speakers)
    names = np.unique(speakers)
    by_utterance = [rng.integers(56, size=56) for _ in range(repeats)]
    by_speaker = [
        np.concatenate([np.flatnonzero(speakers == names[i]) for i in rng.integers(8, size=8)])
        for _ in range(repeats)
    ]
    t = rng.standard_t(3, repeats)  # 3 + 2 seeds, less the two means

    def scores(side: Predictions, drawn: np.ndarray) -> np.ndarray:
        return np.array([score(key, side.actual[drawn], p[drawn]) for p in side.predicted.T])

    between = 0.0  # sum of squares between seeds, less what the choice of utterances explains
    for side in (a, b):
        observed = scores(side, np.arange(56))
        resampled = np.array([scores(side, drawn) for drawn in by_utterance])
        from_mean = resampled - resampled.mean(axis=1)[:, None]
        between += ((observed - observed.mean()) ** 2).sum() - from_mean.var(axis=0).sum()
    assert between > 0
    noise = np.sqrt(between / 3) * np.sqrt(1 / 3 + 1 / 2) * t
    for draws, interval_found in ((by_utterance, found.interval), (by_speaker, found.by_speaker)):
        differences = [scores(b, drawn).mean() - scores(a, drawn).mean() for drawn in draws]
        expected = np.quantile(np.clip(differences + noise, -1, 1), [0.025, 0.975])
        assert interval_found == pytest.approx(expected, abs=1e-9)


def test_speakers_that_differ_widen_the_interval_by_speaker_and_qualify_the_verdict():
    rng = np.random.default_rng(0)
    hits = np.ones((2, 140, 1), bool)
    hits[0, :, 0] = np.arange(140) % 4 != 0  # B is better on one of four speakers, on all of hers
    a, b = (result(rng, hit, speakers=4) for hit in hits)
    found = compare(a, b, 1000)
    assert significant(found) == [True] * 3
    assert found.measures["war"].by_speaker == (0, pytest.approx(0.75, abs=0.3))
    assert as_markdown(found).count("is significant with these speakers, but may not be") == 3


@pytest.mark.parametrize("speakers, given", [(2, False), (3, True)])
def test_two_speakers_are_too_few_for_an_interval(speakers: int, given: bool):
    rng = np.random.default_rng(0)
    a, b = (result(rng, rng.random((42, 1)) < 0.5, speakers=speakers) for _ in range(2))
    found = compare(a, b, 50)
    assert [bool(measure.by_speaker) for measure in found.measures.values()] == [given] * 3
    assert ("By speaker" in as_markdown(found)) is given


def test_utterances_count_that_more_than_half_of_the_seeds_get_right_and_mcnemar_needs_one_seed():
    rng = np.random.default_rng(0)
    hit_a = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 0, 0]] * 7)
    hit_b = np.array([[1], [0], [1], [1], [0]] * 7)
    found = compare(result(rng, hit_a == 1), result(rng, hit_b == 1), 50)
    # Of each five A has the second and fourth, B the first, third and fourth.
    assert (found.only_a, found.only_b) == (7, 14)
    assert found.mcnemar_p is None and "; no test of several seeds." in as_markdown(found)
    single = compare(result(rng, hit_a[:, 1:2] == 1), result(rng, hit_b == 1), 50)
    assert (single.only_a, single.only_b) == (7, 7) and single.mcnemar_p == 1


def test_other_test_utterances_are_refused_with_their_number_and_the_first():
    rng = np.random.default_rng(0)
    a, b = (result(rng, np.ones((n, 1), bool), name) for n, name in ((10, "HEAD"), (13, "exp")))
    b.ids[0] = "c/zzzz"
    text = complaint(a, b)
    assert "1 in HEAD alone (first c/0000), 4 in exp alone (first c/0010)" in text


def test_other_true_emotions_are_refused_with_the_utterance():
    rng = np.random.default_rng(0)
    a, b = (result(rng, np.ones((10, 1), bool), name) for name in ("HEAD", "exp"))
    b.actual[3] = 0
    assert "c/0003: is happiness in HEAD and anger in exp" in complaint(a, b)


def test_a_table_is_read_whatever_the_order_of_its_rows():
    read = parse_predictions(
        table("y,S,0,1,AN,SU", "x,T,0,1,DI,DI", "y,S,0,0,AN,AN", "x,T,0,0,DI,FE"), "HEAD", "file"
    )
    assert (read.revision, read.ids, read.speakers) == ("HEAD", ["x", "y"], ["T", "S"])
    assert read.actual.tolist() == [1, 0] and read.predicted.tolist() == [[2, 1], [0, 6]]


@pytest.mark.parametrize(
    "text, fault",
    [
        (table("x,S,0,AN,AN", header="id,speaker,fold,actual,predicted"), "no column 'seed'"),
        ("", "has no column 'id'"),
        (table(), "holds no predictions"),
        (table("x,S,0,0,AN,AN", "y,S,0,0,AN,XX"), "y: the emotion 'XX' is none of AN, DI,"),
        (table("x,S,0,0,anger,AN"), "x: the emotion 'anger' is none of"),
        (table("x,S,0,0"), "x: the emotion '' is none of"),
        (table("x,S,0,1.0,AN,AN"), "x: the seed '1.0' is not a number"),
        (table("x,S,0,0,AN,AN", "x,S,0,1,DI,AN"), "x: has two speakers or two true emotions"),
        (table("x,S,0,0,AN,AN", "x,T,0,1,AN,AN"), "x: has two speakers or two true emotions"),
        (table("x,S,0,0,AN,AN", "x,S,0,0,AN,DI"), "x: has two predictions of seed 0"),
        (table("x,S,0,0,AN,AN", "y,S,0,1,AN,AN"), "x: has no prediction of seed 1"),
    ],
)
def test_a_table_that_is_not_whole_is_refused_with_its_name_and_the_utterance(text, fault):
    said = complaint(text, "HEAD", "metrics/predictions.csv of HEAD")
    assert said.startswith("metrics/predictions.csv of HEAD: ") and fault in said
    assert said.endswith("; make it again by dvc repro evaluate")


def test_the_text_has_one_aligned_row_a_measure_and_its_verdict():
    a, b = pair(np.random.default_rng(0), 0.45, 0.7)
    found = compare(a, b, 500)
    lines = as_markdown(found).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert [row.split()[1] for row in rows[2:]] == list(MEASURES)
    assert len({len(row) for row in rows}) == 1 and rows[0].split()[3:6:2] == ["a", "b"]
    uar = found.measures["uar"]
    assert [cell.strip() for cell in rows[3].split("|")[2:5]] == [
        f"{uar.a:.3f}", f"{uar.b:.3f}", f"{uar.difference:+.3f}",
    ]  # fmt: skip
    assert f"{found.only_a} right in a alone, {found.only_b} in b alone; p = " in lines[7]
    assert [line.split(":")[0] for line in lines if "is significant" in line] == [
        "WAR",
        "UAR",
        "w-F1",
    ]
    low, high = uar.interval
    place = lines.index("", 9)
    smallest, one_seed = lines[place - 2 : place]
    assert smallest.startswith("The smallest difference that could be significant here: WAR 0.")
    assert f", UAR {(high - low) / 2:.3f}, w-F1 0." in smallest
    assert one_seed.startswith("One seed each: what another seed would change is not covered, so")


def test_the_command_prints_the_same_numbers_for_people_and_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    Path("metrics").mkdir()
    rows = [
        f"c/{i},S{i % 4},0,{s},{CODES[i % 7]},{CODES[s * i % 7]}"
        for i in range(28)
        for s in range(2)
    ]
    Path("metrics/predictions.csv").write_text(table(*rows))
    main(["workspace"])
    text = capsys.readouterr().out
    main(["workspace", "workspace", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["measures"]["uar"]["a"] == pytest.approx((1 / 7 + 1) / 2)
    assert f"| uar      | {found['measures']['uar']['a']:.3f} " in text
    assert found["measures"]["uar"]["interval"] == [0, 0] and found["same"] is True
    assert f"p = {found['mcnemar_p']:.2g}." in text and found["n_speakers"] == 4


def found_by(pairs: list[tuple[Predictions, Predictions]], key: str) -> float:
    """The share of comparisons in which a measure differs significantly."""
    return float(np.mean([compare(*each, 300).measures[key].significant for each in pairs]))


@pytest.mark.parametrize("key", MEASURES)
def test_as_many_utterances_as_are_said_to_be_needed_find_it_four_times_in_five(key: str):
    rng = np.random.default_rng(1)
    of_many = compare(*pair(rng, 0.6, 0.7, n=14_000), 300)  # so that the difference is the true one
    need = of_many.measures[key].need
    assert 200 < need.utterances < 400 and need.power == pytest.approx(1)
    share = found_by([pair(rng, 0.6, 0.7, n=need.utterances) for _ in range(250)], key)
    assert 0.72 <= share <= 0.88  # three standard errors


def of_speakers(rng: np.random.Generator, speakers: int) -> tuple[Predictions, Predictions]:
    """Two results of 14 utterances a speaker; for some speakers the second is much better."""
    skill = np.repeat(rng.normal(0.55, 0.05, speakers), 14)
    gain = np.repeat(rng.normal(0.08, 0.2, speakers), 14)
    # The utterances of a speaker stand apart by `speakers`, as `result` numbers them.
    order = np.argsort(np.arange(14 * speakers) % speakers, kind="stable")
    hits = []
    for share in (skill, skill + gain):
        hit = np.empty((14 * speakers, 1), bool)
        hit[order, 0] = rng.random(14 * speakers) < share
        hits.append(hit)
    a, b = (result(rng, hit, name, speakers) for hit, name in zip(hits, "ab"))
    return a, b


def test_as_many_speakers_as_are_said_to_be_needed_find_it_four_times_in_five():
    rng = np.random.default_rng(2)
    need = compare(*of_speakers(rng, 1500), 300).measures["war"].need
    assert 50 < need.speakers < 100
    assert need.utterances < 14 * need.speakers  # of the same speakers fewer are enough
    ends = [
        compare(*of_speakers(rng, need.speakers), 300).measures["war"].by_speaker
        for _ in range(250)
    ]
    share = np.mean([low > 0 or high < 0 for low, high in ends])
    assert 0.72 <= share <= 0.88


def test_what_is_needed_is_said_with_what_it_rests_on():
    a, b = pair(np.random.default_rng(0), 0.6, 0.65)
    found = compare(a, b, 2000).measures["uar"]
    need = found.need
    assert need.between[1] is None and not found.significant  # as the interval holds 0
    assert need.between[0] < need.utterances and 0.05 < need.power < 0.8
    text = as_markdown(compare(a, b, 2000))
    assert (
        f"A difference of {found.difference:+.3f} UAR would need {need.utterances:,} utterances "
        f"like these, or {need.speakers:,} speakers, to be found four times in five "
        f"({need.between[0]:,} or more by its interval); this comparison finds one of this size "
        f"{100 * need.power:.0f} times in 100."
    ) in text.splitlines()
    assert "if the true one is smaller" in text
    clear = compare(*pair(np.random.default_rng(0), 0.45, 0.7), 2000).measures["war"].need
    fewest, most = clear.between
    assert fewest < clear.utterances < most and clear.power > 0.8


def test_nothing_is_needed_where_there_is_no_difference():
    a, b = pair(np.random.default_rng(0), 0.6, 0.6)
    assert {measure.need for measure in compare(a, a, 100).measures.values()} == {None}
    assert "would need" not in as_markdown(compare(a, a, 100))
    actual = np.arange(4) % 2
    one, other = (
        Predictions(name, list("wxyz"), ["s"] * 4, actual, np.array(said)[:, None])
        for name, said in (("a", [0, 1, 1, 1]), ("b", [0, 1, 0, 0]))
    )
    equal = compare(one, other, 100).measures["war"]
    assert equal.difference == 0 and equal.need is None


def test_where_the_seeds_differ_too_much_more_of_them_are_needed():
    rng = np.random.default_rng(0)
    fickle = [rng.random((700, 3)) < share for share in ([0.4, 0.6, 0.8], [0.45, 0.65, 0.85])]
    found = compare(*(result(rng, hit) for hit in fickle), 1000)
    need = found.measures["war"].need
    assert need.utterances is need.speakers is None and need.power < 0.2
    assert "would need more seeds, as no number of utterances is enough" in as_markdown(found)


def test_with_too_few_speakers_it_is_not_said_how_many_are_needed():
    rng = np.random.default_rng(0)
    found = compare(*(result(rng, rng.random((140, 1)) < p, "a", 2) for p in (0.5, 0.6)), 500)
    assert found.measures["war"].need.speakers is None
    assert " speakers, to be found" not in as_markdown(found)


class Project(Repository):
    """A git and DVC repository whose one stage writes predictions of a given skill and seeds."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.environment["PYTHONPATH"] = str(ROOT)
        (folder / "make.py").write_text(MAKE)
        (folder / "dvc.yaml").write_text(
            "stages:\n  evaluate:\n    cmd: python make.py\n    params: [skill, seeds]\n"
            "    deps: [make.py]\n    outs: [metrics/predictions.csv]\n"
        )
        (folder / ".gitignore").write_text("/metrics/*\n")
        self.set(skill=0.3, seeds=1)
        self.run("git", "init", "-q")
        self.dvc("init", "-q")

    def set(self, **params: float) -> None:
        lines = (f"{key}: {value}\n" for key, value in params.items())
        (self.folder / "params.yaml").write_text("".join(lines))

    def commit(self) -> None:
        self.run("git", "add", "--all")
        self.run("git", "commit", "-q", "-m", "another")


MAKE = f"""
import random
from pathlib import Path
from ruamel.yaml import YAML
params = YAML(typ="safe").load(Path("params.yaml"))
codes, rng = {CODES}, random.Random(0)
lines = ["{HEADER}"]
for i in range(140):
    for seed in range(params["seeds"]):
        actual = codes[i % 7]
        predicted = actual if rng.random() < params["skill"] else rng.choice(codes)
        lines.append(f"c/{{i:03}},S{{i % 4}},0,{{seed}},{{actual}},{{predicted}}")
Path("metrics").mkdir(exist_ok=True)
Path("metrics/predictions.csv").write_text("\\n".join(lines) + "\\n")
"""


def between(a: str, b: str = "workspace") -> Comparison:
    return compare(read_predictions(a), read_predictions(b))


def refusal(revision: str) -> str:
    with pytest.raises(UserError) as caught:
        read_predictions(revision)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_commits_experiments_and_the_workspace_are_compared_through_dvc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    project = Project(tmp_path)
    said = refusal("workspace")
    assert "metrics/predictions.csv: cannot be read: " in said and "dvc repro evaluate" in said
    project.dvc("repro", "-q")
    project.commit()
    project.set(skill=0.8, seeds=1)
    project.dvc("repro", "-q")
    project.commit()
    project.dvc("exp", "run", "-q", "-n", "threefold", "-S", "seeds=3")

    # The experiment is what lies in the workspace, too.
    found = between("HEAD", "threefold")
    assert (found.a, found.b, found.n_test) == ("HEAD", "threefold", 140)
    assert (found.seeds_a, found.seeds_b) == (1, 3) and significant(found) == [False] * 3
    assert between("HEAD") == dataclasses.replace(found, b="workspace")

    project.dvc("exp", "apply", "-q", "HEAD")
    assert between("HEAD", "threefold") == found
    assert between("HEAD").measures["uar"].difference == 0
    older = between("HEAD~1", "HEAD")
    assert older.measures["war"].difference > 0.3 and significant(older) == [True] * 3
    command = (sys.executable, "-m", "stages", "compare")
    assert project.run(*command, "HEAD~1", "threefold").startswith(
        "| Metric   | HEAD~1   | threefold   "
    )
    assert project.run(*command, "no-such-name", code=2).startswith("error: 'no-such-name': is nei")

    for unknown in ("HEAD~9", ""):
        assert f"{unknown!r}: is neither a git revision nor an experiment" in refusal(unknown)

    # Of an experiment and a branch DVC would take the branch.
    project.run("git", "branch", "threefold")
    said = refusal("threefold")
    assert "is an experiment and a git branch or tag; say which: refs/exps/" in said
    full = said.split("say which: ")[1].split(" or ")[0]
    assert between("HEAD", full).n_test == 140
    project.run("git", "branch", "-D", "threefold")

    shutil.rmtree(tmp_path / ".dvc/cache")
    said = refusal("threefold")
    assert (
        "metrics/predictions.csv of threefold: is neither in git nor in DVC's cache or remote"
        in said
    )
    assert "dvc exp apply threefold; dvc repro evaluate" in said
    # The remedy is one, although its first command complains of the files that it cannot find.
    project.dvc("exp", "apply", "-q", "threefold", code=255)
    project.dvc("repro", "-q", "evaluate")
    assert between("threefold").measures["war"].difference == 0
