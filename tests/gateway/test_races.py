"""Two hundred callers of four replicas and a budget for a thousand calls: a thousand pass, whoever dies meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import asyncpg
import grpc
import pytest
from promptmesh.inference.v1 import receipt_pb2

from tests.gateway.spenders import HELD, RefusedError, Tally, generate, generate_request, refusal_of, spend
from tests.gateway.world import CALL_NANOS, OUTPUT_TOKENS, Books, Gateway, Tenant
from tests.mesh.client import PATIENCE_S, eventually

CALLS = 1_000
CALLERS = 200
SLOTS = 20  # five for each replica
#: Answers that stand before the replica is killed, and calls under way are still to come.
BEFORE_THE_KILL = 300

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.chaos,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("one_day"),
]


@pytest.mark.parametrize(
    "limits", [{"requestsPerDay": CALLS}, {"nanosPerMonth": CALLS * CALL_NANOS}], ids=["calls", "money"]
)
async def test_exactly_so_many_pass_as_the_budget_has(gateway: Gateway, limits: Mapping[str, int]) -> None:
    await gateway.providers.reset("race")
    await gateway.providers.set_default("race", tokens=OUTPUT_TOKENS, latency_s=0.01)
    tenant = await gateway.tenant(limits)

    tally = await spend(gateway, tenant, "race", CALLERS)

    assert (tally.answers, tally.spent) == (CALLS, CALLERS)
    books = await gateway.agree("race", tenant)
    assert (books.rows, books.ok, books.nanos) == (CALLS, CALLS, CALLS * CALL_NANOS)
    assert (await gateway.record("race"))["requests"] == CALLS
    for replica in range(len(gateway.replicas)):
        assert set((await gateway.remaining(tenant, replica)).values()) == {0}
    print(f"\n{CALLS} calls, {CALLERS} callers: {tally}")


async def test_a_replica_that_is_killed_overdraws_nothing_and_gives_back_what_it_held(gateway: Gateway) -> None:
    for name in ("killed", "holders"):
        await gateway.providers.reset(name)
    await gateway.providers.set_default("killed", tokens=OUTPUT_TOKENS, latency_s=1.0)
    await gateway.providers.set_default("holders", tokens=OUTPUT_TOKENS, pace_s=30.0)
    spender = await gateway.tenant({"requestsPerDay": CALLS, "nanosPerMonth": CALLS * CALL_NANOS})
    holder = await gateway.tenant({"concurrentRequests": SLOTS})
    holders = Holders(gateway, holder)
    enough = asyncio.Event()

    def progress(tally: Tally) -> None:
        if tally.answers >= BEFORE_THE_KILL:
            enough.set()

    try:
        for number in range(SLOTS):
            await holders.hold(number % len(gateway.replicas))
        await holders.refused_everywhere()
        spending = asyncio.create_task(spend(gateway, spender, "killed", CALLERS, progress=progress))
        await enough.wait()
        victim = await asyncio.to_thread(gateway.mesh.kill, "inference-0")

        # Its slots are back while the others go on, and no more of them than it had.
        await eventually("the dead replica's slots are back", holders.hold_elsewhere)
        for _ in range(SLOTS // len(gateway.replicas) - 1):
            await eventually("the dead replica's slots are back", holders.hold_elsewhere)
        await holders.refused_everywhere(but=0)
        first = await spending
        await gateway.whole({"inference-0": victim})
    finally:
        await holders.leave()

    answers = first.answers
    assert answers <= CALLS
    # Once the journal of the dead is read, what it had leased and not used can be spent by others.
    end_time = asyncio.get_running_loop().time() + PATIENCE_S
    while (books := await _books_of(gateway, spender)).rows < CALLS:
        left = [await gateway.remaining(spender, number) for number in range(len(gateway.replicas))]
        assert asyncio.get_running_loop().time() < end_time, (
            f"part of the budget never comes back: {books}, left {left}"
        )
        answers += (await spend(gateway, spender, "killed", len(gateway.replicas))).answers
    assert books.lost > 0
    assert answers <= books.ok
    assert (books.rows, books.ok + books.lost) == (CALLS, CALLS)
    assert books.nanos == CALLS * CALL_NANOS
    assert (await spend(gateway, spender, "killed", CALLERS)).answers == 0
    assert set((await gateway.remaining(spender)).values()) == {0}
    await _check_the_lost(gateway, spender, books.lost)
    await eventually("the lost streams are in the ledger", lambda: _has_lost(gateway, holder, SLOTS // 4))
    await _check_the_lost(gateway, holder, SLOTS // 4)

    record = await gateway.record("killed")
    assert books.ok <= record["requests"] <= CALLS
    assert record["said"][""]["completion_tokens"] <= books.output_tokens
    print(f"\n{CALLS} calls, a replica killed: {answers} answers, {books.lost} lost at their reservation; {first}")


class Holders:
    """Streams that hold slots until they are left."""

    def __init__(self, gateway: Gateway, tenant: Tenant) -> None:
        self._gateway = gateway
        self._tenant = tenant
        self._streams: list[grpc.aio.UnaryStreamCall[Any, Any]] = []
        self._next = 0

    async def hold(self, replica: int) -> None:
        """Takes a slot; it is held when this returns. Raises AioRpcError."""
        stub = self._gateway.replicas[replica].stub
        stream = stub.Generate(generate_request("holders"), metadata=self._tenant.metadata)
        self._streams.append(stream)
        message: Any = await stream.read()
        assert message.WhichOneof("event") == "started", message

    async def hold_elsewhere(self) -> bool:
        """Whether a replica that lives gave a slot."""
        self._next += 1
        try:
            await self.hold(1 + self._next % (len(self._gateway.replicas) - 1))
        except grpc.aio.AioRpcError as error:
            refusal_of(error)
            return False
        return True

    async def refused_everywhere(self, but: int | None = None) -> None:
        """No replica gives one more."""
        for number, replica in enumerate(self._gateway.replicas):
            if number == but:
                continue
            with pytest.raises(RefusedError) as caught:
                await generate(replica, self._tenant, "holders")
            assert caught.value.state == HELD

    async def leave(self) -> None:
        """Gives all back, and waits until the provider has seen it."""
        for stream in self._streams:
            stream.cancel()
        await self._gateway.record("holders")


async def _books_of(gateway: Gateway, tenant: Tenant) -> Books:
    """The books once no call of theirs is between a journal and PostgreSQL: when they say the same twice in a row."""
    before = await gateway.books(tenant)

    async def same() -> Books | None:
        nonlocal before
        await asyncio.sleep(0.5)  # longer than records are collected for a statement
        now = await gateway.books(tenant)
        before, last = now, before
        return now if now == last else None

    books: Books = await eventually("the books are at rest", same)
    return books


async def _has_lost(gateway: Gateway, tenant: Tenant, count: int) -> bool:
    return (await gateway.books(tenant)).lost == count


async def _check_the_lost(gateway: Gateway, tenant: Tenant, count: int) -> None:
    """Calls of a process that died stand at what they had reserved, and say that this is no count."""
    conn = await asyncpg.connect(gateway.database_url)
    try:
        rows = await conn.fetch(
            "SELECT basis, output_tokens, cost_nanos FROM inference.requests WHERE org_id = $1 AND outcome = $2",
            tenant.org_id,
            receipt_pb2.OUTCOME_LOST,
        )
    finally:
        await conn.close()
    assert len(rows) == count
    assert {tuple(row.values()) for row in rows} == {(receipt_pb2.BASIS_ESTIMATED, OUTPUT_TOKENS, CALL_NANOS)}
