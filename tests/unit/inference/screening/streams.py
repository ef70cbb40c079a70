"""Streams of chunks for tests, and what a client makes of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import orjson

from services.inference.providers.base import Part

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "house"}
FORBIDDEN = "forbidden"
DONE = Part(b"data: [DONE]\n\n", [])


def chunk(delta: dict[str, Any] | None = None, *, choice: int = 0, finish: str | None = None, **more: Any) -> Any:
    made = {"index": choice, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    return {**HEAD, "choices": [made], **more}


def usage(**more: Any) -> Any:
    return {**HEAD, "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}, **more}


def delta(field: str, text: str) -> dict[str, Any]:
    """`tool:1`: arguments of the second call of a tool."""
    if field.startswith("tool:"):
        return {"tool_calls": [{"index": int(field[5:]), "function": {"arguments": text}}]}
    return {"function_call": {"arguments": text}} if field == "function" else {field: text}


def part(*chunks: Any) -> Part:
    return Part(b"".join(b"data: " + orjson.dumps(one) + b"\n\n" for one in chunks), list(chunks))


class Client:
    """Puts a stream together as OpenAI's clients do, and checks that each chunk is one."""

    def __init__(self) -> None:
        self.texts: dict[tuple[int, str], str] = defaultdict(str)
        self.tools: dict[tuple[int, int], dict[str, str]] = defaultdict(dict)
        self.finish: dict[int, str] = {}
        self.order: list[tuple[int, str]] = []  # fields as they began
        self.usage: Any = None
        self.chunks: list[Any] = []
        self.done = False

    def take(self, parts: Iterable[Part]) -> None:
        for one in parts:
            assert not self.done
            events = [event for event in one.data.split(b"\n\n") if event.startswith(b"data: ")]
            if events and events[-1] == b"data: [DONE]":
                self.done = True
                events.pop()
            chunks = [orjson.loads(event[6:]) for event in events]
            assert chunks == one.chunks
            for made in chunks:
                self._chunk(made)

    def _chunk(self, made: Any) -> None:
        self.chunks.append(made)
        assert {name: made.get(name) for name in HEAD} == HEAD
        if made.get("usage"):
            self.usage = made["usage"]
        for choice in made["choices"]:
            index = choice["index"]
            for field, value in choice["delta"].items():
                assert index not in self.finish, "nothing comes after the finish reason"
                if field == "tool_calls":
                    for call in value:
                        self._add(index, f"tool:{call['index']}", call.get("function", {}).get("arguments") or "")
                        known = self.tools[index, call["index"]]
                        known.update({name: call[name] for name in ("id", "type") if name in call})
                        known.update({name: one for name, one in call.get("function", {}).items() if name == "name"})
                elif field == "function_call":
                    self._add(index, "function", value.get("arguments") or "")
                elif isinstance(value, str) and field != "role":
                    self._add(index, field, value)
            if choice["finish_reason"]:
                self.finish[index] = choice["finish_reason"]

    def _add(self, index: int, field: str, text: str) -> None:
        if text and not self.texts[index, field]:
            self.order.append((index, field))
        self.texts[index, field] += text
