"""Fairness: whether a result holds for every speaker, and for women and men alike.

    python -m stages fairness [REVISION] [--json]

REVISION is a git revision, the name of a DVC experiment or "workspace", the default, e.g.
`python -m stages fairness gm`.

In:  metrics/predictions.csv and data/manifest/<corpus>.csv of the revision, from the workspace or
     from DVC's cache
Out: on stdout WAR and UAR of every speaker and of each sex, where the corpus tells it, with 95 %
     intervals, recall by emotion and sex, and the largest gaps: with intervals, beside those that
     chance alone would make, and with p-values
Paper: none of it; it reports no figure by speaker.
"""

import argparse
import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import comb

import dvc.api
import numpy as np
from tabulate import tabulate

from stages.commands.compare import WORKSPACE, Interval, Predictions, read_predictions
from stages.commands.revisions import reading
from stages.corpora.emotions import EMOTIONS
from stages.io.files import read_table
from stages.runtime.paths import manifest_path
from stages.scoring.intervals import MIN_SPEAKERS, REPEATS, interval, resample_weights, wilson
from stages.scoring.metrics import confusions, uar, war

MEASURES = {"war": war, "uar": uar}
SEED = 0  # of what is drawn: the same predictions give the same numbers
MIN_UTTERANCES = 10  # of a speaker who counts in the largest gap; of two, a recall is 0, 0.5 or 1
LEVEL = 0.05
SHOWN = 20  # speakers that fit a screen
CHUNK = 250  # permutations at a time

Samples = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Group:
    """A speaker, or all of one sex.

    Attributes:
        sex: of a speaker; "" where it is not told.
        war_interval: Wilson's; `uar_interval`: of the bootstrap by utterance; both of 95 %.
    """

    name: str
    sex: str
    n_speakers: int
    n_test: int
    war: float
    war_interval: Interval
    uar: float
    uar_interval: Interval


@dataclasses.dataclass(frozen=True)
class Gap:
    """The gap in one measure between two groups.

    Attributes:
        high, low: the groups.
        gap: `high` less `low`.
        interval: of 95 %, over other utterances of the same speakers; that these two were chosen
            for their gap is not covered.
        by_speaker: of 95 %, over other speakers of each sex; None between two speakers, or where
            there are fewer than 3 of a sex.
        expected: the mean gap (its size alone) in permutations, where there is none in truth.
        p: share of the permutations that make such a gap; None where they are too few to tell.
    """

    high: str
    low: str
    gap: float
    interval: Interval
    by_speaker: Interval | None
    expected: float
    p: float | None


@dataclasses.dataclass(frozen=True)
class Recall:
    """The recall of an emotion among the utterances of one sex, with Wilson's 95 % interval."""

    emotion: str
    sex: str
    n_test: int
    recall: float
    interval: Interval


@dataclasses.dataclass(frozen=True)
class Fairness:
    """What `fairness` finds.

    Attributes:
        n_in_gap: speakers of at least `MIN_UTTERANCES` utterances, among whom gaps are looked for.
        n_untold: speakers whose sex is not told.
        speaker_gaps, sex_gaps: by measure, "war" and "uar"; empty where there are not two groups.
        emotions: of both sexes, where both are there.
    """

    revision: str
    n_test: int
    n_seeds: int
    n_in_gap: int
    n_untold: int
    speakers: list[Group]
    sexes: list[Group]
    speaker_gaps: dict[str, Gap]
    sex_gaps: dict[str, Gap]
    emotions: list[Recall]


def read_sexes(result: Predictions) -> dict[str, str]:
    """The sex of each speaker of whom the manifest tells it, "female" or "male".

    Raises:
        UserError: a manifest cannot be read.
    """
    speaker_of = dict(zip(result.ids, result.speakers))
    found = {}
    for corpus in sorted({name.split("/")[0] for name in result.ids}):
        for row in _manifest(corpus, result.revision):
            if row["id"] in speaker_of and row.get("sex"):
                found[speaker_of[row["id"]]] = row["sex"]
    return found


def _manifest(corpus: str, revision: str) -> list[dict[str, str]]:
    path = manifest_path(corpus)
    if revision == WORKSPACE:
        return read_table(path, ("id",))
    with reading(path, revision, "fairness", f"manifest@{corpus}"):
        text = dvc.api.read(str(path), rev=revision, encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def fairness(result: Predictions, sex_of: Mapping[str, str], repeats: int = REPEATS) -> Fairness:
    """Recall by speaker and by sex, and the largest gaps.

    Of many speakers with few utterances the best and the worst are far apart by chance. So the
    largest gap is set beside those of permutations: of utterances of one emotion between the
    speakers, which is what happens where all speakers are alike; between the sexes, of speakers,
    so that a woman who is hard to hear does not stand for all women.

    Source: P. Good, Permutation, Parametric and Bootstrap Tests of Hypotheses (2005), Chapter 3.

    Args:
        sex_of: by speaker; others have none.
        repeats: of bootstraps and permutations.
    """
    rng = np.random.default_rng(SEED)
    who = np.array(result.speakers)
    names = sorted(set(result.speakers))
    groups, samples = {}, {}
    for name in names:
        groups[name], samples[name] = _group(
            name, result, who == name, sex_of.get(name, ""), repeats, rng
        )
    many = [name for name in names if groups[name].n_test >= MIN_UTTERANCES]
    sex = np.array([sex_of.get(name, "") for name in result.speakers])
    both = {}
    for one in ("female", "male"):
        if (sex == one).any():
            both[one] = _group(one, result, sex == one, one, repeats, rng)
    sexes = [group for group, _ in both.values()]
    return Fairness(
        revision=result.revision,
        n_test=len(result.ids),
        n_seeds=result.predicted.shape[1],
        n_in_gap=len(many),
        n_untold=sum(not group.sex for group in groups.values()),
        speakers=sorted(groups.values(), key=lambda group: (-group.uar, group.name)),
        sexes=sexes,
        speaker_gaps=(
            _speaker_gaps(result, {name: (groups[name], samples[name]) for name in many}, rng)
            if len(many) > 1
            else {}
        ),
        sex_gaps=_sex_gaps(result, sex, both, repeats, rng) if len(both) > 1 else {},
        emotions=_by_emotion(result, sex) if len(both) > 1 else [],
    )


def _measures(result: Predictions, weights: np.ndarray) -> Samples:
    """Each measure, the mean over the seeds, of utterances with weights [B, n]: [B]."""
    counts = confusions(result.actual, result.predicted, weights, len(EMOTIONS))
    return {key: measure(counts).mean(1) for key, measure in MEASURES.items()}


def _part(result: Predictions, chosen: np.ndarray) -> Predictions:
    places = np.flatnonzero(chosen)
    return dataclasses.replace(
        result,
        ids=[result.ids[i] for i in places],
        speakers=[result.speakers[i] for i in places],
        actual=result.actual[places],
        predicted=result.predicted[places],
    )


def _hits(result: Predictions) -> np.ndarray:
    """The share of the seeds that are right, [n]: recalls are means of it."""
    return (result.predicted == result.actual[:, None]).mean(1)


def _group(
    name: str,
    result: Predictions,
    chosen: np.ndarray,
    sex: str,
    repeats: int,
    rng: np.random.Generator,
) -> tuple[Group, Samples]:
    """What is told of some utterances, and its measures in bootstrap samples of these."""
    part = _part(result, chosen)
    n = len(part.ids)
    observed = _measures(part, np.ones((1, n), int))
    samples = _measures(part, resample_weights(n, repeats, rng))
    group = Group(
        name=name,
        sex=sex,
        n_speakers=len(set(part.speakers)),
        n_test=n,
        war=float(observed["war"][0]),
        war_interval=wilson(float(_hits(part).sum()), n),
        uar=float(observed["uar"][0]),
        uar_interval=interval(samples["uar"]),
    )
    return group, samples


def _speaker_gaps(
    result: Predictions,
    speakers: Mapping[str, tuple[Group, Samples]],
    rng: np.random.Generator,
) -> dict[str, Gap]:
    """The largest gap between two speakers in each measure."""
    repeats = len(next(iter(speakers.values()))[1]["war"])
    part = _part(result, np.isin(result.speakers, list(speakers)))
    spoken = np.array(part.speakers) == np.array(list(speakers))[:, None]
    alike = part.actual == part.actual[:, None]
    support = spoken.astype(float) @ alike  # of the emotion of each utterance, by speaker
    shares = {key: spoken / (spoken.sum(1, keepdims=True)) for key in MEASURES}
    shares["uar"] = np.where(spoken, 1 / np.maximum(1, support), 0)
    shares["uar"] /= shares["uar"].sum(1, keepdims=True)
    by_chance: dict[str, list[np.ndarray]] = {key: [] for key in MEASURES}
    for hits in _permuted(_hits(part), part.actual, repeats, rng):
        for key in MEASURES:
            by_chance[key].append(np.ptp(hits @ shares[key].T, axis=1))
    found = {}
    for key in MEASURES:
        ordered = sorted(speakers, key=lambda name: getattr(speakers[name][0], key))
        low, high = ordered[0], ordered[-1]
        gap = getattr(speakers[high][0], key) - getattr(speakers[low][0], key)
        differences = speakers[high][1][key] - speakers[low][1][key]
        chance = np.concatenate(by_chance[key])
        found[key] = Gap(
            high, low, gap, interval(differences), None, float(chance.mean()), _share(chance, gap)
        )
    return found


def _permuted(
    hits: np.ndarray, actual: np.ndarray, repeats: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """`hits` [n] exchanged between the utterances of each emotion, [up to CHUNK, n] at a time."""
    for start in range(0, repeats, CHUNK):
        rows = np.tile(hits, (min(CHUNK, repeats - start), 1))
        for emotion in np.unique(actual):
            places = actual == emotion
            rows[:, places] = rng.permuted(rows[:, places], axis=1)
        yield rows


def _share(chance: np.ndarray, gap: float) -> float:
    """The p-value of a gap among those of random permutations, of which what is here is one."""
    return float((1 + (chance >= gap - 1e-12).sum()) / (1 + len(chance)))


def _sex_gaps(
    result: Predictions,
    sex: np.ndarray,
    both: Mapping[str, tuple[Group, Samples]],
    repeats: int,
    rng: np.random.Generator,
) -> dict[str, Gap]:
    """The gap between the sexes in each measure."""
    sides = {one: _part(result, sex == one) for one in both}
    counts = {one: len(set(side.speakers)) for one, side in sides.items()}
    by_speaker: dict[str, Samples] = {}
    if min(counts.values()) >= MIN_SPEAKERS:
        by_speaker = {
            one: _measures(side, resample_weights(len(side.ids), repeats, rng, side.speakers))
            for one, side in sides.items()
        }
    told = _part(result, sex != "")
    names, unit = np.unique(told.speakers, return_inverse=True)
    women = counts["female"]
    ways = comb(len(names), women)
    # Of as many women as men, each way has one with the sexes exchanged, and the same gap.
    enough = (2 if 2 * women == len(names) else 1) / ways <= LEVEL
    exact = ways <= repeats
    chosen: Iterable[Sequence[int]] = (
        itertools.combinations(range(len(names)), women)
        if exact
        else (rng.permutation(len(names))[:women].tolist() for _ in range(repeats))
    )
    female = np.zeros((min(ways, repeats), len(names)), np.uint8)
    for row, places in zip(female, chosen):
        row[list(places)] = 1
    of_women, of_men = (_measures(told, weights[:, unit]) for weights in (female, 1 - female))
    found = {}
    for key in MEASURES:
        low, high = sorted(both, key=lambda one: getattr(both[one][0], key))
        gap = getattr(both[high][0], key) - getattr(both[low][0], key)
        chance = np.abs(of_women[key] - of_men[key])
        p = float((chance >= gap - 1e-12).mean()) if exact else _share(chance, gap)
        found[key] = Gap(
            high,
            low,
            gap,
            interval(both[high][1][key] - both[low][1][key]),
            interval(by_speaker[high][key] - by_speaker[low][key]) if by_speaker else None,
            float(chance.mean()),
            p if enough else None,
        )
    return found


def _by_emotion(result: Predictions, sex: np.ndarray) -> list[Recall]:
    hits = _hits(result)
    found = []
    for i, emotion in enumerate(EMOTIONS):
        for one in ("female", "male"):
            of = hits[(result.actual == i) & (sex == one)]
            if len(of):
                ends = wilson(float(of.sum()), len(of))
                found.append(Recall(emotion, one, len(of), float(of.mean()), ends))
    return found


def as_markdown(found: Fairness) -> str:
    """What was found for people: a table of the speakers, of the sexes and of the gaps."""
    shown: list[Group | None] = list(found.speakers)
    if len(shown) > SHOWN:
        many = [group for group in found.speakers if group.n_test >= MIN_UTTERANCES]
        half, many = SHOWN // 2, many or found.speakers
        shown = [*many[:half], None, *many[half:][-half:]]
    speakers = [
        [group.name, group.sex, group.n_test, *_cells(group)]
        if group
        else [f"... {len(found.speakers) - len(shown) + 1} more: --json", "", "", "", ""]
        for group in shown
    ]
    lines = [
        _table(speakers, ["Speaker", "Sex", "Utterances", "WAR", "UAR"]),
        "",
        f"{found.n_test} test utterances of {len(found.speakers)} speakers, {found.n_seeds} seeds "
        f"of {found.revision}; a UAR is over the emotions that are there.",
    ]
    if found.sexes:
        sexes = [[of.name, of.n_speakers, of.n_test, *_cells(of)] for of in found.sexes]
        lines += ["", _table(sexes, ["Sex", "Speakers", "Utterances", "WAR", "UAR"])]
    if found.emotions:
        cells = {
            (of.emotion, of.sex): f"{of.recall:.3f} {_text(of.interval)} of {of.n_test}"
            for of in found.emotions
        }
        emotions = dict.fromkeys(of.emotion for of in found.emotions)
        rows = [
            [emotion, *(cells.get((emotion, one), "") for one in ("female", "male"))]
            for emotion in emotions
        ]
        lines += ["", _table(rows, ["Recall of", "female", "male"])]
    gaps = [*found.speaker_gaps.items(), *found.sex_gaps.items()]
    by_speaker = any(of.by_speaker for _, of in gaps)
    rows = [
        [f"{of.high} - {of.low}", key.upper(), f"{of.gap:.3f} {_text(of.interval)}"]
        + [_text(of.by_speaker) if of.by_speaker else ""] * by_speaker
        + [f"{of.expected:.3f}", "too few" if of.p is None else f"{of.p:.2g}"]
        for key, of in gaps
    ]
    if rows:
        header = ["Largest gap", "Measure", "Gap", *["By speaker"] * by_speaker, "By chance", "p"]
        lines += ["", _table(rows, header), ""]
    lines += verdicts(found)
    return "\n".join(lines)


def verdicts(found: Fairness) -> list[str]:
    """What the gaps of UAR mean, a sentence each."""
    lines = []
    if gap := found.speaker_gaps.get("uar"):
        assert gap.p is not None
        says = "more than chance explains" if gap.p < LEVEL else "no more than chance explains"
        lines.append(
            f"The largest gap of UAR between two of {found.n_in_gap} speakers, {gap.gap:.3f}, is "
            f"{says}: were all alike, {gap.expected:.3f} would be expected (p = {gap.p:.2g})."
        )
    else:
        lines.append(
            f"No gap between speakers: fewer than two have {MIN_UTTERANCES} test utterances."
        )
    if left := len(found.speakers) - found.n_in_gap:
        lines.append(
            f"Speakers of fewer than {MIN_UTTERANCES} utterances, who are not in the gap: {left}."
        )
    if gap := found.sex_gaps.get("uar"):
        if gap.p is None:
            says = "too few speakers of each sex to tell it from chance"
        elif gap.p < LEVEL:
            says = f"more than chance explains (p = {gap.p:.2g})"
        else:
            says = f"no more than chance explains (p = {gap.p:.2g})"
        lines.append(
            f"The gap of UAR between the sexes, {gap.gap:.3f}: {says}; {gap.expected:.3f} would be "
            "expected of speakers divided at random."
        )
    elif found.sexes:
        lines.append(
            f"No gap between the sexes: all speakers whose sex is told are {found.sexes[0].name}."
        )
    else:
        lines.append("The sex of the speakers is not told by the manifest of this corpus.")
    if found.sexes and found.n_untold:
        lines.append(f"Speakers whose sex is not told, who are of neither: {found.n_untold}.")
    return lines


def _cells(group: Group) -> list[str]:
    return [
        f"{group.war:.3f} {_text(group.war_interval)}",
        f"{group.uar:.3f} {_text(group.uar_interval)}",
    ]


def _table(rows: Sequence[Sequence[object]], header: Sequence[str]) -> str:
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def _text(ends: Interval) -> str:
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]"


def main(words: Sequence[str]) -> None:
    """Print recall by speaker and by sex, and the largest gaps."""
    parser = argparse.ArgumentParser(
        prog="python -m stages fairness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    said = "git revision, DVC experiment or workspace, the default"
    parser.add_argument("revision", metavar="REVISION", nargs="?", default=WORKSPACE, help=said)
    parser.add_argument("--json", action="store_true", help="print the same numbers as JSON")
    asked = parser.parse_args(words)
    result = read_predictions(asked.revision)
    found = fairness(result, read_sexes(result))
    if asked.json:
        print(json.dumps(dataclasses.asdict(found), indent=2, allow_nan=False))
    else:
        print(as_markdown(found))
