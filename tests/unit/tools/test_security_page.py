"""docs/security.md names files and tests that are there, and each requirement once."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FILE = re.compile(r"`([\w/.-]+\.(?:py|proto|tsx))`")
ROW = re.compile(r"^\| (\d+\.\d+\.\d+)(?: to \d+)? \((\d)\) \| .* \| .* \|", re.MULTILINE)
#: How many requirements each section of a chapter of the standard's version 5.0.0 has, of all levels.
CHAPTERS = {6: (3, 12, 8, 6, 8, 4, 2, 4), 7: (3, 4, 2, 5, 3, 2), 8: (4, 4, 3, 2), 9: (3, 4), 10: (2, 3, 5, 16, 5)}


@cache
def functions_of(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(one.name for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize(("path", "name"), sorted(set(TEST.findall(PAGE))))
def test_every_test_is_there(path: str, name: str) -> None:
    assert (ROOT / path).is_file(), path
    assert name in functions_of(path), f"{path} has no {name}"


@pytest.mark.parametrize("path", sorted(set(FILE.findall(PAGE))))
def test_every_file_is_there(path: str) -> None:
    assert (ROOT / path).is_file() or (ROOT / "services/auth" / path).is_file(), path


def test_each_requirement_stands_once_and_is_one_of_the_standards() -> None:
    numbers = [number for number, _ in ROW.findall(PAGE)]
    assert len(numbers) > 70
    assert len(numbers) == len(set(numbers))
    for number in numbers:
        chapter, section, last = map(int, number.split("."))
        assert 1 <= last <= CHAPTERS[chapter][section - 1], number


def test_every_row_is_read() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) == len(ROW.findall(PAGE))
    for row in rows:
        told = TEST.search(row) or "none of its own" in row or "do not apply" in row or "does not apply" in row
        assert told, f"no test, and no word why: {row}"
