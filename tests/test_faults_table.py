"""tests/FAULTS.md tells the truth: each fault has a test that there is, or a reason why none."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "tests/FAULTS.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
LEAST_REASON = 20  # characters; less explains nothing


def rows_of(text: str) -> list[list[str]]:
    """The cells of the rows below the header of the table."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@cache
def names_of(file: str) -> set[str]:
    """The names of the test functions in a file; none where there is no such file."""
    path = ROOT / file
    if not path.is_file():
        return set()
    found = ast.parse(path.read_text(encoding="utf-8")).body
    return {
        item.name
        for item in found
        if isinstance(item, ast.FunctionDef) and item.name.startswith("test_")
    }


def mistakes(text: str) -> list[str]:
    """What is wrong with a table, a line each."""
    found = []
    for number, cells in enumerate(rows_of(text), 1):
        if len(cells) != 4 or not all(cells):
            found.append(f"row {number}: has not four cells with something in each")
            continue
        if cells[0] != str(number):
            found.append(f"row {number}: is numbered {cells[0]}")
        named = TEST.findall(cells[3])
        found += [
            f"row {number}: there is no {file}::{name}"
            for file, name in named
            if name not in names_of(file)
        ]
        reason = cells[3].removeprefix("none: ")
        if not named and (reason == cells[3] or len(reason) < LEAST_REASON):
            found.append(f"row {number}: names neither a test nor a reason")
        if len(named) != cells[3].count("::"):
            found.append(f"row {number}: a test is not written as `tests/file.py::test_name`")
    return found


def test_every_fault_has_a_test_that_there_is_or_a_reason():
    text = TABLE.read_text(encoding="utf-8")
    assert len(rows_of(text)) >= 46
    assert mistakes(text) == []


HERE = f"`tests/{Path(__file__).name}::test_a_mistake_in_the_table_is_found`"


@pytest.mark.parametrize(
    ("row", "mistake"),
    [
        (f"| 1 | a | b | {HERE} |", ""),
        ("| 1 | a | b | none: nothing of the kind is used here |", ""),
        (
            f"| 1 | a | b | {HERE}, `tests/io/test_files.py::test_gone` |",
            "no tests/io/test_files.py::t",
        ),
        ("| 1 | a | b | `tests/test_gone.py::test_gone` |", "there is no tests/test_gone.py"),
        ("| 1 | a | b | `tests/test_faults_table.py::mistakes` |", "there is no"),
        (f"| 2 | a | b | {HERE} |", "is numbered 2"),
        ("| 1 | a | b | none: no |", "neither"),
        ("| 1 | a | b | later |", "neither"),
        (f"| 1 | a | b | {HERE} and tests/io/test_files.py::test_json |", "is not written as"),
        (f"| 1 | a | | {HERE} |", "four cells"),
        (f"| 1 | a | {HERE} |", "four cells"),
    ],
)
def test_a_mistake_in_the_table_is_found(row: str, mistake: str):
    found = mistakes(f"| # | what | what | tests |\n|---|---|---|---|\n{row}\n")
    assert bool(found) == bool(mistake) and all(mistake in line for line in found)
