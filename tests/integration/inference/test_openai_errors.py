"""What goes wrong, as the official `openai` client tells of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from services.inference.config import parse
from services.mesh.access import keys
from tests.integration.inference.api import CALLS_MAX, Api, client_of, models_yaml, posted
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

MESSAGES: Any = [{"role": "user", "content": "Say hello."}]
STREAMED = {"model": "house", "messages": MESSAGES, "stream": True}


@pytest.fixture
async def client(api: Api) -> AsyncIterator[openai.AsyncOpenAI]:
    async with client_of(api) as client:
        yield client


async def test_limits_are_told_in_headers_and_refused_as_rate_limits(
    api: Api, client: openai.AsyncOpenAI, upstream: MisbehavingProvider
) -> None:
    limits = "limits: {key: {requests_per_minute: 2, tokens_per_minute: 100000}}"
    api.offers.configure(8, parse(f"{models_yaml(upstream)}\n{limits}"))
    create = client.chat.completions.with_raw_response.create
    answers = [await create(model="house", messages=MESSAGES) for _ in range(2)]
    last = answers[-1].headers  # the first may have come before this process knew the sums
    assert (last["x-ratelimit-limit-requests"], last["x-ratelimit-remaining-requests"]) == ("2", "0")
    assert 0 < int(last["x-ratelimit-remaining-tokens"]) < int(last["x-ratelimit-limit-tokens"]) == 100_000
    assert last["x-ratelimit-reset-requests"].endswith("s")
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
    raw = await posted(api, "chat/completions", STREAMED)
    assert b"[DONE]" not in raw
    assert set(orjson.loads(raw.split(b"data: ")[-1])) == {"error"}


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


async def _read(client: openai.AsyncOpenAI, stream: bool) -> None:
    answer: Any = await client.chat.completions.create(model="house", messages=MESSAGES, stream=stream)
    if stream:
        async for _ in answer:
            pass
