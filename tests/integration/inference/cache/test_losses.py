"""Replicas that lose their callers, each other, and Redis."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from services.inference.cache.answers import AnswerCache
from services.inference.cache.entries import pack
from services.inference.cache.keys import key_of
from services.inference.cache.shared import Claim, Head, SharedLayer, prefix_of
from services.inference.engine.call import CacheControl
from services.inference.providers.base import TokenUsage
from services.local.embedded.redis import running_redis, temporary_redis
from services.mesh import redis as mesh_redis
from services.mesh.errors import MeshError
from services.mesh.redis import Redis
from tests.integration.inference.cache.replicas import (
    BROKEN,
    HIT,
    JOINED,
    MISS,
    PATIENT,
    PREFIX,
    SHORT,
    Replicas,
    answers,
    ask,
    asked,
    followers,
    followers_of,
    led,
    opening,
    settled,
    vanish,
)
from tests.unit.inference.cache.world import (
    POLICY,
    WAIT_S,
    Upstream,
    body_upstream,
    model_call,
    read,
    stream_parts,
    until,
)


async def test_answers_are_shared_with_what_is_known_of_them(redis: Redis, replicas: Replicas) -> None:
    one, other = replicas(2)
    upstream = Upstream(stream_parts(300))  # long enough to be compressed
    assert await ask(one, upstream) == (MISS, upstream.data)
    await settled(one)
    ticket = await other.open(model_call(), POLICY, upstream.produce)
    assert (ticket.decision, ticket.model, ticket.provider) == (HIT, "house", "mock")
    assert (ticket.usage, ticket.finish_reasons, ticket.info.attempts) == (TokenUsage(3, 5), {0: "stop"}, [])
    got = [part async for part in ticket.parts]
    assert [(part.data, part.chunks) for part in got] == [(part.data, part.chunks) for part in upstream.parts]
    # From its own memory now.
    await redis.flushall()
    assert await ask(other, upstream) == (HIT, upstream.data)
    assert upstream.calls == 1


async def test_errors_and_flagged_answers_are_not_shared(redis: Redis, replicas: Replicas) -> None:
    one, other = replicas(2)
    await ask(one, Upstream(finish="content_filter"))
    with pytest.raises(MeshError):
        await ask(one, Upstream(error=BROKEN))
    await settled(one)
    assert await redis.keys("*") == []
    assert (await ask(other, Upstream()))[0] == MISS


async def test_bodies_are_joined_across_replicas(replicas: Replicas, redis: Redis) -> None:
    one, other = replicas(2)
    upstream = body_upstream(free=0)
    tasks = [opening(one, upstream, streamed=False)]
    await until(lambda: upstream.calls)
    tasks.append(opening(other, upstream, streamed=False))
    await asked(redis, lambda: followers(redis))
    upstream.gate.set()
    tickets = await asyncio.gather(*tasks)
    assert [ticket.decision for ticket in tickets] == [MISS, JOINED]
    assert [await read(ticket) for ticket in tickets] == [upstream.data] * 2
    assert upstream.calls == 1


async def test_a_refusal_of_the_one_who_asked_is_not_for_others(replicas: Replicas, redis: Redis) -> None:
    one, other = replicas(2)
    poor = Upstream([], error=MeshError("BUDGET_EXHAUSTED", "Your budget is spent."), free=0)
    rich = Upstream()
    first = opening(one, poor)
    await until(lambda: poor.calls)
    second = opening(other, rich)
    await asked(redis, lambda: followers(redis))
    poor.gate.set()
    with pytest.raises(MeshError, match="BUDGET_EXHAUSTED"):
        await first
    ticket = await second
    assert (ticket.decision, await read(ticket)) == (MISS, rich.data)


async def test_a_leader_that_dies_before_anything_came_is_replaced(replicas: Replicas, redis: Redis) -> None:
    [dead] = replicas(1, SHORT)
    others = replicas(3, SHORT)
    silent, upstream = Upstream(free=0), Upstream()
    first = opening(dead, silent)
    await until(lambda: silent.calls)
    tasks = [opening(cache, upstream) for cache in others for _ in range(5)]
    await asked(redis, lambda: followers(redis))
    await vanish(dead)
    async with asyncio.timeout(WAIT_S):
        tickets = await asyncio.gather(*tasks)
        assert {await read(ticket) for ticket in tickets} == {upstream.data}
    assert upstream.calls == 1
    assert sorted(ticket.decision for ticket in tickets) == [MISS] + [JOINED] * 14
    first.cancel()
    await asyncio.wait([first])


async def test_a_leader_that_dies_in_the_middle_is_an_error(replicas: Replicas, redis: Redis) -> None:
    dead, other = replicas(2, SHORT)
    upstream = Upstream(free=2)
    first = await opening(dead, upstream)
    second = await opening(other, upstream)
    assert second.decision == JOINED
    await vanish(dead)
    got = [(await anext(second.parts)).data for _ in range(2)]
    assert got == [part.data for part in upstream.parts[:2]]
    with pytest.raises(MeshError) as caught:
        async with asyncio.timeout(WAIT_S):
            await anext(second.parts)
    assert caught.value.reason == "PROVIDER_ANSWER_BROKEN"
    assert (await ask(other, Upstream()))[0] == MISS
    await first.parts.aclose()


async def test_a_leader_that_stops_in_order_hands_over_at_once(replicas: Replicas, redis: Redis) -> None:
    one, other = replicas(2)  # whose leases last longer than this test may take
    silent, upstream = Upstream(free=0), Upstream()
    first = opening(one, silent)
    await until(lambda: silent.calls)
    second = opening(other, upstream)
    await asked(redis, lambda: followers(redis))
    await one.close()
    with pytest.raises(MeshError, match="DRAINING"):
        await first
    assert silent.aborted == 1
    ticket = await second
    assert (ticket.decision, await read(ticket)) == (MISS, upstream.data)


async def test_the_provider_is_left_when_nobody_follows_anywhere(replicas: Replicas, redis: Redis) -> None:
    one, other = replicas(2)
    upstream = Upstream(free=1)
    first = await opening(one, upstream)
    second = await opening(other, upstream)
    await first.parts.aclose()
    # Another replica still follows: the call goes on.
    assert (await anext(second.parts)).data == upstream.parts[0].data
    upstream.let(2)
    assert (await anext(second.parts)).data == upstream.parts[1].data
    assert upstream.aborted == 0
    await second.parts.aclose()
    await until(lambda: upstream.aborted)
    await settled(one)
    assert await led(redis) == []
    upstream.gate.set()
    assert (await ask(other, upstream))[0] == MISS


async def test_the_provider_is_left_when_the_only_caller_has_left(replicas: Replicas, redis: Redis) -> None:
    [one] = replicas(1)
    upstream = Upstream(free=1)
    ticket = await opening(one, upstream)
    await ticket.parts.aclose()
    await until(lambda: upstream.aborted)
    waiting = opening(one, Upstream(free=0), streamed=False)
    await asked(redis, lambda: redis.exists(prefix_of("org-1", key_of(model_call(streamed=False))) + ":l"))
    waiting.cancel()
    await asyncio.wait([waiting])
    await settled(one)
    await until(lambda: not one._flights._tasks)
    assert await led(redis) == []


async def test_a_caller_that_leaves_while_redis_is_asked_leaves_no_lead(
    replicas: Replicas, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    [one] = replicas(1)
    shared = one._flights._shared
    assert shared is not None
    claim = shared.claim

    async def answered_too_late(prefix: str, token: str) -> Claim | None:
        await claim(prefix, token)
        await asyncio.Event().wait()
        return None

    monkeypatch.setattr(shared, "claim", answered_too_late)
    waiting = opening(one, Upstream())
    await asked(redis, lambda: led(redis))
    waiting.cancel()
    await asyncio.wait([waiting])
    await settled(one)
    await until(lambda: not one._flights._tasks)
    assert await led(redis) == []


async def test_a_fault_of_the_leader_is_not_for_others(replicas: Replicas, redis: Redis) -> None:
    one, other = replicas(2)
    faulty, upstream = Upstream([], error=ZeroDivisionError("a bug"), free=0), Upstream()
    first = opening(one, faulty)
    await until(lambda: faulty.calls)
    second = opening(other, upstream)
    await asked(redis, lambda: followers(redis))
    faulty.gate.set()
    with pytest.raises(ZeroDivisionError):
        await first
    ticket = await second
    assert (ticket.decision, await read(ticket)) == (MISS, upstream.data)


@pytest.mark.parametrize("first", [1, 2])
async def test_a_follower_that_finds_a_gap(replicas: Replicas, redis: Redis, first: int) -> None:
    """What it missed is dropped: with a part of the answer that is an error, with nothing it asks itself."""
    [cache] = replicas(1)
    upstream = Upstream()
    ghost = SharedLayer(redis, PATIENT)
    assert await ghost.claim(PREFIX, "ghost") == Claim()
    head = Head("model-of-ghost", "provider-of-ghost")
    assert await ghost.publish(PREFIX, "ghost", first, head, pack([(b"one", False)]), first)
    ticket = await opening(cache, upstream)
    if first == 2:
        assert (ticket.decision, await read(ticket)) == (MISS, upstream.data)
        return
    assert (ticket.decision, ticket.model, ticket.provider) == (JOINED, head.model, head.provider)
    assert (await anext(ticket.parts)).data == b"one"
    await ghost.publish(PREFIX, "ghost", 3, head, pack([(b"three", False)]), 3)
    with pytest.raises(MeshError, match="PROVIDER_ANSWER_BROKEN"):
        await anext(ticket.parts)
    assert upstream.calls == 0


async def test_a_leader_that_says_nothing_for_too_long_is_not_waited_for(replicas: Replicas, redis: Redis) -> None:
    [cache] = replicas(1, replace(PATIENT, wait_ms=1))
    upstream = Upstream()
    assert await SharedLayer(redis, PATIENT).claim(PREFIX, "ghost") == Claim()
    assert await ask(cache, upstream) == (MISS, upstream.data)


async def test_news_of_another_release_are_not_believed(replicas: Replicas, redis: Redis) -> None:
    [cache] = replicas(1, replace(PATIENT, poll_most_ms=10))
    upstream = Upstream()
    assert await SharedLayer(redis, PATIENT).claim(PREFIX, "ghost") == Claim()
    await redis.xadd(f"{PREFIX}:s:ghost", {"h": "[1]", "p": "?"}, id="1-0")
    assert await ask(cache, upstream) == (MISS, upstream.data)


@pytest.mark.parametrize("seed", range(3))
async def test_whoever_stays_gets_the_whole_answer_whatever_others_do(
    replicas: Replicas, redis: Redis, seed: int
) -> None:
    random = Random(seed)
    caches = replicas(4)
    upstreams = [Upstream(stream_parts(200), pause=True) for _ in range(4)]

    async def caller(number: int) -> bytes:
        await asyncio.sleep(random.random() * 0.05)
        options = {"prompt": str(number), "cache": CacheControl(refresh=random.random() < 0.05, ttl_s=1)}
        return (await ask(random.choice(caches), upstreams[number], **options))[1]

    numbers = [random.randrange(4) for _ in range(200)]
    tasks = [asyncio.create_task(caller(number)) for number in numbers]
    for task in random.sample(tasks, 120):
        await asyncio.sleep(random.random() * 0.001)
        task.cancel()
    async with asyncio.timeout(WAIT_S):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for number, result in zip(numbers, results, strict=True):
        assert isinstance(result, asyncio.CancelledError) or result == upstreams[number].data
    for cache in caches:
        flights = cache._flights
        await until(lambda flights=flights: not flights._jobs and not flights._tasks)
        assert (flights._open, flights._held.held_bytes) == ({}, 0)
    for upstream in upstreams:
        assert upstream.calls == upstream.whole + upstream.aborted
    assert await led(redis) == []


async def test_without_redis_the_cache_is_this_process(tmp_path: Path) -> None:
    client = mesh_redis.open(temporary_redis(tmp_path).url(), 0.05)  # nobody listens
    cache = AnswerCache(client)
    upstream = Upstream(free=1)
    tickets = [await cache.open(model_call(), POLICY, upstream.produce) for _ in range(3)]
    upstream.gate.set()
    assert [ticket.decision for ticket in tickets] == [MISS, JOINED, JOINED]
    assert [await read(ticket) for ticket in tickets] == [upstream.data] * 3
    assert (await ask(cache, upstream))[0] == HIT
    left = await cache.open(model_call("left"), POLICY, Upstream(free=1).produce)
    await left.parts.aclose()
    await settled(cache)
    await cache.close()
    await client.aclose()


async def test_redis_goes_away_while_flights_are_under_way(tmp_path: Path) -> None:
    server = temporary_redis(tmp_path)
    clients = [mesh_redis.open(server.url(), 1.0) for _ in range(2)]
    one, other = (AnswerCache(client, options=SHORT) for client in clients)
    told, untold, leaving = Upstream(free=2), Upstream(free=0), Upstream(free=1)
    again = Upstream()
    with running_redis(server):
        leader = await opening(one, told)
        follower = await opening(other, told)
        assert follower.decision == JOINED
        waiting = [opening(one, untold, prompt="untold")]
        await until(lambda: untold.calls)
        waiting.append(opening(other, again, prompt="untold"))
        await asked(clients[0], lambda: followers_of(clients[0], "untold"))
        left = await opening(one, leaving, prompt="leaving")
    # Redis is gone, and nobody can say whether another replica follows the one whose only caller leaves.
    await left.parts.aclose()
    await until(lambda: leaving.aborted)
    # Who has a part of an answer from another replica is told; who has none calls the provider itself;
    # the leader's own callers notice nothing.
    with pytest.raises(MeshError, match="PROVIDER_ANSWER_BROKEN"):
        await read(follower)
    ticket = await waiting[1]
    assert (ticket.decision, await read(ticket)) == (MISS, again.data)
    told.gate.set()
    untold.gate.set()
    assert await read(leader) == told.data
    assert await read(await waiting[0]) == untold.data
    # What was answered meanwhile is in memory.
    assert await ask(one, told) == (HIT, told.data)
    with running_redis(server):
        fresh = Upstream()
        await asked(clients[0], lambda: answers(clients[0]))
        assert await ask(one, fresh, prompt="fresh") == (MISS, fresh.data)
        for cache in (one, other):
            await settled(cache)
            await cache.close()
        for client in clients:
            await client.aclose()
