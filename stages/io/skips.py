"""The skip tables: every clip or row that was left out, named, with a code and a reason.

Each extraction stage writes data/skipped/<corpus>.<stage>.csv, empty when nothing was left out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from stages.io.files import write_table
from stages.runtime.errors import UserError

FOLDER = Path("data/skipped")
COLUMNS = ["id", "emotion", "stage", "code", "detail"]

# Left out because a rule says so, not because something failed: not counted as skipped.
EXCLUDED_BY_RULE = frozenset({"emotion_excluded", "duplicate", "known_bad", "not_speech"})
NOT_IN_CLASSES = "not_in_classes"  # by `classes` of params.yaml, in the stage split

# When an emotion counts as skipped unevenly: fewer may be chance whatever the test says, and in a
# large corpus the test finds differences that are too small to matter.
LEAST_SKIPPED = 3
LEAST_RATIO = 2.0  # of its share to that of the other emotions
SIGNIFICANCE = 0.05  # of all comparisons of a stage together


class Uneven(NamedTuple):
    """An emotion that a stage skips far more often than the others.

    Attributes:
        skipped, total: its utterances.
        others_skipped, others_total: those of all other emotions.
    """

    emotion: str
    skipped: int
    total: int
    others_skipped: int
    others_total: int

    @property
    def share(self) -> float:
        """The share of its utterances that are skipped."""
        return self.skipped / self.total


def skip_row(utterance: Mapping[str, str], stage: str, code: str, detail: str) -> dict[str, str]:
    """One row of a skip table for an utterance of the manifest."""
    return {
        "id": utterance["id"],
        "emotion": utterance["emotion"],
        "stage": stage,
        "code": code,
        "detail": detail,
    }


def table_path(corpus: str, stage: str) -> Path:
    """Where the skip table of a stage lies."""
    return FOLDER / f"{corpus}.{stage}.csv"


def write_skips(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    """Write a skip table, sorted by id, atomically."""
    write_table(path, COLUMNS, sorted(rows, key=lambda row: (row["id"], row["code"])))


def too_many(rows: Sequence[Mapping[str, str]], total: int, max_fraction: float) -> bool:
    """Whether more than `max_fraction` of `total` utterances failed."""
    failed = sum(row["code"] not in EXCLUDED_BY_RULE for row in rows)
    return failed > max_fraction * total


def too_many_error(
    rows: Sequence[Mapping[str, str]], total: int, max_fraction: float, path: Path
) -> UserError:
    """The error of a stage that stops because too many utterances failed.

    Args:
        rows: those that failed, all of which the table at `path` names.
    """
    named = ", ".join(f"{row['id']} ({row['code']}: {row['detail']})" for row in rows[:5])
    others = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return UserError(
        f"{path}: names the {len(rows)} of {total} utterances that cannot be used, more than "
        f"max_skip_fraction: {max_fraction:g} allows: {named}{others}; fix them, or raise "
        "max_skip_fraction"
    )


def skipped_unevenly(skipped: Mapping[str, int], totals: Mapping[str, int]) -> list[Uneven]:
    """The emotions that are skipped far more often than the others, by name.

    Each emotion is tested against all others by Fisher's exact test, one-sided, at `SIGNIFICANCE`
    divided by the number of emotions (Bonferroni).

    Args:
        skipped: utterances that failed, by emotion.
        totals: all utterances, failed or not, by emotion.
    """
    found = []
    for emotion, count in sorted(skipped.items()):
        total = totals[emotion]
        others, others_total = sum(skipped.values()) - count, sum(totals.values()) - total
        if count < LEAST_SKIPPED or count * others_total < LEAST_RATIO * others * total:
            continue
        from scipy.stats import fisher_exact  # takes a second to load, and most skip next to none

        table = [[count, total - count], [others, others_total - others]]
        if fisher_exact(table, "greater").pvalue < SIGNIFICANCE / len(totals):
            found.append(Uneven(emotion, count, total, others, others_total))
    return found


def uneven_among(
    skips: Iterable[Mapping[str, str]], utterances: Iterable[Mapping[str, str]]
) -> list[Uneven]:
    """`skipped_unevenly` of the failures in a skip table, those by rule left aside.

    Args:
        skips: rows of the table.
        utterances: what the stage had to work on; those that failed may be missing in it.
    """
    failed = {row["id"]: row["emotion"] for row in skips if row["code"] not in EXCLUDED_BY_RULE}
    everything = {row["id"]: row["emotion"] for row in utterances} | failed
    return skipped_unevenly(Counter(failed.values()), Counter(everything.values()))


def warn_of_uneven(label: str, found: Iterable[Uneven]) -> None:
    """Print a line for each emotion that is skipped unevenly."""
    for item in found:
        print(
            f"{label}: warning: {item.emotion} is skipped far more often than the other emotions: "
            f"{item.skipped} of {item.total} against {item.others_skipped} of {item.others_total}; "
            "see data/skipped",
            flush=True,
        )
