"""Our own path to OpenAI-compatible upstreams: what goes out, and what comes back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import orjson
import pytest

from services.inference.providers.base import AnswerRecord, Part, TokenUsage
from services.inference.providers.openai_compatible import OpenAiCompatible
from services.mesh.errors import MeshError
from tests.support.provider import Behaviour, Fault, MisbehavingProvider
from tests.unit.inference.calls import (
    answer_text,
    completed,
    embed_request,
    events,
    parts,
    request,
    streamed,
    text_of,
)
from tests.unit.inference.conftest import KEY


async def test_a_callers_body_goes_on_as_it_is(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    extra = {"tools": tools, "response_format": {"type": "json_object"}, "made_up": [1, {"x": None}], "max_tokens": 9}
    call = request(**extra)
    before = orjson.dumps(call.body)
    await completed(ours, call)
    await streamed(ours, call)
    for seen in upstream.calls:
        assert {name: seen.body[name] for name in extra} == extra
        assert seen.body["model"] == "mock-small"
        assert seen.headers["Authorization"] == f"Bearer {KEY}"
    assert "stream_options" not in upstream.calls[0].body
    assert upstream.calls[1].body["stream"] is True
    assert orjson.dumps(call.body) == before


async def test_a_body_that_asked_for_a_stream_can_be_answered_whole(
    upstream: MisbehavingProvider, ours: OpenAiCompatible
) -> None:
    whole = await completed(ours, request(stream=True, stream_options={"include_usage": True}))
    assert whole["choices"][0]["message"]["content"] == upstream.default.text
    assert not {"stream", "stream_options"} & upstream.calls[0].body.keys()


async def test_the_answer_names_the_model_as_the_caller_did(
    upstream: MisbehavingProvider, ours: OpenAiCompatible
) -> None:
    upstream.default = Behaviour(text='it says "model":"mock-small" itself', model="mock-small-2024")
    whole = await completed(ours)
    assert whole["model"] == "house"
    got = await parts(ours)
    chunks = events(b"".join(part.data for part in got))
    assert {chunk["model"] for chunk in chunks} == {"house"}
    assert [chunk for part in got for chunk in part.chunks] == chunks
    assert text_of(chunks) == upstream.default.text == whole["choices"][0]["message"]["content"]


@pytest.mark.parametrize("model", ["house", 'ho"use', "münchen"])
async def test_whatever_the_upstream_calls_its_model(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, model: str
) -> None:
    """The caller's own name, one that JSON escapes, and one beyond ASCII."""
    upstream.default = Behaviour(model=model)
    assert (await completed(ours))["model"] == "house"
    assert {chunk["model"] for chunk in events(await streamed(ours))} == {"house"}


async def test_usage_is_always_asked_for_and_shown_only_where_asked(
    upstream: MisbehavingProvider, ours: OpenAiCompatible
) -> None:
    record = AnswerRecord()
    quiet = events(await streamed(ours, request(), record))
    assert record.usage == TokenUsage(upstream.calls[0].prompt_tokens, 8)
    assert all(not chunk.get("usage") for chunk in quiet)
    asked = events(await streamed(ours, request(wants_usage=True, stream_options={"include_usage": True})))
    assert asked[-1]["usage"]["completion_tokens"] == 8
    assert all(seen.body["stream_options"] == {"include_usage": True} for seen in upstream.calls)


async def test_a_provider_that_refuses_stream_options(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible]
) -> None:
    await streamed(provider_at(upstream.base_url, stream_usage=False))
    assert "stream_options" not in upstream.calls[0].body


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_the_cap_goes_under_the_name_that_the_upstream_knows(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible], field: str
) -> None:
    provider = provider_at(upstream.base_url, output_cap_field=field)
    await completed(provider, request(output_cap=99, max_tokens=500, max_completion_tokens=600))
    sent = upstream.calls[0].body
    assert {name: sent[name] for name in ("max_tokens", "max_completion_tokens") if name in sent} == {field: 99}


@pytest.mark.parametrize("fault", [Fault.ABSURD_USAGE, Fault.NO_USAGE])
async def test_usage_that_is_absurd_or_missing_is_not_made_up(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, fault: Fault
) -> None:
    upstream.default = Behaviour(fault=fault)
    for ask in (completed, streamed):
        record = AnswerRecord()
        await ask(ours, request(), record)
        assert record.usage is None
        assert record.output_bytes == len(upstream.default.text)
        assert record.began
        assert record.sent


async def test_comments_keep_a_callers_connection_alive(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    upstream.default = Behaviour(comments=True, pace_s=0.005)
    got = await parts(ours)
    assert text_of(events(b"".join(part.data for part in got))) == upstream.default.text


async def test_comments_alone_are_signs_of_life_and_no_token(
    upstream: MisbehavingProvider, ours: OpenAiCompatible
) -> None:
    upstream.default = Behaviour(fault=Fault.ONLY_COMMENTS)
    got: list[Part] = []
    with pytest.raises(MeshError, match="no token") as caught:
        await parts(ours, into=got)
    assert caught.value.reason == "PROVIDER_TIMEOUT"
    assert {(part.data, len(part.chunks)) for part in got} == {(b": keep-alive\n\n", 0)}
    await upstream.calls[0].aborted.wait()


async def test_every_choice_of_several_is_noted(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    for ask in (completed, streamed):
        record = AnswerRecord()
        await ask(ours, request(n=3), record)
        assert record.finish_reasons == {0: "stop", 1: "stop", 2: "stop"}
        assert record.output_bytes == 3 * len(upstream.default.text)


async def test_calls_of_tools_pass(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    whole = await completed(ours, request(tools=tools))
    assert whole["choices"][0]["finish_reason"] == "tool_calls"
    record = AnswerRecord()
    chunks = events(await streamed(ours, request(tools=tools), record))
    assert any(chunk["choices"] and chunk["choices"][0]["delta"].get("tool_calls") for chunk in chunks)
    assert record.finish_reasons == {0: "tool_calls"}
    assert record.output_bytes > 0


@pytest.mark.parametrize("finish_reason", ["content_filter", "length"])
async def test_why_an_answer_ended_passes(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, finish_reason: str
) -> None:
    upstream.default = Behaviour(finish_reason=finish_reason)
    for ask in (completed, streamed):
        record = AnswerRecord()
        await ask(ours, request(), record)
        assert record.finish_reasons == {0: finish_reason}


async def test_embeddings(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    record = AnswerRecord()
    one = orjson.loads(await ours.embed(embed_request("one two"), record))
    assert one["model"] == "house"
    assert len(one["data"]) == 1
    assert record.usage == TokenUsage(upstream.calls[0].prompt_tokens, 0)
    many = orjson.loads(await ours.embed(embed_request("one", "two", "three"), AnswerRecord()))
    assert [vector["index"] for vector in many["data"]] == [0, 1, 2]
    assert [seen.path for seen in upstream.calls] == ["/v1/embeddings"] * 2
    assert upstream.calls[1].body == {"model": "mock-small", "input": ["one", "two", "three"]}


@pytest.mark.parametrize(
    "raw",
    [
        '{"object":"list","data":[]}',
        '{"data":[{"embedding":[1.0]}]}',
        '{"data":[{"embedding":[1.0]},{"embedding":[]}]}',
        '{"data":[{"embedding":[1.0]},7]}',
        "[]",
        "{",
    ],
)
async def test_embeddings_that_are_not_all_there(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, raw: str
) -> None:
    upstream.default = Behaviour(raw=raw)
    with pytest.raises(MeshError) as caught:
        await ours.embed(embed_request("one", "two"), AnswerRecord())
    assert caught.value.reason == "PROVIDER_ANSWER_BROKEN"


def test_litellm_is_not_imported_for_an_openai_compatible_upstream() -> None:
    """In a process of its own: the whole service is imported, and calls made on all surfaces."""
    code = """
import asyncio, sys
import services.inference.main
from services.inference.providers.base import AnswerRecord
from services.inference.providers.http import HttpClient
from services.inference.providers.openai_compatible import OpenAiCompatible
from tests.support.provider import running_provider
from tests.unit.inference.calls import answer_text, completed, embed_request

async def main():
    async with running_provider() as upstream:
        client = HttpClient(connections_max=8)
        provider = OpenAiCompatible(client, "mock", upstream.base_url)
        assert await answer_text(provider)
        assert await completed(provider)
        assert await provider.embed(embed_request("x"), AnswerRecord())
        await client.close()

asyncio.run(main())
assert not [name for name in sys.modules if name.split(".")[0] == "litellm"]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


async def test_an_answer_of_one_piece_may_take_the_whole_time(
    upstream: MisbehavingProvider, ours: OpenAiCompatible
) -> None:
    """It begins when it is finished, so that the time to the first token (0.4 s here) does not hold for it."""
    upstream.default = Behaviour(latency_s=0.8)
    whole = await completed(ours)
    assert whole["choices"][0]["message"]["content"] == upstream.default.text


async def test_one_read_is_one_part(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    upstream.default = Behaviour(text="word " * 200)
    got = await parts(ours)
    assert len(got) < 100
    assert await answer_text(ours) == ("word " * 200).rstrip()


async def test_nesting_beyond_what_can_be_written(ours: OpenAiCompatible) -> None:
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    with pytest.raises(MeshError) as caught:
        await completed(ours, request(deep=deep))
    assert caught.value.reason == "INVALID_FIELD"
