"""Generate and ListModels through the real pipeline."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from promptmesh.inference.v1 import inference_pb2 as pb

from services.mesh.errors import error_of
from tests.integration.inference.api import CALLS_MAX, Api
from tests.support.provider import Behaviour, Fault, MisbehavingProvider


def asked(**fields: Any) -> pb.GenerateRequest:
    return pb.GenerateRequest(messages=[pb.Message(role=pb.MESSAGE_ROLE_USER, content="Say hello.")], **fields)


async def generate(api: Api, request: pb.GenerateRequest | None = None) -> list[pb.GenerateResponse]:
    return [event async for event in api.inference.Generate(request or asked(), metadata=api.metadata)]


def kinds(events: list[pb.GenerateResponse]) -> list[str]:
    return [str(event.WhichOneof("event")) for event in events]


async def test_an_answer(api: Api, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(pace_s=0.005)
    events = await generate(api)
    names = kinds(events)
    assert names[0] == "started"
    assert names[-2:] == ["usage", "done"]
    assert set(names[1:-2]) == {"delta"}
    assert "".join(event.delta.text for event in events) == upstream.default.text
    started = events[0].started
    assert (started.model, started.config_version) == ("house", 7)
    assert started.request_id
    usage = events[-2].usage
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (2, 8, False)
    assert usage.cost_nanos == 2 * 1500 + 8 * 2000
    assert events[-1].done.finish_reason == pb.FINISH_REASON_STOP
    assert upstream.calls[0].body["max_tokens"] == 1000


async def test_usage_that_nobody_counted_is_estimated_and_an_unknown_price_is_not_zero(
    api: Api, upstream: MisbehavingProvider
) -> None:
    upstream.default = Behaviour(fault=Fault.NO_USAGE, finish_reason="length")
    events = await generate(api, asked(model="unpriced"))
    usage = events[-2].usage
    assert usage.estimated
    assert usage.input_tokens > 0
    assert usage.output_tokens > 0
    assert not usage.HasField("cost_nanos")
    assert events[-1].done.finish_reason == pb.FINISH_REASON_LENGTH


async def test_sampling_goes_on_and_the_cap_holds(api: Api, upstream: MisbehavingProvider) -> None:
    await generate(
        api, asked(sampling=pb.Sampling(temperature=0, top_p=0.5, max_output_tokens=5000, stop=["x"], seed=4))
    )
    body = upstream.calls[0].body
    assert {name: body[name] for name in ("temperature", "top_p", "max_tokens", "stop", "seed")} == {
        "temperature": 0, "top_p": 0.5, "max_tokens": 1000, "stop": ["x"], "seed": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (asked(model="gpt-99"), "MODEL_NOT_FOUND"),
        (pb.GenerateRequest(), "INVALID_FIELD"),
        (pb.GenerateRequest(messages=[pb.Message(role=pb.MESSAGE_ROLE_ASSISTANT, content="x")]), "INVALID_FIELD"),
        (asked(sampling=pb.Sampling(temperature=3)), "INVALID_FIELD"),
    ],
)
async def test_what_is_refused_before_it_begins(
    api: Api, upstream: MisbehavingProvider, request_: pb.GenerateRequest, reason: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generate(api, request_)
    assert error_of(caught.value).reason == reason
    assert upstream.calls == []


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        (Behaviour(status=429, headers={"Retry-After": "7"}), "PROVIDER_RATE_LIMITED"),
        (Behaviour(status=401), "PROVIDER_CREDENTIAL_REFUSED"),
        (Behaviour(fault=Fault.SILENCE), "PROVIDER_TIMEOUT"),
        (Behaviour(fault=Fault.WRONG_CONTENT_TYPE), "PROVIDER_ANSWER_BROKEN"),
    ],
)
async def test_a_failure_before_the_first_message_is_a_status(
    api: Api, upstream: MisbehavingProvider, behaviour: Behaviour, reason: str
) -> None:
    upstream.default = behaviour
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generate(api)
    error = error_of(caught.value)
    assert error.reason == reason
    assert error.retry_after_s == (7.0 if reason == "PROVIDER_RATE_LIMITED" else None)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Fault.CUT, "PROVIDER_ANSWER_BROKEN"),
        (Fault.CUT_CLEANLY, "PROVIDER_ANSWER_BROKEN"),
        (Fault.STALL, "PROVIDER_TIMEOUT"),
        (Fault.BROKEN_CHUNK, "PROVIDER_ANSWER_BROKEN"),
        (Fault.ERROR_IN_STREAM, "PROVIDER_UNAVAILABLE"),
    ],
)
async def test_a_failure_after_it_is_the_last_event_and_the_cut_answer_is_accounted(
    api: Api, upstream: MisbehavingProvider, fault: Fault, reason: str
) -> None:
    upstream.default = Behaviour(fault=fault, pace_s=0.01)
    events = await generate(api)
    assert kinds(events)[0] == "started"
    assert kinds(events)[-2:] == ["usage", "error"]
    assert events[-1].error.reason == reason
    assert events[-2].usage.estimated
    assert events[-2].usage.output_tokens > 0


async def test_a_caller_who_leaves_aborts_upstream(api: Api, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(text="word " * 10_000, pace_s=0.01)
    call = api.inference.Generate(asked(), metadata=api.metadata)
    async for event in call:
        if event.WhichOneof("event") == "delta":
            break
    call.cancel()
    await upstream.calls[0].aborted.wait()
    assert upstream.running == 0


async def test_a_revoked_key_ends_the_answer_and_aborts_upstream(api: Api, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(text="word " * 10_000, pace_s=0.01)
    events = []
    async for event in api.inference.Generate(asked(), metadata=api.metadata, timeout=20):
        events.append(event)
        if len(events) == 3:
            await api.identities.revoke()
    assert kinds(events)[-2:] == ["usage", "error"]
    error = events[-1].error
    assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED.value[0], "CREDENTIAL_REVOKED")
    assert events[-2].usage.output_tokens > 0
    await upstream.calls[0].aborted.wait()
    assert upstream.running == 0


async def test_a_key_revoked_before_the_first_token(api: Api, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(latency_s=0.4)
    call = asyncio.create_task(generate(api))
    await upstream.call(0)
    await api.identities.revoke()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert error_of(caught.value).reason == "CREDENTIAL_REVOKED"
    await upstream.calls[0].aborted.wait()


async def test_a_caller_who_takes_nothing_does_not_keep_a_revoked_call_alive(
    api: Api, upstream: MisbehavingProvider
) -> None:
    upstream.default = Behaviour(text="word " * 400_000)
    call = api.inference.Generate(asked(), metadata=api.metadata)
    await call.read()  # and no more: the answer backs up to the provider
    await api.identities.revoke()
    await upstream.calls[0].aborted.wait()
    call.cancel()


async def test_a_credential_that_expires_does_not_cut_an_answer(api: Api, upstream: MisbehavingProvider) -> None:
    api.identities.expires_in_s = 0.5
    upstream.default = Behaviour(text="word " * 20, pace_s=0.05)
    assert kinds(await generate(api))[-1] == "done"
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generate(api)
    assert error_of(caught.value).reason == "CREDENTIAL_EXPIRED"


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.STALL])
async def test_a_deadline_aborts_upstream(api: Api, upstream: MisbehavingProvider, fault: Fault) -> None:
    upstream.default = Behaviour(fault=fault)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        async for _ in api.inference.Generate(asked(), metadata=api.metadata, timeout=0.2):
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await upstream.calls[0].aborted.wait()


async def test_as_many_calls_at_once_as_allowed(api: Api, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(latency_s=0.2)
    calls = [asyncio.create_task(generate(api)) for _ in range(CALLS_MAX)]
    await upstream.call(CALLS_MAX - 1)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await generate(api)
    error = error_of(caught.value)
    assert error.reason == "CONCURRENCY_LIMIT"
    assert error.retry_after_s is not None
    assert error.quota
    for events in await asyncio.gather(*calls):
        assert kinds(events)[-1] == "done"
    assert kinds(await generate(api))[-1] == "done"


async def test_models_in_pages(api: Api) -> None:
    first = await api.inference.ListModels(pb.ListModelsRequest(page_size=2), metadata=api.metadata)
    assert [model.name for model in first.models] == ["demo", "house"]
    demo, house = first.models
    assert demo.HasField("price")
    assert demo.price.input_token_nanos == 0
    assert (house.price.input_token_nanos, house.price.output_token_nanos) == (1500, 2000)
    assert (house.provider, house.upstream_model, house.context_tokens) == ("mock", "mock-small", 8192)
    assert [model.is_default for model in first.models] == [False, True]
    second = await api.inference.ListModels(
        pb.ListModelsRequest(page_size=2, page_token=first.next_page_token), metadata=api.metadata
    )
    assert [model.name for model in second.models] == ["unpriced"]
    assert not second.models[0].HasField("price")
    assert second.next_page_token == ""
