"""Several caches on one Redis, and what can be asked of them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.cache.answers import AnswerCache, CacheOptions, Ticket
from services.inference.cache.keys import key_of
from services.inference.cache.shared import prefix_of
from services.mesh.errors import MeshError
from services.mesh.redis import Redis
from tests.unit.inference.cache.world import (
    POLICY,
    WAIT_S,
    Upstream,
    model_call,
    read,
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


async def negated(check: Awaitable[Any]) -> bool:
    return not await check


async def followers_of(redis: Redis, prompt: str) -> int:
    prefix = prefix_of("org-1", key_of(model_call(prompt)))
    return len([key async for key in redis.scan_iter(match=f"{prefix.replace('{', '?').replace('}', '?')}:f:*")])


async def answers(redis: Redis) -> bool:
    with contextlib.suppress(MeshError):
        await redis.ping()
    return redis.available
