"""Tables that other people wrote: what spreadsheet programs and publishers save as CSV.

Text is UTF-8 with or without a byte order mark, UTF-16 with one, or else what can be Windows-1252;
lines end in LF, CRLF or CR; cells are parted by commas, semicolons or tabs. Whatever else a file
may be ends in one line that names it and, where there is one, the line.

Windows-1252 is a guess, since it gives some text for nearly any bytes; libraries that guess
encodings (charset-normalizer) take short tables of names in it for others, and others for it. So
the guess is told with what it reads, and what no western language writes is refused.
"""

import codecs
import csv
import io
import re
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path

from stages.corpora.emotions import EMOTIONS
from stages.runtime.errors import UserError

SEPARATORS = (",", ";", "\t")
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
WORD = re.compile(r"[^\s!-&(-/:-@\[-`{-~]+")
# What no western language has in a word, be it a capital after a small letter or a sign within.
LETTER, SIGNS, ACCENTS = "[^\\W\\d_]", "¢£¥§©¯±¶¹¼½¾×÷ƒ‰", "¤¦¨¬¸†‡ˆ˜"
IMPOSSIBLE = re.compile(
    rf"[a-zß-ÿ][À-ÖØ-ÞŠŽŒŸ]|{LETTER}[{SIGNS}‚„]|[{SIGNS}]{LETTER}"
    rf"|[^\x00-\x7f][{ACCENTS}]|[a-zA-Z][{ACCENTS}]|[{ACCENTS}]{LETTER}"
)
MOST_FOREIGN = 0.6  # of the letters of all such words of more than one letter

# What corpora call the seven emotions beside their own names.
SYNONYMS = {
    "angry": "anger",
    "disgusted": "disgust",
    "afraid": "fear",
    "fearful": "fear",
    "happy": "happiness",
    "joy": "happiness",
    "joyful": "happiness",
    "sad": "sadness",
    "surprised": "surprise",
}
# What tables call the sex of a speaker.
SEXES = {
    "f": "female",
    "female": "female",
    "woman": "female",
    "m": "male",
    "male": "male",
    "man": "male",
}


def read_rows(
    path: Path, required: Sequence[str], optional: Sequence[str] = ()
) -> list[tuple[int, dict[str, str]]]:
    """The rows of a table whose first line names its columns, each with the line it begins in.

    Args:
        required: columns that must be there; case and spaces around a name do not count.
        optional: columns that read as empty where they are not there. Others are ignored.

    Returns:
        (line, cells by column, without spaces around them); lines count from 1, the header's.
        Empty lines are ignored; cells that a row lacks at its end are empty.

    Raises:
        UserError: the file cannot be read as a table, lacks a required column, names one twice,
            or has a row with more cells than columns.
    """
    text, _ = read_text(path)
    separator = max(SEPARATORS, key=lambda item: _known(_header(text, item), required, optional))
    records = _records(path, text, separator)
    _, names = next(records, (1, []))
    header = [name.strip().casefold() for name in names]
    position = {}
    for column in (*required, *optional):
        if header.count(column.casefold()) > 1:
            raise UserError(f"{path}: column {column!r} appears twice; keep one of them")
        if column.casefold() in header:
            position[column] = header.index(column.casefold())
        elif column in required:
            found = ", ".join(quoted(name) for name in names[:20]) or "nothing"
            raise UserError(
                f"{path}: no column {column!r}, its first line has {found}; name the columns "
                f"{', '.join(required)} there"
            )
    rows = []
    for line, cells in records:
        if any(cell.strip() for cell in cells[len(header) :]):
            raise UserError(
                f"{path}: line {line}: has more cells than there are columns; put a cell that "
                f"contains {separator!r} between double quotes"
            )
        if any(cell.strip() for cell in cells):
            padded = cells + [""] * (len(header) - len(cells))
            values = {column: padded[index].strip() for column, index in position.items()}
            rows.append((line, dict.fromkeys(optional, "") | values))
    return rows


def read_content(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; make it readable") from error


def one_version(tables: Sequence[Path], root: Path) -> Path | None:
    """The first of the copies of a table below `root`; None where there is none.

    Raises:
        UserError: they are not all the same.
    """
    for other in tables[1:]:
        if read_content(other) != read_content(tables[0]):
            raise UserError(f"{other}: differs from {tables[0].relative_to(root)}; keep one")
    return tables[0] if tables else None


def encoding_notes(path: Path) -> list[str]:
    """What to know of the encoding of a table: nothing, or that it is guessed, and what it gives.

    Raises:
        UserError: see `read_rows`.
    """
    text, encoding = read_text(path)
    if encoding != "cp1252":
        return []
    words = ", ".join(map(quoted, _foreign_words(text)[:5]))
    return [
        f"{path.name} is not in UTF-8 and was read as Windows-1252, which gives {words}; if that "
        "is not what it says, save it as CSV in UTF-8"
    ]


def emotion_of(word: str, path: Path, line: int) -> str:
    """One of the seven emotions for its name or a synonym, in any case.

    Raises:
        UserError: it is none of them; names the line and what is allowed.
    """
    name = word.strip().casefold()
    name = SYNONYMS.get(name, name)
    if name not in EMOTIONS:
        raise UserError(
            f"{path}: line {line}: emotion {quoted(word)} is not known; write one of "
            f"{', '.join(EMOTIONS)} (or {', '.join(SYNONYMS)})"
        )
    return name


def check_repeat(
    first: dict[Hashable, int], key: Hashable, name: str, path: Path, line: int
) -> None:
    """Remember in `first` which line has `key`; a second line that has it is refused.

    Raises:
        UserError: names both lines, and the key as `name`.
    """
    if first.setdefault(key, line) != line:
        raise UserError(
            f"{path}: line {line}: {name} is already in line {first[key]}; keep one of them"
        )


def quoted(text: str) -> str:
    """Text as a message quotes it: on one line, and not longer than one."""
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def read_text(path: Path) -> tuple[str, str]:
    """The text of a file, and its encoding.

    Raises:
        UserError: it cannot be read, or not as text of an encoding above.
    """
    content = read_content(path)
    for encoding in ("utf-16",) if content.startswith(UTF16_MARKS) else ("utf-8-sig", "cp1252"):
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            continue
        if encoding == "cp1252" and (word := _not_western(text)):
            raise UserError(
                f"{path}: is not in UTF-8, and read as Windows-1252 it would say {quoted(word)}; "
                "save it as CSV in UTF-8"
            )
        return text, encoding
    raise UserError(f"{path}: is no text that can be read; save it as CSV in UTF-8")


def _foreign_words(text: str) -> list[str]:
    """The words with a letter or sign beyond ASCII, each once."""
    return [word for word in dict.fromkeys(WORD.findall(text)) if not word.isascii()]


def _not_western(text: str) -> str:
    """A word that shows that a text was not written in Windows-1252; "" where there is none."""
    words = _foreign_words(text)
    for word in words:
        if IMPOSSIBLE.search(word):
            return word
    letters = [[letter for letter in word if letter.isalpha()] for word in words]
    longer = [found for found in letters if len(found) > 1]
    foreign = sum(not letter.isascii() for found in longer for letter in found)
    if foreign > MOST_FOREIGN * sum(map(len, longer)):
        return max(words, key=lambda word: sum(not letter.isascii() for letter in word))
    return ""


def _records(path: Path, text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Each record with the line it begins in."""
    # newline="" keeps the three kinds of line ends apart, as the csv module wants them.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    line = 1
    try:
        for record in reader:
            yield line, record
            line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}: line {line}: cannot be read: {error}; fix its double quotes"
        ) from error


def _header(text: str, separator: str) -> list[str]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return next(reader, [])
    except csv.Error:
        return []


def _known(header: list[str], required: Sequence[str], optional: Sequence[str]) -> int:
    names = {name.strip().casefold() for name in header}
    return sum(column.casefold() in names for column in (*required, *optional))
