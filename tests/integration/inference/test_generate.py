"""Generate and ListModels through the real pipeline."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import orjson
import pytest
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from promptmesh.inference.v1 import inference_pb2 as pb
from promptmesh.inference.v1 import receipt_pb2

from services.mesh.database import Database
from services.mesh.errors import error_of
from tests.integration.inference.api import CALLS_MAX, Api, stored_requests
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


WEATHER = pb.Tool(
    name="weather",
    parameters=ParseDict({"type": "object", "properties": {"city": {"type": "string"}}}, Struct()),
    strict=True,
)


def tool_call_of(events: list[pb.GenerateResponse]) -> pb.ToolCall:
    """The one call that the deltas make."""
    made = pb.ToolCall()
    for event in events:
        for piece in event.delta.tool_calls:
            assert piece.index == 0
            made.id += piece.id
            made.name += piece.name
            made.arguments += piece.arguments
    return made


async def test_a_tool_is_called_and_answered(api: Api, upstream: MisbehavingProvider) -> None:
    events = await generate(api, asked(tools=[WEATHER], tool_choice=pb.ToolChoice(tool="weather")))
    assert events[-1].done.finish_reason == pb.FINISH_REASON_TOOL_CALLS
    call = tool_call_of(events)
    assert (call.name, set(orjson.loads(call.arguments))) == ("weather", {"city"})
    assert call.id
    sent = upstream.calls[0].body
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert sent["tools"][0]["function"]["strict"] is True

    request = asked(tools=[WEATHER])
    request.messages.add(role=pb.MESSAGE_ROLE_ASSISTANT, tool_calls=[call])
    request.messages.add(role=pb.MESSAGE_ROLE_TOOL, tool_call_id=call.id, content="Rain.")
    events = await generate(api, request)
    assert "".join(event.delta.text for event in events) == upstream.default.text
    assistant, tool = upstream.calls[1].body["messages"][1:]
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"] == call.id


async def test_parts_formats_and_parameters_go_on(api: Api, upstream: MisbehavingProvider) -> None:
    schema = ParseDict({"type": "object", "minProperties": 1}, Struct())
    request = asked(
        response_format=pb.ResponseFormat(json_schema=pb.JsonSchemaFormat(name="n", schema=schema)),
        extra=ParseDict({"top_k": 5}, Struct()),
    )
    request.messages[0].ClearField("content")
    request.messages[0].parts.add(text="What is it?")
    request.messages[0].parts.add(image=pb.ImagePart(url="https://example.com/a.png"))
    await generate(api, request)
    body = upstream.calls[0].body
    assert [part["type"] for part in body["messages"][0]["content"]] == ["text", "image_url"]
    assert body["response_format"]["json_schema"] == {"name": "n", "schema": {"type": "object", "minProperties": 1}}
    assert body["top_k"] == 5


async def test_candidates_with_log_probabilities(api: Api, upstream: MisbehavingProvider) -> None:
    events = await generate(api, asked(sampling=pb.Sampling(candidates=2, top_logprobs=1)))
    texts = {0: "", 1: ""}
    for event in events:
        if event.WhichOneof("event") == "delta":
            texts[event.delta.candidate] += event.delta.text
            assert event.delta.logprobs
    assert texts == {0: upstream.default.text, 1: upstream.default.text}
    assert list(events[-1].done.finish_reasons) == [pb.FINISH_REASON_STOP] * 2
    assert events[-2].usage.output_tokens == 16


async def test_a_receipt_of_every_answer(api: Api, upstream: MisbehavingProvider, database: Database) -> None:
    upstream.then(Behaviour(status=500))
    call = api.inference.Generate(asked(model="again", tags={"team": "search"}), metadata=api.metadata)
    events = [event async for event in call]
    headers = dict(await call.initial_metadata())
    done, started = events[-1].done, events[0].started
    (row,) = await stored_requests(database, 1)
    assert done.record_id == headers["x-promptmesh-record-id"] == str(row["record_id"])
    assert [attempt.reason for attempt in done.attempts] == ["PROVIDER_UNAVAILABLE", ""]
    assert (started.route, started.attempts, started.provider) == ("again", 2, "mock")
    assert started.model == done.attempts[1].model == row["model"]
    assert (row["surface"], row["outcome"]) == (receipt_pb2.SURFACE_GENERATE, receipt_pb2.OUTCOME_OK)
    assert row["tags"] == {"team": "search"}
    assert (row["input_tokens"], row["output_tokens"]) == (
        events[-2].usage.input_tokens,
        events[-2].usage.output_tokens,
    )


async def test_a_stream_that_breaks_begins_anew_where_the_route_says_so(
    api: Api, upstream: MisbehavingProvider
) -> None:
    upstream.then(Behaviour(fault=Fault.CUT, pace_s=0.01))
    events = await generate(api, asked(model="again"))
    starts = [place for place, event in enumerate(events) if event.WhichOneof("event") == "started"]
    assert [events[place].started.restarted for place in starts] == [False, True]
    first, second = (events[place].started.model for place in starts)
    assert {first, second} == {"house", "unpriced"}
    assert "".join(event.delta.text for event in events[starts[1] :]) == upstream.default.text
    assert kinds(events)[-2:] == ["usage", "done"]
    usage = events[-2].usage
    assert usage.estimated, "the answer that broke off counts too, and nobody reported it"
    assert usage.output_tokens > 8


async def test_what_the_cache_may_do(api: Api, upstream: MisbehavingProvider) -> None:
    seen = []
    for control in ({}, {}, {"bypass": True}, {"refresh": True}, {}):
        events = await generate(api, asked(model="kept", cache=pb.CacheControl(**control)))
        assert "".join(event.delta.text for event in events) == upstream.default.text
        seen.append(events[0].started.cache)
        free = events[-2].usage.cost_nanos == 0
        assert free is (seen[-1] == receipt_pb2.CACHE_DECISION_HIT)
    assert seen == [
        receipt_pb2.CACHE_DECISION_MISS,
        receipt_pb2.CACHE_DECISION_HIT,
        receipt_pb2.CACHE_DECISION_BYPASS,
        receipt_pb2.CACHE_DECISION_REFRESH,
        receipt_pb2.CACHE_DECISION_HIT,
    ]
    assert len(upstream.calls) == 3


async def test_tokens_are_counted_without_a_provider(api: Api, upstream: MisbehavingProvider) -> None:
    message = pb.Message(role=pb.MESSAGE_ROLE_USER, content="word " * 100)
    bare = await api.inference.CountTokens(pb.CountTokensRequest(messages=[message]), metadata=api.metadata)
    assert bare.estimated
    assert (bare.input_tokens, bare.input_tokens_max) == (125 + 4, 500 + 4)
    assert bare.cost_nanos == 129 * 1500
    request = pb.CountTokensRequest(model="unpriced", messages=[message], tools=[WEATHER])
    with_tools = await api.inference.CountTokens(request, metadata=api.metadata)
    assert with_tools.input_tokens > bare.input_tokens
    assert not with_tools.HasField("cost_nanos")
    message.parts.add(image=pb.ImagePart(url="https://example.com/a.png"))
    message.ClearField("content")
    image = await api.inference.CountTokens(pb.CountTokensRequest(messages=[message]), metadata=api.metadata)
    assert image.input_tokens_max > 65_536
    assert upstream.calls == []


async def test_models_in_pages(api: Api) -> None:
    first = await api.inference.ListModels(pb.ListModelsRequest(page_size=3), metadata=api.metadata)
    assert [model.name for model in first.models] == ["again", "demo", "house"]
    again, demo, house = first.models
    assert ([target.model for target in again.targets], again.strategy) == (["house", "unpriced"], "ordered")
    assert not again.provider
    assert demo.HasField("price")
    assert demo.price.input_token_nanos == 0
    assert (house.price.input_token_nanos, house.price.output_token_nanos) == (1500, 2000)
    assert (house.provider, house.upstream_model, house.context_tokens) == ("mock", "mock-small", 8192)
    assert [model.is_default for model in first.models] == [False, False, True]
    second = await api.inference.ListModels(
        pb.ListModelsRequest(page_size=10, page_token=first.next_page_token), metadata=api.metadata
    )
    assert [model.name for model in second.models] == ["kept", "strict", "unpriced", "vectors"]
    assert not second.models[2].HasField("price")
    assert second.next_page_token == ""
