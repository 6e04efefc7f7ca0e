"""Robustness: what a result is worth where clips are noisy, narrow, compressed, dark or covered.

    python -m stages robustness [--conditions NAME,...] [--json]

The test clips of the workspace go once more through the encoders and the replicas that did not see
them, clean and under each condition. Nothing is trained; only the cache of clips is written to.

In:  data/split.csv, data/split.json, models/, metrics/predictions.csv, and the manifest, the clips,
     the spectrograms, the crops and the features of the tested corpus
Out: on stdout WAR, UAR and w-F1 under each condition, the change of UAR from clean with its 95 %
     interval, whether it differs significantly from 0, and how many utterances change their emotion
Paper: none of it; its clips are of studios and of a television series.

conditions of the voice:
  noise_20, noise_10, noise_0   stationary noise with the clip's own spectrum, so many dB below it
  telephone                     300 to 3,400 Hz, 8 kHz, mu-law
  mp3_16                        MP3 of 16 kbit/s
  quiet                         20 dB less
  reverberation                 a room with a reverberation time (RT60) of 0.6 s
of the face, where test_modalities has visual:
  dark, blurred                 a quarter of the brightness; out of focus
  covered_lower, covered_upper  half of it is grey
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from tabulate import tabulate

from stages.commands.compare import Comparison, Interval, Predictions, compare
from stages.corpora.emotions import EMOTIONS
from stages.distortion.distorted import CLEAN, DistortedClips
from stages.distortion.distortions import FACES, SOUNDS
from stages.extraction.clip_cache import delete_oldest, size_limit
from stages.io.files import read_table
from stages.runtime.errors import UserError
from stages.runtime.params import read_params
from stages.runtime.paths import PREDICTIONS
from stages.scoring.intervals import REPEATS, interval, resample_weights
from stages.scoring.metrics import confusions, uar
from stages.scoring.paired import holm
from stages.scoring.predictions import COLUMNS, predict_fold, to_arrays
from stages.scoring.summary import tested_corpus
from stages.splits.dataset import Features, read_split
from stages.splits.leaks import check_bank, check_leaks
from stages.splits.protocols import TEST
from stages.systems.checkpoint import read_description, read_replicas, replica_name
from stages.systems.contract import ACOUSTIC, LINGUISTIC, VISUAL, Reader, modalities_of_test
from stages.systems.named import SYSTEMS

SIGNIFICANT = 0.05


@dataclasses.dataclass(frozen=True)
class Condition:
    """What is told of the test clips under a condition.

    Attributes:
        unusable: the clips that cannot be used then, by id, and why: they are left out, and what
            is said of the others is compared with what was said of the same ones.
        uar_interval: 95 % interval over other utterances.
        comparison: with clean; None for clean itself, or where no clip can be used.
        significant: whether the change of UAR is, corrected for the number of conditions (Holm).
        changed: utterances that change their emotion, the mean over the seeds.
    """

    name: str
    n_test: int
    unusable: dict[str, str]
    war: float | None
    uar: float | None
    w_f1: float | None
    uar_interval: Interval | None
    comparison: Comparison | None
    significant: bool
    changed: float


class Retest:
    """The replicas of the workspace, and the clips that they are tested on.

    Raises:
        UserError: what `stages.evaluate` raises, or an encoder cannot be had.
    """

    def __init__(self) -> None:
        params = read_params()
        self.split, self.rows = read_split()
        folds = self.split["folds"]
        check_leaks(self.rows, self.split["protocol"], folds, self.split["validated_by"])
        self.description = read_description()
        self.system = SYSTEMS[self.description["system"]]
        self.settings = self.description["settings"]
        self.seen = modalities_of_test(
            params.test_modalities, self.system, self.settings, self.rows, folds
        )
        self.features = Features(self.split["features_sha256"])
        self.workers = params.workers

    @property
    def conditions(self) -> list[str]:
        """Those that distort what utterances are told by."""
        return [*(SOUNDS if ACOUSTIC in self.seen else ()), *(FACES if VISUAL in self.seen else ())]

    def clips(self) -> DistortedClips:
        """The clips of the utterances that are tested."""
        folds = [f"fold_{fold}" for fold in range(self.split["folds"])]
        tested = {
            row["id"]
            for row in self.rows
            if row["modality"] == ACOUSTIC and TEST in (row[fold] for fold in folds)
        }
        views = self._reader(self.features).views
        return DistortedClips(
            tested_corpus(self.split),
            tested,
            self.features,
            views,
            self.system.sequences,
            self.workers,
        )

    def predictions(self, features: Features, unusable: Sequence[str] = ()) -> list[dict[str, Any]]:
        """The rows of metrics/predictions.csv with these features of the test clips.

        Args:
            unusable: ids of those that have none.
        """
        reader = self._reader(features)
        rows = [row for row in self.rows if row["id"] not in unusable]
        found = []
        for fold, seed, classifier in read_replicas(self.description):
            bank = self.description["bank"][replica_name(fold, seed)]
            check_bank(self.rows, self.split["protocol"], fold, bank)
            found += predict_fold(partial(reader.classify, classifier), rows, fold, seed)
        return sorted(found, key=lambda row: (row["id"], row["seed"]))

    def _reader(self, features: Features) -> Reader:
        return Reader(self.system, self.settings, features, self.rows, self.seen)


def check_fit(found: Sequence[dict[str, Any]]) -> None:
    """Check that clips, encoders and models are those of metrics/predictions.csv.

    Args:
        found: the predictions of the clean clips.

    Raises:
        UserError: a prediction is another, to the last digit.
    """
    known = {tuple(row[column] for column in COLUMNS) for row in read_table(PREDICTIONS, COLUMNS)}
    again = {tuple(str(row[column]) for column in COLUMNS) for row in found}
    if others := sorted(known - again) or sorted(again - known):
        raise UserError(
            f"{PREDICTIONS}: {len(others)} of {len(known)} predictions are not what the clips, "
            f"encoders and models here give, first that of {others[0][0]}; run dvc repro"
        )


def as_result(name: str, rows: Sequence[dict[str, Any]]) -> Predictions:
    """Predictions as `compare` takes them."""
    actual, predicted, speakers = to_arrays(rows)
    ids = [row["id"] for row in rows[:: predicted.shape[1]]]
    return Predictions(name, ids, speakers, actual, predicted)


def told(
    name: str,
    rows: Sequence[dict[str, Any]],
    clean: Sequence[dict[str, Any]],
    unusable: dict[str, str],
    repeats: int = REPEATS,
) -> Condition:
    """What predictions under a condition are worth, beside those of the same clean clips."""
    if not rows:
        return Condition(name, 0, unusable, None, None, None, None, None, False, 0)
    result = as_result(name, rows)
    base = as_result(CLEAN, [row for row in clean if row["id"] not in unusable])
    comparison = compare(base, result, repeats, same_models=True)
    weights = resample_weights(len(result.ids), repeats, np.random.default_rng(0))
    resampled = uar(confusions(result.actual, result.predicted, weights, len(EMOTIONS)))
    return Condition(
        name=name,
        n_test=len(result.ids),
        unusable=unusable,
        **{key: found.b for key, found in comparison.measures.items()},
        uar_interval=interval(resampled.mean(1)),
        comparison=None if name == CLEAN else comparison,
        significant=False,
        changed=float((result.predicted != base.predicted).sum(0).mean()),
    )


def corrected(conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions, with what is significant of so many."""
    compared = [item for item in conditions if item.comparison]
    p_values = holm([item.comparison.measures["uar"].p for item in compared if item.comparison])
    significant = {item.name for item, p in zip(compared, p_values) if p < SIGNIFICANT}
    return [dataclasses.replace(item, significant=item.name in significant) for item in conditions]


def as_markdown(conditions: Sequence[Condition], said: Sequence[str] = ()) -> str:
    """The conditions for people: a table as that of `compare`, and what it means.

    Args:
        said: what else there is to say, a line each.
    """
    header = ["Condition", "WAR", "UAR", "w-F1", "Change of UAR", "Differs", "Changed"]
    rows, left_out = [], []
    for item in conditions:
        cells = [item.name, *[""] * 6]
        if item.uar_interval:
            low, high = item.uar_interval
            cells[1] = f"{item.war:.3f}"
            cells[2] = f"{item.uar:.3f} [{low:.3f}, {high:.3f}]"
            cells[3] = f"{item.w_f1:.3f}"
        if item.comparison:
            change = item.comparison.measures["uar"]
            low, high = change.interval
            cells[4] = f"{change.difference:+.3f} [{low:+.3f}, {high:+.3f}]"
            cells[5:] = "yes" if item.significant else "no", f"{item.changed:.1f}"
        rows.append(cells)
        if item.unusable:
            name, why = next(iter(item.unusable.items()))
            left_out.append(
                f"{item.name}: clips that cannot be used, and are left out: {len(item.unusable)}, "
                f"first {name}: {why}"
            )
    clean = conditions[0]
    return "\n".join(
        [
            tabulate(rows, header, tablefmt="github", disable_numparse=True),
            "",
            f"{clean.n_test} test utterances; intervals are of 95 %, for these models on other "
            "utterances.",
            "Differs: the change of UAR is significant, corrected for "
            f"{len(conditions) - 1} conditions (Holm).",
            "Changed: utterances told otherwise than clean, the mean over the seeds.",
            *left_out,
            *said,
        ]
    )


def main(words: Sequence[str]) -> None:
    """Print what the replicas of the workspace tell of its test clips under each condition."""
    parser = argparse.ArgumentParser(
        prog="python -m stages robustness",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    said = "those to try, with commas between them; default: all that can be"
    parser.add_argument("--conditions", metavar="NAME,...", help=said)
    parser.add_argument("--json", action="store_true", help="print the same numbers as JSON")
    asked = parser.parse_args(words)
    chosen = None if asked.conditions is None else asked.conditions.split(",")
    if unknown := sorted(set(chosen or ()) - SOUNDS.keys() - FACES.keys()):
        raise UserError(f"--conditions: {unknown[0]!r} is none of {', '.join([*SOUNDS, *FACES])}")
    limit = size_limit()
    torch.set_num_threads(1)  # as evaluate; the last bits of a sum depend on it
    retest = Retest()
    chosen = list(dict.fromkeys(chosen or retest.conditions))
    if useless := [name for name in chosen if name not in retest.conditions]:
        raise UserError(
            f"--conditions: {useless[0]} changes nothing of {', '.join(retest.seen)}, by which "
            "utterances are told (test_modalities)"
        )
    clips = retest.clips()
    features, unusable = clips.under(CLEAN)
    clean = retest.predictions(features, list(unusable))
    check_fit(clean)
    found = [told(CLEAN, clean, clean, {})]
    for name in chosen:
        features, unusable = clips.under(name)
        why = {clip: f"{error.code}: {error.detail}" for clip, error in unusable.items()}
        found.append(told(name, retest.predictions(features, list(why)), clean, why))
    delete_oldest(limit)
    found = corrected(found)
    if asked.json:
        print(json.dumps([dataclasses.asdict(item) for item in found], indent=2, allow_nan=False))
        return
    lines = []
    if LINGUISTIC in retest.seen:
        lines.append("What is said is that of the clean clips under every condition.")
    print(as_markdown(found, lines))
