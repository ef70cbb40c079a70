"""The text in what an upstream calls content."""

from __future__ import annotations

from typing import Any


def text_in(content: Any) -> str:
    """Content is a text with nearly all; with some (Mistral's reasoning models) it is a list of parts, of which those
    of the type `text` are the answer."""
    if type(content) is str:
        return content
    if type(content) is not list:
        return ""
    texts = [part.get("text") for part in content if type(part) is dict and part.get("type") == "text"]
    return "".join([text for text in texts if type(text) is str])
