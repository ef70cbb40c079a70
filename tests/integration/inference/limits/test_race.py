"""Replicas and callers at once: exactly the budget, whatever the processes do."""

from __future__ import annotations

import asyncio
import random

import pytest

from services.inference.limits import Limits
from services.mesh.errors import MeshError
from tests.integration.inference.limits.conftest import CALLER, Fleet, of_org

CALLS = 1000
CALLERS = 200
NANOS = 2500


async def call_until_spent(limits: list[Limits], passed: list[int], rng: random.Random) -> None:
    """Calls, and honours RetryInfo (much faster than told), until it is told that all is spent."""
    while True:
        replica = rng.choice(limits)
        try:
            reservation = await replica.reserve(CALLER, tokens=50, nanos=NANOS)
        except MeshError as error:
            if error.metadata.get("state") == "spent":
                return
            if (
                error.reason not in ("LIMIT_REACHED", "BUDGET_EXHAUSTED", "CONCURRENCY_LIMIT")
                or not error.retry_after_s
            ):
                raise
            await asyncio.sleep(0.02)
            continue
        await asyncio.sleep(rng.choice((0, 0, 0.001, 0.005)))
        passed.append(1)
        reservation.settle(tokens=40, nanos=NANOS)


@pytest.mark.parametrize(
    "values", [{"requests_per_day": CALLS}, {"nanos_per_month": CALLS * NANOS}, {"nanos_per_day": CALLS * NANOS + 7}]
)
async def test_exactly_the_budget_passes(fleet: Fleet, values: dict[str, int]) -> None:
    replicas = [fleet.start(of_org(**values, concurrent_requests=150)) for _ in range(4)]
    passed: list[int] = []
    rng = random.Random(7)
    await asyncio.gather(*(call_until_spent(replicas, passed, rng) for _ in range(CALLERS)))
    assert len(passed) == CALLS
