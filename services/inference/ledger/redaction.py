"""What is taken out of a text before it is kept: whatever personal_data.py finds."""

from __future__ import annotations

from services.inference.personal_data import KINDS, find

_WORDS = {kind: f"[{kind.lower()}]" for kind in KINDS}


def redact(text: str) -> str:
    """The text, with a word in brackets for what was taken out: `[email]`, `[card]`."""
    spans = find(text)
    if not spans:
        return text
    kept: list[str] = []
    at = 0
    for start, end, kind in spans:
        kept += (text[at:start], _WORDS[kind])
        at = end
    return "".join(kept) + text[at:]
