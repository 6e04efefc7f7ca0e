"""Files made wrong on purpose: each mutant follows from a seed, its number and what it is made of.

`mutate_bytes` knows nothing of the format but the names of its parts; `mutate_table` and
`mutate_params` know rows, cells, keys and values.
"""

import csv
import io
import re
from collections.abc import Callable

import numpy as np

# Where headers keep their numbers: right after such a name, in mp4, avi, wav and flac.
PARTS = re.compile(
    rb"ftyp|moov|mvhd|trak|tkhd|edts|elst|mdhd|hdlr|stsd|avc1|avcC|mp4a|esds|stts|ctts|stss|stsc"
    rb"|stsz|stco|sgpd|RIFF|hdrl|avih|strl|strh|strf|vids|movi|idx1|00dc|fmt |fact|data|fLaC|FLV"
    rb"|\x1a\x45\xdf\xa3|\x15\x49\xa9\x66|\x16\x54\xae\x6b|\x1f\x43\xb6\x75|\x1c\x53\xbb\x6b"
    rb"|\x47\x40|onMetaData|duration|width|height|framerate|audiosamplerate"
)
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF,
            1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip

Bytes = Callable[[np.random.Generator, bytearray, bytes], bytearray]


def random_of(seed: int, index: int) -> np.random.Generator:
    """The random numbers of one mutant."""
    return np.random.default_rng([seed, index])


def mutate_bytes(rng: np.random.Generator, content: bytes, other: bytes) -> tuple[bytes, str]:
    """A file changed in one to three ways, and how; `other` is a file to take pieces from."""
    mutant, names = bytearray(content), []
    for _ in range(rng.integers(1, 4)):
        way = BYTE_WAYS[rng.integers(len(BYTE_WAYS))]
        mutant = way(rng, mutant, other) if mutant else mutant
        names.append(way.__name__)
    return bytes(mutant), ", ".join(names)


def _range(rng: np.random.Generator, content: bytearray) -> slice:
    """Some bytes: few or many, anywhere."""
    length = int(len(content) ** rng.random())
    start = int(rng.integers(len(content) - length + 1))
    return slice(start, start + length)


def flip_bits(rng: np.random.Generator, content: bytearray, other: bytes) -> bytearray:
    for place in rng.integers(len(content), size=int(50 ** rng.random())):
        content[place] ^= 1 << int(rng.integers(8))
    return content


def noise(rng: np.random.Generator, content: bytearray, other: bytes) -> bytearray:
    where = _range(rng, content)
    content[where] = rng.bytes(where.stop - where.start)
    return content


def fill(rng: np.random.Generator, content: bytearray, other: bytes) -> bytearray:
    where = _range(rng, content)
    content[where] = bytes([rng.choice([0, 0, 0xFF])]) * (where.stop - where.start)
    return content


def cut(rng: np.random.Generator, content: bytearray, other: bytes) -> bytearray:
    return content[: rng.integers(len(content) + 1)]


def behead(rng: np.random.Generator, content: bytearray, other: bytes) -> bytearray:
    return content[int(len(content) ** rng.random()) :]


def delete(rng: np.random.Generator, content: bytearray, other: bytes) -> bytearray:
    del content[_range(rng, content)]
    return content


def duplicate(rng: np.random.Generator, content: bytearray, other: bytes) -> bytearray:
    where = _range(rng, content)
    content[where.stop : where.stop] = content[where] * int(rng.integers(1, 4))
    return content


def append_other(rng: np.random.Generator, content: bytearray, other: bytes) -> bytearray:
    return content + other


def splice_other(rng: np.random.Generator, content: bytearray, other: bytes) -> bytearray:
    return content[: rng.integers(len(content) + 1)] + other[rng.integers(len(other) + 1) :]


def extreme(rng: np.random.Generator, content: bytearray, other: bytes) -> bytearray:
    """One to four numbers of the header, 1 to 8 bytes wide, set to the ends of their ranges."""
    for _ in range(rng.integers(1, 5)):
        names = [match.end() for match in PARTS.finditer(content)] or [0]
        place = names[rng.integers(len(names))] + int(rng.integers(100))
        width = int(rng.choice([1, 2, 4, 4, 8]))
        number = EXTREMES[rng.integers(len(EXTREMES))] & ((1 << 8 * width) - 1)
        order = ("big", "little")[rng.integers(2)]
        content[place : place + width] = number.to_bytes(width, order)
    return content


BYTE_WAYS: tuple[Bytes, ...] = (
    flip_bits, noise, fill, cut, behead, delete, duplicate, append_other, splice_other,
    extreme, extreme, extreme,
)  # fmt: skip

CELLS = (
    "", " ", "\0", '"', "'", "\n", "\r", "a\nb", "a\rb", "a\r\nb", "\x07", "\x1b[2J", "\ufeff",
    "\u202e", "\u2028", "\x85", "\U0001f600", "\u0661", "\xbd", "x" * 5000, "x" * 200_000,
    "..", "../a.mp4", "../out/a.mp4", "clips/../../out/a.mp4", "/etc/passwd", "//etc/passwd",
    "C:\\a.mp4", "C:/a.mp4", "\\\\server\\a.mp4", "file:///etc/passwd", "~/a.mp4", ".", "./", "/",
    "out.mp4", "away/a.mp4", "clips", "clips/a.mp4", "clips/a.mp4/", "clips/a.mp4/b", "CLIPS/A.MP4",
    "utterances.csv", "x/" * 3000, "%s", "{0}", "$HOME", "=1+1", "NaN", "inf", "-1", "0", "00", "1",
    "1.0", "1e3", "9" * 20, "9" * 5000, "0x10", "None", "null", "anger", "ANGER", "angry,fear",
    "anger fear", "calm", "train", "TRAIN", "test,dev",
)  # fmt: skip
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1", "utf-7")


def mutate_table(rng: np.random.Generator, content: bytes) -> tuple[bytes, str]:
    """A CSV changed in one to three ways in its cells, rows or columns, then written oddly."""
    rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
    names = []
    for _ in range(rng.integers(1, 4)):
        way = TABLE_WAYS[rng.integers(len(TABLE_WAYS))]
        rows = way(rng, [list(row) for row in rows]) or [[""]]
        names.append(way.__name__)
    text = io.StringIO(newline="")
    usual = rng.random() < 0.7
    separator = "," if usual else str(rng.choice([",", ";", "\t", "|"]))
    end = "\n" if usual else str(rng.choice(["\n", "\r\n", "\r", "\n\n"]))
    encoding = "utf-8" if usual else str(rng.choice(ENCODINGS))
    csv.writer(text, delimiter=separator, lineterminator=end).writerows(rows)
    names.append(f"{encoding} {separator!r} {end!r}")
    return text.getvalue().encode(encoding, "replace"), ", ".join(names)


Rows = list[list[str]]


def _cell(rng: np.random.Generator, rows: Rows, first: int = 0) -> tuple[list[str], int]:
    row = rows[rng.integers(min(first, len(rows) - 1), len(rows))]
    row.extend([""] if not row else [])
    return row, int(rng.integers(len(row)))


def odd_cell(rng: np.random.Generator, rows: Rows) -> Rows:
    row, column = _cell(rng, rows, first=1)
    row[column] = CELLS[rng.integers(len(CELLS))]
    return rows


def odd_ending(rng: np.random.Generator, rows: Rows) -> Rows:
    row, column = _cell(rng, rows)
    row[column] += CELLS[rng.integers(len(CELLS))]
    return rows


def copy_cell(rng: np.random.Generator, rows: Rows) -> Rows:
    row, column = _cell(rng, rows)
    other, there = _cell(rng, rows)
    row[column] = other[there]
    return rows


def odd_column(rng: np.random.Generator, rows: Rows) -> Rows:
    column, value = rng.integers(len(rows[0]) or 1), CELLS[rng.integers(len(CELLS))]
    return [row[:column] + [value] + row[column + 1 :] for row in rows]


def rename_column(rng: np.random.Generator, rows: Rows) -> Rows:
    _, column = _cell(rng, rows[:1])
    other = [*CELLS, *rows[0], rows[0][column].upper(), f" {rows[0][column]} "]
    rows[0][column] = other[rng.integers(len(other))]
    return rows


def drop_cell(rng: np.random.Generator, rows: Rows) -> Rows:
    row, column = _cell(rng, rows)
    del row[column]
    return rows


def add_cell(rng: np.random.Generator, rows: Rows) -> Rows:
    row, column = _cell(rng, rows)
    row.insert(column, CELLS[rng.integers(len(CELLS))])
    return rows


def drop_row(rng: np.random.Generator, rows: Rows) -> Rows:
    del rows[rng.integers(len(rows))]
    return rows


def repeat_row(rng: np.random.Generator, rows: Rows) -> Rows:
    row = list(rows[rng.integers(len(rows))])
    rows.insert(int(rng.integers(len(rows) + 1)), row)
    return rows


def shuffle_rows(rng: np.random.Generator, rows: Rows) -> Rows:
    return [rows[i] for i in rng.permutation(len(rows))]


TABLE_WAYS = (
    odd_cell, odd_cell, odd_cell, odd_ending, copy_cell, odd_column, rename_column, drop_cell,
    add_cell, drop_row, repeat_row, shuffle_rows,
)  # fmt: skip

BOMB = "[&a0 [x, x], " + ", ".join(
    f"&a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 30)
) + "]"  # fmt: skip
VALUES = (
    "", "~", "null", "true", "no", "on", "0", "1", "-1", "-0.0", "1e-5", "1e999", ".inf", "-.inf",
    ".nan", "0x10", "0o17", "0b11", "1_000", "1:30:00", "9" * 400, "9" * 5000, "0x" + "f" * 5000,
    "!!int ''", "!!int x", "!!int 0x", "!!float x", "!!float ''", "!!bool maybe", "!!null x",
    "!!timestamp x", "!!binary '@'", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a]", "!!str [a]",
    "!!python/object/apply:os.system [true]", "!own x", "2001-02-03", "2001-13-45",
    "2001-02-03T25:61:61Z", "''", '"\\0"', '"\\ud800"', '"\\u2028"', '"a\\nb"', "\x07", "\x85",
    "x" * 100_000, "[]", "[[]]", "{}", "{a: b}", "[sample, sample]", "[sample, [sample]]",
    "[{a: b}]", "{[a]: b}", "{{a: b}: c}", "? a", "&a [*a]", "&a {b: *a}", "*nowhere", "&a",
    "[" * 100, "[" * 5000, "[" * 5000 + "]" * 5000, "{a: " * 3000, "- " * 3000, BOMB, "{<<: x}",
    "|\n  a\n  b", ">", "@", "%", "`", "'", '"', "a: b: c", "- a", "#", "sample", "../sample",
    "sample_", "\U0001f600", "\u0661", "resnet18", "mean", "median", "last", "paper",
)  # fmt: skip


LINES = (
    "---", "...", "%YAML 9.9", "%TAG ! x", "\t", "alpha", "[alpha]", "<<: *a", "x: &a {b: c}",
    "? [a, b]", "1: 2", "null: 2", "true: 2", "2001-13-45: x", "alpha.beta: 1", "mels.fmin: 1",
    "<<: {alpha: 1}", f"x: {BOMB}", "!!python/name:os.system : 1",
)  # fmt: skip


def mutate_params(rng: np.random.Generator, content: bytes) -> tuple[bytes, str]:
    """A params.yaml changed in one to three ways in its values, keys or lines."""
    lines, names = content.decode().splitlines(), []
    for _ in range(rng.integers(1, 4)):
        way = PARAMS_WAYS[rng.integers(len(PARAMS_WAYS))]
        lines = way(rng, lines) or ["a: b"]
        names.append(way.__name__)
    return "\n".join([*lines, ""]).encode("utf-8", "replace"), ", ".join(names)


Lines = list[str]


def _key_line(rng: np.random.Generator, lines: Lines) -> int:
    keys = [i for i, line in enumerate(lines) if ":" in line and not line.startswith("#")]
    return keys[rng.integers(len(keys))] if keys else 0


def odd_value(rng: np.random.Generator, lines: Lines) -> Lines:
    i = _key_line(rng, lines)
    lines[i] = lines[i].split(":")[0] + ": " + VALUES[rng.integers(len(VALUES))]
    return lines


def odd_key(rng: np.random.Generator, lines: Lines) -> Lines:
    i = _key_line(rng, lines)
    indent = lines[i][: len(lines[i]) - len(lines[i].lstrip())]
    key = VALUES[rng.integers(len(VALUES))]
    lines[i] = f"{indent}{key}:{lines[i].partition(':')[2]}"
    return lines


def retype_key(rng: np.random.Generator, lines: Lines) -> Lines:
    i = _key_line(rng, lines)
    place = int(rng.integers(len(lines[i]) + 1))
    lines[i] = lines[i][:place] + str(rng.choice(list(". -:\t#&*!xX\0"))) + lines[i][place:]
    return lines


def repeat_line(rng: np.random.Generator, lines: Lines) -> Lines:
    lines.insert(int(rng.integers(len(lines) + 1)), lines[rng.integers(len(lines))])
    return lines


def drop_line(rng: np.random.Generator, lines: Lines) -> Lines:
    del lines[rng.integers(len(lines))]
    return lines


def indent(rng: np.random.Generator, lines: Lines) -> Lines:
    i, j = sorted(rng.integers(len(lines) + 1, size=2))
    by = str(rng.choice([" ", "  ", "\t", "- ", "# "]))
    return lines[:i] + [by + line for line in lines[i:j]] + lines[j:]


def outdent(rng: np.random.Generator, lines: Lines) -> Lines:
    i, j = sorted(rng.integers(len(lines) + 1, size=2))
    return lines[:i] + [line.lstrip() for line in lines[i:j]] + lines[j:]


def nest(rng: np.random.Generator, lines: Lines) -> Lines:
    key = str(rng.choice(["all", "mels", "- "]))
    return [f"{key}:", *(f"  {line}" for line in lines)]


def add_line(rng: np.random.Generator, lines: Lines) -> Lines:
    lines.insert(int(rng.integers(len(lines) + 1)), LINES[rng.integers(len(LINES))])
    return lines


PARAMS_WAYS = (
    odd_value, odd_value, odd_value, odd_value, odd_key, retype_key, repeat_line, drop_line, indent,
    outdent, nest, add_line,
)  # fmt: skip
