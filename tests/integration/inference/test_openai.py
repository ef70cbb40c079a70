"""The official `openai` client, unchanged, through the bridge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import orjson
import pytest
from promptmesh.inference.v1 import receipt_pb2
from pydantic import BaseModel

from services.mesh.database import Database
from tests.integration.inference.api import Api, client_of, posted, stored_requests
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

MESSAGES: Any = [{"role": "user", "content": "Say hello."}]
STREAMED = {"model": "house", "messages": MESSAGES, "stream": True}
MODEL_NAMES = ["again", "demo", "house", "kept", "strict", "unpriced", "vectors"]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Person(BaseModel):
    """What structured outputs are parsed into."""

    name: str
    age: int


@pytest.fixture
async def client(api: Api) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(api) as client:
        yield client


async def test_models(client: openai.AsyncOpenAI) -> None:
    listed = await client.models.list()
    assert [model.id for model in listed.data] == MODEL_NAMES
    assert (await client.models.retrieve("house")).owned_by == "mock"
    with pytest.raises(openai.NotFoundError) as caught:
        await client.models.retrieve("a/b")
    assert caught.value.code == "model_not_found"


async def test_an_answer(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    answer = await client.chat.completions.create(model="house", messages=MESSAGES, user="u", extra_body={"x": 1})
    assert answer.choices[0].message.content == upstream.default.text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "house"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    sent = upstream.calls[0].body
    assert (sent["model"], sent["x"], sent["user"], sent["max_tokens"]) == ("mock-small", 1, "u", 1000)


@pytest.mark.parametrize("wants_usage", [False, True])
@pytest.mark.parametrize("model", ["house", "demo"])
async def test_a_stream(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider, model: str, wants_usage: bool
) -> None:
    upstream.default = Behaviour(pace_s=0.002)
    options: Any = {"stream_options": {"include_usage": True}} if wants_usage else {}
    stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True, **options)
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == upstream.default.text if model == "house" else "demo" in text
    assert {chunk.model for chunk in chunks} == {model}
    assert [chunk.usage is not None for chunk in chunks][-1] is wants_usage


async def test_tools_are_offered_called_and_answered(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    choice: Any = {"type": "function", "function": {"name": "weather"}}
    first = await client.chat.completions.create(
        model="house", messages=MESSAGES, tools=[WEATHER], tool_choice=choice, parallel_tool_calls=False
    )
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert call.type == "function"
    assert set(orjson.loads(call.function.arguments)) == {"city"}
    sent = upstream.calls[0].body
    assert (sent["tools"], sent["tool_choice"], sent["parallel_tool_calls"]) == ([WEATHER], choice, False)

    answered: Any = [*MESSAGES, message.to_dict(), {"role": "tool", "tool_call_id": call.id, "content": "Rain."}]
    second = await client.chat.completions.create(model="house", messages=answered, tools=[WEATHER])
    assert second.choices[0].message.content == upstream.default.text
    assert upstream.calls[1].body["messages"] == answered


async def test_the_pieces_of_a_streamed_tool_call(client: openai.AsyncOpenAI) -> None:
    async with client.chat.completions.stream(model="house", messages=MESSAGES, tools=[WEATHER]) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.tool_calls is not None
    assert final.choices[0].message.tool_calls[0].function.name == "weather"


async def test_structured_outputs(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(text='{"name": "Ada", "age": 36}')
    answer = await client.chat.completions.parse(model="house", messages=MESSAGES, response_format=Person)
    assert answer.choices[0].message.parsed == Person(name="Ada", age=36)
    assert upstream.calls[0].body["response_format"]["json_schema"]["strict"] is True


async def test_all_other_parameters_go_on_as_they_came(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider
) -> None:
    image: Any = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    messages: Any = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
    sent: dict[str, Any] = {
        "messages": messages,
        "n": 2,
        "stop": ["END", "\n\n"],
        "seed": 7,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"50256": -100},
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "reasoning_effort": "low",
        "functions": [{"name": "old"}],
        "function_call": "none",
    }
    answer = await client.chat.completions.create(model="house", **sent, extra_body={"top_k": 5, "guided": {"a": 1}})
    assert [choice.message.content for choice in answer.choices] == [upstream.default.text] * 2
    assert answer.choices[0].logprobs is not None
    body = upstream.calls[0].body
    assert {key: body[key] for key in sent} == sent
    assert (body["top_k"], body["guided"]) == (5, {"a": 1})


async def test_several_answers_are_streamed_side_by_side(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider
) -> None:
    texts = {0: "", 1: ""}
    async for chunk in await client.chat.completions.create(model="house", messages=MESSAGES, n=2, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == {0: upstream.default.text, 1: upstream.default.text}


async def test_what_langchain_sends(api: Api, upstream: MisbehavingProvider) -> None:
    # As langchain-openai writes it for ChatOpenAI(...).bind_tools(...).stream(...), nulls and all.
    body = {
        "messages": [{"content": "Be kind.", "role": "system"}, {"content": "Say hello.", "role": "user"}],
        "model": "house",
        "stream": True,
        "n": 1,
        "temperature": 0.7,
        "stop": ["END"],
        "max_completion_tokens": 64,
        "stream_options": {"include_usage": True},
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "frequency_penalty": None,
        "logprobs": None,
        "seed": None,
    }
    raw = await posted(api, "chat/completions", body)
    events = [orjson.loads(line) for line in raw.replace(b"data: ", b"").split(b"\n\n")[:-2]]
    assert raw.endswith(b"data: [DONE]\n\n")
    assert events[-1]["choices"] == []
    assert events[-1]["usage"]["completion_tokens"] > 0
    arguments = "".join(
        call["function"].get("arguments", "")
        for event in events
        for choice in event["choices"]
        for call in choice["delta"].get("tool_calls") or ()
    )
    assert set(orjson.loads(arguments)) == {"city"}
    sent = upstream.calls[0].body
    assert (sent["n"], sent["stop"], sent["max_tokens"]) == (1, ["END"], 64)


async def test_the_smaller_of_two_caps_holds(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    await client.chat.completions.create(model="house", messages=MESSAGES, max_tokens=9, max_completion_tokens=7)
    sent = upstream.calls[0].body
    assert sent["max_tokens"] == 7
    assert "max_completion_tokens" not in sent


async def test_the_cache_answers_the_same_question_and_headers_say_so(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider
) -> None:
    decisions = []
    for header in ({}, {}, {"cache-control": "no-store"}, {"cache-control": "no-cache"}, {}):
        raw = await client.chat.completions.with_raw_response.create(
            model="kept", messages=MESSAGES, extra_headers=header
        )
        decisions.append(raw.headers["x-promptmesh-cache"])
        assert raw.parse().choices[0].message.content == upstream.default.text
    assert decisions == ["miss", "hit", "bypass", "refresh", "hit"]
    assert len(upstream.calls) == 3
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(
            model="kept", messages=MESSAGES, extra_headers={"cache-control": "max-age=soon"}
        )
    assert caught.value.param == "cache-control"


@pytest.mark.parametrize("stream", [False, True])
async def test_headers_and_receipt(
    client: openai.AsyncOpenAI, database: Database, upstream: MisbehavingProvider, stream: bool
) -> None:
    upstream.then(Behaviour(status=500))
    raw = await client.chat.completions.with_raw_response.create(
        model="again", messages=MESSAGES, stream=stream, metadata={"team": "search"}
    )
    headers = raw.headers
    if stream:
        [chunk async for chunk in raw.parse()]
    (row,) = await stored_requests(database, 1)
    assert headers["x-promptmesh-record-id"] == str(row["record_id"])
    assert (headers["x-promptmesh-attempts"], len(row["attempts"])) == ("2", 2)
    assert headers["x-promptmesh-model"] == row["model"]
    assert headers["x-promptmesh-provider"] == row["provider"] == "mock"
    assert row["tags"] == {"team": "search"}
    assert (row["surface"], row["streamed"]) == (receipt_pb2.SURFACE_CHAT_COMPLETIONS, stream)
    assert "metadata" not in upstream.calls[0].body


def _sync_answers(url: str, key: str) -> tuple[str | None, str, int, type[Exception]]:
    with openai.OpenAI(base_url=url, api_key=key, max_retries=0) as client:
        whole = client.chat.completions.create(model="house", messages=MESSAGES).choices[0].message.content
        stream = client.chat.completions.create(model="house", messages=MESSAGES, stream=True)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        vectors = client.embeddings.create(model="vectors", input=["a", "b"]).data
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("gpt-99")
        return whole, text, len(vectors), caught.type


async def test_the_client_that_blocks(api: Api, upstream: MisbehavingProvider) -> None:
    said = upstream.default.text
    answers = await asyncio.to_thread(_sync_answers, api.http_url, api.identities.good)
    assert answers == (said, said, 2, openai.NotFoundError)


@pytest.mark.parametrize("fault", [Fault.NO_DONE, Fault.NO_USAGE])
async def test_a_missing_done_alone_is_no_fault(api: Api, upstream: MisbehavingProvider, fault: Fault) -> None:
    upstream.default = Behaviour(fault=fault)
    assert (await posted(api, "chat/completions", STREAMED)).endswith(b"data: [DONE]\n\n")


async def test_an_answer_larger_than_a_message(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(text="x" * 6_000_000)
    answer = await client.chat.completions.create(model="house", messages=MESSAGES)
    assert len(answer.choices[0].message.content or "") == 6_000_000
