"""Personal data and keys of a call, replaced before it leaves: `[EMAIL_1]`, `[CARD_2]`.

The same value has the same placeholder all over a call, numbered by kind in order of appearance: a conversation that
grows keeps those of its earlier messages. A placeholder that the caller wrote is not taken for one of ours: its number
is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from services.inference.personal_data import KINDS, Span, find
from services.inference.screening.texts import body_with
from services.inference.usage import utf8_bytes

PLACEHOLDER = re.compile(r"\[(?:" + "|".join(KINDS) + r")_[0-9]{1,9}\]")


class Masks:
    """What one call has masked. `values`: by placeholder; `grown_bytes`: by how much the texts became longer, not
    counting those that became shorter."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.grown_bytes = 0
        self._placeholders: dict[str, str] = {}  # by value
        self._counts: dict[str, int] = dict.fromkeys(KINDS, 0)
        self._taken: set[str] = set()
        self._found: dict[str, list[Span]] = {}  # in which text of the body

    def mask(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """The body without what was found in it; itself, where nothing was."""
        body_with(body, self._look)
        return body_with(body, self._masked) if self._found else body

    def _look(self, text: str) -> str:
        if spans := find(text):
            self._found[text] = spans
        if "[" in text:
            self._taken.update(PLACEHOLDER.findall(text))
        return text

    def _masked(self, text: str) -> str:
        spans = self._found.get(text)
        if spans is None:
            return text
        kept: list[str] = []
        at = 0
        for start, end, kind in spans:
            kept += (text[at:start], self._placeholder(kind, text[start:end]))
            at = end
        masked = "".join(kept) + text[at:]
        self.grown_bytes += max(0, utf8_bytes(masked) - utf8_bytes(text))
        return masked

    def _placeholder(self, kind: str, value: str) -> str:
        made = self._placeholders.get(value)
        if made is None:
            while made is None or made in self._taken:
                self._counts[kind] += 1
                made = f"[{kind}_{self._counts[kind]}]"
            self._placeholders[value] = made
            self.values[made] = value
        return made
