"""What a call has masked, put back into its answer: only placeholders that this call made, all others stay."""

from __future__ import annotations

import re
from collections.abc import Mapping

import orjson

from services.inference.screening.masking import PLACEHOLDER

# What may be the beginning of a placeholder at the end of a text.
_BEGINNING = re.compile(r"\[(?:[A-Z]{1,5}(?:_[0-9]{0,9})?)?\Z")


def escaped(values: Mapping[str, str]) -> dict[str, str]:
    """The same values as they stand within a string of JSON."""
    return {placeholder: orjson.dumps(value)[1:-1].decode() for placeholder, value in values.items()}


def restored(text: str, values: Mapping[str, str]) -> str:
    """A whole text with what was masked in its place again."""
    if "[" not in text:
        return text
    return PLACEHOLDER.sub(lambda match: values.get(match[0], match[0]), text)


class Restorer:
    """The same for a stream: what may be the beginning of a placeholder waits for what follows."""

    __slots__ = ("_held", "_values")

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self._held = ""

    @property
    def holds(self) -> bool:
        """Whether anything waits."""
        return bool(self._held)

    def feed(self, text: str) -> str:
        """The next text; gives what can go out."""
        text = self._held + text
        self._held = ""
        last = text.rfind("[")
        if last < 0:
            return text
        if "]" not in text[last:] and _BEGINNING.match(text, last) and self._begins(text[last:]):
            self._held = text[last:]
            text = text[:last]
        return restored(text, self._values)

    def finish(self) -> str:
        """No more text comes."""
        held, self._held = self._held, ""
        return held

    def _begins(self, beginning: str) -> bool:
        return any(placeholder.startswith(beginning) for placeholder in self._values)
