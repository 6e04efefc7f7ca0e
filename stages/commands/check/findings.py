"""What the check of a corpus finds, and how it is shown."""

import shutil
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

OK, WARNING, ERROR = "ok", "warning", "error"
SHOWN = 6  # files that are listed of many
WIDTH = 100  # of a line, where the terminal is not narrower


class Finding(NamedTuple):
    """One thing found: `state` is OK, WARNING or ERROR; `lines` stand below it as they are."""

    state: str
    text: str
    lines: Sequence[str] = ()


def show(finding: Finding) -> str:
    """A finding as text, its state to the left."""
    head = f"  {finding.state:{len(WARNING)}}  "
    columns = shutil.get_terminal_size((WIDTH, 24)).columns
    text = textwrap.fill(
        finding.text,
        max(60, min(columns, WIDTH)),
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    return "\n".join([text, *(f"{' ' * len(head)}  {line}" for line in finding.lines)])


def listed(counts: Counter[str]) -> str:
    """E.g. "3 truncated, 1 unreadable"."""
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def some(names: Sequence[str]) -> list[str]:
    """The first of some lines, and how many more there are."""
    lines = [name if name.isprintable() else repr(name) for name in names[:SHOWN]]
    return lines + ([f"... and {len(names) - SHOWN} more"] if len(names) > SHOWN else [])


def amount(size: float) -> str:
    """Bytes as a person reads them."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
