"""A text that matches a regular expression, for the demo's JSON. Python's own parser reads the expression."""

from __future__ import annotations

import importlib
import re
from typing import Any

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


def text_like(pattern: str, least_chars: int = 0, number: int = 0) -> str | None:
    """A text that `pattern` finds something in, of at least so many characters; None where none is found.

    number: of several texts that should differ, which one, from 0.
    """
    if len(pattern) > PATTERN_CHARS_MAX:
        return None
    try:
        parsed = _parser.parse(pattern)
        texts = [_text(parsed, extra) for extra in (number, number + least_chars)]
    except (re.error, ValueError, OverflowError, RecursionError):
        return None
    fitting = [text for text in texts if len(text) >= least_chars]
    if fitting:
        return fitting[0]
    padded = texts[0] + "a" * (least_chars - len(texts[0]))
    return padded if not pattern.endswith("$") else None


def _text(parsed: Any, extra: int) -> str:
    """extra: how often more than at least what may repeat does."""
    return "".join(_part(str(code), argument, extra) for code, argument in parsed)


def _part(code: str, argument: Any, extra: int) -> str:
    if code == "LITERAL":
        return chr(argument)
    if code == "NOT_LITERAL":
        return next(one for one in _SAMPLES if ord(one) != argument)
    if code == "ANY":
        return "a"
    if code == "IN":
        return _of_set(argument)
    if code == "BRANCH":
        return _text(argument[1][0], extra)
    if code == "SUBPATTERN":
        return _text(argument[3], extra)
    if code in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, inner = argument
        count = min(int(most), int(least) + extra, REPEATS_MOST)
        if count < least:
            raise ValueError("too often")
        return _text(inner, 0) * count
    if code in ("AT", "ASSERT_NOT"):
        return ""
    raise ValueError(code)  # references, look-around: the demo does not go so far


def _of_set(items: Any) -> str:
    listed = [(str(code), argument) for code, argument in items]
    if listed[0][0] == "NEGATE":
        return next(one for one in _SAMPLES if not any(_is_in(one, *item) for item in listed[1:]))
    code, argument = listed[0]
    if code == "LITERAL":
        return chr(argument)
    if code == "RANGE":
        return chr(argument[0])
    return _CATEGORIES[str(argument)]


def _is_in(character: str, code: str, argument: Any) -> bool:
    if code == "LITERAL":
        return bool(ord(character) == argument)
    if code == "RANGE":
        return bool(argument[0] <= ord(character) <= argument[1])
    kind = str(argument)
    letters = {"DIGIT": r"\d", "SPACE": r"\s", "WORD": r"\w"}[kind.rpartition("_")[2]]
    return (re.match(letters, character) is None) is ("NOT" in kind)
