"""How many tokens a body may take: as we estimate it, and at most."""

from __future__ import annotations

from typing import Any

import orjson

from services.inference.usage import TOKENS_PER_MESSAGE, estimate_tokens, utf8_bytes

# An image is at most about 48,000 tokens where models count it dearest (OpenAI's small ones, high detail).
PART_TOKENS_MAX = 65_536


def estimate_messages(body: dict[str, Any]) -> int:
    """Tokens of a conversation with its tools, estimated."""
    tokens = 0
    for message in body["messages"]:
        tokens += TOKENS_PER_MESSAGE + estimate_tokens(_text_bytes(message))
    if tools := body.get("tools"):
        tokens += estimate_tokens(len(orjson.dumps(tools)))
    return tokens


def largest_messages(body: dict[str, Any]) -> int:
    """A bound that no tokeniser exceeds: a token is at least one byte of input, and a part that is no text at most
    PART_TOKENS_MAX, or its bytes if they are more."""
    tokens = 0
    for message in body["messages"]:
        tokens += TOKENS_PER_MESSAGE + _text_bytes(message)
        content = message.get("content")
        if isinstance(content, list):
            for part in content:
                if not (isinstance(part, dict) and part.get("type") == "text"):
                    tokens += max(PART_TOKENS_MAX, len(orjson.dumps(part)))
    for field in ("tools", "response_format"):
        if body.get(field):
            tokens += len(orjson.dumps(body[field]))
    return tokens


def _text_bytes(message: dict[str, Any]) -> int:
    content = message.get("content")
    size = 0
    if isinstance(content, str):
        size = utf8_bytes(content)
    elif isinstance(content, list):
        size = sum(
            utf8_bytes(part["text"]) for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    if calls := message.get("tool_calls"):
        size += len(orjson.dumps(calls))
    return size
