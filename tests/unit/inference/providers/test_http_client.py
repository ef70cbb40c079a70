"""Our own client of HTTP: connections kept and used again, bounds, time, and letting go."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator

import pytest
import uvloop

from services.inference.providers import connection as connections
from services.inference.providers.base import AnswerRecord, Part
from services.inference.providers.connection import READ_BUFFER_BYTES
from services.inference.providers.endpoint import Timeouts, endpoint
from services.inference.providers.http import HttpClient
from services.inference.providers.openai_compatible import OpenAiCompatible
from services.mesh.errors import MeshError
from tests.support.provider import Behaviour, Fault, MisbehavingProvider, full_port, running_provider
from tests.unit.inference.calls import answer_text, completed, events, request, streamed, text_of
from tests.unit.inference.providers.raw_server import (
    FINISH,
    STREAM_HEAD,
    RawServer,
    Visit,
    event,
    framed,
    raw_server,
    whole,
)

TIMEOUTS = Timeouts(connect_s=2, first_token_s=2, idle_s=2, total_s=10)


def ours(client: HttpClient, base_url: str, timeouts: Timeouts = TIMEOUTS) -> OpenAiCompatible:
    return OpenAiCompatible(client, "raw", base_url, timeouts=timeouts)


# Connections that are kept


async def test_a_connection_that_was_closed_while_idle_is_not_used(client: HttpClient) -> None:
    close = asyncio.Event()

    async def answering(visit: Visit) -> None:
        await visit.say(whole())
        if visit.connection == 0:
            await close.wait()
            visit.writer.close()

    async with raw_server(answering) as server:
        provider = ours(client, server.url())
        await completed(provider)
        assert client.pool.idle == 1
        close.set()
        await server.until_open(0)
        while client.pool.connections:
            await asyncio.sleep(0)
        await completed(provider)
        assert [visit.connection for visit in server.visits] == [0, 1]


async def test_a_race_with_the_servers_patience_is_run_again_once(client: HttpClient) -> None:
    async def answering(visit: Visit) -> None:
        if visit.number:
            visit.reset()
        else:
            await visit.say(whole())

    async with raw_server(answering) as server:
        provider, record = ours(client, server.url()), AnswerRecord()
        await completed(provider)
        await completed(provider, request(), record)
        assert [(visit.connection, visit.number) for visit in server.visits] == [(0, 0), (0, 1), (1, 0)]
        assert record.sent


async def test_a_fresh_connection_that_dies_is_not_tried_again(client: HttpClient) -> None:
    async def answering(visit: Visit) -> None:
        if visit.connection == 0 and visit.number == 0:
            await visit.say(whole())
        else:
            visit.reset()

    async with raw_server(answering) as server:
        provider = ours(client, server.url())
        await completed(provider)
        with pytest.raises(MeshError) as caught:
            await completed(provider)
        assert caught.value.reason == "PROVIDER_UNAVAILABLE"
        assert len(server.visits) == 3  # the first, the race, and the one that was fresh
        assert client.pool.connections == 0


async def test_a_kept_connection_that_dies_late_was_no_race(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "KEEP_ALIVE_RACE_S", 0.0)

    async def answering(visit: Visit) -> None:
        if visit.number:
            visit.reset()
        else:
            await visit.say(whole())

    async with raw_server(answering) as server:
        provider = ours(client, server.url())
        await completed(provider)
        with pytest.raises(MeshError, match="closed the connection before"):
            await completed(provider)
        assert len(server.visits) == 2


async def test_a_byte_of_an_answer_rules_the_race_out(client: HttpClient) -> None:
    async def answering(visit: Visit) -> None:
        if visit.number:
            await visit.say(b"H")
            visit.writer.close()
        else:
            await visit.say(whole())

    async with raw_server(answering) as server:
        provider = ours(client, server.url())
        await completed(provider)
        with pytest.raises(MeshError, match="closed the connection before"):
            await completed(provider)
        assert len(server.visits) == 2


@pytest.mark.parametrize(
    ("header", "expected_s"),
    [(b"Keep-Alive: timeout=5", 4), (b"Keep-Alive: timeout=5, max=100", 4), (b"Keep-Alive: timeout=x", 30)],
)
async def test_a_server_that_says_how_long_it_keeps_a_connection(
    client: HttpClient, header: bytes, expected_s: float
) -> None:
    async with raw_server(lambda visit: visit.say(whole(header))) as server:
        provider, now = ours(client, server.url()), asyncio.get_running_loop().time()
        await completed(provider)
        assert client.pool.take(endpoint("raw", server.url()).origin, now + expected_s - 0.1) is not None
        assert client.pool.idle == 0


async def test_a_connection_that_was_idle_too_long_is_not_used(client: HttpClient) -> None:
    async with raw_server(lambda visit: visit.say(whole())) as server:
        await completed(ours(client, server.url()))
        later = asyncio.get_running_loop().time() + connections.IDLE_EXPIRY_S + 1
        assert client.pool.take(endpoint("raw", server.url()).origin, later) is None
        assert client.pool.connections == 0
        await server.until_open(0)


@pytest.mark.parametrize(
    "answer",
    [
        whole(b"Connection: close"),
        whole().replace(b"HTTP/1.1", b"HTTP/1.0"),
        whole() + b"HTTP/1.1 200 OK\r\n",
        whole() + b"more",
    ],
)
async def test_an_answer_after_which_the_connection_is_of_no_use(client: HttpClient, answer: bytes) -> None:
    async with raw_server(lambda visit: visit.say(answer)) as server:
        provider = ours(client, server.url())
        for _ in range(2):
            await completed(provider)
            assert client.pool.connections == 0
        assert [visit.connection for visit in server.visits] == [0, 1]


async def test_bytes_that_nobody_asked_for_end_an_idle_connection(client: HttpClient) -> None:
    late = asyncio.Event()

    async def answering(visit: Visit) -> None:
        await visit.say(whole())
        await late.wait()
        await visit.say(whole())
        await visit.left.wait()

    async with raw_server(answering) as server:
        await completed(ours(client, server.url()))
        assert client.pool.idle == 1
        late.set()
        await server.visits[0].left.wait()
        assert client.pool.connections == 0


async def test_interim_answers_are_passed_over(client: HttpClient) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Encoding: gzip\r\n\r\n"
    async with raw_server(lambda visit: visit.say(interim + whole())) as server:
        provider = ours(client, server.url())
        await completed(provider)
        await completed(provider)
        assert len({visit.connection for visit in server.visits}) == 1


async def test_interim_answers_without_end(client: HttpClient) -> None:
    async def answering(visit: Visit) -> None:
        while not visit.left.is_set():
            await visit.say(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 50)

    async with raw_server(answering) as server:
        with pytest.raises(MeshError, match="head or framing") as caught:
            await completed(ours(client, server.url()))
    assert caught.value.reason == "PROVIDER_ANSWER_BROKEN"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: br\r\n\r\n12345",
        STREAM_HEAD.replace(b"text/event-stream", b"application/json") + b"zz\r\n",
        STREAM_HEAD.replace(b"text/event-stream", b"application/json") + b"1\r\n{\r\n0\r\nX: " + b"x" * 300_000,
    ],
)
async def test_what_is_no_answer(client: HttpClient, answer: bytes) -> None:
    async def answering(visit: Visit) -> None:
        await visit.say(answer)
        await visit.left.wait()

    async with raw_server(answering) as server:
        with pytest.raises(MeshError) as caught:
            await completed(ours(client, server.url()))
        assert caught.value.reason == "PROVIDER_ANSWER_BROKEN"
        await server.visits[0].left.wait()
    assert client.pool.connections == 0


async def test_an_error_whose_body_is_large_or_encoded_is_told_by_its_status(client: HttpClient) -> None:
    async def answering(visit: Visit) -> None:
        coding = b"Content-Encoding: gzip\r\n" if visit.connection else b""
        await visit.say(b"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\n" + coding + b"Content-Length: 10000000\r\n\r\n")
        with contextlib.suppress(OSError):
            await visit.say(b"x" * 10_000_000)

    async with raw_server(answering) as server:
        for _ in range(2):
            with pytest.raises(MeshError) as caught:
                await completed(ours(client, server.url()))
            assert caught.value.reason == "PROVIDER_RATE_LIMITED"
            assert caught.value.retry_after_s == 3
        await server.until_open(0)


# The bound on connections


async def test_connections_are_bounded_and_calls_wait_in_line(upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(latency_s=0.01)
    client = HttpClient(connections_max=3)
    provider = ours(client, upstream.base_url)
    answers = await asyncio.gather(*(answer_text(provider) for _ in range(30)))
    assert set(answers) == {upstream.default.text}
    assert upstream.record.running_max == 3
    assert len({seen.connection for seen in upstream.calls}) == 3
    await client.close()


async def test_a_place_goes_to_whoever_waits_for_another_origin(client: HttpClient) -> None:
    client = HttpClient(connections_max=1)
    async with running_provider() as first, running_provider() as second:
        for _ in range(2):
            for upstream in (first, second):  # the idle connection to the other makes room
                assert await answer_text(ours(client, upstream.base_url))
        first.default = second.default = Behaviour(latency_s=0.01)
        one, other = ours(client, first.base_url), ours(client, second.base_url)
        await asyncio.gather(*(answer_text(provider) for _ in range(5) for provider in (one, other)))
    await client.close()
    assert client.pool.connections == 0


async def test_who_waits_too_long_for_a_connection_is_told_so(upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(fault=Fault.SILENCE)
    client = HttpClient(connections_max=1)
    holder = asyncio.create_task(answer_text(ours(client, upstream.base_url)))
    await upstream.call(0)
    with pytest.raises(MeshError, match="stayed in use") as caught:
        await answer_text(ours(client, upstream.base_url, Timeouts(first_token_s=0.05)))
    assert caught.value.reason == "PROVIDER_TIMEOUT"
    waiting = asyncio.create_task(answer_text(ours(client, upstream.base_url)))
    await asyncio.sleep(0)
    waiting.cancel()
    holder.cancel()
    await asyncio.gather(holder, waiting, return_exceptions=True)
    upstream.default = Behaviour()
    assert await answer_text(ours(client, upstream.base_url))
    assert client.pool.connections == 1
    await client.close()


async def test_a_closing_client_tells_those_who_wait(upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(fault=Fault.SILENCE)
    client = HttpClient(connections_max=1)
    tasks = [asyncio.create_task(answer_text(ours(client, upstream.base_url))) for _ in range(3)]
    await upstream.call(0)
    await client.close()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [error.reason for error in errors if isinstance(error, MeshError)] == ["PROVIDER_UNAVAILABLE"] * 3
    with pytest.raises(MeshError, match="stopping"):
        await answer_text(ours(client, upstream.base_url))


async def test_a_connection_that_is_not_made_in_time(client: HttpClient) -> None:
    with full_port() as port, pytest.raises(MeshError, match=r"no connection within 0\.1 s") as caught:
        await completed(ours(client, f"http://127.0.0.1:{port}/v1", Timeouts(connect_s=0.1)))
    assert caught.value.reason == "PROVIDER_UNAVAILABLE"
    assert client.pool.connections == 0


async def test_a_name_that_does_not_resolve(client: HttpClient) -> None:
    with pytest.raises(MeshError, match="does not resolve"):
        await completed(ours(client, "http://nowhere.invalid/v1"))


# A caller that reads slowly


async def endless(visit: Visit) -> None:
    block = framed(event("x" * 1000) * 8)
    await visit.say(STREAM_HEAD)
    while not visit.left.is_set():
        await visit.say(block)


async def test_a_slow_caller_holds_the_provider_back(client: HttpClient) -> None:
    blocks = 4000  # 32 MB

    async def answering(visit: Visit) -> None:
        block = framed(event("x" * 1000) * 8)
        await visit.say(STREAM_HEAD)
        for number in range(blocks):
            said[0] = number + 1
            await visit.say(block)
        await visit.say(framed(FINISH) + b"0\r\n\r\n")

    said = [0]
    async with raw_server(answering) as server:
        stream = ours(client, server.url()).stream(request(), AnswerRecord())
        size = sum(len(chunk["choices"][0]["delta"]["content"]) for chunk in (await anext(stream)).chunks)
        connection = next(iter(client.pool._open))
        while not connection._paused:
            await asyncio.sleep(0.001)
        assert connection._buffered_bytes < READ_BUFFER_BYTES + 1024 * 1024
        assert said[0] < blocks
        async for part in stream:
            size += sum(len(chunk["choices"][0]["delta"].get("content", "")) for chunk in part.chunks)
        assert size == blocks * 8 * 1000


async def test_the_total_time_holds_while_the_caller_reads_nothing(client: HttpClient) -> None:
    async with raw_server(endless) as server:
        limits = Timeouts(first_token_s=2, idle_s=2, total_s=0.3)
        stream = ours(client, server.url(), limits).stream(request(), AnswerRecord())
        await anext(stream)
        await server.visits[0].left.wait()  # nobody reads
        with pytest.raises(MeshError, match=r"more than 0\.3 s in all"):
            await _rest(stream)


async def _rest(stream: AsyncGenerator[Part, None]) -> None:
    async for _ in stream:
        pass


# Letting go


async def test_the_tail_of_an_answer_keeps_nobody_waiting(client: HttpClient) -> None:
    ended = asyncio.Event()

    async def answering(visit: Visit) -> None:
        await visit.say(STREAM_HEAD + framed(FINISH))
        await ended.wait()
        await visit.say(b"0\r\n\r\n")

    async with raw_server(answering) as server:
        provider = ours(client, server.url())
        await streamed(provider)
        assert (client.pool.connections, client.pool.idle) == (1, 0)
        ended.set()
        while not client.pool.idle:
            await asyncio.sleep(0)
        await streamed(provider)
        assert len({visit.connection for visit in server.visits}) == 1


async def test_a_tail_that_never_ends_costs_the_connection(client: HttpClient) -> None:
    async def answering(visit: Visit) -> None:
        await visit.say(STREAM_HEAD + framed(FINISH))
        await visit.left.wait()

    async with raw_server(answering) as server:
        await streamed(ours(client, server.url(), Timeouts(total_s=1000)))
        await server.visits[0].left.wait()
        assert client.pool.connections == 0


async def test_a_stream_that_is_left_after_its_last_part_keeps_the_connection(client: HttpClient) -> None:
    async with raw_server(lambda visit: visit.say(STREAM_HEAD + framed(FINISH) + b"0\r\n\r\n")) as server:
        for _ in range(2):
            async with contextlib.aclosing(ours(client, server.url()).stream(request(), AnswerRecord())) as stream:
                assert (await anext(stream)).data.endswith(b"data: [DONE]\n\n")
        assert len({visit.connection for visit in server.visits}) == 1


async def test_cancelled_while_a_connection_is_made(client: HttpClient) -> None:
    with full_port() as port:
        task = asyncio.create_task(completed(ours(client, f"http://127.0.0.1:{port}/v1")))
        while not client.pool.connections:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert client.pool.connections == 0


async def cancel_at_random(streams: int, at_once: int) -> None:
    """Streams of which most are left at some moment: while they connect, wait, or are read."""
    before = asyncio.all_tasks()
    chance = random.Random(7)
    async with running_provider() as upstream:
        upstream.default = Behaviour(pace_s=0.001)
        client = HttpClient(connections_max=at_once // 2)
        provider = ours(client, upstream.base_url)
        gate = asyncio.Semaphore(at_once)
        whole_answers = 0

        async def one() -> None:
            nonlocal whole_answers
            async with gate:
                task = asyncio.create_task(streamed(provider))
                if chance.random() < 0.8:
                    await asyncio.wait([task], timeout=chance.random() * 0.03)
                    task.cancel()
                result = (await asyncio.gather(task, return_exceptions=True))[0]
                if isinstance(result, bytes):
                    assert text_of(events(result)) == upstream.default.text
                    whole_answers += 1
                else:
                    assert isinstance(result, asyncio.CancelledError)

        await asyncio.gather(*(one() for _ in range(streams)))
        assert 0 < whole_answers < streams
        await upstream.until(lambda record: record.running == 0)
        assert client.pool.connections == client.pool.idle <= at_once // 2
        assert client.pool._promised == 0
        assert not client.pool._waiting
        assert await answer_text(provider) == upstream.default.text
        await client.close()
        assert client.pool.connections == 0
    assert asyncio.all_tasks() == before


async def test_two_thousand_streams_cancelled_at_random() -> None:
    await cancel_at_random(2_000, 64)


def test_the_same_on_the_loop_of_production() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(cancel_at_random(500, 64))
        runner.run(_kept_and_raced())


async def _kept_and_raced() -> None:
    async def answering(visit: Visit) -> None:
        if visit.number == 2:
            visit.reset()
        else:
            await visit.say(whole() if b'"stream"' not in visit.body else STREAM_HEAD + framed(FINISH) + b"0\r\n\r\n")

    async with raw_server(answering) as server:
        client = HttpClient(connections_max=4)
        provider = ours(client, server.url())
        await completed(provider)
        await streamed(provider)
        await completed(provider)
        assert [visit.connection for visit in server.visits] == [0, 0, 0, 1]
        await _raced_addresses(client, server)
        await client.close()


async def _raced_addresses(client: HttpClient, server: RawServer) -> None:
    """`localhost` has addresses of both families on most machines; only one of them listens."""
    await completed(ours(client, server.url(host="localhost")))


async def test_a_name_with_several_addresses(client: HttpClient) -> None:
    async with raw_server(lambda visit: visit.say(whole())) as server:
        await _raced_addresses(client, server)
