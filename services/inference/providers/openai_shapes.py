"""OpenAI's JSON made by us, for providers whose answers do not come in it, and the way from its requests to ours."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import orjson

from services.inference.providers import faults
from services.inference.providers.base import (
    AnswerRecord,
    ChatMessage,
    Part,
    Piece,
    ProviderRequest,
    TokenUsage,
    ToolUse,
    UpstreamCall,
)
from services.mesh.ids import uuid7


class OpenAiAnswers:
    """Turns a stream of pieces into `chat.completion` or `chat.completion.chunk` JSON. One choice: text, or calls of
    tools."""

    def __init__(
        self,
        provider: str,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self._provider = provider
        self._clock = clock
        self._new_id = new_id

    async def complete(self, pieces: AsyncGenerator[Piece, None], call: UpstreamCall, record: AnswerRecord) -> bytes:
        """A whole answer."""
        texts: list[str] = []
        calls: list[dict[str, Any]] = []
        async with aclosing(pieces):
            async for piece in pieces:
                texts.append(piece.text)
                if piece.tool is not None:
                    calls.append(self._tool_call(piece.tool))
                _note(piece, record)
        self._check_whole(record)
        answer = self._head(call, "chat.completion")
        message: dict[str, Any] = {"role": "assistant", "content": "".join(texts), "refusal": None}
        if calls:
            message |= {"content": message["content"] or None, "tool_calls": calls}
        answer["choices"] = [
            {
                "index": 0,
                "message": message,
                "logprobs": None,
                "finish_reason": record.finish_reasons[0],
            }
        ]
        if record.usage:
            answer["usage"] = usage_object(record.usage)
        return orjson.dumps(answer)

    async def stream(
        self, pieces: AsyncGenerator[Piece, None], call: UpstreamCall, record: AnswerRecord
    ) -> AsyncGenerator[Part, None]:
        """Server-sent events, `[DONE]` included."""
        head = self._head(call, "chat.completion.chunk")
        first, calls = True, 0
        async with aclosing(pieces):
            async for piece in pieces:
                _note(piece, record)
                delta: dict[str, Any] = {"role": "assistant"} if first else {}
                if piece.tool is not None:
                    delta |= {"content": None} if first else {}
                    delta["tool_calls"] = [{"index": calls, **self._tool_call(piece.tool)}]
                    calls += 1
                elif piece.text or first:
                    delta["content"] = piece.text
                if not delta and not piece.finish_reason:
                    continue
                first = False
                choice = {
                    "index": 0,
                    "delta": delta,
                    "logprobs": None,
                    "finish_reason": piece.finish_reason or None,
                }
                yield _part({**head, "choices": [choice]})
        self._check_whole(record)
        if call.wants_usage and record.usage:
            yield _part({**head, "choices": [], "usage": usage_object(record.usage)})
        yield Part(b"data: [DONE]\n\n", [])

    def _tool_call(self, tool: ToolUse) -> dict[str, Any]:
        function = {"name": tool.name, "arguments": tool.arguments}
        return {"id": f"call_{self._new_id()}", "type": "function", "function": function}

    def _head(self, call: UpstreamCall, kind: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{self._new_id()}",
            "object": kind,
            "created": int(self._clock()),
            "model": call.model,
        }

    def _check_whole(self, record: AnswerRecord) -> None:
        if 0 not in record.finish_reasons:
            raise faults.broken(self._provider, "it ended without a finish reason")


def usage_object(usage: TokenUsage) -> dict[str, int]:
    """OpenAI's `usage`."""
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def request_of(call: UpstreamCall) -> ProviderRequest:
    """The typed request in a checked body; what the typed one has no place for is left out."""
    body = call.body
    stop = body.get("stop")
    cap = call.output_cap or body.get("max_completion_tokens") or body.get("max_tokens")
    return ProviderRequest(
        model=call.upstream_model,
        messages=tuple(
            ChatMessage(str(message.get("role", "user")), text_of_content(message.get("content")))
            for message in body["messages"]
        ),
        max_output_tokens=cap,
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        seed=body.get("seed"),
    )


def text_of_content(content: Any) -> str:
    """The text of a message's content, which is a text or a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(
            str(part["text"]) for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)
        )
    return ""


def _note(piece: Piece, record: AnswerRecord) -> None:
    record.output_bytes += len(piece.text.encode("utf-8", "surrogatepass"))
    if piece.tool is not None:
        record.output_bytes += len(piece.tool.name) + len(piece.tool.arguments.encode())
    if piece.finish_reason:
        record.finish_reasons[0] = piece.finish_reason
    if piece.usage:
        record.usage = piece.usage


def _part(chunk: dict[str, Any]) -> Part:
    return Part(b"data: " + orjson.dumps(chunk) + b"\n\n", [chunk])
