"""The regular expressions of a policy, matched in time linear in the text.

A policy is written by people and the text by people who may mean harm: a backtracking engine would let either stop a
process with one `(a+)+$`. RE2 runs automata instead, refuses what needs backtracking (look-around, back references),
and looks for hundreds of patterns in one pass (about 1.5 µs for 500 characters and 150 patterns, measured).
This file is all that knows the library. Text and positions are UTF-8 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import re2

# The automaton of a set is built as texts need it and starts again when it is full: this bounds memory, not matching.
_SET_MEMORY_BYTES = 32 << 20
_PATTERN_MEMORY_BYTES = 4 << 20
# Instructions of one compiled pattern; 50 alternatives of 30 letters take about 3,000.
MAX_PROGRAM_SIZE = 30_000


class PatternError(ValueError):
    """A pattern that cannot be used, and why, in words for whoever wrote it."""


def _options(max_mem: int) -> Any:
    options = re2.Options()
    options.max_mem = max_mem
    options.log_errors = False
    return options


class LinearPattern:
    """One pattern, to find where it matches. Where it has a group, the group is the match and the rest context."""

    def __init__(self, source: str) -> None:
        self.source = source
        # RE2's \b knows ASCII letters alone: a match that it ends beside another script's letter is inside a word.
        self._begins_word = source.startswith(r"\b")
        self._ends_word = source.endswith(r"\b")

    @cached_property
    def _compiled(self) -> Any:
        try:
            return re2.compile(self.source.encode(), _options(_PATTERN_MEMORY_BYTES))
        except re2.error as error:
            reason = error.args[0].decode() if isinstance(error.args[0], bytes) else str(error)
            raise PatternError(
                f"is not a regular expression of RE2 (no look-around, no back references): {reason}"
            ) from None

    def check(self) -> None:
        """Raises PatternError where the pattern is malformed, too large, or matches nothing at all."""
        compiled = self._compiled
        if compiled.programsize > MAX_PROGRAM_SIZE:
            raise PatternError(
                f"compiles to {compiled.programsize:,} instructions, at most {MAX_PROGRAM_SIZE:,} are allowed: "
                "make counted repetitions smaller or split it"
            )
        if compiled.search(b"") is not None:
            raise PatternError("matches the empty text, so it would match every text: require at least one character")

    def spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Byte spans of the matches, leftmost first, not overlapping."""
        compiled = self._compiled
        group = 1 if compiled.groups else 0
        at = 0
        while (match := compiled.search(data, at)) is not None:
            start, end = match.span(group)
            if end > start and not (
                (self._begins_word and _letter_before(data, start)) or (self._ends_word and _letter_at(data, end))
            ):
                yield start, end
            # Go on from the end of the match itself, so that context which two matches share serves both.
            at = max(end, at + 1)
            if at > len(data):
                return


def _letter_before(data: bytes, at: int) -> bool:
    if at == 0 or data[at - 1] < 0x80:
        return False
    start = at - 1
    while start > 0 and data[start] & 0xC0 == 0x80:
        start -= 1
    return data[start:at].decode("utf-8", "replace").isalnum()


def _letter_at(data: bytes, at: int) -> bool:
    return at < len(data) and data[at] >= 0xC0 and data[at : at + 4].decode("utf-8", "ignore")[:1].isalnum()


class LinearSet:
    """Many patterns, to learn in one pass which of them match anywhere."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._set: Any = None
        if not sources:
            return
        self._set = re2.Set.SearchSet(_options(_SET_MEMORY_BYTES))
        for source in sources:
            self._set.Add(source.encode())
        try:
            self._set.Compile()
        except re2.error:
            raise PatternError(f"all {len(sources)} patterns together are too large for one automaton") from None

    def matching(self, data: bytes) -> list[int]:
        """Indices of the patterns that match, in no order."""
        if self._set is None:
            return []
        found: list[int] = self._set.Match(data)
        return found


def quoted(literal: str) -> str:
    """The pattern that matches just this text."""
    return re.sub(r"[^\w]|_", lambda m: "\\" + m[0] if m[0].isascii() else m[0], literal)
