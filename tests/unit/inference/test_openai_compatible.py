"""Our own path to OpenAI-compatible upstreams: what goes out, and what comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import orjson

from services.inference.providers.base import AnswerRecord, OpenAiCall, TokenUsage
from services.inference.providers.openai_compatible import OpenAiCompatible
from tests.support.provider import Behaviour, Fault, MisbehavingProvider
from tests.unit.inference.calls import answer_text, events, openai_call, pieces, request, run_openai
from tests.unit.inference.conftest import KEY


async def test_the_typed_call(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    got = await pieces(ours, request("Hi", max_output_tokens=7, temperature=0.5, top_p=1.0, stop=("x",), seed=3))
    assert "".join(piece.text for piece in got) == upstream.default.text
    assert got[-1].usage == TokenUsage(1, 8)
    sent = upstream.calls[0]
    assert sent.headers["Authorization"] == f"Bearer {KEY}"
    assert sent.body == {
        "model": "mock-small",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 7,
        "temperature": 0.5,
        "top_p": 1.0,
        "stop": ["x"],
        "seed": 3,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_one_read_is_one_piece(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    upstream.default = Behaviour(text="word " * 200)
    got = await pieces(ours)
    assert len(got) < 200


async def test_a_callers_body_goes_on_as_it_is(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    extra = {"tools": tools, "response_format": {"type": "json_object"}, "made_up": [1, {"x": None}]}
    await run_openai(ours, openai_call(**extra))
    body = upstream.calls[0].body
    assert {name: body[name] for name in extra} == extra
    assert body["model"] == "mock-small"
    assert "stream_options" not in body


async def test_the_answer_names_the_model_as_the_caller_did(
    upstream: MisbehavingProvider, ours: OpenAiCompatible
) -> None:
    upstream.default = Behaviour(text='it says "model":"mock-small" itself', model="mock-small-2024")
    whole = orjson.loads(await run_openai(ours, openai_call()))
    assert whole["model"] == "house"
    streamed = events(await run_openai(ours, openai_call(stream=True)))
    assert {chunk["model"] for chunk in streamed} == {"house"}
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in streamed)
    assert text == upstream.default.text == whole["choices"][0]["message"]["content"]


async def test_usage_is_always_asked_for_and_shown_only_where_asked(
    upstream: MisbehavingProvider, ours: OpenAiCompatible
) -> None:
    record = AnswerRecord()
    quiet = events(await run_openai(ours, openai_call(stream=True), record))
    assert record.usage == TokenUsage(2, 8)
    assert all(not chunk.get("usage") for chunk in quiet)
    asked = events(await run_openai(ours, openai_call(stream=True, stream_options={"include_usage": True})))
    assert asked[-1]["usage"]["completion_tokens"] == 8
    assert all(seen.body["stream_options"] == {"include_usage": True} for seen in upstream.calls)


async def test_a_provider_that_refuses_stream_options(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible]
) -> None:
    provider = provider_at(upstream.base_url, stream_usage=False)
    await run_openai(provider, openai_call(stream=True))
    await answer_text(provider)
    assert all("stream_options" not in seen.body for seen in upstream.calls)


async def test_the_cap_goes_under_the_name_that_the_upstream_knows(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible]
) -> None:
    provider = provider_at(upstream.base_url, output_cap_field="max_completion_tokens")
    call = openai_call()
    await run_openai(provider, OpenAiCall(call.body, call.model, call.upstream_model, output_cap=99))
    await answer_text(provider, request(max_output_tokens=98))
    assert [seen.body["max_completion_tokens"] for seen in upstream.calls] == [99, 98]


async def test_usage_that_is_absurd_is_not_believed(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    upstream.default = Behaviour(fault=Fault.ABSURD_USAGE)
    for stream in (False, True):
        record = AnswerRecord()
        await run_openai(ours, openai_call(stream=stream), record)
        assert record.usage is None
        assert record.output_bytes == len(upstream.default.text)


async def test_comments_keep_a_callers_connection_alive(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    upstream.default = Behaviour(comments=True, pace_s=0.005)
    raw = await run_openai(ours, openai_call(stream=True))
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in events(raw))
    assert text == upstream.default.text


def test_litellm_is_not_imported_for_an_openai_compatible_upstream() -> None:
    """In a process of its own: the whole service is imported, and a call made on both surfaces."""
    code = """
import asyncio, sys
import services.inference.main
from services.inference.providers.http import open_session
from services.inference.providers.openai_compatible import OpenAiCompatible
from tests.support.provider import running_provider
from tests.unit.inference.calls import answer_text, openai_call, run_openai

async def main():
    async with running_provider() as upstream, open_session(8) as session:
        provider = OpenAiCompatible(session, "mock", upstream.base_url)
        assert await answer_text(provider)
        assert await run_openai(provider, openai_call(stream=True))

asyncio.run(main())
assert not [name for name in sys.modules if name.split(".")[0] == "litellm"]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_an_answer_of_one_piece_may_take_the_whole_time(
    upstream: MisbehavingProvider, ours: OpenAiCompatible
) -> None:
    """It begins when it is finished, so that the time to the first token (0.4 s here) does not hold for it."""
    upstream.default = Behaviour(latency_s=0.8)
    whole = orjson.loads(await run_openai(ours, openai_call()))
    assert whole["choices"][0]["message"]["content"] == upstream.default.text
