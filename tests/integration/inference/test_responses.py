"""OpenAI's Responses through the bridge, with the official `openai` client, unchanged."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from promptmesh.inference.v1 import receipt_pb2
from pydantic import BaseModel

from services.mesh.database import Database
from tests.integration.inference.api import Api, client_of, stored_requests
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

TOOL: Any = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}


class Person(BaseModel):
    """What structured outputs are parsed into."""

    name: str
    age: int


@pytest.fixture
async def client(api: Api) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(api) as client:
        yield client


async def test_an_answer(
    api: Api, client: openai.AsyncOpenAI, upstream: MisbehavingProvider, database: Database
) -> None:
    answer = await client.responses.create(
        model="house",
        instructions="Be kind.",
        input="Say hello.",
        temperature=0.5,
        max_output_tokens=20,
        reasoning={"effort": "low"},
        metadata={"team": "search"},
        store=True,
    )

    assert answer.output_text == upstream.default.text
    assert (answer.status, answer.model, answer.error) == ("completed", "house", None)
    assert re.fullmatch("resp_[0-9a-f]{32}", answer.id)
    assert answer.metadata == {"team": "search"}
    assert answer.to_dict()["store"] is False
    assert answer.usage is not None
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (4, 8, 12)
    sent = upstream.calls[0].body
    assert sent["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Say hello."},
    ]
    assert (sent["max_tokens"], sent["temperature"], sent["reasoning_effort"]) == (20, 0.5, "low")
    assert not {"input", "instructions", "store", "metadata", "stream"} & sent.keys()
    (row,) = await stored_requests(database, 1)
    assert f"resp_{str(row['record_id']).replace('-', '')}" == answer.id
    assert row["surface"] == receipt_pb2.SURFACE_RESPONSES
    assert (row["input_tokens"], row["output_tokens"], row["cost_nanos"]) == (4, 8, 4 * 1500 + 8 * 2000)


async def test_a_conversation_of_items_with_an_image(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    first = await client.responses.create(model="house", input=[{"role": "user", "content": "Say hello."}])
    history: Any = [{"role": "user", "content": "Say hello."}, *first.output]
    image: Any = {"type": "input_image", "image_url": "data:image/png;base64,eA==", "detail": "low"}
    await client.responses.create(
        model="house",
        input=[*history, {"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, image]}],
    )

    assert upstream.calls[1].body["messages"] == [
        {"role": "user", "content": "Say hello."},
        {"role": "assistant", "content": upstream.default.text},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,eA==", "detail": "low"}},
            ],
        },
    ]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_function_is_called_and_answered(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider, stream: bool
) -> None:
    question: Any = {"role": "user", "content": "What is the weather in Oslo?"}
    asked: dict[str, Any] = {"model": "house", "tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}}
    if stream:
        async with client.responses.stream(**asked, input=[question]) as events:
            first: Any = await events.get_final_response()
    else:
        first = await client.responses.create(**asked, input=[question])

    (call,) = first.output
    assert (call.type, call.name, call.status) == ("function_call", "weather", "completed")
    arguments = orjson.loads(call.arguments)
    assert set(arguments) == {"city"}
    sent = upstream.calls[0].body
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert sent["tools"][0]["function"]["strict"] is True

    output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."}
    item: Any = {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments}
    second = await client.responses.create(model="house", tools=[TOOL], input=[question, item, output])
    assert second.output_text == upstream.default.text
    assistant, tool = upstream.calls[1].body["messages"][1:]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"] == call.call_id
    assert tool["content"] == "Rain."


@pytest.mark.parametrize("stream", [False, True])
async def test_structured_outputs(client: openai.AsyncOpenAI, upstream: MisbehavingProvider, stream: bool) -> None:
    upstream.default = Behaviour(text='{"name": "Ada", "age": 36}')
    if stream:
        async with client.responses.stream(model="house", input="Who?", text_format=Person) as events:
            parsed: Any = await events.get_final_response()
    else:
        parsed = await client.responses.parse(model="house", input="Who?", text_format=Person)

    assert parsed.output_parsed == Person(name="Ada", age=36)
    wanted = upstream.calls[0].body["response_format"]
    assert (wanted["type"], wanted["json_schema"]["name"]) == ("json_schema", "Person")
    assert wanted["json_schema"]["strict"] is True


@pytest.mark.parametrize("model", ["house", "demo"])
async def test_a_stream(client: openai.AsyncOpenAI, upstream: MisbehavingProvider, model: str) -> None:
    upstream.default = Behaviour(pace_s=0.002)
    stream = await client.responses.create(model=model, input="Say hello.", stream=True)
    events: list[Any] = [event async for event in stream]

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events][:4] == [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
    ]
    assert [event.type for event in events][-4:] == [
        *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
        "response.completed",
    ]
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    final = events[-1].response
    assert text == final.output_text == events[-4].text
    assert text == upstream.default.text if model == "house" else "demo" in text
    assert {event.response.model for event in events if hasattr(event, "response")} == {model}
    assert final.usage.output_tokens > 0
    if model == "house":
        assert upstream.calls[0].body["stream_options"] == {"include_usage": True}


async def test_the_stream_helper(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    async with client.responses.stream(model="house", input="Say hello.") as stream:
        snapshots = [event.snapshot async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert snapshots[-1] == final.output_text == upstream.default.text


def _sync_text(url: str, key: str) -> tuple[str, str]:
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
        whole = client.responses.create(model="house", input="Say hello.").output_text
        with client.responses.stream(model="house", input="Say hello.") as stream:
            return whole, stream.get_final_response().output_text


async def test_the_client_that_blocks(api: Api, upstream: MisbehavingProvider) -> None:
    texts = await asyncio.to_thread(_sync_text, api.http_url, api.identities.good)
    assert texts == (upstream.default.text, upstream.default.text)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("reason", "why"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_an_answer_that_was_cut_is_incomplete(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider, reason: str, why: str, stream: bool
) -> None:
    upstream.default = Behaviour(finish_reason=reason)
    answer: Any = await client.responses.create(model="house", input="Say hello.", stream=stream)
    if stream:
        last = [event async for event in answer][-1]
        assert last.type == "response.incomplete"
        answer = last.response
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", why)
    assert answer.output_text == upstream.default.text


ERRORS: list[tuple[dict[str, Any], Behaviour, type[openai.APIStatusError], str | None, str | None]] = [
    ({"model": "gpt-99"}, Behaviour(), openai.NotFoundError, "model_not_found", "model"),
    ({"input": []}, Behaviour(), openai.BadRequestError, None, "input"),
    ({"previous_response_id": "resp_1"}, Behaviour(), openai.BadRequestError, None, "previous_response_id"),
    ({"conversation": "conv_1"}, Behaviour(), openai.BadRequestError, None, "conversation"),
    ({"background": True}, Behaviour(), openai.BadRequestError, None, "background"),
    ({"tools": [{"type": "web_search"}]}, Behaviour(), openai.BadRequestError, None, "tools[0].type"),
    ({"model": "strict", "extra_body": {"top_k": 1}}, Behaviour(), openai.BadRequestError, None, "top_k"),
    ({}, Behaviour(status=429, headers={"Retry-After": "3"}), openai.RateLimitError, "rate_limit_exceeded", None),
    ({}, Behaviour(status=400, error_code="content_filter"), openai.BadRequestError, "content_policy_violation", None),
    ({}, Behaviour(status=500), openai.InternalServerError, "provider_unavailable", None),
    ({}, Behaviour(fault=Fault.SILENCE), openai.InternalServerError, "provider_timeout", None),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "behaviour", "kind", "code", "param"), ERRORS)
async def test_an_error_before_it_began_is_a_status(
    client: openai.AsyncOpenAI,
    upstream: MisbehavingProvider,
    fields: dict[str, Any],
    behaviour: Behaviour,
    kind: type[openai.APIStatusError],
    code: str | None,
    param: str | None,
    stream: bool,
) -> None:
    upstream.default = behaviour
    with pytest.raises(openai.APIStatusError) as caught:
        await client.responses.create(**{"model": "house", "input": "Say hello.", "stream": stream, **fields})
    assert type(caught.value) is kind
    assert (caught.value.code, caught.value.param) == (code, param)


@pytest.mark.parametrize(
    "fault", [Fault.CUT, Fault.CUT_CLEANLY, Fault.STALL, Fault.BROKEN_CHUNK, Fault.ERROR_IN_STREAM, Fault.NO_FINISH]
)
async def test_a_stream_that_breaks_has_failed_and_never_completed(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider, fault: Fault, database: Database
) -> None:
    upstream.default = Behaviour(fault=fault, pace_s=0.01)
    events: list[Any] = []
    stream = await client.responses.create(model="house", input="Say hello.", stream=True)
    with pytest.raises(openai.APIError) as caught:
        await _into(events, stream)
    assert events[-1].type == "response.failed"
    assert events[-1].response.status == "failed"
    assert events[-1].response.error.message == caught.value.message
    assert not [event for event in events if event.type in ("response.completed", "response.output_item.done")]
    (row,) = await stored_requests(database, 1)
    assert (row["outcome"], row["surface"]) == (receipt_pb2.OUTCOME_FAILED, receipt_pb2.SURFACE_RESPONSES)


async def _into(events: list[Any], stream: Any) -> None:
    """What came before an error is there too."""
    async for event in stream:
        events.append(event)


async def test_a_missing_done_alone_is_no_fault(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(fault=Fault.NO_DONE)
    stream = await client.responses.create(model="house", input="Say hello.", stream=True)
    assert [event.type async for event in stream][-1] == "response.completed"


async def test_a_stream_does_not_begin_anew_with_another_model(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider
) -> None:
    upstream.then(Behaviour(fault=Fault.CUT, pace_s=0.01))
    for ask in (
        lambda: client.responses.create(model="again", input="Say hello.", stream=True),
        lambda: client.chat.completions.create(
            model="again", messages=[{"role": "user", "content": "Say hello."}], stream=True
        ),
    ):
        upstream.calls.clear()
        upstream.then(Behaviour(fault=Fault.CUT, pace_s=0.01))
        with pytest.raises(openai.APIError):
            async for _ in await ask():
                pass
        upstream.recover()
        assert len(upstream.calls) == 1


async def test_a_client_that_leaves_aborts_upstream(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(text="word " * 10_000, pace_s=0.01)
    stream = await client.responses.create(model="house", input="Say hello.", stream=True)
    await anext(stream)
    await stream.close()
    await upstream.calls[0].aborted.wait()
    assert upstream.running == 0


async def test_a_revoked_key_ends_a_stream(api: Api, client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(text="word " * 10_000, pace_s=0.01)
    stream = await client.responses.create(model="house", input="Say hello.", stream=True)
    await anext(stream)
    await api.identities.revoke()
    with pytest.raises(openai.APIError) as caught:
        [event async for event in stream]
    assert caught.value.code == "invalid_api_key"
    await upstream.calls[0].aborted.wait()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_cache_answers_the_same_question(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider, stream: bool
) -> None:
    texts, ids, decisions = [], [], []
    for _ in range(2):
        raw = await client.responses.with_raw_response.create(model="kept", input="Say hello.", stream=stream)
        decisions.append(raw.headers["x-promptmesh-cache"])
        answer: Any = raw.parse()
        if stream:
            answer = [event async for event in answer][-1].response
        texts.append(answer.output_text)
        ids.append(answer.id)
        assert answer.usage.output_tokens == 8
    assert decisions == ["miss", "hit"]
    assert texts == [upstream.default.text] * 2
    assert ids[0] != ids[1]
    assert len(upstream.calls) == 1


async def test_headers(client: openai.AsyncOpenAI) -> None:
    for stream in (False, True):
        raw = await client.responses.with_raw_response.create(model="house", input="Hi", stream=stream)
        assert (raw.headers["x-promptmesh-model"], raw.headers["x-promptmesh-attempts"]) == ("house", "1")
        assert raw.headers["x-promptmesh-config-version"] == "7"
        assert raw.headers["content-type"].startswith("text/event-stream" if stream else "application/json")


async def test_input_tokens_are_counted_without_a_provider(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider
) -> None:
    counted = await client.responses.input_tokens.count(model="house", input="Say hello. " * 40, tools=[TOOL])
    bare = await client.responses.input_tokens.count(model="house", input="Say hello. " * 40)
    assert counted.object == "response.input_tokens"
    assert counted.input_tokens > bare.input_tokens > 100
    assert upstream.calls == []
    with pytest.raises(openai.BadRequestError):
        await client.responses.input_tokens.count(model="house")
    with pytest.raises(openai.NotFoundError):
        await client.responses.input_tokens.count(model="gpt-99", input="Hi")


async def test_the_events_on_the_wire(api: Api) -> None:
    headers = {"Authorization": f"Bearer {api.identities.good}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{api.http_url}/responses", json={"model": "house", "input": "Hi", "stream": True}) as response,
    ):
        raw = await response.read()
    blocks = raw.removesuffix(b"\n\n").split(b"\n\n")
    assert blocks[0].startswith(b"event: response.created\ndata: {")
    assert blocks[-1].startswith(b"event: response.completed\ndata: {")
    assert b"[DONE]" not in raw
