"""What people write: one spelling of a name or a text, and names that are suspiciously alike."""

import re
import unicodedata
from collections.abc import Iterable

from stages.runtime.errors import UserError

FRACTION = re.compile(r"(?<=\d)\.0+(?!\d)")  # a spreadsheet's 8.0
APOSTROPHES = str.maketrans("\u2018\u2019", "''")
PADDING = re.compile(r"(?<![\d.])0+(?=\d)")


def one_spelling(text: str) -> str:
    """The text in Unicode's composed form (NFC), with single spaces and none around it."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def spoken_words(text: str) -> str:
    """What is said in small letters without punctuation, so that the same text looks the same.

    A text without a word keeps its punctuation.
    """
    words = unicodedata.normalize("NFKC", text).translate(APOSTROPHES).casefold().replace("'", "")
    kept = "".join(letter if letter.isalnum() else " " for letter in words)
    return " ".join(kept.split()) or " ".join(text.split())


def near_equal(names: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of names that differ in case, width, spaces or the way a number is written alone.

    Returns:
        The first spelling and another, e.g. ("Anna", "anna") or ("S07", "S7").
    """
    first: dict[str, str] = {}
    pairs = []
    for name in dict.fromkeys(names):
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
        key = PADDING.sub("", FRACTION.sub("", " ".join(folded.split())))
        if first.setdefault(key, name) != name:
            pairs.append((first[key], name))
    return pairs


def check_spellings(names: Iterable[str], what: str, where: str) -> None:
    """Refuse one name in two spellings, which would count as two.

    Args:
        what: what the names are of, as "speakers".
        where: the file or folder that has them.

    Raises:
        UserError: names both spellings.
    """
    pairs = near_equal(names)
    if pairs:
        one, other = pairs[0]
        raise UserError(
            f"{where}: {what} {one!r} and {other!r} differ in spelling alone (such pairs: "
            f"{len(pairs)}); write one name for the same, or names that "
            "differ in more"
        )
