"""Compare: test whether two results differ significantly.

    python -m stages compare A [B] [--json]

A and B are git revisions, names of DVC experiments, or "workspace", which B is unless given, e.g.
`python -m stages compare HEAD alpha-1`. `dvc metrics diff A B` shows the difference alone.

In:  metrics/predictions.csv of A and of B, from the workspace or from DVC's cache
Out: on stdout WAR, UAR and w-F1 of both, their differences with 95 % intervals and whether these
     leave out 0, the smallest difference that could, McNemar's test of the utterances that only
     one of the two gets right (with one seed each), and how many utterances or speakers a
     difference of this size needs to be found at 5 % in 80 % of such comparisons
Paper: Section 3.2 for the measures; it compares single numbers, without intervals.
"""

import argparse
import csv
import dataclasses
import io
import itertools
import json
from collections.abc import Sequence

import dvc.api
import numpy as np
from tabulate import tabulate

from stages.commands.revisions import reading
from stages.corpora.emotions import CODES, EMOTIONS
from stages.runtime.errors import UserError
from stages.runtime.paths import PREDICTIONS
from stages.scoring.intervals import MIN_SPEAKERS, REPEATS, interval, resample_weights
from stages.scoring.metrics import MEASURES, confusions
from stages.scoring.paired import bootstrap_p, mcnemar, seed_variance
from stages.scoring.power import Need, power_of, units_needed

WORKSPACE = "workspace"
COLUMNS = ("id", "speaker", "seed", "actual", "predicted")
NAMES = {"war": "WAR", "uar": "UAR", "w_f1": "w-F1"}
PLANNED = (
    "That is for the observed difference, which is uncertain itself: if the true one is smaller, a "
    "study planned so will miss it more often."
)
SEED = 0  # of the bootstrap: the same two results give the same intervals

Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """One result: what every seed of a system predicts for every test utterance.

    Attributes:
        revision: where it was read from, as the user calls it.
        ids: n, sorted.
        speakers: n.
        actual: int [n], index into `CODES`.
        predicted: int [n, S], one column a seed, in the order of the seeds.
    """

    revision: str
    ids: list[str]
    speakers: list[str]
    actual: np.ndarray
    predicted: np.ndarray


@dataclasses.dataclass(frozen=True)
class Difference:
    """One measure of A and of B, each the mean over its seeds, and B - A.

    Attributes:
        interval: 95 % interval of the difference over other utterances.
        by_speaker: the same over other speakers; None if there are fewer than 3, and too narrow if
            there are few (of two equal systems with 4 speakers, 0 is outside one time in seven).
        significant: `interval` leaves out 0.
        p: the same as a p-value, for who corrects it for the number of comparisons.
        need: how much data a difference of this size needs; None where there is none.
    """

    a: float
    b: float
    difference: float
    interval: Interval
    by_speaker: Interval | None
    significant: bool
    p: float
    need: Need | None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` finds.

    Attributes:
        a: name of the one result, as of `Predictions.revision`; `b`: of the other.
        measures: under their keys in metrics/test.json.
        only_a: utterances that A alone gets right; `only_b`: that B alone does.
        mcnemar_p: None where a side has several seeds, of which McNemar's test knows nothing.
        same: A and B predict the same.
    """

    a: str
    b: str
    n_test: int
    n_speakers: int
    seeds_a: int
    seeds_b: int
    measures: dict[str, Difference]
    only_a: int
    only_b: int
    mcnemar_p: float | None
    same: bool


def read_predictions(revision: str) -> Predictions:
    """The predictions of a git revision, a DVC experiment or the workspace.

    Raises:
        UserError: there is no such revision, it has no predictions, they are neither in the cache
            nor on its remote, or they are not a whole table.
    """
    if revision == WORKSPACE:
        return parse_predictions(_read_workspace(), revision, str(PREDICTIONS))
    return parse_predictions(_read_revision(revision), revision, f"{PREDICTIONS} of {revision}")


def parse_predictions(text: str, revision: str, source: str) -> Predictions:
    """The predictions of a table as `evaluate` writes it; `source` is its name in messages.

    Raises:
        UserError: a column is missing, an emotion or a seed is none, or an utterance is not in the
            table once a seed, always with the same speaker and true emotion.
    """

    def check(is_right: bool, wrong: str) -> None:
        if not is_right:
            raise UserError(f"{source}: {wrong}; make it again by dvc repro evaluate")

    reader = csv.DictReader(io.StringIO(text))
    for column in COLUMNS:
        check(column in (reader.fieldnames or ()), f"has no column {column!r}")
    facts: dict[str, tuple[str, str]] = {}
    predicted: dict[tuple[str, int], int] = {}
    for row in reader:
        name, speaker, seed, actual, answer = (row[column] or "" for column in COLUMNS)
        for code in (actual, answer):
            check(code in CODES, f"{name}: the emotion {code!r} is none of {', '.join(CODES)}")
        check(seed.isascii() and seed.isdigit(), f"{name}: the seed {seed!r} is not a number")
        fact = facts.setdefault(name, (speaker, actual))
        check(fact == (speaker, actual), f"{name}: has two speakers or two true emotions")
        check((name, int(seed)) not in predicted, f"{name}: has two predictions of seed {seed}")
        predicted[name, int(seed)] = CODES.index(answer)
    check(bool(facts), "holds no predictions")
    ids, seeds = sorted(facts), sorted({seed for _, seed in predicted})
    for name, seed in itertools.product(ids, seeds):
        check((name, seed) in predicted, f"{name}: has no prediction of seed {seed}")
    return Predictions(
        revision,
        ids,
        [facts[name][0] for name in ids],
        np.array([CODES.index(facts[name][1]) for name in ids]),
        np.array([[predicted[name, seed] for seed in seeds] for name in ids]),
    )


def compare(
    a: Predictions, b: Predictions, repeats: int = REPEATS, same_models: bool = False
) -> Comparison:
    """Compare two results on the same test utterances.

    An interval is that of a paired bootstrap: each sample takes the same utterances (or the same
    speakers) of A and of B, so that what is hard for both cancels. It covers the choice of
    utterances and, where a side has several seeds, the choice of seeds: the variance between seeds
    beyond what the choice of utterances explains is added as noise, so that a difference that
    another seed would undo is not significant. This variance is pooled over A and B and the noise
    follows Student's t, as it is estimated from few seeds; the seeds of A and of B count as
    independent. With one seed on both sides it is unknown and taken as 0. What another division
    into training and test would change is never covered.

    An utterance is right in one alone if more than half of the seeds are. McNemar's test of these
    counts takes them for all there is: with several seeds it is not made, as it would find equal
    systems different once in ten times.

    Two results that predict the same are one: every difference and interval is 0.

    Source: B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), Chapters 8 and 13;
    see `seed_variance` for the seeds.

    Args:
        same_models: A and B are what the same models say, so that there is no choice of seeds.

    Raises:
        UserError: A and B were not tested on the same utterances with the same true emotions.
    """
    _check_same_utterances(a, b)
    rng = np.random.default_rng(SEED)
    n, speakers = len(a.ids), len(set(a.speakers))
    weights = [resample_weights(n, repeats, rng)]
    if speakers >= MIN_SPEAKERS:
        weights.append(resample_weights(n, repeats, rng, a.speakers))
    seeds_a, seeds_b = a.predicted.shape[1], b.predicted.shape[1]
    freedom = seeds_a + seeds_b - 2
    other_seeds = rng.standard_t(freedom, repeats) if freedom else np.zeros(repeats)
    same = np.array_equal(a.predicted, b.predicted)
    # Variance of their difference, of one seed's.
    means = 0 if same or same_models else 1 / seeds_a + 1 / seeds_b
    other_seeds *= np.sqrt(means)

    once = np.ones((1, n), int)
    observed = _scores(a, once), _scores(b, once)
    resampled = [(_scores(a, rows), _scores(b, rows)) for rows in weights]
    measures = {}
    for key in MEASURES:
        values = [side[key][0] for side in observed]
        samples = [[side[key] for side in sides] for sides in resampled]
        of_one_seed = seed_variance(values, samples[0])
        noise = np.sqrt(of_one_seed) * other_seeds
        of_a, of_b = (float(of_seeds.mean()) for of_seeds in values)
        differences = [_differences(sides, noise) for sides in samples]
        (low, high), *by_speaker = map(interval, differences)
        alone = [float(_differences(sides, np.zeros(repeats)).var()) for sides in samples]
        needed = _need(of_b - of_a, (low, high), [n, speakers], alone, of_one_seed * means)
        measures[key] = Difference(
            of_a,
            of_b,
            of_b - of_a,
            (low, high),
            by_speaker[0] if by_speaker else None,
            low > 0 or high < 0,
            bootstrap_p(differences[0]),
            needed,
        )
    right_a, right_b = _right(a), _right(b)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return Comparison(
        a=a.revision,
        b=b.revision,
        n_test=n,
        n_speakers=speakers,
        seeds_a=seeds_a,
        seeds_b=seeds_b,
        measures=measures,
        only_a=only_a,
        only_b=only_b,
        mcnemar_p=mcnemar(only_a, only_b) if same or seeds_a == seeds_b == 1 else None,
        same=same,
    )


def _need(
    difference: float,
    ends: Interval,
    sizes: Sequence[int],
    variances: Sequence[float],
    of_seeds: float,
) -> Need | None:
    """What a difference needs.

    Args:
        ends: its interval.
        sizes: the number of utterances, and of speakers.
        variances: of the difference over bootstrap samples of these, of speakers if they are
            enough.
    """
    if round(difference, 12) == 0 or sizes[0] < 2:
        return None
    utterances, *speakers = (
        units_needed(difference, *of, of_seeds) for of in zip(sizes, variances)
    )
    most = None
    if not ends[0] <= 0 <= ends[1]:
        most = units_needed(min(ends, key=abs), sizes[0], variances[0], of_seeds)
    fewest = units_needed(max(*ends, difference, key=abs), sizes[0], variances[0], of_seeds)
    power = power_of(difference, sizes[0], variances[0], of_seeds)
    return Need(utterances, (fewest, most), speakers[0] if speakers else None, power)


def as_markdown(comparison: Comparison) -> str:
    """The comparison for people: a table as of `dvc metrics diff --md`, and what it means."""
    c = comparison
    by_speaker = c.n_speakers >= MIN_SPEAKERS
    header = ["Metric", c.a, c.b, "Change", "95 % interval"]
    rows = []
    for key, found in c.measures.items():
        row = [key, f"{found.a:.3f}", f"{found.b:.3f}", f"{found.difference:+.3f}"]
        row.append(_text(found.interval))
        row += [_text(found.by_speaker)] if found.by_speaker else []
        rows.append([*row, "yes" if found.significant else "no"])
    header += ["By speaker"] * by_speaker + ["Significant"]
    lines = [
        tabulate(rows, header, tablefmt="github", disable_numparse=True),
        "",
        f"{c.n_test} test utterances of {c.n_speakers} speakers; "
        f"{_counted(c.seeds_a)} of {c.a}, {_counted(c.seeds_b)} of {c.b}.",
        f"McNemar: {c.only_a} right in {c.a} alone, {c.only_b} in {c.b} alone; "
        + ("no test of several seeds." if c.mcnemar_p is None else f"p = {c.mcnemar_p:.2g}."),
        "",
        *(verdict(key, found) for key, found in c.measures.items()),
    ]
    if c.same:
        return "\n".join([*lines, f"{c.a} and {c.b} predict the same."])
    lines.append(f"The smallest difference that could be significant here: {_smallest(c)}.")
    if c.seeds_a == c.seeds_b == 1:
        lines.append(
            "One seed each: what another seed would change is not covered, so that of two equal "
            "systems more than one in twenty differ significantly."
        )
    needs = [
        need_in_words(key, of.difference, of.need) for key, of in c.measures.items() if of.need
    ]
    lines += ["", *needs, PLANNED] if needs else []
    return "\n".join(lines)


def _smallest(comparison: Comparison) -> str:
    """Half the width of each interval: a smaller difference would leave 0 within it."""
    ends = {NAMES[key]: found.interval for key, found in comparison.measures.items()}
    return ", ".join(f"{name} {(high - low) / 2:.3f}" for name, (low, high) in ends.items())


def verdict(key: str, found: Difference) -> str:
    """Whether a difference is significant, in one sentence."""
    says = "is significant" if found.significant else "is not significant"
    if found.significant and found.by_speaker and found.by_speaker[0] <= 0 <= found.by_speaker[1]:
        says += " with these speakers, but may not be with others"
    return f"{NAMES[key]}: the difference of {found.difference:+.3f} {_text(found.interval)} {says}"


def need_in_words(key: str, difference: float, need: Need) -> str:
    """How much data a difference would need, and how often this much finds it."""
    asked = f"A difference of {difference:+.3f} {NAMES[key]} would need"
    here = f"this comparison finds one of this size {100 * need.power:.0f} times in 100"
    fewest, most = need.between
    if need.utterances is None or fewest is None:
        return f"{asked} more seeds, as no number of utterances is enough with these; {here}."
    amount = f"{need.utterances:,} utterances like these"
    if need.speakers is not None:
        amount += f", or {need.speakers:,} speakers,"
    span = f"{fewest:,} or more" if most is None else f"{fewest:,} to {most:,}"
    return f"{asked} {amount} to be found four times in five ({span} by its interval); {here}."


def _read_workspace() -> str:
    try:
        return PREDICTIONS.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{PREDICTIONS}: cannot be read: {error}; make it by dvc repro evaluate, or get it by "
            "dvc pull"
        ) from error


def _read_revision(revision: str) -> str:
    with reading(PREDICTIONS, revision, "compare", "evaluate"):
        return dvc.api.read(str(PREDICTIONS), rev=revision, encoding="utf-8")


def _check_same_utterances(a: Predictions, b: Predictions) -> None:
    only_a, only_b = sorted(set(a.ids) - set(b.ids)), sorted(set(b.ids) - set(a.ids))
    if only_a or only_b:
        sides = [
            f"{len(names)} in {side.revision} alone" + (f" (first {names[0]})" if names else "")
            for side, names in ((a, only_a), (b, only_b))
        ]
        raise UserError(
            f"{PREDICTIONS}: the test utterances differ: {', '.join(sides)}; compare results of "
            "the same corpus, classes, protocol and folds"
        )
    for name, in_a, in_b in zip(a.ids, a.actual, b.actual):
        if in_a != in_b:
            raise UserError(
                f"{PREDICTIONS}: {name}: is {EMOTIONS[in_a]} in {a.revision} and {EMOTIONS[in_b]} "
                f"in {b.revision}; compare results with the same labels (shuffle_labels)"
            )


def _scores(side: Predictions, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Each measure of every seed in every bootstrap sample, [B, S]."""
    counts = confusions(side.actual, side.predicted, weights, len(CODES))
    return {key: measure(counts) for key, measure in MEASURES.items()}


def _differences(resampled: Sequence[np.ndarray], noise: np.ndarray) -> np.ndarray:
    """B - A [B] from a measure of A's and B's seeds, each [B, S], and noise [B]."""
    a, b = (values.mean(1) for values in resampled)
    # No difference is beyond 1, but Student's t is; and the mean of three equal numbers need not
    # be that number.
    return (b - a + noise).clip(-1, 1).round(12)


def _right(side: Predictions) -> np.ndarray:
    """Bool [n]: whether more than half of the seeds are right."""
    return (side.predicted == side.actual[:, None]).mean(1) > 0.5


def _text(ends: Interval) -> str:
    return f"[{ends[0]:+.3f}, {ends[1]:+.3f}]"


def _counted(seeds: int) -> str:
    return "1 seed" if seeds == 1 else f"{seeds} seeds"


def main(words: Sequence[str]) -> None:
    """Print whether two results differ by more than chance."""
    parser = argparse.ArgumentParser(
        prog="python -m stages compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", metavar="A", help="git revision, DVC experiment or workspace")
    parser.add_argument("b", metavar="B", nargs="?", default=WORKSPACE, help="default: workspace")
    parser.add_argument("--json", action="store_true", help="print the same numbers as JSON")
    asked = parser.parse_args(words)
    found = compare(read_predictions(asked.a), read_predictions(asked.b))
    if asked.json:
        print(json.dumps(dataclasses.asdict(found), indent=2, allow_nan=False))
    else:
        print(as_markdown(found))
