"""Flights of one process: who joins, who leaves, what ends them, and what they hold."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from random import Random

import pytest

from services.inference.cache.answers import AnswerCache, CacheOptions, Ticket
from services.inference.engine.call import CacheControl
from services.inference.providers.base import Part, TokenUsage
from services.inference.routing.route import CachePolicy
from services.mesh.errors import MeshError
from tests.unit.inference.cache.world import (
    BROKEN,
    HIT,
    JOINED,
    MISS,
    POLICY,
    WAIT_S,
    Upstream,
    ask,
    model_call,
    read,
    stream_parts,
    until,
)


async def test_identical_calls_join_and_late_ones_get_the_beginning(cache: AnswerCache) -> None:
    upstream = Upstream(free=2)
    first = await cache.open(model_call(), POLICY, upstream.produce)
    await anext(first.parts)
    await anext(first.parts)
    late = [await cache.open(model_call(), POLICY, upstream.produce) for _ in range(5)]
    assert [ticket.decision for ticket in late] == [JOINED] * 5
    assert [(ticket.model, ticket.provider) for ticket in late] == [("house", "mock")] * 5
    reading = [asyncio.create_task(read(ticket)) for ticket in late]
    upstream.gate.set()
    assert await asyncio.gather(*reading) == [upstream.data] * 5
    assert await read(first) == b"".join(part.data for part in upstream.parts[2:])
    for ticket in late:
        # Nothing was called for them.
        assert (ticket.info.attempts, ticket.usage, ticket.finish_reasons) == ([], TokenUsage(3, 5), {0: "stop"})
        assert ticket.info.usage == TokenUsage(3, 5)
    assert len(first.info.attempts) == 1
    assert upstream.calls == 1


async def test_tenants_do_not_join(cache: AnswerCache) -> None:
    upstream = Upstream(free=1)
    tickets = [await cache.open(model_call(org_id=org), POLICY, upstream.produce) for org in ("a", "b")]
    assert [ticket.decision for ticket in tickets] == [MISS, MISS]
    upstream.gate.set()
    await asyncio.gather(*map(read, tickets))
    assert upstream.calls == 2


async def test_who_leaves_does_not_end_it_for_others(cache: AnswerCache) -> None:
    upstream = Upstream(free=1)
    first = await cache.open(model_call(), POLICY, upstream.produce)
    second = await cache.open(model_call(), POLICY, upstream.produce)
    await first.parts.aclose()
    upstream.gate.set()
    assert await read(second) == upstream.data
    assert (upstream.calls, upstream.aborted) == (1, 0)
    assert (await ask(cache, upstream))[0] == HIT


@pytest.mark.parametrize("how", ["closed unread", "closed", "cancelled", "cancelled before the first part"])
async def test_the_last_who_leaves_ends_it(cache: AnswerCache, how: str) -> None:
    upstream = Upstream(free=0 if how.endswith("first part") else 1)
    if how.startswith("cancelled"):

        async def run() -> None:
            await read(await cache.open(model_call(), POLICY, upstream.produce))

        running = [asyncio.create_task(run()) for _ in range(3)]
        await until(lambda: upstream.calls)
        for task in running[:2]:
            task.cancel()
        await asyncio.wait(running[:2])
        assert upstream.aborted == 0
        running[2].cancel()
        await asyncio.wait(running)
    else:
        tickets = [await cache.open(model_call(), POLICY, upstream.produce) for _ in range(2)]
        for ticket in tickets:
            assert upstream.aborted == 0
            if how == "closed":
                await anext(ticket.parts)
            await ticket.parts.aclose()
    await until(lambda: upstream.aborted)
    # Who comes now begins anew, and is not given what was cut.
    upstream.gate.set()
    assert await ask(cache, upstream) == (MISS, upstream.data)


async def test_who_comes_right_after_the_last_left_begins_anew(cache: AnswerCache) -> None:
    upstream = Upstream(free=1)
    ticket = await cache.open(model_call(), POLICY, upstream.produce)
    await ticket.parts.aclose()
    upstream.gate.set()
    assert await ask(cache, upstream) == (MISS, upstream.data)
    assert (upstream.calls, upstream.aborted) == (2, 1)


async def test_a_caller_cancelled_before_the_flight_began(cache: AnswerCache) -> None:
    upstream = Upstream(free=1)

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()  # arrives at the first wait
        await cache.open(model_call(), POLICY, upstream.produce)

    await asyncio.wait([asyncio.create_task(run())])
    await until(lambda: not cache._flights._jobs)
    assert upstream.whole == 0
    assert upstream.calls == upstream.aborted
    upstream.gate.set()
    assert (await ask(cache, upstream))[0] == MISS


async def test_an_error_before_the_first_part_goes_to_all_and_is_not_stored(cache: AnswerCache) -> None:
    upstream = Upstream([], error=BROKEN, free=0)
    opening = [asyncio.create_task(cache.open(model_call(), POLICY, upstream.produce)) for _ in range(4)]
    await until(lambda: upstream.calls)
    upstream.gate.set()
    async with asyncio.timeout(WAIT_S):
        results = await asyncio.gather(*opening, return_exceptions=True)
    for error in results:
        assert isinstance(error, MeshError)
        assert (error.reason, error.metadata, error.retry_after_s) == (BROKEN.reason, {"provider": "mock"}, 2.0)
    assert len({id(error) for error in results}) == 4  # each has its own frames
    assert upstream.calls == 1
    assert (await ask(cache, Upstream()))[0] == MISS


async def test_an_error_in_the_middle_goes_to_all_after_what_came(cache: AnswerCache) -> None:
    upstream = Upstream(error=BROKEN, free=2)
    tickets = [await cache.open(model_call(), POLICY, upstream.produce) for _ in range(3)]
    upstream.gate.set()
    for ticket in tickets:
        got = []
        for _ in upstream.parts:
            got.append((await anext(ticket.parts)).data)
        with pytest.raises(MeshError, match="It broke"):
            await anext(ticket.parts)
        assert b"".join(got) == upstream.data
    assert (await ask(cache, Upstream()))[0] == MISS


async def test_a_fault_of_ours_goes_to_all(cache: AnswerCache) -> None:
    upstream = Upstream([], error=ZeroDivisionError("a bug"), free=0)
    opening = [asyncio.create_task(cache.open(model_call(), POLICY, upstream.produce)) for _ in range(2)]
    await until(lambda: upstream.calls)
    upstream.gate.set()
    results = await asyncio.gather(*opening, return_exceptions=True)
    assert [type(error) for error in results] == [ZeroDivisionError] * 2


async def test_who_joined_asks_for_itself_where_only_the_first_was_refused(cache: AnswerCache) -> None:
    refused = MeshError("BUDGET_EXHAUSTED", "Your budget is spent.")
    poor, rich = Upstream([], error=refused, free=0), Upstream()
    opening = [asyncio.create_task(cache.open(model_call(), POLICY, poor.produce))]
    await until(lambda: poor.calls)
    opening += [asyncio.create_task(cache.open(model_call(), POLICY, rich.produce)) for _ in range(3)]
    await asyncio.sleep(0)
    poor.gate.set()
    async with asyncio.timeout(WAIT_S):
        results = await asyncio.gather(*opening, return_exceptions=True)
    assert isinstance(results[0], MeshError)
    tickets = [ticket for ticket in results[1:] if isinstance(ticket, Ticket)]
    assert sorted(ticket.decision for ticket in tickets) == [MISS, JOINED, JOINED]
    assert [await read(ticket) for ticket in tickets] == [rich.data] * 3
    assert (poor.calls, rich.calls) == (1, 1)


async def test_refused_callers_do_not_wait_for_each_other_one_by_one(cache: AnswerCache) -> None:
    upstream = Upstream([], error=MeshError("LIMIT_REACHED", "Too many."), free=0)
    opening = [asyncio.create_task(cache.open(model_call(), POLICY, upstream.produce)) for _ in range(50)]
    for calls in (1, 2):
        await until(lambda calls=calls: upstream.calls == calls)
        upstream.let(0)
    await until(lambda: upstream.calls == 50)  # all that are left, at once
    upstream.gate.set()
    async with asyncio.timeout(WAIT_S):
        results = await asyncio.gather(*opening, return_exceptions=True)
    assert {str(error) for error in results} == {"LIMIT_REACHED: Too many."}


async def test_an_answer_that_began_anew_is_told_in_place_and_not_stored(cache: AnswerCache) -> None:
    upstream = Upstream(restart_at=3, free=0)
    opening = [asyncio.create_task(cache.open(model_call(), POLICY, upstream.produce)) for _ in range(2)]
    await until(lambda: upstream.calls)
    upstream.gate.set()
    for ticket in await asyncio.gather(*opening):
        assert [ticket.restarted async for _ in ticket.parts] == [False] * 3 + [True] * 3
    assert (await ask(cache, upstream))[0] == MISS


async def test_an_answer_too_large_to_keep_takes_no_more_callers_and_reaches_those_it_has(cache: AnswerCache) -> None:
    size = POLICY.entry_bytes_max // 4
    parts = [Part(b": " + b"x" * size + b"\n\n", []) for _ in range(6)]
    upstream = Upstream(parts, free=1)
    tickets = [await cache.open(model_call(), POLICY, upstream.produce) for _ in range(3)]
    reading = [asyncio.create_task(read(ticket)) for ticket in tickets]
    upstream.let(5)
    await until(lambda: upstream.given == 5)
    other = Upstream()
    assert await ask(cache, other) == (MISS, other.data)
    upstream.gate.set()
    assert await asyncio.gather(*reading) == [upstream.data] * 3
    assert (upstream.calls, upstream.aborted) == (1, 0)


async def test_a_flight_waits_for_its_slowest_follower() -> None:
    cache = AnswerCache(None)
    policy = CachePolicy(60.0, 1000)
    parts = [Part(b"x" * 500, []) for _ in range(100)]
    upstream = Upstream(parts, free=1)
    slow = await cache.open(model_call(), policy, upstream.produce)
    fast = await cache.open(model_call(), policy, upstream.produce)
    upstream.gate.set()
    for _ in range(3):
        await anext(slow.parts)
    quick = asyncio.create_task(read(fast))
    given = -1
    while given != upstream.given:  # until nothing moves any more
        given = upstream.given
        for _ in range(50):
            await asyncio.sleep(0)
    assert 3 + 4 * 1000 // 548 <= given <= 3 + 4 * 1000 // 500 + 1
    assert cache._flights._held.held_bytes <= 4 * 1000 + 600
    # The slowest leaves, and the other one is not held up any more.
    await slow.parts.aclose()
    assert await quick == upstream.data
    assert cache._flights._held.held_bytes == 0
    await cache.close()


async def test_flights_hold_little_where_all_of_them_hold_too_much() -> None:
    cache = AnswerCache(None, options=CacheOptions(flight_bytes_max=3000))
    upstreams = [Upstream([Part(b"x" * 500, []) for _ in range(100)]) for _ in range(10)]
    tickets = [await cache.open(model_call(str(i)), POLICY, one.produce) for i, one in enumerate(upstreams)]
    for _ in range(500):
        await asyncio.sleep(0)
    # One part more for each flight than what all may hold together.
    assert cache._flights._held.held_bytes <= 3000 + 10 * 548
    assert [await read(ticket) for ticket in tickets] == [one.data for one in upstreams]
    assert cache._flights._held.held_bytes == 0
    await cache.close()


async def test_nothing_is_left_of_flights_that_are_over(cache: AnswerCache) -> None:
    for finish in ("stop", "content_filter"):
        await ask(cache, Upstream(finish=finish), model_call(finish))
    ticket = await cache.open(model_call("left"), POLICY, Upstream(free=1).produce)
    await ticket.parts.aclose()
    with pytest.raises(MeshError):
        await ask(cache, Upstream([], error=BROKEN), model_call("broken"))
    flights = cache._flights
    await until(lambda: not flights._jobs)
    assert (flights._open, flights._tasks, flights._held.held_bytes) == ({}, set(), 0)


async def test_the_flight_keeps_the_context_of_who_began_it(cache: AnswerCache) -> None:
    who: ContextVar[str] = ContextVar("who")
    seen: list[str] = []
    upstream = Upstream(free=1)

    async def produce(info):  # type: ignore[no-untyped-def]
        seen.append(who.get())
        async for part in upstream.produce(info):
            yield part
        seen.append(who.get())

    async def begin() -> Ticket:
        who.set("first")
        return await cache.open(model_call(), POLICY, produce)

    first = await asyncio.create_task(begin())
    who.set("second")
    second = await cache.open(model_call(), POLICY, produce)
    await first.parts.aclose()
    upstream.gate.set()
    assert await read(second) == upstream.data
    assert seen == ["first", "first"]


async def test_closing_ends_flights_and_tells_who_is_left() -> None:
    cache = AnswerCache(None)
    upstream = Upstream(free=1)
    ticket = await cache.open(model_call(), POLICY, upstream.produce)
    async with asyncio.timeout(WAIT_S):
        await cache.close()
    assert upstream.aborted == 1
    await anext(ticket.parts)
    with pytest.raises(MeshError, match="DRAINING"):
        await anext(ticket.parts)


async def test_memory_is_bounded_by_its_setting() -> None:
    cache = AnswerCache(None, memory_bytes_max=5000)
    upstream = Upstream()
    for number in range(10):
        await ask(cache, upstream, model_call(str(number)))
        assert cache._memory.size_bytes <= 5000
    assert (await ask(cache, upstream, model_call("9")))[0] == HIT
    assert (await ask(cache, upstream, model_call("0")))[0] == MISS
    await cache.close()


@pytest.mark.parametrize("seed", range(5))
async def test_whoever_stays_gets_the_whole_answer_whatever_others_do(cache: AnswerCache, seed: int) -> None:
    random = Random(seed)
    upstreams = [Upstream(stream_parts(20), pause=True) for _ in range(4)]
    expected = [upstream.data for upstream in upstreams]
    policy = CachePolicy(0.001 if seed % 2 else 60.0, random.choice([500, 64 * 1024]))

    async def caller(number: int) -> bytes:
        for _ in range(random.randrange(60)):
            await asyncio.sleep(0)
        control = CacheControl(refresh=random.random() < 0.1)
        ticket = await cache.open(model_call(str(number), cache=control), policy, upstreams[number].produce)
        return await read(ticket)

    numbers = [random.randrange(4) for _ in range(200)]
    tasks = [asyncio.create_task(caller(number)) for number in numbers]
    for task in random.sample(tasks, 120):
        await asyncio.sleep(0)
        task.cancel()
    async with asyncio.timeout(WAIT_S):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    for number, result in zip(numbers, results, strict=True):
        assert isinstance(result, asyncio.CancelledError) or result == expected[number]
    assert sum(isinstance(result, bytes) for result in results) >= 80
    flights = cache._flights
    await until(lambda: not flights._jobs)
    assert (flights._open, flights._tasks, flights._held.held_bytes) == ({}, set(), 0)
    for upstream in upstreams:
        assert upstream.calls == upstream.whole + upstream.aborted
