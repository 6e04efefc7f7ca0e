"""The skip tables: every clip or row that was left out, named, with a code and a reason.

Each extraction stage writes data/skipped/<corpus>.<stage>.csv, empty when nothing was left out.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from stages.failures import UserError
from stages.files import write_table

FOLDER = Path("data/skipped")
COLUMNS = ["id", "emotion", "stage", "code", "detail"]

# Left out because a rule says so, not because something failed: not counted as skipped.
EXCLUDED_BY_RULE = frozenset({"emotion_excluded", "duplicate", "known_bad", "not_speech"})


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


def too_many(rows: list[Mapping[str, str]], total: int, max_fraction: float) -> bool:
    """Whether more than `max_fraction` of `total` utterances failed."""
    failed = sum(row["code"] not in EXCLUDED_BY_RULE for row in rows)
    return failed > max_fraction * total


def refuse(rows: list[Mapping[str, str]], total: int, max_fraction: float, path: Path) -> UserError:
    """The error of a stage that stops because too many utterances failed."""
    named = ", ".join(f"{row['id']} ({row['code']}: {row['detail']})" for row in rows[:5])
    return UserError(
        f"{path}: more than max_skip_fraction={max_fraction:g} of {total} utterances cannot be "
        f"used, among them {named}; mend them or raise max_skip_fraction"
    )
