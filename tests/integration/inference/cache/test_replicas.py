"""Several caches on one real Redis: replicas that share answers and flights, and lose each other and Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.cache.answers import AnswerCache, CacheOptions, Ticket
from services.inference.cache.entries import PLAIN, pack
from services.inference.cache.keys import key_of
from services.inference.cache.shared import Claim, Head, SharedLayer, prefix_of
from services.inference.engine.call import CacheControl
from services.inference.providers.base import Part, TokenUsage
from services.inference.routing.route import CachePolicy
from services.local.embedded.redis import running_redis, temporary_redis
from services.mesh import redis as mesh_redis
from services.mesh.errors import MeshError
from services.mesh.redis import Redis
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

MISS, HIT = pb.CACHE_DECISION_MISS, pb.CACHE_DECISION_HIT
JOINED, REFRESH = pb.CACHE_DECISION_JOINED, pb.CACHE_DECISION_REFRESH
BROKEN = MeshError("PROVIDER_TIMEOUT", "It was late.", metadata={"provider": "mock"}, retry_after_s=2.0)
# A noisy machine may stall for long; what is tested is what happens, not how fast.
PATIENT = CacheOptions(lease_ms=20_000, follower_ms=20_000, renew_ms=50)
# Where a leader is to be found dead.
SHORT = CacheOptions(lease_ms=400, renew_ms=100, follower_ms=2000)
PREFIX = prefix_of("org-1", key_of(model_call()))

Replicas = Callable[..., list[AnswerCache]]


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = mesh_redis.open(redis_url, 5.0)
    yield client
    await client.aclose()


@pytest.fixture
async def replicas(redis_url: str) -> AsyncIterator[Replicas]:
    async with contextlib.AsyncExitStack() as stack:

        def make(count: int, options: CacheOptions = PATIENT) -> list[AnswerCache]:
            made = []
            for _ in range(count):
                client = mesh_redis.open(redis_url, 5.0)
                stack.push_async_callback(client.aclose)
                cache = AnswerCache(client, options=options)
                stack.push_async_callback(cache.close)
                made.append(cache)
            return made

        yield make


async def ask(cache: AnswerCache, upstream: Upstream, /, **options: Any) -> tuple[int, bytes]:
    ticket = await cache.open(model_call(**options), POLICY, upstream.produce)
    return ticket.decision, await read(ticket)


def opening(cache: AnswerCache, upstream: Upstream, /, **options: Any) -> asyncio.Task[Ticket]:
    return asyncio.create_task(cache.open(model_call(**options), POLICY, upstream.produce))


async def asked(redis: Redis, check: Callable[[], Awaitable[Any]]) -> None:
    """Waits until what Redis says is true."""
    async with asyncio.timeout(WAIT_S):
        while not await check():
            await asyncio.sleep(0.002)


async def followers(redis: Redis) -> int:
    found = 0
    async for key in redis.scan_iter(match="cache:*:f:*"):
        found += await redis.zcard(key)
    return found


async def led(redis: Redis) -> list[bytes]:
    """What says that somebody leads a flight."""
    return [key async for key in redis.scan_iter(match="cache:*") if key.split(b":")[3] in (b"l", b"b")]


async def settled(cache: AnswerCache) -> None:
    """What happens after the last part is over: Redis has the answer."""
    await until(lambda: not cache._flights._jobs)


async def vanish(cache: AnswerCache) -> None:
    """As a process that is killed: nothing more is heard of it."""
    flights = cache._flights
    assert flights._leads is not None
    keeper = flights._leads._task
    tasks = [lead.publisher for lead in flights._leads._leads.values()] + [keeper]
    for task in tasks:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


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


async def test_errors_and_flagged_answers_are_not_shared(redis: Redis, replicas: Replicas) -> None:
    one, other = replicas(2)
    await ask(one, Upstream(finish="content_filter"))
    with pytest.raises(MeshError):
        await ask(one, Upstream(error=BROKEN))
    await settled(one)
    assert await redis.keys("*") == []
    assert (await ask(other, Upstream()))[0] == MISS


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


async def test_a_caller_that_leaves_while_redis_is_asked_leaves_no_lead(replicas: Replicas, redis: Redis) -> None:
    [one] = replicas(1)
    await redis.ping()
    upstream = Upstream()
    await ask(one, upstream, prompt="scripts are loaded")
    for steps in range(40):
        waiting = opening(one, upstream, prompt=str(steps))
        for _ in range(steps):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        if not waiting.cancelled():
            await waiting.result().parts.aclose()
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
    await asked(redis, lambda: _not(redis.exists(f"{PREFIX}:l")))
    own = Upstream()
    assert await ask(late, own) == (MISS, own.data)
    upstream.gate.set()
    assert await asyncio.gather(*reading) == [upstream.data] * 2
    assert upstream.calls == 1


async def _not(check: Awaitable[Any]) -> bool:
    return not await check


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
    # Redis is gone. Who has a part of an answer from another replica is told; who has none calls the provider itself;
    # the leader's own callers notice nothing.
    with pytest.raises(MeshError, match="PROVIDER_ANSWER_BROKEN"):
        await read(follower)
    ticket = await waiting[1]
    assert (ticket.decision, await read(ticket)) == (MISS, again.data)
    told.gate.set()
    untold.gate.set()
    assert await read(leader) == told.data
    assert await read(await waiting[0]) == untold.data
    await left.parts.aclose()
    await until(lambda: leaving.aborted)
    # What was answered meanwhile is in memory.
    assert await ask(one, told) == (HIT, told.data)
    with running_redis(server):
        fresh = Upstream()
        await asked(clients[0], lambda: _answers(clients[0]))
        assert await ask(one, fresh, prompt="fresh") == (MISS, fresh.data)
        for cache in (one, other):
            await settled(cache)
            await cache.close()
        for client in clients:
            await client.aclose()


async def followers_of(redis: Redis, prompt: str) -> int:
    prefix = prefix_of("org-1", key_of(model_call(prompt)))
    return len([key async for key in redis.scan_iter(match=f"{prefix.replace('{', '?').replace('}', '?')}:f:*")])


async def _answers(redis: Redis) -> bool:
    with contextlib.suppress(MeshError):
        await redis.ping()
    return redis.available
