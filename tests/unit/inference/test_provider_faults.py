"""Everything that the provider does wrong, streamed or not, on all three ways of calling it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

from services.inference.providers.openai_compatible import OpenAiCompatible
from services.mesh.errors import MeshError
from tests.support.provider import Behaviour, Fault, MisbehavingProvider
from tests.unit.inference.calls import answer_text, openai_call, pieces, request, run_openai
from tests.unit.inference.conftest import KEY

WAYS = ["typed", "openai", "openai_stream"]


async def call(provider: OpenAiCompatible, way: str) -> object:
    if way == "typed":
        return await answer_text(provider)
    return await run_openai(provider, openai_call(stream=way == "openai_stream"))


STATUSES = [
    (Behaviour(status=401), "PROVIDER_CREDENTIAL_REFUSED"),
    (Behaviour(status=402), "PROVIDER_CREDENTIAL_REFUSED"),
    (Behaviour(status=403), "PROVIDER_CREDENTIAL_REFUSED"),
    (Behaviour(status=404), "MODEL_NOT_FOUND"),
    (Behaviour(status=408), "PROVIDER_TIMEOUT"),
    (Behaviour(status=429), "PROVIDER_RATE_LIMITED"),
    (Behaviour(status=400), "PROVIDER_REJECTED"),
    (Behaviour(status=422, error={"detail": [{"msg": "field required"}]}), "PROVIDER_REJECTED"),
    (Behaviour(status=400, error_code="context_length_exceeded"), "CONTEXT_LENGTH_EXCEEDED"),
    (
        Behaviour(status=400, error_message="This model's maximum context length is 8192 tokens."),
        "CONTEXT_LENGTH_EXCEEDED",
    ),
    (Behaviour(status=500), "PROVIDER_UNAVAILABLE"),
    (Behaviour(status=503, error="<html>Bad day</html>"), "PROVIDER_UNAVAILABLE"),
    (Behaviour(status=204), "PROVIDER_ANSWER_BROKEN"),
    (Behaviour(fault=Fault.REDIRECT), "PROVIDER_UNAVAILABLE"),
    (Behaviour(fault=Fault.RESET_BEFORE_HEADERS), "PROVIDER_UNAVAILABLE"),
    (Behaviour(fault=Fault.SILENCE), "PROVIDER_TIMEOUT"),
    (Behaviour(fault=Fault.SLOW_FIRST_TOKEN), "PROVIDER_TIMEOUT"),
    (Behaviour(fault=Fault.STALL), "PROVIDER_TIMEOUT"),
    (Behaviour(fault=Fault.CUT), "PROVIDER_ANSWER_BROKEN"),
    (Behaviour(fault=Fault.CUT_CLEANLY), "PROVIDER_ANSWER_BROKEN"),
    (Behaviour(fault=Fault.BROKEN_CHUNK), "PROVIDER_ANSWER_BROKEN"),
    (Behaviour(fault=Fault.WRONG_CONTENT_TYPE), "PROVIDER_ANSWER_BROKEN"),
    (Behaviour(fault=Fault.ERROR_IN_STREAM), "PROVIDER_UNAVAILABLE"),
    (Behaviour(fault=Fault.ERROR_IN_STREAM, error_code="rate_limit_exceeded"), "PROVIDER_RATE_LIMITED"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("behaviour", "reason"), STATUSES, ids=[f"{b.status}-{b.fault.value}-{r}-{i}" for i, (b, r) in enumerate(STATUSES)]
)
async def test_a_fault_has_its_reason_and_one_attempt(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, behaviour: Behaviour, reason: str, way: str
) -> None:
    upstream.default = behaviour
    with pytest.raises(MeshError) as caught:
        await call(ours, way)
    assert caught.value.reason == reason
    assert len(upstream.calls) == 1
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("way", ["typed", "openai_stream"])
async def test_a_line_without_end_is_refused(upstream: MisbehavingProvider, ours: OpenAiCompatible, way: str) -> None:
    upstream.default = Behaviour(fault=Fault.HUGE_LINE)
    with pytest.raises(MeshError, match="1 MiB") as caught:
        await call(ours, way)
    assert caught.value.reason == "PROVIDER_ANSWER_BROKEN"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [Fault.NONE, Fault.NO_DONE, Fault.NO_USAGE, Fault.ABSURD_USAGE])
async def test_what_is_no_fault_is_an_answer(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, fault: Fault, way: str
) -> None:
    upstream.default = Behaviour(fault=fault, comments=True)
    await call(ours, way)


async def test_connection_refused(provider_at: Callable[..., OpenAiCompatible]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody answers there
        provider = provider_at(f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        with pytest.raises(MeshError, match="refused") as caught:
            await answer_text(provider)
    assert caught.value.reason == "PROVIDER_UNAVAILABLE"
    assert "127.0.0.1" not in caught.value.message


@pytest.mark.parametrize(
    ("headers", "expected"),
    [({}, None), ({"Retry-After": "7"}, 7.0), ({"retry-after-ms": "1500"}, 1.5), ({"Retry-After": "soon"}, None)],
)
async def test_retry_after_travels(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, headers: dict[str, str], expected: float | None
) -> None:
    upstream.default = Behaviour(status=429, headers=headers)
    with pytest.raises(MeshError) as caught:
        await answer_text(ours)
    assert caught.value.retry_after_s == expected


async def test_words_of_a_provider_are_bounded_and_free_of_keys(
    upstream: MisbehavingProvider, ours: OpenAiCompatible
) -> None:
    upstream.default = Behaviour(status=400, error_message=f"Bad\x00 key {KEY} and sk-other-99999999\n" + "x " * 5000)
    with pytest.raises(MeshError) as caught:
        await answer_text(ours)
    message = caught.value.message
    assert "[key]" in message
    assert KEY not in message
    assert "sk-other" not in message
    assert "\n" not in message
    assert "\x00" not in message
    assert len(message) < 500


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.SLOW_FIRST_TOKEN, Fault.STALL])
async def test_a_timeout_aborts_upstream(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, fault: Fault, way: str
) -> None:
    upstream.default = Behaviour(fault=fault)
    with pytest.raises(MeshError):
        await call(ours, way)
    await upstream.calls[0].aborted.wait()
    assert upstream.running == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.SLOW_FIRST_TOKEN, Fault.STALL])
async def test_cancellation_aborts_upstream(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, fault: Fault, way: str
) -> None:
    upstream.default = Behaviour(fault=fault)
    task = asyncio.create_task(call(ours, way))
    seen = await upstream.call(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await seen.aborted.wait()


async def test_closing_a_stream_early_aborts_upstream(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    upstream.default = Behaviour(fault=Fault.STALL)
    stream = ours.stream(request())
    first = await anext(stream)
    assert first.text
    await stream.aclose()
    await upstream.calls[0].aborted.wait()


async def test_a_whole_answer_keeps_the_connection(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    for _ in range(3):
        got = await pieces(ours)
        assert got[-1].finish_reason == "stop"
        await run_openai(ours, openai_call(stream=True))
        await run_openai(ours, openai_call())
    assert all(seen.whole for seen in upstream.calls)
    assert len({seen.peer for seen in upstream.calls}) == 1
