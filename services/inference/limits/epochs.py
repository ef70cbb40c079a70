"""Which life of Redis the counts belong to, and how they are made whole again after Redis lost everything.

`limits:epoch` holds "<epoch> <ready, ms>". Whoever finds it missing sets it anew, which begins a time of collecting:

1. Every process sees the new epoch within `epoch_poll_s`. It has the ledger hold what is not yet in PostgreSQL, and
   goes on with what it holds leased; calls for which that does not reach wait.
2. After three quarters of `collect_s`, when every process holds, each states for every limit what it has leased and
   what the ledger holds back, and the first to state a limit adds what PostgreSQL knows of it. So nothing is counted
   twice and nothing is left out. Then the ledger goes on.
3. After `collect_s` Redis leases again. Limits of which no process holds anything are seeded from PostgreSQL when they
   are first used.

A process that stood still all that time states what it holds when it wakes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from inspect import isawaitable
from typing import NamedTuple

from services.inference.limits.metrics import EPOCHS
from services.inference.limits.options import LimitOptions
from services.inference.limits.redis_time import RedisTime
from services.inference.limits.script import EPOCH_KEY
from services.mesh.errors import MeshError
from services.mesh.redis import Redis, RedisUnavailable
from services.mesh.telemetry.logs import get_logger

log = get_logger()
RETRY_S = 0.25


class Unflushed(NamedTuple):
    """Calls that are settled and whose records are not yet in PostgreSQL's sums. Ids empty where there is none; time in
    seconds since the epoch."""

    org_id: str
    user_id: str
    api_key_id: str
    time: float
    nanos: int
    requests: int = 1


@dataclass(frozen=True, slots=True)
class LedgerHooks:
    """What limits need of the ledger after Redis lost everything.

    `hold(True)`: begin no further write of records to PostgreSQL; what it returns is awaited, if it can be, and shall
    return when none is under way. `hold(False)`: go on. `unflushed()`: all records that are settled and not written.
    """

    hold: Callable[[bool], Awaitable[None] | None] = lambda _on: None
    unflushed: Callable[[], Iterable[Unflushed]] = tuple


class Epochs:
    """Follows the epoch. `check_in` states all that this process holds, under the new epoch."""

    def __init__(
        self, redis: Redis, time: RedisTime, options: LimitOptions, new_id: Callable[[], str], hooks: LedgerHooks
    ) -> None:
        self._redis = redis
        self._time = time
        self._options = options
        self._new_id = new_id
        self.hooks = hooks
        self.value = ""
        self.ready = False
        self._entered = ""  # the epoch under which this process has stated what it holds
        self._ready_time = 0.0  # of Redis's clock
        self._news = asyncio.Event()  # ready, or Redis is away: nobody need wait longer
        self._asked = asyncio.Event()
        self._watching = False

    async def whole(self) -> bool:
        """Whether Redis's counts are whole; waits while they are being collected."""
        if self.ready:
            return True
        if not self._watching:
            return await self._begin()
        self._asked.set()
        try:
            async with asyncio.timeout(2 * self._options.collect_s):
                await self._news.wait()
        except TimeoutError:
            return False
        return self.ready

    async def _begin(self) -> bool:
        """Before `watch` runs, as when a start counts what the process before left: nothing is held yet."""
        try:
            if not await self._look():
                await self._until(self._ready_time)
        except RedisUnavailable:
            return False
        self._entered, self.ready = self.value, True
        self._news.set()
        return True

    async def confirm(self) -> bool:
        """Asks Redis whether this is still its life. Raises RedisUnavailable."""
        raw = await self._stored()
        if raw is not None and raw.partition(" ")[0] == self.value:
            return True
        self.ready = False
        self._news.clear()
        self._asked.set()
        return False

    async def watch(self, check_in: Callable[[], Awaitable[None]]) -> None:
        """Runs until cancelled."""
        self._watching = True
        while True:
            pause_s = self._options.epoch_poll_s
            try:
                if not await self._look():
                    pause_s = await self._enter(check_in)
            except RedisUnavailable:
                self._away()
                pause_s = min(pause_s, RETRY_S)
            self._asked.clear()
            try:
                async with asyncio.timeout(pause_s):
                    await self._asked.wait()
            except TimeoutError:
                continue

    def _away(self) -> None:
        # What is leased stays good, and a call that asks for more finds out by itself that Redis is away.
        self._news.set()

    async def _look(self) -> bool:
        """Whether the epoch is the one entered, and its counts are whole."""
        raw = await self._stored()
        if raw is None:
            seconds, micros = await self._redis.time()
            ready_ms = int(seconds * 1000 + micros / 1000 + self._options.collect_s * 1000)
            await self._redis.set(EPOCH_KEY, f"{self._new_id()} {ready_ms}", nx=True)
            raw = await self._stored()
            if raw is None:
                return False
        value, _, ready = raw.partition(" ")
        if value == self.value and self.ready:
            return True
        seconds, micros = await self._redis.time()
        self._time.heard(seconds + micros / 1_000_000)
        if value != self.value:
            EPOCHS.inc()
            if self.value:
                log.warning("Redis lost its counts, limits are counted anew", epoch=value, before=self.value)
        self.value, self._ready_time = value, int(ready) / 1000
        self.ready = False
        self._news.clear()
        return False

    async def _stored(self) -> str | None:
        raw = await self._redis.get(EPOCH_KEY)
        return raw.decode() if isinstance(raw, bytes) else raw

    async def _enter(self, check_in: Callable[[], Awaitable[None]]) -> float:
        """States what this process holds, in its time; returns after how many seconds to look again."""
        if self._entered != self.value:
            try:
                await self._hold(True)
                await self._until(self._ready_time - self._options.collect_s / 4)
                await check_in()
            except MeshError as error:
                if error.reason != "DEPENDENCY_UNAVAILABLE":
                    raise
                # The ledger goes on holding, as long as it bears that.
                log.warning("limits cannot be counted anew yet", error=error.message)
                self._away()
                return RETRY_S
            except BaseException:
                await self._hold(False)
                raise
            await self._hold(False)
            self._entered = self.value
        await self._until(self._ready_time)
        self.ready = True
        self._news.set()
        return self._options.epoch_poll_s

    async def _hold(self, on: bool) -> None:
        held = self.hooks.hold(on)
        if isawaitable(held):
            await held

    async def _until(self, moment: float) -> None:
        wait_s = moment - self._time.now()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
