"""How many tokens a body may take: as we estimate it, and at most."""

from __future__ import annotations

from typing import Any

import orjson

from services.inference.usage import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE, estimate_tokens, utf8_bytes

# An image is at most about 48,000 tokens where models count it dearest (OpenAI's small ones, high detail).
PART_TOKENS_MAX = 65_536


_MESSAGE_BYTES = TOKENS_PER_MESSAGE * BYTES_PER_TOKEN
_JSON_FIELDS = ("tools", "functions", "response_format")


def chat_sizes(body: dict[str, Any]) -> tuple[int, int]:
    """Tokens of a checked body of chat completions as we estimate them, and how many more than its bytes its parts
    may take: what is behind a link is more than its address. Counted in microseconds."""
    size = over = 0
    for message in body["messages"]:
        content = message.get("content")
        if type(content) is str:
            size += len(content) if content.isascii() else utf8_bytes(content)
        elif content is not None:
            for part in content:
                text = part.get("text")
                if type(text) is str:
                    size += utf8_bytes(text)
                else:
                    over += PART_TOKENS_MAX
        if message.get("tool_calls"):
            size += len(orjson.dumps(message["tool_calls"]))
        size += _MESSAGE_BYTES
    for field in _JSON_FIELDS:
        if body.get(field):
            size += len(orjson.dumps(body[field]))
    return estimate_tokens(size), over


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
