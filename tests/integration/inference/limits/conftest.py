"""Processes of limits on a real Redis; PostgreSQL's sums are a table of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from services.inference.limits import Asked, Defaults, LedgerHooks, LimitOptions, Limits, LimitValues, Total
from services.inference.limits.script import TEXT, Script
from services.mesh import redis as mesh_redis
from services.mesh.call import Caller, CallerKind
from services.mesh.errors import MeshError
from services.mesh.redis import Redis

ORG = "0190aaaa-0000-7000-8000-00000000000a"
USER = "0190aaaa-0000-7000-8000-00000000000b"
KEY = "0190aaaa-0000-7000-8000-00000000000c"
CALLER = Caller(CallerKind.API_KEY, user_id=USER, org_id=ORG, api_key_id=KEY)
# As in life, but that Redis may take as long as a busy machine needs, and that collecting is short.
OPTIONS = LimitOptions(flush_s=0.02, renew_s=0.2, lease_s=1.0, collect_s=0.4, epoch_poll_s=0.1)
OP_TIMEOUT_S = 5.0
# The script with a clock that a test sets: {time, now} of it is the key's value in milliseconds.
CLOCK_KEY = "clock-of-a-test"
CLOCKED = TEXT.replace(
    "local time = redis.call('TIME')",
    f"local ms = tonumber(redis.call('GET', '{CLOCK_KEY}'))\n"
    "local time = {math.floor(ms / 1000), (ms % 1000) * 1000}",
)
assert CLOCKED != TEXT


@dataclass
class Sums:
    """What PostgreSQL would say: one total for every subject."""

    by_subject: dict[str, Total] = field(default_factory=dict)
    away: bool = False
    asked: list[Asked] = field(default_factory=list)

    async def __call__(self, org_id: str, asked: Sequence[Asked]) -> Sequence[Total]:
        self.asked += asked
        if self.away:
            raise MeshError("DEPENDENCY_UNAVAILABLE", "The database is away; try again.", retry_after_s=1)
        return [self.by_subject.get(one.subject_id, Total(0, 0)) for one in asked]


class Fleet:
    """Several `Limits`, as replicas have them."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sums = Sums()
        self.defaults = Defaults()
        self._running: dict[Limits, tuple[asyncio.Task[None], Redis]] = {}

    def start(
        self,
        defaults: Defaults | None = None,
        *,
        hooks: LedgerHooks | None = None,
        options: LimitOptions = OPTIONS,
        url: str | None = None,
        op_timeout_s: float = OP_TIMEOUT_S,
        text: str = TEXT,
        runs: bool = True,
    ) -> Limits:
        """One more."""
        redis = mesh_redis.open(url or self.url, op_timeout_s)
        limits = Limits(redis, self.sums, hooks=hooks, options=options, script=Script(redis, text))
        limits.configure(defaults or self.defaults)
        self._running[limits] = asyncio.create_task(limits.run() if runs else asyncio.sleep(0)), redis
        return limits

    async def kill(self, limits: Limits) -> None:
        """It does nothing more: neither reports nor renews nor gives back."""
        task, redis = self._running.pop(limits)
        task.cancel()
        await asyncio.wait([task])
        await limits._exchange.close()
        await redis.aclose()

    async def close(self) -> None:
        for limits in list(self._running):
            task, _ = self._running[limits]
            if task.done() and not task.cancelled():
                task.result()
            await self.kill(limits)


@pytest.fixture
async def fleet(redis_url: str) -> AsyncIterator[Fleet]:
    running = Fleet(redis_url)
    yield running
    await running.close()


def of_org(**values: int) -> Defaults:
    return Defaults(org=LimitValues(**values))


async def until(true: Callable[[], bool], within_s: float = 20.0) -> None:
    """Waits for what nobody tells."""
    async with asyncio.timeout(within_s):
        while not true():
            await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def raw(url: str) -> AsyncIterator[Redis]:
    client = mesh_redis.open(url, OP_TIMEOUT_S)
    yield client
    await client.aclose()
