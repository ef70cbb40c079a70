"""The official `openai` client, unchanged, through the bridge."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from services.mesh.access import keys
from tests.integration.inference.api import CALLS_MAX, Api
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

MESSAGES: Any = [{"role": "user", "content": "Say hello."}]


def client_of(api: Api, key: str | None = None) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=api.http_url, api_key=key or api.identities.good, max_retries=0)


@pytest.fixture
async def client(api: Api) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(api) as client:
        yield client


async def test_models(client: openai.AsyncOpenAI) -> None:
    listed = await client.models.list()
    assert [model.id for model in listed.data] == ["demo", "house", "unpriced"]
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


ERRORS: list[tuple[dict[str, Any], Behaviour, type[openai.APIStatusError], str | None]] = [
    ({"model": "gpt-99"}, Behaviour(), openai.NotFoundError, "model_not_found"),
    ({"temperature": 9}, Behaviour(), openai.BadRequestError, None),
    ({"messages": []}, Behaviour(), openai.BadRequestError, None),
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
    body = {"model": "house", "messages": MESSAGES, "stream": True}
    headers = {"Authorization": f"Bearer {api.identities.good}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{api.http_url}/chat/completions", json=body) as response,
    ):
        return await response.read()
