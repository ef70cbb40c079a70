"""What the provider writes down: requests, how they ended, and sums to the token."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.support.provider import (
    Behaviour,
    MisbehavingProvider,
    ProviderServer,
    Record,
    SeenCall,
    Tokens,
    running_server,
)
from tests.unit.support.wire import MODEL, PATIENCE_S, ask, chat, connected


@pytest.fixture
async def server() -> AsyncIterator[ProviderServer]:
    async with running_server(default=Behaviour(tokens=10)) as server:
        yield server


@pytest.fixture
def provider(server: ProviderServer) -> MisbehavingProvider:
    return server.provider("first")


async def test_providers_of_one_server_are_apart(server: ProviderServer) -> None:
    first, second = server.provider("first"), server.provider("second")
    first.fail("unavailable", times=None)
    second.default = Behaviour(text="fine")
    assert (await ask(first, chat())).status == 503
    assert (await ask(second, chat())).status == 200
    assert (await ask(server.root, chat())).status == 200
    assert [len(one.calls) for one in (first, second, server.root)] == [1, 1, 1]
    assert first.calls[0].path == "/p/first/v1/chat/completions"
    assert server.root.calls[0].path == "/v1/chat/completions"
    assert first.base_url == f"http://127.0.0.1:{first.port}/p/first/v1"
    assert server.provider("first") is first
    with pytest.raises(ValueError, match="64 letters"):
        server.provider("a/b")


async def test_a_request_is_written_down_as_it_came(provider: MisbehavingProvider) -> None:
    before = time.monotonic()
    async with aiohttp.ClientSession() as session:
        headers = {"Authorization": "Bearer sk-test", "X-oDD": "1; 2"}
        async with session.post(
            f"{provider.base_url}/chat/completions", json=chat(words="a b"), headers=headers
        ) as got:
            size = len(await got.read())
    seen = await provider.call(0)
    assert (seen.method, seen.number, seen.body["model"], seen.prompt) == ("POST", 0, MODEL, "a b")
    assert seen.headers["Authorization"] == "Bearer sk-test"
    assert seen.headers["X-oDD"] == "1; 2"
    assert (seen.outcome, seen.whole, seen.status, seen.model) == ("whole", True, 200, MODEL)
    assert seen.bytes_sent > size
    assert seen.begin_time is not None
    assert seen.end_time is not None
    assert before <= seen.arrival_time <= seen.begin_time <= seen.end_time <= time.monotonic()
    assert seen.abort_time is None
    assert not seen.aborted.is_set()


async def test_a_client_that_leaves_a_stream(provider: MisbehavingProvider) -> None:
    provider.default = Behaviour(tokens=1000, pace_s=0.001)
    async with connected(provider) as wire:
        wire.send(chat(stream=True), provider.base_url + "/chat/completions")
        await provider.until(lambda record: record.calls[0].chunks_sent >= 5)
        assert provider.running == 1
        left_time = time.monotonic()
    await provider.until(lambda record: record.aborted == 1)
    seen = provider.calls[0]
    assert seen.aborted.is_set()
    assert seen.ended.is_set()
    assert 5 <= seen.chunks_sent == seen.tokens_said < 1000
    assert seen.bytes_sent > 500
    assert seen.abort_time is not None
    assert seen.abort_time >= left_time
    assert provider.running == 0
    assert provider.record.said[MODEL].completion_tokens == seen.tokens_said
    assert provider.record.said[MODEL].prompt_tokens == 2
    assert provider.record.reported.total.answers == 0


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_that_leaves_before_the_head(provider: MisbehavingProvider, streamed: bool) -> None:
    provider.fail("silence")
    async with connected(provider) as wire:
        wire.send(chat(streamed), provider.base_url + "/chat/completions")
        seen = await provider.call(0)
    await seen.aborted.wait()
    assert (seen.outcome, seen.status, seen.bytes_sent, seen.chunks_sent) == ("aborted", None, 0, 0)
    assert provider.record.said.total.answers == 0


async def test_a_client_that_leaves_with_its_request_is_seen(provider: MisbehavingProvider) -> None:
    """Request and end of the connection come in one read."""
    async with connected(provider) as wire:
        wire.send(chat(), provider.base_url + "/chat/completions")
        wire.writer.write_eof()
        await provider.until(lambda record: record.requests == 1 and record.running == 0)


async def test_what_a_client_does_not_take_is_not_whole(provider: MisbehavingProvider) -> None:
    """The answer is larger than what the operating system keeps for a client."""
    provider.default = Behaviour(padding_bytes=30_000_000)
    async with connected(provider) as wire:
        wire.send(chat(), provider.base_url + "/chat/completions")
        await wire.reader.readuntil(b"\r\n\r\n")
        assert provider.running == 1
    await provider.until(lambda record: record.running == 0)
    assert provider.calls[0].outcome == "aborted"
    assert provider.record.reported_whole.total.answers == 0
    assert provider.record.said.total.answers == 1


async def test_a_client_that_half_closes_has_left(provider: MisbehavingProvider) -> None:
    """Even where it takes nothing, so that nothing more can be sent."""
    provider.default = Behaviour(padding_bytes=30_000_000)
    async with connected(provider) as wire:
        wire.send(chat(), provider.base_url + "/chat/completions")
        await wire.reader.readuntil(b"\r\n\r\n")
        wire.writer.write_eof()
        await provider.until(lambda record: record.aborted == 1)


async def test_usage_that_was_told_before_a_cut_is_not_of_a_whole_answer(provider: MisbehavingProvider) -> None:
    provider.fail("cut_at_end")
    await ask(provider, chat(stream=True))
    assert provider.record.cut == 1
    assert provider.record.reported[MODEL] == provider.record.said[MODEL] == Tokens(1, 2, 8)
    assert provider.record.reported_whole.total.answers == 0


async def test_sums_by_model(provider: MisbehavingProvider) -> None:
    provider.then(Behaviour(tokens=3), Behaviour(tokens=4, model="named-otherwise"), Behaviour(tokens=5))
    provider.fail("cut")
    provider.fail("usage_missing")
    provider.fail("usage_negative")
    provider.fail("rate_limit")
    for streamed in (False, True, False, False, True, False, False):
        await ask(provider, chat(streamed))
    await ask(provider, {"model": "embedder", "input": "a b c d"}, "/embeddings")
    record = provider.record
    assert (record.requests, record.whole, record.cut, record.aborted) == (8, 7, 1, 0)
    assert record.statuses == {200: 7, 429: 1}
    reported = {
        model: (sums.answers, sums.prompt_tokens, sums.completion_tokens) for model, sums in record.reported.items()
    }
    assert reported == {MODEL: (2, 4, 8), "named-otherwise": (1, 2, 4), "embedder": (1, 4, 0)}
    assert record.reported_whole == record.reported
    assert record.said[MODEL].answers == 5, "cut, without usage and with absurd usage it was said all the same"
    assert record.said.total.completion_tokens == 3 + 4 + 5 + 8 + 8 + 8
    assert record.reported.total.prompt_tokens == 10


async def test_a_stream_without_include_usage_reports_nothing(provider: MisbehavingProvider) -> None:
    await ask(provider, chat(stream=True) | {"stream_options": {}})
    assert provider.record.reported.total.answers == 0
    assert provider.record.said.total.completion_tokens == 10


async def test_how_many_at_once(provider: MisbehavingProvider) -> None:
    provider.default = Behaviour(tokens=2, latency_s=0.02)
    asked = [asyncio.create_task(ask(provider, chat())) for _ in range(20)]
    await provider.until(lambda record: record.running == 20)
    await asyncio.gather(*asked)
    assert provider.record.running_max == 20
    await ask(provider, chat())
    assert (provider.record.running, provider.record.running_max) == (0, 20)
    provider.record.reset()
    assert (provider.record.running_max, provider.record.requests, provider.calls) == (0, 0, [])


async def test_only_counters_are_kept_where_told() -> None:
    async with running_server(keep=0) as server:
        provider = server.provider("many")
        for _ in range(5):
            await ask(provider, chat())
        assert provider.calls == provider.record.others == []
        assert provider.record.requests == provider.record.whole == 5
        assert provider.record.reported.total.completion_tokens == 5 * 8


def test_the_record_is_bounded() -> None:
    record = Record(keep=10)
    for _ in range(1000):
        call = SeenCall({}, {}, None)
        record.arrived(call)
        call.outcome = "whole"
        record.has_ended(call)
        record.arrived_beside(SeenCall({}, {}, None))
        assert len(record.calls) <= 20
        assert len(record.others) <= 10
        assert record.calls[0].number == record.dropped
    assert record.calls[-1].number == 999


async def test_until_says_what_there_is_when_it_gives_up(provider: MisbehavingProvider) -> None:
    with pytest.raises(TimeoutError, match="'requests': 0"):
        await provider.until(lambda record: record.requests > 0, timeout_s=0.01)
    with pytest.raises(TimeoutError):
        await provider.until(lambda record: record.calls[7].whole, timeout_s=0.01)  # finds no entry: not yet


async def test_a_predicate_that_fails_tells_who_waits(provider: MisbehavingProvider) -> None:
    waiting = asyncio.create_task(provider.until(lambda record: bool(record.requests and 1 / 0)))
    await asyncio.sleep(0)
    await ask(provider, chat())
    with pytest.raises(ZeroDivisionError):
        await waiting


async def test_a_thousand_streams_cancelled_at_random_moments() -> None:
    """Nothing is left, nothing is lost: each is counted once, and what was said to the end was reported."""
    moments = random.Random(7)
    count, at_once = 1000, 50
    async with (
        running_server(default=Behaviour(tokens=20, pace_s=0.0005), keep=0) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        provider = server.provider("crowd")
        gate = asyncio.Semaphore(at_once)

        async def one() -> None:
            async with gate, session.post(f"{provider.base_url}/chat/completions", json=chat(stream=True)) as answer:
                for _ in range(moments.randrange(25)):
                    if not await answer.content.readany():
                        break

        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(one() for _ in range(count)))
        await provider.until(lambda record: record.running == 0)
        record = provider.record
        assert record.requests == record.whole + record.aborted == count
        assert record.aborted > 100
        assert record.whole == record.reported_whole.total.answers
        assert all(connection.exchange is None for connection in server.connections)
        for _ in range(3):  # who was cancelled needs a turn to end
            await asyncio.sleep(0)
        assert [task for task in asyncio.all_tasks() if "_watched" in repr(task.get_coro())] == []
