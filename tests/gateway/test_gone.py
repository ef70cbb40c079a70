"""Redis, PostgreSQL, auth and moderation killed under load, in turn: what DESIGN's table says holds, with figures."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.gateway.load import BUDGETED, MODEL, OK, Load
from tests.gateway.world import OUTPUT_TOKENS, SCREENED_ROUTE, Gateway
from tests.mesh.client import Answer, eventually
from tests.mesh.people import CLEAN

#: Of each kind, while a part is away.
CALLS = 60
BUDGET_NANOS = 1_000_000_000_000
UNAVAILABLE = "dependency_unavailable"
REDIS = ("redis-state", "redis-cache")

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.chaos,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("one_day"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def load(gateway: Gateway) -> AsyncIterator[Load]:
    await gateway.providers.reset(MODEL)
    await gateway.providers.set_default(MODEL, tokens=OUTPUT_TOKENS, latency_s=0.02, pace_s=0.002)
    made = Load(
        gateway,
        await gateway.tenant(),
        await gateway.tenant({"requestsPerMinute": 1_000_000, "concurrentRequests": 200}),
        await gateway.tenant({"nanosPerMonth": BUDGET_NANOS}),
    )
    async with made.running():
        await made.more(10, OK)  # every key is known to every process
    yield made


async def test_without_redis_calls_go_on_on_what_is_leased(load: Load) -> None:
    async with _away(load, "Redis, killed", *REDIS) as failed:
        pass
    # Money is never decided by a guess: beyond what a process has leased, calls are refused, with a time to come back.
    assert set(failed) <= {(BUDGETED, UNAVAILABLE)}


async def test_a_redis_that_hangs_holds_nobody_up(load: Load) -> None:
    async with _away(load, "Redis, hanging", *REDIS, hanging=True) as failed:
        pass
    assert set(failed) <= {(BUDGETED, UNAVAILABLE)}


async def test_without_postgresql_calls_go_on_and_are_settled_later(load: Load) -> None:
    async with _away(load, "PostgreSQL", "postgres") as failed:
        pass
    _check_none_but_late(failed)


async def test_without_auth_known_keys_go_on(load: Load) -> None:
    async with _away(load, "auth", "auth-0") as failed:
        pass
    _check_none_but_late(failed)


async def test_without_moderation_calls_that_nobody_screens_go_on(load: Load) -> None:
    async with _away(load, "moderation", "moderation-0") as failed:
        pass
    _check_none_but_late(failed)


async def test_without_moderation_nothing_passes_a_route_that_screens(gateway: Gateway) -> None:
    await gateway.providers.reset("screened")
    numbers = itertools.count(1)
    tenant = await gateway.tenant()

    async def ask() -> Answer:
        # Each time another text: one that was cleared is remembered, and needs nobody.
        content = f"{CLEAN} Ship number {next(numbers)}."
        body = {"model": SCREENED_ROUTE, "messages": [{"role": "user", "content": content}]}
        return await gateway.client.ask("POST", "/v1/chat/completions", body, token=tenant.key)

    async def answered() -> bool:
        return (await ask()).status == 200

    (await ask()).ok()
    asked = (await gateway.record("screened"))["requests"]
    async with gateway.without("moderation-0"):
        for _ in range(5):
            refused = await ask()
            assert refused.status == 503, refused
            assert refused.json["error"]["code"] == "screening_unavailable"
            assert "retry-after" in refused.headers
        assert (await gateway.record("screened"))["requests"] == asked
    await eventually("screened calls are answered again", answered)


@contextlib.asynccontextmanager
async def _away(load: Load, title: str, *names: str, hanging: bool = False) -> AsyncIterator[Counter[tuple[str, str]]]:
    """Takes parts away under load, and gives them back; the block sees what failed meanwhile, by kind and reason.
    Before it ends, calls of each kind succeed again, and the books agree to the token: ledger, provider, limits."""
    gateway = load.gateway
    before = load.counts.copy()
    async with load.running():
        await load.more(5, OK)
        away = gateway.frozen(*names) if hanging else gateway.without(*names)
        async with away:
            await load.more(CALLS)
            gone = load.counts - before
            left_time = time.monotonic()
        started_s = time.monotonic() - left_time
        await load.more(5, OK)
        back_s = time.monotonic() - left_time
    failed = Counter({key: count for key, count in (load.counts - before).items() if key[1] != OK})
    books = await gateway.agree(MODEL, *load.tenants)
    await _limits_agree(load)
    print(
        f"\n{title}: {sum(gone.values())} calls while it was away, failed: {_told(failed)}; "
        f"serving again after {started_s:.1f} s, all answered after {back_s:.1f} s; "
        f"in the books {books.rows} calls, {books.output_tokens} tokens"
    )
    yield failed


def _check_none_but_late(failed: Counter[tuple[str, str]]) -> None:
    """No call failed: but where the machine is so busy that Redis itself answers late, a budget may wait for it."""
    assert set(failed) <= {(BUDGETED, UNAVAILABLE)}
    assert failed.total() < CALLS // 4


async def _limits_agree(load: Load) -> None:
    """What is left of the budget is what the ledger says, to the nano-dollar; and no slot is held."""
    nanos = (await load.gateway.books(load.budgeted)).nanos
    expected = {"nanos_per_month": BUDGET_NANOS - nanos}
    for replica in range(len(load.gateway.replicas)):
        seen: list[dict[str, int]] = []

        async def same(replica: int = replica, seen: list[dict[str, int]] = seen) -> bool:
            seen.append(await load.gateway.remaining(load.budgeted, replica))
            slots = (await load.gateway.remaining(load.rated, replica))["concurrent_requests"]
            return seen[-1] == expected and slots == 200

        try:
            await eventually("the limits say what the ledger says", same, timeout_s=20.0)
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen[-1]}, not {expected}") from None


def _told(failed: Counter[tuple[str, str]]) -> str:
    return ", ".join(f"{count} of {kind} ({why})" for (kind, why), count in failed.items()) or "none"
