"""A text that matches a regular expression, for the demo's JSON. Python's own parser reads the expression."""

from __future__ import annotations

import importlib
import re
import warnings
from functools import lru_cache
from typing import Any

from services.inference.providers.demo_bounds import Budget

_parser: Any = importlib.import_module("re._parser")
PATTERN_CHARS_MAX = 1000
REPEATS_MOST = 4096
_SAMPLES = "a0A-_ .,:;/@+!#1bB\u00e9\n"
_CATEGORIES = {
    "CATEGORY_DIGIT": "0",
    "CATEGORY_NOT_DIGIT": "a",
    "CATEGORY_SPACE": " ",
    "CATEGORY_NOT_SPACE": "a",
    "CATEGORY_WORD": "a",
    "CATEGORY_NOT_WORD": "-",
}


def text_like(pattern: str, least_chars: int = 0, number: int = 0, budget: Budget | None = None) -> str | None:
    """A text that `pattern` finds something in, of at least so many characters; None where none is found.

    number: of several texts that should differ, which one, from 0. budget: pays for the text, before it is made;
    BudgetSpentError.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        return None
    budget = budget or Budget()
    try:
        parsed = _parsed(pattern)
        text = _text(parsed, number, budget)
        if len(text) >= least_chars:
            return text
        longer = _text(parsed, number + least_chars, budget)
    except (re.error, ValueError, KeyError, OverflowError, RecursionError):
        return None
    if len(longer) >= least_chars:
        return longer
    if pattern.endswith("$"):
        return None
    budget.text(least_chars)
    return text + "a" * (least_chars - len(text))


@lru_cache(maxsize=64)
def _parsed(pattern: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what may mean something else one day is no matter of this process
        return _parser.parse(pattern)


def _text(parsed: Any, extra: int, budget: Budget) -> str:
    """extra: how often more than at least what may repeat does."""
    return "".join([_part(str(code), argument, extra, budget) for code, argument in parsed])


def _part(code: str, argument: Any, extra: int, budget: Budget) -> str:
    budget.steps(1)
    budget.text(1)
    if code == "LITERAL":
        return _character(argument)
    if code == "NOT_LITERAL":
        return next(one for one in _SAMPLES if ord(one) != argument)
    if code == "ANY":
        return "a"
    if code == "IN":
        return _of_set(argument, budget)
    if code == "BRANCH":
        return _text(argument[1][0], extra, budget)
    if code == "SUBPATTERN":
        return _text(argument[3], extra, budget)
    if code in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, inner = argument
        count = min(int(most), int(least) + extra, REPEATS_MOST)
        if count < least:
            raise ValueError("too often")
        text = _text(inner, 0, budget)
        budget.text(len(text) * count)  # before it is made: repeats of repeats multiply
        return text * count
    if code in ("AT", "ASSERT_NOT"):
        return ""
    raise ValueError(code)  # references, look-around: the demo does not go so far


def _character(code: int) -> str:
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError("half a character")  # no text of JSON has it
    return chr(code)


def _of_set(items: Any, budget: Budget) -> str:
    listed = [(str(code), argument) for code, argument in items]
    budget.steps(len(listed))
    if listed[0][0] == "NEGATE":
        for one in _SAMPLES:
            budget.steps(len(listed))
            if not any(_is_in(one, *item) for item in listed[1:]):
                return one
        raise ValueError("none of the characters that are tried")
    code, argument = listed[0]
    if code == "LITERAL":
        return _character(argument)
    if code == "RANGE":
        return _character(argument[0])
    return _CATEGORIES[str(argument)]


def _is_in(character: str, code: str, argument: Any) -> bool:
    if code == "LITERAL":
        return bool(ord(character) == argument)
    if code == "RANGE":
        return bool(argument[0] <= ord(character) <= argument[1])
    kind = str(argument)
    letters = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[kind.rpartition("_")[2]]
    return (re.match(letters, character) is None) is ("NOT" in kind)
