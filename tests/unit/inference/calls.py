"""Calls of a provider, for tests."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import orjson

from services.inference.providers.base import AnswerRecord, Part, Provider, UpstreamCall

UPSTREAM_MODEL = "mock-small"


def request(
    prompt: str = "Say hello.",
    *,
    output_cap: int | None = None,
    wants_usage: bool = False,
    upstream_model: str = UPSTREAM_MODEL,
    **body: Any,
) -> UpstreamCall:
    """A call of chat completions, under the name `house`."""
    body = {"model": "house", "messages": [{"role": "user", "content": prompt}], **body}
    return UpstreamCall(body, "house", upstream_model, output_cap=output_cap, wants_usage=wants_usage)


def embed_request(*inputs: str, **body: Any) -> UpstreamCall:
    """A call of embeddings; one input goes as a text, several as a list."""
    body = {"model": "house", "input": inputs[0] if len(inputs) == 1 else list(inputs)} | body
    return UpstreamCall(body, "house", UPSTREAM_MODEL)


async def parts(
    provider: Provider,
    call: UpstreamCall | None = None,
    record: AnswerRecord | None = None,
    into: list[Part] | None = None,
) -> list[Part]:
    """All parts of a stream; `into` also holds those that came before an error."""
    got: list[Part] = [] if into is None else into
    async with aclosing(provider.stream(call or request(), record or AnswerRecord())) as stream:
        async for part in stream:
            got.append(part)
    return got


async def streamed(provider: Provider, call: UpstreamCall | None = None, record: AnswerRecord | None = None) -> bytes:
    return b"".join(part.data for part in await parts(provider, call, record))


async def completed(provider: Provider, call: UpstreamCall | None = None, record: AnswerRecord | None = None) -> Any:
    return orjson.loads(await provider.complete(call or request(), record or AnswerRecord()))


def events(raw: bytes) -> list[Any]:
    """Chunks of a stream, without comments and `[DONE]`, which must be the last."""
    lines = [line[6:] for line in raw.split(b"\n\n") if line.startswith(b"data: ")]
    assert lines[-1] == b"[DONE]"
    return [orjson.loads(line) for line in lines[:-1]]


def text_of(chunks: list[Any]) -> str:
    """Text of the first choice of a stream's chunks."""
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    return "".join(one["delta"].get("content") or "" for one in choices if one["index"] == 0)


async def answer_text(provider: Provider, call: UpstreamCall | None = None) -> str:
    return text_of(events(await streamed(provider, call)))
