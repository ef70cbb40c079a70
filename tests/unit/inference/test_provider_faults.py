"""Everything that a provider does wrong, streamed or not."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest

from services.inference.providers.base import AnswerRecord, Part
from services.inference.providers.http import HttpClient, Timeouts
from services.inference.providers.openai_compatible import OpenAiCompatible
from services.mesh.errors import MeshError
from tests.support.provider import FAULTS, Behaviour, Breaks, Fault, FaultCase, MisbehavingProvider, dead_port
from tests.unit.inference.calls import answer_text, completed, events, parts, request, streamed, text_of
from tests.unit.inference.conftest import KEY

WAYS = ["whole", "streamed"]
# Reasons by name of the fault, where they are not PROVIDER_UNAVAILABLE before an answer and PROVIDER_ANSWER_BROKEN in
# it.
REASONS = {
    "unauthorized": "PROVIDER_CREDENTIAL_REFUSED",
    "payment_required": "PROVIDER_CREDENTIAL_REFUSED",
    "forbidden": "PROVIDER_CREDENTIAL_REFUSED",
    "not_found": "MODEL_NOT_FOUND",
    "request_timeout": "PROVIDER_TIMEOUT",
    "too_large": "PROVIDER_REJECTED",
    "unprocessable": "PROVIDER_REJECTED",
    "bad_request": "PROVIDER_REJECTED",
    "context_openai": "CONTEXT_LENGTH_EXCEEDED",
    "context_anthropic": "CONTEXT_LENGTH_EXCEEDED",
    "context_vllm": "CONTEXT_LENGTH_EXCEEDED",
    "policy_openai": "PROVIDER_CONTENT_REFUSED",
    "policy_azure": "PROVIDER_CONTENT_REFUSED",
    "silence": "PROVIDER_TIMEOUT",
    "headers_unfinished": "PROVIDER_TIMEOUT",
    "head_only": "PROVIDER_TIMEOUT",
    "stall": "PROVIDER_TIMEOUT",
    "only_comments": "PROVIDER_TIMEOUT",
    "not_http": "PROVIDER_ANSWER_BROKEN",
    "huge_headers": "PROVIDER_ANSWER_BROKEN",
    "cut_at_once": "PROVIDER_ANSWER_BROKEN",
    "wrong_content_type": "PROVIDER_ANSWER_BROKEN",
    "gzip": "PROVIDER_ANSWER_BROKEN",
    "empty_body": "PROVIDER_ANSWER_BROKEN",
    "no_choices": "PROVIDER_ANSWER_BROKEN",
    "oversized": "PROVIDER_ANSWER_BROKEN",
    "error_in_stream": "PROVIDER_UNAVAILABLE",
}
# Of our own timeouts, the first that an answer in one piece meets is the total one.
TIMEOUTS = Timeouts(connect_s=2, first_token_s=0.4, idle_s=0.3, total_s=5)
SHORT = Timeouts(connect_s=2, first_token_s=0.4, idle_s=0.3, total_s=0.8)


async def call(provider: OpenAiCompatible, way: str, record: AnswerRecord | None = None) -> str:
    if way == "streamed":
        return text_of(events(await streamed(provider, request(), record)))
    return str((await completed(provider, request(), record))["choices"][0]["message"]["content"] or "")


def reason_of(case: FaultCase) -> str:
    if case.name in REASONS:
        return REASONS[case.name]
    if case.name.startswith("rate_limit"):
        return "PROVIDER_RATE_LIMITED"
    return "PROVIDER_UNAVAILABLE" if case.breaks is Breaks.BEFORE_FIRST_TOKEN else "PROVIDER_ANSWER_BROKEN"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", FAULTS.values(), ids=str)
async def test_every_fault_has_its_reason_and_one_attempt(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible], case: FaultCase, way: str
) -> None:
    if not case.happens(way == "streamed"):
        pytest.skip("does not happen this way")
    provider = provider_at(upstream.base_url, timeouts=SHORT if case.hangs else TIMEOUTS)
    upstream.fail(case.name)
    record = AnswerRecord()
    if case.harmless or case.name in ("close_if_reused", "cut_at_end"):
        await call(provider, way, record)
        assert record.finish_reasons
    else:
        with pytest.raises(MeshError) as caught:
            await call(provider, way, record)
        assert caught.value.reason == reason_of(case)
        assert KEY not in str(caught.value)
        if way == "streamed":
            assert record.began == (case.breaks_at(way == "streamed") is Breaks.AFTER_FIRST_TOKEN)
    # A provider that says no asks nothing for it.
    assert record.sent is (case.behaviour.status == 200 and case.name != "redirect")
    assert len(upstream.calls) == 1
    # Whatever happened, the next call is served as if nothing had.
    assert await call(provider, way) == upstream.default.text
    assert len(upstream.calls) == 2
    await upstream.until(lambda record: record.running == 0)


@pytest.mark.parametrize("way", WAYS)
async def test_a_status_between_200_and_299_is_no_answer(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, way: str
) -> None:
    upstream.default = Behaviour(status=204)
    with pytest.raises(MeshError, match="204") as caught:
        await call(ours, way)
    assert caught.value.reason == "PROVIDER_ANSWER_BROKEN"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("rate_limit_exceeded", "PROVIDER_RATE_LIMITED"),
        ("content_filter", "PROVIDER_CONTENT_REFUSED"),
        ("context_length_exceeded", "CONTEXT_LENGTH_EXCEEDED"),
        (None, "PROVIDER_UNAVAILABLE"),
    ],
)
@pytest.mark.parametrize("way", WAYS)
async def test_an_error_inside_an_answer_of_200(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, code: str | None, reason: str, way: str
) -> None:
    upstream.default = Behaviour(fault=Fault.ERROR_IN_STREAM, error_code=code, after_chunks=0)
    with pytest.raises(MeshError) as caught:
        await call(ours, way)
    assert caught.value.reason == reason


async def test_a_stream_gives_what_came_before_its_fault(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    for fault in (Fault.CUT, Fault.CUT_RESET, Fault.BROKEN_CHUNK, Fault.BAD_FRAMING, Fault.ERROR_IN_STREAM):
        upstream.default = Behaviour(fault=fault, after_chunks=3)
        record, got = AnswerRecord(), list[Part]()
        with pytest.raises(MeshError):
            await parts(ours, request(), record, into=got)
        chunks = [chunk for part in got for chunk in part.chunks]
        if fault is not Fault.CUT_RESET:  # a reset may overtake what came before it
            assert text_of(chunks) == "Hello from the"
            assert record.output_bytes == len("Hello from the")


async def test_connection_refused(provider_at: Callable[..., OpenAiCompatible]) -> None:
    with dead_port() as port:
        provider = provider_at(f"http://127.0.0.1:{port}/v1")
        record = AnswerRecord()
        with pytest.raises(MeshError, match="refused") as caught:
            await streamed(provider, request(), record)
    assert caught.value.reason == "PROVIDER_UNAVAILABLE"
    assert "127.0.0.1" not in caught.value.message
    assert not record.sent


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


HANGING = [Fault.SILENCE, Fault.SLOW_FIRST_TOKEN, Fault.STALL]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", HANGING)
async def test_a_timeout_aborts_upstream(
    upstream: MisbehavingProvider, provider_at: Callable[..., OpenAiCompatible], fault: Fault, way: str
) -> None:
    upstream.default = Behaviour(fault=fault)
    with pytest.raises(MeshError):
        await call(provider_at(upstream.base_url, timeouts=SHORT), way)
    await upstream.calls[0].aborted.wait()
    await upstream.until(lambda record: record.running == 0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", HANGING)
async def test_cancellation_aborts_upstream(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, client: HttpClient, fault: Fault, way: str
) -> None:
    upstream.default = Behaviour(fault=fault)
    task = asyncio.create_task(call(ours, way))
    seen = await upstream.call(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await seen.aborted.wait()
    assert client.pool.connections == 0


async def test_closing_a_stream_early_aborts_upstream(upstream: MisbehavingProvider, ours: OpenAiCompatible) -> None:
    upstream.default = Behaviour(fault=Fault.STALL)
    async with contextlib.aclosing(ours.stream(request(), AnswerRecord())) as stream:
        assert (await anext(stream)).chunks
    await upstream.calls[0].aborted.wait()


async def test_a_whole_answer_keeps_the_connection(
    upstream: MisbehavingProvider, ours: OpenAiCompatible, client: HttpClient
) -> None:
    for _ in range(3):
        await streamed(ours)
        await completed(ours)
    assert all(seen.whole for seen in upstream.calls)
    assert len({seen.connection for seen in upstream.calls}) == 1
    assert (client.pool.connections, client.pool.idle) == (1, 1)
