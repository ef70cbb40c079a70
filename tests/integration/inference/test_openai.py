"""The official `openai` client, unchanged, through the bridge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import orjson
import pytest
from promptmesh.inference.v1 import receipt_pb2
from pydantic import BaseModel

from services.inference.config import parse
from services.mesh.access import keys
from services.mesh.database import Database
from tests.integration.inference.api import CALLS_MAX, Api, client_of, models_yaml, stored_requests
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

MESSAGES: Any = [{"role": "user", "content": "Say hello."}]
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
    raw = await _post(api, "chat/completions", body)
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


@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_embeddings(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider, encoding: Any, database: Database
) -> None:
    options = {} if encoding is None else {"encoding_format": encoding}
    answer = await client.embeddings.create(
        model="vectors",
        input=["one two", "three", "one two"],
        dimensions=4,
        **options,
        extra_body={"metadata": {"a": "b"}},
    )
    first: Any = answer.data[0].embedding
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    assert first == answer.data[2].embedding != answer.data[1].embedding
    assert isinstance(first, str) if encoding == "base64" else len(first) == 4
    assert (answer.model, answer.usage.prompt_tokens) == ("vectors", 5)
    sent = upstream.calls[0].body
    assert (sent["model"], sent["dimensions"]) == ("mock-embed", 4)
    assert not {"metadata", "max_tokens"} & sent.keys()
    (row,) = await stored_requests(database, 1)
    assert (row["surface"], row["input_tokens"], row["cost_nanos"]) == (receipt_pb2.SURFACE_EMBEDDINGS, 5, 5 * 500)


async def test_embeddings_of_tokens(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    given: Any = [[1, 2, 3], [4]]
    answer = await client.embeddings.create(model="vectors", input=given)
    assert len(answer.data) == 2
    assert upstream.calls[0].body["input"] == given


async def test_embeddings_that_are_refused(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    for wrong, param in (({"input": []}, "input"), ({"dimensions": 0}, "dimensions")):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.embeddings.create(**{"model": "vectors", "input": "x", **wrong})  # type: ignore[arg-type]
        assert caught.value.param == param
    upstream.default = Behaviour(status=429, headers={"Retry-After": "3"})
    with pytest.raises(openai.RateLimitError):
        await client.embeddings.create(model="vectors", input="x")


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


async def test_limits_are_told_in_headers_and_refused_as_rate_limits(
    api: Api, client: openai.AsyncOpenAI, upstream: MisbehavingProvider
) -> None:
    limits = "limits: {key: {requests_per_minute: 2, tokens_per_minute: 100000}}"
    api.offers.configure(8, parse(f"{models_yaml(upstream)}\n{limits}"))
    create = client.chat.completions.with_raw_response.create
    left = [(await create(model="house", messages=MESSAGES)).headers["x-ratelimit-remaining-requests"] for _ in "ab"]
    assert left == ["1", "0"]
    for ask in (
        lambda: client.chat.completions.create(model="house", messages=MESSAGES),
        lambda: client.responses.create(model="house", input="Hi", stream=True),
        lambda: client.embeddings.create(model="vectors", input="x"),
    ):
        with pytest.raises(openai.RateLimitError) as caught:
            await ask()
        assert (caught.value.type, caught.value.code) == ("rate_limit_error", "rate_limit_exceeded")
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 120
        assert "x-should-retry" not in caught.value.response.headers
    assert len(upstream.calls) == 2


async def test_a_budget_that_does_not_reach_is_no_rate_limit(
    api: Api, client: openai.AsyncOpenAI, upstream: MisbehavingProvider
) -> None:
    api.offers.configure(8, parse(f"{models_yaml(upstream)}\nlimits: {{org: {{usd_per_day: 0.001}}}}"))
    with pytest.raises(openai.RateLimitError) as caught:
        await client.chat.completions.create(model="house", messages=MESSAGES)
    assert (caught.value.type, caught.value.code) == ("insufficient_quota", "insufficient_quota")
    assert caught.value.response.headers["x-should-retry"] == "false"
    with pytest.raises(openai.BadRequestError) as unpriced:
        await client.chat.completions.create(model="unpriced", messages=MESSAGES)
    assert unpriced.value.code == "price_unknown"
    assert upstream.calls == []
    # A smaller answer costs less than what is left.
    answer = await client.chat.completions.with_raw_response.create(model="house", messages=MESSAGES, max_tokens=20)
    assert 0 < int(answer.headers["x-promptmesh-budget-remaining-nanos"]) < 1_000_000


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


ERRORS: list[tuple[dict[str, Any], Behaviour, type[openai.APIStatusError], str | None]] = [
    ({"model": "gpt-99"}, Behaviour(), openai.NotFoundError, "model_not_found"),
    ({"temperature": 9}, Behaviour(), openai.BadRequestError, None),
    ({"messages": []}, Behaviour(), openai.BadRequestError, None),
    ({"model": "strict", "extra_body": {"top_k": 5}}, Behaviour(), openai.BadRequestError, None),
    (
        {},
        Behaviour(status=400, error_code="content_policy_violation"),
        openai.BadRequestError,
        "content_policy_violation",
    ),
    ({}, Behaviour(status=429, headers={"Retry-After": "3"}), openai.RateLimitError, "rate_limit_exceeded"),
    (
        {},
        Behaviour(status=400, error_code="context_length_exceeded"),
        openai.BadRequestError,
        "context_length_exceeded",
    ),
    ({}, Behaviour(status=400, error_code="bad_tool"), openai.BadRequestError, "bad_tool"),
    ({}, Behaviour(status=401), openai.InternalServerError, "provider_credential_refused"),
    ({}, Behaviour(status=500), openai.InternalServerError, "provider_unavailable"),
    ({}, Behaviour(fault=Fault.RESET_BEFORE_HEADERS), openai.InternalServerError, "provider_unavailable"),
    ({}, Behaviour(fault=Fault.SILENCE), openai.InternalServerError, "provider_timeout"),
    ({}, Behaviour(fault=Fault.WRONG_CONTENT_TYPE), openai.InternalServerError, "provider_answer_broken"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fields", "behaviour", "kind", "code"), ERRORS)
async def test_errors_have_their_class_and_code(
    client: openai.AsyncOpenAI,
    upstream: MisbehavingProvider,
    fields: dict[str, Any],
    behaviour: Behaviour,
    kind: type[openai.APIStatusError],
    code: str | None,
    stream: bool,
) -> None:
    upstream.default = behaviour
    with pytest.raises(openai.APIStatusError) as caught:
        await client.chat.completions.create(**{"model": "house", "messages": MESSAGES, "stream": stream, **fields})
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.request_id
    if kind is openai.RateLimitError:
        assert caught.value.response.headers["retry-after"] == "3"


async def test_a_revoked_key_ends_a_stream(api: Api, client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(text="word " * 10_000, pace_s=0.01)
    stream = await client.chat.completions.create(model="house", messages=MESSAGES, stream=True)
    await anext(stream)
    await api.identities.revoke()
    with pytest.raises(openai.APIError) as caught:
        [chunk async for chunk in stream]
    assert caught.value.code == "invalid_api_key"
    await upstream.calls[0].aborted.wait()


async def test_a_revoked_key_ends_a_call_that_waits(
    api: Api, client: openai.AsyncOpenAI, upstream: MisbehavingProvider
) -> None:
    upstream.default = Behaviour(latency_s=0.4)
    call = asyncio.create_task(client.chat.completions.create(model="house", messages=MESSAGES))
    await upstream.call(0)
    await api.identities.revoke()
    with pytest.raises(openai.AuthenticationError):
        await call
    await upstream.calls[0].aborted.wait()


async def test_json_that_is_too_deep(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    deep: Any = "x"
    for _ in range(500):
        deep = [deep]
    for model in ("house", "demo"):
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": deep}], extra_body={"n": 2}
            )
    assert upstream.calls == []


async def test_credentials(api: Api) -> None:
    async with client_of(api, keys.new_secret()) as stranger:
        with pytest.raises(openai.AuthenticationError) as caught:
            await stranger.chat.completions.create(model="house", messages=MESSAGES)
        assert caught.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            await stranger.models.list()
    async with client_of(api, "sk-not-even-ours") as stranger:
        with pytest.raises(openai.AuthenticationError):
            await stranger.chat.completions.create(model="house", messages=MESSAGES, stream=True)
    async with client_of(api, api.identities.scopeless) as limited:
        with pytest.raises(openai.PermissionDeniedError):
            await limited.chat.completions.create(model="house", messages=MESSAGES)
    async with (
        aiohttp.ClientSession() as bare,
        bare.post(f"{api.http_url}/chat/completions", json={"model": "house", "messages": MESSAGES}) as response,
    ):
        assert response.status == 401
        assert (await response.json())["error"]["type"] == "invalid_request_error"


async def test_the_limit_on_calls_at_once(api: Api, client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(latency_s=0.2)
    create = client.chat.completions.create
    calls = [asyncio.create_task(create(model="house", messages=MESSAGES)) for _ in range(CALLS_MAX)]
    await upstream.call(CALLS_MAX - 1)
    with pytest.raises(openai.RateLimitError) as caught:
        await create(model="house", messages=MESSAGES)
    assert int(caught.value.response.headers["retry-after"]) >= 1
    await asyncio.gather(*calls)


@pytest.mark.parametrize(
    "fault", [Fault.CUT, Fault.CUT_CLEANLY, Fault.STALL, Fault.BROKEN_CHUNK, Fault.ERROR_IN_STREAM, Fault.HUGE_LINE]
)
async def test_a_stream_that_breaks_is_never_a_success(
    api: Api, client: openai.AsyncOpenAI, upstream: MisbehavingProvider, fault: Fault
) -> None:
    upstream.default = Behaviour(fault=fault, pace_s=0.01)
    stream = await client.chat.completions.create(model="house", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError):
        [chunk async for chunk in stream]
    raw = await _raw_stream(api)
    assert b"[DONE]" not in raw
    assert set(orjson.loads(raw.split(b"data: ")[-1])) == {"error"}


@pytest.mark.parametrize("fault", [Fault.NO_DONE, Fault.NO_USAGE])
async def test_a_missing_done_alone_is_no_fault(api: Api, upstream: MisbehavingProvider, fault: Fault) -> None:
    upstream.default = Behaviour(fault=fault)
    assert (await _raw_stream(api)).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("fault", [Fault.SLOW_FIRST_TOKEN, Fault.STALL])
async def test_a_client_that_leaves_aborts_upstream(
    client: openai.AsyncOpenAI, upstream: MisbehavingProvider, fault: Fault, stream: bool
) -> None:
    upstream.default = Behaviour(fault=fault)
    task = asyncio.create_task(_read(client, stream))
    seen = await upstream.call(0)
    await seen.began.wait()
    task.cancel()
    await asyncio.wait([task])
    await seen.aborted.wait()
    assert upstream.running == 0


async def test_an_answer_larger_than_a_message(client: openai.AsyncOpenAI, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(text="x" * 6_000_000)
    answer = await client.chat.completions.create(model="house", messages=MESSAGES)
    assert len(answer.choices[0].message.content or "") == 6_000_000


async def _read(client: openai.AsyncOpenAI, stream: bool) -> None:
    answer: Any = await client.chat.completions.create(model="house", messages=MESSAGES, stream=stream)
    if stream:
        async for _ in answer:
            pass


async def _raw_stream(api: Api) -> bytes:
    return await _post(api, "chat/completions", {"model": "house", "messages": MESSAGES, "stream": True})


async def _post(api: Api, path: str, body: Any) -> bytes:
    headers = {"Authorization": f"Bearer {api.identities.good}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{api.http_url}/{path}", json=body) as response,
    ):
        return await response.read()
