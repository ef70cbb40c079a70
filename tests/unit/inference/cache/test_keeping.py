"""What one process keeps of answers, for how long, and how it gives them again."""

from __future__ import annotations

import asyncio

import pytest
from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.cache.answers import AnswerCache, CacheOptions
from services.inference.cache.flights import Produce
from services.inference.engine.call import CacheControl
from services.inference.providers.base import TokenUsage
from services.mesh.errors import MeshError
from tests.unit.inference.cache.world import (
    BROKEN,
    BYPASS,
    DONE,
    HIT,
    MISS,
    POLICY,
    REFRESH,
    TARGET,
    Clock,
    Upstream,
    ask,
    body_upstream,
    model_call,
    read,
    stream_parts,
    until,
)


async def test_a_stream_is_replayed_as_it_was(cache: AnswerCache) -> None:
    upstream = Upstream()
    first = await cache.open(model_call(), POLICY, upstream.produce)
    assert (first.decision, first.model, first.provider) == (MISS, "house", "mock")
    assert first.info.target is TARGET
    got = [part async for part in first.parts]
    assert [(part.data, part.chunks) for part in got] == [(part.data, part.chunks) for part in upstream.parts]
    assert (first.usage, first.finish_reasons) == (TokenUsage(3, 5), {0: "stop"})

    again = await cache.open(model_call(), POLICY, upstream.produce)
    assert (again.decision, again.model, again.provider) == (HIT, "house", "mock")
    # Known before the first part.
    assert (again.usage, again.finish_reasons) == (TokenUsage(3, 5), {0: "stop"})
    assert (again.info.attempts, again.info.usage) == ([], TokenUsage(3, 5))
    replayed = [part async for part in again.parts]
    assert [(part.data, part.chunks) for part in replayed] == [(part.data, part.chunks) for part in upstream.parts]
    assert replayed[-1].data == DONE
    assert upstream.calls == 1


async def test_a_body_is_replayed_as_a_body(cache: AnswerCache) -> None:
    upstream = body_upstream(b'{"id": "chatcmpl-9",  "created":7}')
    for decision in (MISS, HIT):
        ticket = await cache.open(model_call(streamed=False), POLICY, upstream.produce)
        assert ticket.decision == decision
        assert [(part.data, part.chunks) async for part in ticket.parts] == [(upstream.data, [])]
    assert upstream.calls == 1


async def test_a_caller_may_take_a_body_and_go_at_once(cache: AnswerCache) -> None:
    upstream = body_upstream(free=1)  # what is to be done after the part takes a while
    ticket = await cache.open(model_call(streamed=False), POLICY, upstream.produce)
    await anext(ticket.parts)
    await ticket.parts.aclose()
    await asyncio.sleep(0)
    upstream.gate.set()
    await until(lambda: not cache._flights._jobs)
    assert upstream.aborted == 0
    assert (await ask(cache, upstream, model_call(streamed=False)))[0] == HIT


async def test_embeddings_need_no_finish_reason(cache: AnswerCache) -> None:
    upstream = body_upstream(finish="")
    call = model_call(streamed=False, surface=pb.SURFACE_EMBEDDINGS)
    assert [(await ask(cache, upstream, call))[0] for _ in range(2)] == [MISS, HIT]


async def test_replayed_reads_can_be_joined() -> None:
    cache = AnswerCache(None, options=CacheOptions(replay_join_bytes=16 * 1024))
    upstream = Upstream()
    await ask(cache, upstream)
    ticket = await cache.open(model_call(), POLICY, upstream.produce)
    parts = [part async for part in ticket.parts]
    assert [part.data for part in parts] == [upstream.data]
    assert parts[0].chunks == [chunk for part in upstream.parts for chunk in part.chunks]
    await cache.close()


async def test_bypass_neither_looks_nor_stores(cache: AnswerCache) -> None:
    upstream = Upstream()
    bypass = model_call(cache=CacheControl(bypass=True, refresh=True))
    assert await ask(cache, upstream, bypass) == (BYPASS, upstream.data)
    assert (await ask(cache, upstream))[0] == MISS
    assert (await ask(cache, upstream, bypass))[0] == BYPASS
    assert upstream.calls == 3


async def test_a_call_without_a_key_passes_by(cache: AnswerCache) -> None:
    upstream = Upstream()
    assert [(await ask(cache, upstream, model_call(org_id="")))[0] for _ in range(2)] == [BYPASS, BYPASS]


async def test_refresh_calls_anew_and_stores_over(cache: AnswerCache) -> None:
    old, new = Upstream(), Upstream(stream_parts(text="new"))
    await ask(cache, old)
    assert await ask(cache, new, model_call(cache=CacheControl(refresh=True))) == (REFRESH, new.data)
    assert await ask(cache, old) == (HIT, new.data)
    failing = Upstream(error=BROKEN)
    with pytest.raises(MeshError):
        await ask(cache, failing, model_call(cache=CacheControl(refresh=True)))
    assert await ask(cache, old) == (HIT, new.data)


async def test_an_older_flight_does_not_store_over_a_refresh(cache: AnswerCache) -> None:
    old, new = Upstream(free=1), Upstream(stream_parts(text="new"))
    slow = await cache.open(model_call(), POLICY, old.produce)
    await ask(cache, new, model_call(cache=CacheControl(refresh=True)))
    old.gate.set()
    assert await read(slow) == old.data
    assert await ask(cache, old) == (HIT, new.data)


async def test_the_time_is_the_shorter_of_route_and_caller(cache: AnswerCache, clock: Clock) -> None:
    upstream = Upstream()
    await ask(cache, upstream, model_call(cache=CacheControl(ttl_s=10)))
    clock.now += 9.9
    assert (await ask(cache, upstream))[0] == HIT
    clock.now += 0.1
    assert (await ask(cache, upstream, model_call(cache=CacheControl(ttl_s=1000))))[0] == MISS
    clock.now += POLICY.ttl_s - 0.1
    assert (await ask(cache, upstream))[0] == HIT
    clock.now += 0.1
    assert (await ask(cache, upstream))[0] == MISS


async def test_the_shortest_time_of_all_who_join_counts(cache: AnswerCache, clock: Clock) -> None:
    upstream = Upstream(free=1)
    tickets = [await cache.open(model_call(), POLICY, upstream.produce)]
    tickets.append(await cache.open(model_call(cache=CacheControl(ttl_s=5)), POLICY, upstream.produce))
    upstream.gate.set()
    for ticket in tickets:
        await read(ticket)
    clock.now += 5.0
    assert (await ask(cache, upstream))[0] == MISS


@pytest.mark.parametrize("finish", ["content_filter", "", "odd"])
async def test_flagged_or_unfinished_answers_are_not_stored(cache: AnswerCache, finish: str) -> None:
    upstream = Upstream(finish=finish)
    assert [await ask(cache, upstream) for _ in range(2)] == [(MISS, upstream.data)] * 2


async def test_all_choices_must_be_storable(cache: AnswerCache) -> None:
    upstream = Upstream()

    def produce_two() -> Produce:
        async def produce(info):  # type: ignore[no-untyped-def]
            info.record.finish_reasons[1] = "content_filter"
            async for part in upstream.produce(info):
                yield part

        return produce

    for _ in range(2):
        await read(await cache.open(model_call(), POLICY, produce_two()))
    assert upstream.calls == 2


@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls", "function_call"])
async def test_whole_answers_are_stored(cache: AnswerCache, finish: str) -> None:
    upstream = Upstream(finish=finish)
    assert [(await ask(cache, upstream))[0] for _ in range(2)] == [MISS, HIT]
