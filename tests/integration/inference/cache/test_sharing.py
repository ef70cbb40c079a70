"""Replicas that share answers and flights."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from services.inference.cache.answers import AnswerCache, Ticket
from services.inference.cache.entries import PLAIN
from services.inference.engine.call import CacheControl
from services.inference.providers.base import Part, TokenUsage
from services.inference.routing.route import CachePolicy
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
    REFRESH,
    Replicas,
    ask,
    asked,
    followers,
    negated,
    opening,
    settled,
)
from tests.unit.inference.cache.world import (
    WAIT_S,
    Upstream,
    body_upstream,
    model_call,
    read,
    stream_parts,
    until,
)


async def test_time_in_redis_and_what_stays_there(redis: Redis, replicas: Replicas) -> None:
    [one] = replicas(1)
    await ask(one, Upstream(), cache=CacheControl(ttl_s=7))
    await settled(one)
    assert 0 < await redis.pttl(f"{PREFIX}:a") <= 7000
    # Nothing else is left, and the tag keeps all of a tenant in one slot.
    assert await redis.keys("*") == [f"{PREFIX}:a".encode()]
    assert PREFIX.startswith("cache:{org-1}:")


async def test_the_rest_of_its_time_goes_with_it_into_memory(redis: Redis, redis_url: str, replicas: Replicas) -> None:
    [one] = replicas(1)
    await ask(one, Upstream())
    await settled(one)
    await redis.pexpire(f"{PREFIX}:a", 20_000)
    now = 0.0
    client = mesh_redis.open(redis_url, 5.0)
    late = AnswerCache(client, options=PATIENT, monotonic=lambda: now)
    assert (await ask(late, Upstream()))[0] == HIT
    await redis.flushall()
    now = 10.0
    assert (await ask(late, Upstream()))[0] == HIT
    now = 20.0
    assert (await ask(late, Upstream()))[0] == MISS
    await late.close()
    await client.aclose()


async def test_reading_an_answer_does_not_make_it_last_longer(redis: Redis, replicas: Replicas) -> None:
    one, other = replicas(2)
    await ask(one, Upstream())
    await settled(one)
    await redis.pexpire(f"{PREFIX}:a", 20_000)
    assert (await ask(other, Upstream()))[0] == HIT
    await settled(other)
    assert await redis.pttl(f"{PREFIX}:a") <= 20_000


async def test_refresh_stores_over(replicas: Replicas) -> None:
    one, other = replicas(2)
    new = Upstream(stream_parts(text="new"))
    await ask(one, Upstream())
    await settled(one)
    assert (await ask(other, new, cache=CacheControl(refresh=True)))[0] == REFRESH
    await settled(other)
    [third] = replicas(1)
    assert await ask(third, Upstream()) == (HIT, new.data)


async def test_what_cannot_be_read_is_replaced(redis: Redis, replicas: Replicas) -> None:
    [one] = replicas(1)
    for value in (b"\x07what a later release writes", bytes([PLAIN]) + b"\xff" * 9):
        await redis.set(f"{PREFIX}:a", value, px=60_000)
        upstream = Upstream()
        assert await ask(one, upstream, cache=CacheControl(ttl_s=1)) == (MISS, upstream.data)
        await settled(one)
        assert await redis.get(f"{PREFIX}:a") != value
        one._memory.clear()


@pytest.mark.parametrize("tokens", [0, 3])
async def test_200_identical_calls_on_4_replicas_are_one_call_of_the_provider(
    replicas: Replicas, redis: Redis, tokens: int
) -> None:
    caches = replicas(4)
    upstream = Upstream(stream_parts(50), free=tokens)
    tasks = [opening(caches[number % 4], upstream) for number in range(200)]
    await until(lambda: upstream.calls)

    async def all_follow() -> bool:
        return await followers(redis) == 3

    await asked(redis, all_follow)
    upstream.gate.set()
    async with asyncio.timeout(WAIT_S):
        tickets = await asyncio.gather(*tasks)
        answers = await asyncio.gather(*map(read, tickets))
    assert set(answers) == {upstream.data}
    assert sorted(ticket.decision for ticket in tickets) == [MISS] + [JOINED] * 199
    assert {(ticket.model, ticket.provider) for ticket in tickets} == {("house", "mock")}
    assert {(ticket.usage, ticket.finish_reasons[0]) for ticket in tickets} == {(TokenUsage(3, 5), "stop")}
    assert (upstream.calls, upstream.whole) == (1, 1)
    for cache in caches:
        await settled(cache)
        assert (await ask(cache, upstream))[0] == HIT


async def test_a_call_that_comes_while_another_ends_is_not_asked_again(replicas: Replicas) -> None:
    """The answer is stored and the lead given back in one step."""
    caches = replicas(4)
    for number in range(10):
        upstream = Upstream(stream_parts(30), pause=True)

        async def caller(place: int, upstream: Upstream = upstream, prompt: str = str(number)) -> bytes:
            for _ in range(place * 3):
                await asyncio.sleep(0)
            return (await ask(caches[place % 4], upstream, prompt=prompt))[1]

        async with asyncio.timeout(WAIT_S):
            assert set(await asyncio.gather(*map(caller, range(60)))) == {upstream.data}
        assert upstream.calls == 1


async def test_parts_reach_other_replicas_as_they_come(replicas: Replicas, redis: Redis) -> None:
    one, other = replicas(2)
    upstream = Upstream(free=1)
    first = await opening(one, upstream)
    second = await opening(other, upstream)
    assert (second.decision, second.model) == (JOINED, "house")
    for count in range(2, len(upstream.parts) + 1):
        assert (await anext(second.parts)).data == upstream.parts[count - 2].data
        upstream.let(count)
    assert (await anext(second.parts)).data == upstream.parts[-1].data
    upstream.gate.set()
    assert await read(second) == b""
    assert await read(first) == upstream.data


async def test_an_answer_that_began_anew_is_told_in_place(replicas: Replicas, redis: Redis) -> None:
    one, other = replicas(2)
    upstream = Upstream(free=0, restart_at=3)
    tasks = [opening(one, upstream)]
    await until(lambda: upstream.calls)
    tasks.append(opening(other, upstream))
    await asked(redis, lambda: followers(redis))
    upstream.gate.set()
    for ticket in await asyncio.gather(*tasks):
        assert [ticket.restarted async for _ in ticket.parts] == [False] * 3 + [True] * 3
    await settled(one)
    assert await redis.exists(f"{PREFIX}:a") == 0


@pytest.mark.parametrize("told", [0, 2])
async def test_errors_reach_other_replicas(replicas: Replicas, redis: Redis, told: int) -> None:
    one, other = replicas(2)
    upstream = Upstream(stream_parts()[:told], error=BROKEN, free=0)
    tasks = [opening(one, upstream)]
    await until(lambda: upstream.calls)
    tasks.append(opening(other, upstream))
    await asked(redis, lambda: followers(redis))
    upstream.gate.set()

    async def answer(task: asyncio.Task[Ticket]) -> bytes:
        return await read(await task)

    results = await asyncio.gather(*map(answer, tasks), return_exceptions=True)
    for error in results:
        assert isinstance(error, MeshError)
        assert (error.reason, error.message, error.metadata, error.retry_after_s) == (
            BROKEN.reason,
            BROKEN.message,
            BROKEN.metadata,
            BROKEN.retry_after_s,
        )
    assert upstream.calls == 1
    assert await redis.exists(f"{PREFIX}:a") == 0


async def test_who_waits_on_another_replica_has_the_first_part_at_once(replicas: Replicas, redis: Redis) -> None:
    one, other = replicas(2, replace(PATIENT, lease_ms=200_000, renew_ms=100_000))
    upstream = Upstream(free=0)
    first = opening(one, upstream)
    await until(lambda: upstream.calls)
    second = opening(other, upstream)
    await asked(redis, lambda: followers(redis))
    upstream.let(1)
    async with asyncio.timeout(WAIT_S):
        ticket = await second
    assert (await anext(ticket.parts)).data == upstream.parts[0].data
    upstream.gate.set()
    assert await read(await first) == upstream.data
    await ticket.parts.aclose()


async def test_an_answer_too_large_to_keep_still_reaches_other_replicas(replicas: Replicas, redis: Redis) -> None:
    one, other, late = replicas(3)
    parts = [Part(b": " + bytes([97 + number]) * 20_000 + b"\n\n", []) for number in range(12)]
    upstream = Upstream(parts, free=1)
    first = await opening(one, upstream)
    second = await opening(other, upstream)
    reading = [asyncio.create_task(read(ticket)) for ticket in (first, second)]
    upstream.let(6)
    await asked(redis, lambda: negated(redis.exists(f"{PREFIX}:l")))
    own = Upstream()
    assert await ask(late, own) == (MISS, own.data)
    upstream.gate.set()
    assert await asyncio.gather(*reading) == [upstream.data] * 2
    assert upstream.calls == 1


async def test_redis_holds_a_bounded_part_of_a_large_answer(replicas: Replicas, redis: Redis) -> None:
    one, other = replicas(2, replace(PATIENT, publish_batch_ms=0))
    policy = CachePolicy(60.0, 1000)
    upstream = Upstream([Part(bytes([97 + number]) * 900, []) for number in range(20)], free=1)
    tickets = [await cache.open(model_call(), policy, upstream.produce) for cache in (one, other)]
    reading = [asyncio.create_task(read(ticket)) for ticket in tickets]
    most = 0
    for count in range(2, 20):
        upstream.let(count)
        await until(lambda count=count: upstream.given == count)
        for key in await redis.keys("*:s:*"):
            most = max(most, sum(len(fields[b"p"]) for _, fields in await redis.xrange(key)))
    assert 1000 < most <= 4 * 1000 + 2 * 904  # what came while it waited is one entry
    upstream.gate.set()
    assert await asyncio.gather(*reading) == [upstream.data] * 2


async def test_a_body_larger_than_what_redis_holds_reaches_other_replicas(replicas: Replicas, redis: Redis) -> None:
    one, other = replicas(2)
    policy = CachePolicy(60.0, 1000)
    upstream = body_upstream(b"x" * 50_000, free=0)
    tasks = [asyncio.create_task(one.open(model_call(streamed=False), policy, upstream.produce))]
    await until(lambda: upstream.calls)
    tasks.append(asyncio.create_task(other.open(model_call(streamed=False), policy, upstream.produce)))
    await asked(redis, lambda: followers(redis))
    upstream.let(1)
    first = await tasks[0]
    assert (await anext(first.parts)).data == upstream.data
    upstream.gate.set()
    assert await read(await tasks[1]) == upstream.data
    assert upstream.calls == 1
