"""Processes that die, a Redis that is away, and one that forgot everything: never beyond the limit."""

from __future__ import annotations

import asyncio
import gc
import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
import redis as blocking_redis

from services.inference.limits import Leave, LedgerHooks, Limits, Total, Unflushed
from services.local.embedded.redis import RedisServer, running_redis, temporary_redis
from services.mesh.call import Caller
from services.mesh.errors import MeshError
from tests.integration.inference.limits.conftest import CALLER, KEY, OPTIONS, ORG, USER, Fleet, of_org, until
from tests.integration.inference.limits.test_race import CALLERS, CALLS, NANOS, call_until_spent


async def remaining(limits: Limits) -> int:
    return (await limits.left(CALLER))[0].remaining


async def passes(limits: Limits, nanos: int = 1, caller: Caller = CALLER) -> bool:
    try:
        (await limits.reserve(caller, tokens=1, nanos=nanos)).settle(tokens=1, nanos=nanos)
    except MeshError:
        return False
    return True


async def test_a_killed_replica_never_lets_more_pass(fleet: Fleet) -> None:
    values = {"nanos_per_day": CALLS * NANOS}
    replicas = [fleet.start(of_org(**values, concurrent_requests=300)) for _ in range(4)]
    victim = replicas[0]
    passed: list[int] = []
    rng = random.Random(11)

    async def call_victim() -> None:
        while True:
            try:
                reservation = await victim.reserve(CALLER, tokens=1, nanos=NANOS)
            except MeshError:
                await asyncio.sleep(0.01)
                continue
            passed.append(1)  # what the provider has answered counts, though it is never settled
            await asyncio.sleep(0.002)
            reservation.settle(tokens=1, nanos=NANOS)

    lost = [asyncio.create_task(call_victim()) for _ in range(20)]
    callers = asyncio.gather(*(call_until_spent(replicas[1:], passed, rng) for _ in range(CALLERS)))
    await until(lambda: len(passed) > 300)
    for task in lost:
        task.cancel()
    await asyncio.wait(lost)
    await fleet.kill(victim)
    await callers
    assert CALLS - 200 < len(passed) <= CALLS  # what the victim held unused is not given away


async def test_a_dead_process_s_calls_at_once_come_back_and_its_money_counts(fleet: Fleet) -> None:
    defaults = of_org(concurrent_requests=3, nanos_per_day=1000)
    dead, other = fleet.start(defaults), fleet.start(defaults)
    for _ in range(3):
        await dead.reserve(CALLER, tokens=1, nanos=100)
    assert not await passes(other)
    await fleet.kill(dead)
    async with asyncio.timeout(10 * OPTIONS.lease_s):
        while not await passes(other):
            await asyncio.sleep(0.02)
    left = {one.limit: one.remaining for one in await other.left(CALLER)}
    assert left["concurrent_requests"] == 3
    assert left["nanos_per_day"] <= 1000 - 300 - 1


async def test_a_journal_gives_back_what_a_dead_process_did_not_use(fleet: Fleet) -> None:
    defaults = of_org(nanos_per_day=100_000)
    dead, other = fleet.start(defaults), fleet.start(defaults)
    settled = await dead.reserve(CALLER, tokens=1, nanos=100)
    await dead.reserve(CALLER, tokens=1, nanos=300)
    await dead.flush()
    settled.settle(tokens=1, nanos=70)  # Redis is never told
    incarnation, settle_time = dead.incarnation, time.time() + 0.01
    await fleet.kill(dead)
    begin_time = time.time()
    leaves = [
        Leave(ORG, USER, KEY, begin_time, 1, 70, settle_time),
        Leave(ORG, USER, KEY, begin_time, 1, 300),
        Leave(ORG, USER, KEY, begin_time - 200_000, 1, 300),  # of a day that is over
        Leave(ORG, USER, KEY, begin_time, 1, 99, 1.0),  # settled long ago: Redis was told
    ]
    assert await passes(other)
    await other.retire(incarnation, leaves)
    assert await remaining(other) == 100_000 - 70 - 300 - 1
    await other.retire(incarnation, leaves)
    assert await remaining(other) == 100_000 - 70 - 300 - 1


async def test_what_was_told_in_the_moment_of_its_end_is_not_counted_twice(fleet: Fleet) -> None:
    defaults = of_org(nanos_per_day=100_000)
    dead, other = fleet.start(defaults), fleet.start(defaults)
    leaves = []
    for _ in range(20):
        reservation = await dead.reserve(CALLER, tokens=1, nanos=100)
        settle_time = time.time()
        reservation.settle(tokens=1, nanos=70)
        await dead.flush()
        leaves.append(Leave(ORG, USER, KEY, settle_time, 1, 70, settle_time))
    incarnation = dead.incarnation
    await fleet.kill(dead)

    await other.retire(incarnation, leaves)

    assert await remaining(other) == 100_000 - 20 * 70


async def test_what_postgresql_had_counts_unless_redis_was_seeded_with_it(fleet: Fleet) -> None:
    defaults = of_org(nanos_per_day=100_000)
    dead, other = fleet.start(defaults), fleet.start(defaults)
    settled = await dead.reserve(CALLER, tokens=1, nanos=100)
    await dead.flush()
    now = time.time()
    leaves = [Leave(ORG, USER, KEY, now, 1, 70, now + 1, stored=True)]  # Redis was not told of it
    incarnation = dead.incarnation
    await fleet.kill(dead)
    settled.release()

    await other.retire(incarnation, leaves)
    assert await remaining(other) == 100_000 - 70
    await other.retire("of a life that Redis has forgotten", leaves)
    assert await remaining(other) == 100_000 - 70


async def test_a_process_taken_for_dead_that_comes_back_is_put_right(fleet: Fleet) -> None:
    defaults = of_org(nanos_per_day=1000)
    silent, other = fleet.start(defaults, runs=False), fleet.start(defaults)
    await until(lambda: other._epochs.ready)
    silent._epochs.value, silent._epochs.ready = other._epochs.value, True
    reservation = await silent.reserve(CALLER, tokens=1, nanos=600)
    assert await passes(other)
    await asyncio.sleep(OPTIONS.lease_s)  # of Redis's clock, which no test can turn
    assert await remaining(other) <= 399
    reservation.settle(tokens=1, nanos=100)
    await silent.flush()
    assert await remaining(other) > 399
    for _ in range(OPTIONS.idle_flushes + 1):
        await silent.flush()
    assert await remaining(other) == 1000 - 100 - 1


class Ledger:
    """Records on their way to PostgreSQL's sums."""

    def __init__(self, fleet: Fleet) -> None:
        self.sums = fleet.sums.by_subject
        self.pending: list[int] = []
        self.held = False
        self.holds = 0

    @property
    def hooks(self) -> LedgerHooks:
        return LedgerHooks(hold=self.hold, unflushed=self.unflushed)

    def hold(self, on: bool) -> None:
        self.held = on
        self.holds += on

    def unflushed(self) -> list[Unflushed]:
        return [Unflushed(ORG, USER, KEY, time.time(), nanos) for nanos in self.pending]

    def settled(self, nanos: int) -> None:
        self.pending.append(nanos)

    def flush(self) -> None:
        if not self.held:
            total = self.sums.get(ORG, Total(0, 0))
            self.sums[ORG] = Total(total.requests + len(self.pending), total.nanos + sum(self.pending))
            self.pending.clear()


@pytest.mark.parametrize("unit", ["requests_per_day", "nanos_per_month"])
async def test_redis_loses_everything_midway_and_exactly_the_budget_passes(fleet: Fleet, unit: str) -> None:
    amount = CALLS if unit == "requests_per_day" else CALLS * NANOS
    ledgers = [Ledger(fleet) for _ in range(3)]
    replicas = [fleet.start(of_org(**{unit: amount}), hooks=one.hooks) for one in ledgers]
    passed: list[int] = []
    rng = random.Random(3)

    async def call() -> None:
        while True:
            at = rng.randrange(len(replicas))
            try:
                reservation = await replicas[at].reserve(CALLER, tokens=1, nanos=NANOS)
            except MeshError as error:
                if error.metadata.get("state") == "spent":
                    return
                await asyncio.sleep(0.02)
                continue
            await asyncio.sleep(rng.choice((0, 0.002, 0.01)))
            passed.append(1)
            reservation.settle(tokens=1, nanos=NANOS)
            ledgers[at].settled(NANOS)
            if rng.random() < 0.2:
                ledgers[at].flush()

    callers = asyncio.gather(*(call() for _ in range(60)))
    await until(lambda: len(passed) > 400)
    with blocking_redis.Redis.from_url(fleet.url) as client:
        client.flushall()
        client.script_flush()
    await callers
    assert len(passed) == CALLS
    assert all(one.holds >= 2 and not one.held for one in ledgers)


@pytest.fixture
def own_redis(tmp_path: Path) -> RedisServer:
    return temporary_redis(tmp_path)


async def test_without_redis_what_is_held_serves_and_rates_go_by_their_share(
    fleet: Fleet, own_redis: RedisServer
) -> None:
    defaults = of_org(requests_per_minute=12, concurrent_requests=4)
    payer = replace(CALLER, org_id=USER)  # so that each organisation is held by one process
    with running_redis(own_redis):
        rates = fleet.start(defaults, url=own_redis.url(), op_timeout_s=0.5)
        money = fleet.start(of_org(nanos_per_day=1_000_000), url=own_redis.url(), op_timeout_s=0.5)
        (await rates.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)
        held = [await money.reserve(payer, tokens=1, nanos=100) for _ in range(4)]
        holds = money._accounts.of(payer).slices[0].free  # type: ignore[union-attr]
    assert holds > 0
    # Money: what is leased, and not a nano more.
    for one in held:
        one.release()
    assert await passes(money, holds, payer)
    with pytest.raises(MeshError) as caught:
        await money.reserve(payer, tokens=1, nanos=1_000)
    assert (caught.value.reason, caught.value.retry_after_s) == ("DEPENDENCY_UNAVAILABLE", 1.0)
    # Calls a minute and at once: the share of this process, which is the only one.
    running = [await rates.reserve(CALLER, tokens=1, nanos=1) for _ in range(4)]
    with pytest.raises(MeshError) as caught:
        await rates.reserve(CALLER, tokens=1, nanos=1)
    assert caught.value.reason == "CONCURRENCY_LIMIT"
    for one in running:
        one.settle(tokens=1, nanos=1)
    more = 0
    while await passes(rates):
        more += 1
    assert 1 <= more <= 12 * 2  # twice, or less, if the minute ended meanwhile
    with running_redis(own_redis):
        async with asyncio.timeout(20):
            while not await passes(money, 1, payer):
                await asyncio.sleep(0.05)


async def test_a_late_answer_is_asked_for_again(fleet: Fleet) -> None:
    """One's own stall must not look like a dead Redis: nothing is refused while it is there."""
    limits = fleet.start(of_org(nanos_per_day=10**9), op_timeout_s=0.05)
    await until(lambda: limits._epochs.ready)
    refused = 0
    for _ in range(20):
        task = asyncio.create_task(passes(limits, 10**7))
        await asyncio.sleep(0)
        time.sleep(0.06)  # noqa: ASYNC251 - the stall
        refused += not await task
    assert refused == 0


async def test_idle_slices_come_back(fleet: Fleet) -> None:
    defaults = of_org(nanos_per_day=10**6)
    busy, other = fleet.start(defaults), fleet.start(defaults)
    await asyncio.gather(*(busy.reserve(CALLER, tokens=1, nanos=100) for _ in range(20)))
    account = busy._accounts.of(CALLER)
    assert account is not None
    assert account.slices[0].free > 0
    await until(lambda: account.slices[0].free == 0)
    await busy.flush()
    async with asyncio.timeout(10):
        while await remaining(other) != 10**6 - 2000:
            await asyncio.sleep(0.01)


async def test_a_closed_process_holds_nothing(fleet: Fleet) -> None:
    defaults = of_org(nanos_per_day=10**6, concurrent_requests=5)
    going, other = fleet.start(defaults, options=replace(OPTIONS, idle_flushes=10**6)), fleet.start(defaults)
    (await going.reserve(CALLER, tokens=1, nanos=100)).settle(tokens=1, nanos=60)
    await going.close()
    assert [one.remaining for one in await other.left(CALLER)] == [5, 10**6 - 60]


async def test_what_is_forgotten_leaves_no_memory(fleet: Fleet) -> None:
    limits = fleet.start(of_org(requests_per_day=10))
    (await limits.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)
    limits._accounts.forget()
    await until(lambda: not limits._accounts.busy)
    gc.collect()
    assert limits._accounts.orgs() == []
    # And it is counted on, with a slice of its own.
    (await limits.reserve(CALLER, tokens=1, nanos=1)).settle(tokens=1, nanos=1)
    assert await remaining(limits) == 8


async def test_a_process_whose_journal_another_took_lives_on(fleet: Fleet) -> None:
    defaults = of_org(nanos_per_day=100_000)
    living, other = fleet.start(defaults), fleet.start(defaults)
    reservation = await living.reserve(CALLER, tokens=1, nanos=300)
    incarnation = living.incarnation
    await other.retire(incarnation, [Leave(ORG, USER, KEY, time.time(), 1, 300)])
    reservation.settle(tokens=1, nanos=200)
    assert await passes(living, 50)
    await until(lambda: living.incarnation != incarnation)
    await living.close()
    # What was counted for the dead stays: too much is counted then, never too little.
    assert 100_000 - 300 - 200 - 50 <= await remaining(other) <= 100_000 - 300 - 50


async def test_only_the_epoch_is_lost(fleet: Fleet) -> None:
    """Counts that survived are counted on, and no organisation is shut out."""
    limits = fleet.start(of_org(nanos_per_day=1000))
    assert await passes(limits, 100)
    async with asyncio.timeout(10):
        while limits._accounts.busy:
            await asyncio.sleep(0.01)
    before = limits._epochs.value
    with blocking_redis.Redis.from_url(fleet.url) as client:
        client.delete("limits:epoch")
    await until(lambda: limits._epochs.ready and limits._epochs.value != before)
    assert await passes(limits, 100)
    assert await remaining(limits) == 800


async def test_a_start_counts_what_the_process_before_left(fleet: Fleet) -> None:
    """`retire` before `run`, as at a start: it neither waits for what does not run yet nor fails."""
    defaults = of_org(nanos_per_day=100_000)
    dead = fleet.start(defaults)
    await dead.reserve(CALLER, tokens=1, nanos=300)
    await fleet.kill(dead)
    successor = fleet.start(defaults, runs=False)
    await successor.retire(dead.incarnation, [Leave(ORG, USER, KEY, time.time(), 1, 300)])
    assert await remaining(successor) == 100_000 - 300
