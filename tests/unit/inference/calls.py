"""Calls of a provider, for tests."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import orjson

from services.inference.providers.base import AnswerRecord, ChatMessage, OpenAiCall, Piece, Provider, ProviderRequest


def request(prompt: str = "Say hello.", **options: Any) -> ProviderRequest:
    return ProviderRequest("mock-small", (ChatMessage("user", prompt),), **options)


def openai_call(stream: bool = False, **body: Any) -> OpenAiCall:
    body = {"model": "house", "messages": [{"role": "user", "content": "Say hello."}], **body}
    if stream:
        body["stream"] = True
    return OpenAiCall(body, "house", "mock-small")


async def pieces(provider: Provider, asked: ProviderRequest | None = None) -> list[Piece]:
    async with aclosing(provider.stream(asked or request())) as stream:
        return [piece async for piece in stream]


async def answer_text(provider: Provider, asked: ProviderRequest | None = None) -> str:
    return "".join(piece.text for piece in await pieces(provider, asked))


async def run_openai(provider: Provider, call: OpenAiCall, record: AnswerRecord | None = None) -> bytes:
    """The whole answer, streamed or not as the call asks."""
    record = record or AnswerRecord()
    if not call.body.get("stream"):
        return await provider.complete_openai(call, record)
    async with aclosing(provider.stream_openai(call, record)) as stream:
        return b"".join([part async for part in stream])


def events(raw: bytes) -> list[Any]:
    """Chunks of a stream, without comments and `[DONE]`, which must be the last."""
    lines = [line[6:] for line in raw.split(b"\n\n") if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    return [orjson.loads(line) for line in lines[:-1]]
