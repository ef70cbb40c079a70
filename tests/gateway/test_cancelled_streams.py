"""A thousand streams whose callers leave at random moments leave nothing; `bench/soak.py` asks for ten times that."""

from __future__ import annotations

import pytest
from promptmesh.inference.v1 import receipt_pb2

from bench.soak import AT_ONCE, MIB, MODEL, SLOTS, running_soak
from tests.gateway.world import Books, Gateway
from tests.mesh.client import eventually

ROUNDS = 4
STREAMS = 1_000
#: Between the first round, which warms everything up, and the last. A leak of a stream is 50 KB and more.
GROWTH_MIB_MAX = 16

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.chaos, pytest.mark.timeout(300)]


async def test_streams_that_are_left_leave_nothing(gateway: Gateway) -> None:
    await gateway.providers.reset(MODEL)
    tenant = await gateway.tenant({"concurrentRequests": SLOTS})
    rss_mib = []
    async with running_soak(gateway.mesh, gateway.providers, tenant.org_id, tenant.key) as soak:
        for _ in range(ROUNDS):
            await soak.round(STREAMS // ROUNDS)
            left = await soak.settled()
            assert left.nothing, left
            rss_mib.append(left.rss_bytes / MIB)
    record = await gateway.record(MODEL)

    async def booked() -> Books | None:
        found = await gateway.books(tenant)
        return found if found.asked >= record["requests"] else None

    # Nothing is under way, but the last of the calls may be in the journal yet: PostgreSQL has them a batch later.
    books: Books = await eventually("every call that the provider saw is in the books", booked)
    print(
        f"\n{STREAMS:,} streams cancelled, {record['requests']:,} seen by the provider, {record['aborted']:,} aborted:"
    )
    print(f"MiB after each {STREAMS // ROUNDS}: {', '.join(f'{one:.1f}' for one in rss_mib)}")
    assert record["running_max"] > AT_ONCE // 4
    assert record["aborted"] > STREAMS // 4
    # A stream that was left is accounted for: what it has said costs.
    assert books.outcomes[receipt_pb2.OUTCOME_CANCELLED] >= record["aborted"]
    assert books.output_tokens > 0
    assert books.nanos > 0
    assert books.lost == 0
    assert receipt_pb2.OUTCOME_RUNNING not in books.outcomes
    assert rss_mib[-1] - rss_mib[0] < GROWTH_MIB_MAX, rss_mib
