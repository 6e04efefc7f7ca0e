"""The two ways in which things go wrong, and how each is reported.

`UserError` is for what a person must fix: it ends the stage with one line, or one for each of
several problems, and exit code 2. `ClipError` is for one clip that cannot be used: it becomes a row
of the stage's skip table and the run goes on, unless more than `max_skip_fraction` of the clips go
that way.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """One line: the file or key, what is wrong with it, and what to do.

    Of several problems that are found together, a line each.
    """


class ClipError(Exception):
    """One clip that cannot be used, and why.

    Attributes:
        code: short machine-readable reason, e.g. "unreadable" or "no_face".
        detail: one line for a person, without the clip's name.
    """

    def __init__(self, code: str, detail: str):
        super().__init__(code, detail)  # both, so that it survives pickling between processes
        self.code = code
        self.detail = " ".join(detail.split())


def first_mistake(error: "ValidationError") -> str:
    """Where pydantic found the first mistake, e.g. seeds.0, and what is wrong there."""
    wrong = error.errors(include_url=False)[0]
    place = ".".join(map(str, wrong["loc"]))
    return f"{place}: {wrong['msg'].removeprefix('Value error, ')}".removeprefix(": ")[:300]


def one_line(error: Exception) -> str:
    """What a library says of an error, on one line; the name of its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


def printable(text: str) -> str:
    """Text for a terminal: what it would obey is written as Python shows it."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )
