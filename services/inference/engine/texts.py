"""Texts of a call for the ledger, where the operator wants them kept: bounded here, redacted there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from services.inference.providers.base import Part
from services.inference.screening.texts import leaves

_STRUCTURE = frozenset({"role", "type", "id", "tool_call_id", "url", "data", "file_data", "file_id", "finish_reason"})


def input_text(body: Mapping[str, Any], chars_max: int) -> str:
    """What the caller wrote, a message after the other, each behind its role; of embeddings, a text on each line."""
    lines: list[str] = []
    left = chars_max
    for message in body.get("messages") or ():
        line = f"{message.get('role')}: " + "\n".join(leaves(message, _STRUCTURE))
        lines.append(line[:left])
        left -= len(line) + 1
        if left <= 0:
            break
    if "input" in body:
        lines.append("\n".join(leaves(body["input"], _STRUCTURE)))
    return "\n".join(lines)[:chars_max]


class OutputText:
    """What goes out to the caller, collected."""

    def __init__(self, chars_max: int) -> None:
        self._left = chars_max
        self._texts: dict[int, list[str]] = {}  # by choice

    @property
    def text(self) -> str:
        """Choice after choice."""
        return "\n".join("".join(texts) for _, texts in sorted(self._texts.items()))

    def see(self, part: Part, *, whole: bool = False) -> None:
        """The next part of a stream, or an answer in one piece."""
        if self._left <= 0:
            return
        if whole:
            self._choices(orjson.loads(part.data), "message")
        else:
            for chunk in part.chunks:
                self._choices(chunk, "delta")

    def _choices(self, of: dict[str, Any], name: str) -> None:
        for choice in of.get("choices") or ():
            if isinstance(choice, dict):
                for text in leaves(choice.get(name), _STRUCTURE):
                    if self._left > 0:
                        self._texts.setdefault(choice.get("index") or 0, []).append(text[: self._left])
                        self._left -= len(text)
