"""What the provider answers when nothing goes wrong: OpenAI's shapes, and usage that anybody can count."""

from __future__ import annotations

import base64
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.provider import Behaviour, MisbehavingProvider, ProviderServer, running_server
from tests.support.provider.chat import example_of, prompt_of, words_of
from tests.unit.support.wire import MODEL, ask, chat, connected

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer"},
                "unit": {"enum": ["C", "F"]},
                "hours": {"type": "array", "items": {"type": "number"}},
            },
        },
    },
}
ARGUMENTS = {"city": "text", "days": 1, "unit": "C", "hours": [1]}


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with running_server(default=Behaviour(tokens=10)) as server:
        yield server


@pytest.fixture
def provider(server: ProviderServer) -> MisbehavingProvider:
    return server.provider("first")


@pytest.fixture
async def client(provider: MisbehavingProvider) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=provider.base_url, api_key="sk-test", max_retries=0) as client:
        yield client


async def test_openais_own_client(client: openai.AsyncOpenAI, provider: MisbehavingProvider) -> None:
    messages: Any = [{"role": "user", "content": "one two three"}]
    whole = await client.chat.completions.create(model=MODEL, messages=messages)
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (3, 10)
    text, finish = "", []
    stream: Any = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
    async for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        finish += [chunk.choices[0].finish_reason] if chunk.choices[0].finish_reason else []
    assert text == whole.choices[0].message.content
    assert finish == ["stop"]
    assert [one.id for one in (await client.models.list()).data] == provider.models
    assert (await client.models.retrieve("mock-large")).id == "mock-large"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gone")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, 10),
        ({"max_tokens": 4}, 4),
        ({"max_completion_tokens": 3, "max_tokens": 9}, 3),
        ({"max_tokens": 11}, 10),
        ({"max_tokens": 10}, 10),
    ],
)
async def test_max_tokens_is_obeyed(
    provider: MisbehavingProvider, streamed: bool, limits: dict[str, Any], expected: int
) -> None:
    got = await ask(provider, chat(streamed, **limits))
    usage = (got.chunks[-1] if streamed else got.json)["usage"]
    text = got.text if streamed else got.json["choices"][0]["message"]["content"]
    finish = got.finish_reasons[0] if streamed else got.json["choices"][0]["finish_reason"]
    assert usage["completion_tokens"] == expected == len(text.split())
    assert finish == ("length" if expected < 10 else "stop")
    assert provider.calls[0].tokens_said == expected
    if streamed:
        assert provider.calls[0].chunks_sent == expected


async def test_usage_comes_in_a_stream_only_where_asked(provider: MisbehavingProvider) -> None:
    asked = await ask(provider, chat(stream=True))
    assert asked.chunks[-1]["usage"]["total_tokens"] == 12
    assert asked.chunks[-1]["choices"] == []
    assert all(chunk["usage"] is None for chunk in asked.chunks[:-2])
    quiet = await ask(provider, chat(stream=True) | {"stream_options": None})
    assert all("usage" not in chunk for chunk in quiet.chunks)


@pytest.mark.parametrize("streamed", [False, True])
async def test_tools(provider: MisbehavingProvider, streamed: bool) -> None:
    got = await ask(provider, chat(streamed, tools=[TOOL]))
    if streamed:
        calls = [chunk["choices"][0]["delta"]["tool_calls"][0] for chunk in got.chunks if _calls_a_tool(chunk)]
        assert (calls[0]["function"]["name"], calls[0]["id"]) == ("weather", "call_0")
        arguments = "".join(call["function"]["arguments"] for call in calls)
        assert len(calls) > 2, "in pieces"
        usage, finish = got.chunks[-1]["usage"], got.finish_reasons
    else:
        message = got.json["choices"][0]["message"]
        arguments = message["tool_calls"][0]["function"]["arguments"]
        usage, finish = got.json["usage"], [got.json["choices"][0]["finish_reason"]]
        assert message["content"] is None
    assert orjson.loads(arguments) == ARGUMENTS
    assert finish == ["tool_calls"]
    assert usage["completion_tokens"] == -(-len(arguments) // 8) + 1


def _calls_a_tool(chunk: dict[str, Any]) -> bool:
    return bool(chunk["choices"]) and "tool_calls" in chunk["choices"][0]["delta"]


@pytest.mark.parametrize(
    ("more", "called"),
    [
        ({"tools": [TOOL], "tool_choice": "none"}, None),
        ({"tools": [{"type": "function", "function": {"name": "other"}}, TOOL]}, "other"),
        (
            {
                "tools": [{"type": "function", "function": {"name": "other"}}, TOOL],
                "tool_choice": {"type": "function", "function": {"name": "weather"}},
            },
            "weather",
        ),
        ({"tools": [TOOL], "messages": [{"role": "tool", "tool_call_id": "call_0", "content": "rain"}]}, None),
    ],
)
async def test_which_tool_is_called(provider: MisbehavingProvider, more: dict[str, Any], called: str | None) -> None:
    message = (await ask(provider, chat() | more)).json["choices"][0]["message"]
    assert (message["tool_calls"][0]["function"]["name"] if called else message.get("tool_calls")) == called


async def test_several_choices_and_logprobs(provider: MisbehavingProvider) -> None:
    whole = (await ask(provider, chat(n=3, logprobs=True))).json
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in whole["choices"]}) == 1
    assert [one["token"] for one in whole["choices"][2]["logprobs"]["content"]][:2] == ["word0", " word1"]
    assert whole["usage"]["completion_tokens"] == 30
    streamed = await ask(provider, chat(stream=True, n=3, logprobs=True))
    indexes = [choice["index"] for chunk in streamed.chunks for choice in chunk["choices"]]
    assert indexes == [0, 1, 2] * 11
    assert streamed.chunks[0]["choices"][0]["logprobs"]["content"][0]["token"] == "word0"
    assert streamed.chunks[-1]["usage"]["completion_tokens"] == 30
    assert streamed.text == whole["choices"][0]["message"]["content"]


async def test_parts_and_formats_are_taken_and_written_down(provider: MisbehavingProvider) -> None:
    parts = [
        {"type": "text", "text": "what is this"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    body = chat(response_format={"type": "json_object"}, made_up=[1]) | {
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": parts}]
    }
    got = await ask(provider, body)
    assert got.json["usage"]["prompt_tokens"] == 7
    assert provider.calls[0].body == body
    assert provider.calls[0].prompt == "be brief\nwhat is this"


async def test_embeddings(client: openai.AsyncOpenAI, provider: MisbehavingProvider) -> None:
    """The client asks for base64 of its own accord, and decodes it."""
    ours = await client.embeddings.create(model=MODEL, input=["one two", "three"], dimensions=16)
    assert provider.calls[0].body["encoding_format"] == "base64"
    raw = (await ask(provider, {"model": MODEL, "input": ["one two", "three"], "dimensions": 16}, "/embeddings")).json
    assert [one["index"] for one in raw["data"]] == [0, 1]
    assert [list(one.embedding) for one in ours.data] == [one["embedding"] for one in raw["data"]]
    assert raw["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert raw["data"][0]["embedding"] != raw["data"][1]["embedding"]
    assert len(raw["data"][0]["embedding"]) == 16


async def test_embeddings_of_tokens_and_of_one_text(provider: MisbehavingProvider) -> None:
    inputs: list[tuple[Any, int, int]] = [("one two", 1, 2), ([1, 2, 3], 1, 3), ([[1], [2, 3]], 2, 3)]
    for given_, vectors, tokens in inputs:
        body = {"model": MODEL, "input": given_, "encoding_format": "base64"}
        got = (await ask(provider, body, "/embeddings")).json
        assert (len(got["data"]), got["usage"]["prompt_tokens"]) == (vectors, tokens)
        assert len(struct.unpack("<8f", base64.b64decode(got["data"][0]["embedding"]))) == 8
    assert provider.record.reported.total.prompt_tokens == 8


@pytest.mark.parametrize(
    ("raw", "endpoint", "says"),
    [
        (b"{", "/chat/completions", "parse the JSON"),
        (b"[1]", "/chat/completions", "parse the JSON"),
        (b'{"messages":[]}', "/chat/completions", "model"),
        (b'{"model":"m"}', "/chat/completions", "'messages'"),
        (b'{"model":"m"}', "/embeddings", "'input'"),
    ],
)
async def test_what_is_no_request_is_refused_and_takes_no_step(
    provider: MisbehavingProvider, raw: bytes, endpoint: str, says: str
) -> None:
    provider.fail("unavailable")
    async with connected(provider) as wire:
        wire.send_raw(raw, provider.base_url + endpoint)
        got = await wire.receive()
    assert got.status == 400
    assert says in got.json["error"]["message"]
    assert provider.steps_left == 1
    assert provider.calls[0].status == 400


async def test_what_no_endpoint_knows(server: ProviderServer) -> None:
    async with aiohttp.ClientSession() as session:
        for method, path in [("GET", "/"), ("GET", "/v1/chat/completions"), ("POST", "/v1/nothing"), ("GET", "/p/x")]:
            async with session.request(method, server.url + path) as answer:
                assert answer.status == 404
                assert (await answer.json())["error"]["code"] == "unknown_url"
        async with session.get(server.url + "/p/a%20b/v1/models") as answer:
            assert answer.status == 404
        async with session.post(
            server.url + "/v1/chat/completions", data=b"", headers={"Expect": "100-continue"}
        ) as got:
            assert got.status == 400
    assert [seen.path for seen in server.root.record.others] == ["/", "/v1/chat/completions", "/v1/nothing"]
    assert server.root.calls[0].body == {}


async def test_what_is_not_http_is_refused(server: ProviderServer) -> None:
    async with connected(server.root) as wire:
        wire.writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert (await wire.receive()).status == 400
        assert await wire.ended() == b""


async def test_a_key_that_is_not_taken(provider: MisbehavingProvider) -> None:
    provider.keys = {"sk-new"}
    async with aiohttp.ClientSession() as session:
        for key, status in [("sk-old", 401), ("sk-new", 200)]:
            headers = {"authorization": f"Bearer {key}"}
            async with session.post(f"{provider.base_url}/chat/completions", json=chat(), headers=headers) as answer:
                assert answer.status == status


async def test_the_list_of_models_may_fail_too(provider: MisbehavingProvider) -> None:
    provider.max_model_len = 4096
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{provider.base_url}/models") as answer:
            assert {one["max_model_len"] for one in (await answer.json())["data"]} == {4096}
        provider.models_behaviour = Behaviour(status=503)
        async with session.get(f"{provider.base_url}/models") as answer:
            assert answer.status == 503
    assert [seen.path for seen in provider.record.others] == ["/p/first/v1/models"] * 2
    assert provider.calls == []


async def test_requests_on_one_connection_are_answered_in_order(provider: MisbehavingProvider) -> None:
    provider.then(Behaviour(latency_s=0.05, text="first"), Behaviour(text="second"))
    async with connected(provider) as wire:
        for _ in range(2):
            wire.send(chat(), provider.base_url + "/chat/completions")
        raw = await wire.reader.readuntil(b"second")
    assert raw.count(b"HTTP/1.1 200 OK") == 2
    assert raw.index(b'"first"') < raw.index(b'"second')
    assert [seen.reused for seen in provider.calls] == [False, True]


@given(st.text())
def test_pieces_are_the_words(text: str) -> None:
    pieces = words_of(text)
    assert len(pieces) == len(text.split())
    assert "".join(pieces) == text.rstrip()


async def test_a_long_text_is_said_to_its_end(provider: MisbehavingProvider) -> None:
    """It is taken apart as it goes out; and a text that is told is said whole, whatever `max_tokens` is."""
    text = " ".join(f"word{number}" for number in range(20_000))
    provider.default = Behaviour(text=text)
    streamed = await ask(provider, chat(stream=True, max_tokens=5))
    assert streamed.text == text
    assert streamed.chunks[-1]["usage"]["completion_tokens"] == 20_000 == provider.calls[0].tokens_said
    assert (await ask(provider, chat(max_tokens=5))).json["choices"][0]["message"]["content"] == text


@given(st.lists(st.text()))
def test_prompt_tokens_are_the_words_of_the_messages(texts: list[str]) -> None:
    body = {"messages": [{"role": "user", "content": text} for text in texts]}
    assert prompt_of(body)[1] == sum(len(text.split()) for text in texts)


def test_examples_of_schemas() -> None:
    assert example_of({"type": ["boolean", "null"]}) is True
    assert example_of({"type": "null"}) is None
    assert example_of({"const": 5}) == 5
    assert example_of({}) == {}
    assert example_of(True) is None
