"""Whether a chat completion says what the provider said, read as a client would read it."""

from __future__ import annotations

from typing import Any

import orjson

EXCERPT = 200


def unchunked(body: bytes) -> bytes:
    """The body that chunks carry."""
    parts: list[bytes] = []
    at = 0
    while True:
        line = body.index(b"\r\n", at)
        size = int(body[at:line].split(b";", 1)[0], 16)
        if size == 0:
            return b"".join(parts)
        parts.append(body[line + 2 : line + 2 + size])
        at = line + 2 + size + 2


def wrong(body: bytes, chunked: bool, streamed: bool, content: str) -> str:
    """What is wrong with the body of an answer that should carry `content`; empty for nothing."""
    try:
        if chunked:
            body = unchunked(body)
        got = streamed_content(body) if streamed else whole_content(orjson.loads(body))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return "" if got == content else f"the content is {got[:EXCERPT]!r}"


def whole_content(answer: Any) -> str:
    """The text of a chat completion."""
    if answer["object"] != "chat.completion":
        raise ValueError(f"the object is {answer['object']!r}")
    return str(answer["choices"][0]["message"]["content"])


def streamed_content(body: bytes) -> str:
    """The text of a stream that has a finish reason and ends with [DONE]; ValueError for any other."""
    text, finished, last = "", False, b""
    for line in body.splitlines():
        if not line.startswith(b"data:"):
            continue
        last = line[5:].strip()
        if last == b"[DONE]":
            continue
        for choice in orjson.loads(last)["choices"]:
            text += choice["delta"].get("content") or ""
            finished = finished or bool(choice.get("finish_reason"))
    if last != b"[DONE]" or not finished:
        raise ValueError("the stream has no finish reason or does not end with [DONE]")
    return text
