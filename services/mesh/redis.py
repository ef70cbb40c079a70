"""Redis, bounded: every call answers within its time or raises RedisUnavailable; a Redis that is gone costs nothing.

A breaker opens after several failures in a row; while it is open, calls fail at once, and one at a time tries again.
What falls back to working without Redis asks `available`, which looks at the breaker alone: one late answer, as after a
stall of our own event loop, is an error of that call and not a Redis that is gone.
"""

from __future__ import annotations

import asyncio
import builtins
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import redis.asyncio as aioredis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, ConnectionError, OutOfMemoryError, ReadOnlyError, TimeoutError

from services.mesh.errors import MeshError
from services.mesh.redis_connections import CONNECT_TIMEOUT_S, keep_connecting, make_cancellable
from services.mesh.telemetry.metrics import REDIS_FAILED

if TYPE_CHECKING:
    _Pipeline = aioredis.client.Pipeline
else:
    _Pipeline = aioredis.client.Pipeline

T = TypeVar("T")
OP_TIMEOUT_S = 0.05
CONNECTIONS_MAX = 64
BLOCK_S = 5.0
_AWAY = (ConnectionError, TimeoutError, BusyLoadingError, ReadOnlyError, OutOfMemoryError, OSError)


class RedisUnavailable(MeshError):  # noqa: N818 - it is what callers see: DEPENDENCY_UNAVAILABLE
    """Redis did not answer in time, or is not there."""

    def __init__(self) -> None:
        super().__init__(
            "DEPENDENCY_UNAVAILABLE",
            "A part that this call needs does not answer right now. Retry after the delay in RetryInfo.",
            retry_after_s=1.0,
        )


class Breaker:
    """Open after `failures_max` failures in a row; then one call each `retry_s` tries.

    Late answers open it only if nothing was answered for `late_s`: the calls under way in one short pause, as of a busy
    machine, are all late together, and are one sign and not many.
    """

    def __init__(
        self,
        failures_max: int = 5,
        retry_s: float = 0.5,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        late_s: float = 0.2,
    ) -> None:
        self._max, self._retry_s, self._monotonic, self._late_s = failures_max, retry_s, monotonic, late_s
        self._failures = 0
        self._first_failure = 0.0
        self._next_try = 0.0
        self.open = False  # calls fail at once

    def admits(self) -> bool:
        """Whether a call may be tried now."""
        if not self.open:
            return True
        now = self._monotonic()
        if now < self._next_try:
            return False
        self._next_try = now + self._retry_s
        return True

    def worked(self) -> None:
        """A call was answered."""
        self._failures = 0
        self.open = False

    def failed(self, *, late: bool = False) -> None:
        """A call was not answered; late: not in time, but nobody said that there is nothing."""
        now = self._monotonic()
        if not self._failures:
            self._first_failure = now
        self._failures += 1
        if not self.open and self._failures >= self._max and not (late and now - self._first_failure < self._late_s):
            self.open = True
            self._next_try = now + self._retry_s


class _Bounded:
    """What Redis and its pipelines share."""

    def __init__(self, op_timeout_s: float) -> None:
        self.op_timeout_s = op_timeout_s
        self.breaker = Breaker()

    async def run(self, operation: Callable[[], Awaitable[T]]) -> T:
        if not self.breaker.admits():
            raise RedisUnavailable
        began = time.monotonic()
        try:
            async with asyncio.timeout(self.op_timeout_s):
                result = await operation()
        except _AWAY as error:  # the built-in TimeoutError is an OSError
            REDIS_FAILED.labels(type(error).__name__).inc()
            # Much later than the limit: our own event loop stood still, and says nothing about Redis.
            if time.monotonic() - began < 2 * self.op_timeout_s:
                self.breaker.failed(late=isinstance(error, builtins.TimeoutError | TimeoutError))
            raise RedisUnavailable from error
        self.breaker.worked()
        return result


class Redis(aioredis.Redis):
    """redis-py's client, bounded. `open` makes it."""

    def __init__(self, *arguments: Any, op_timeout_s: float = OP_TIMEOUT_S, url: str = "", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.url = url
        self.bounded = _Bounded(op_timeout_s)

    @property
    def available(self) -> bool:
        """Whether Redis answers, as far as the last calls tell."""
        return not self.bounded.breaker.open

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        command = super().execute_command
        return await self.bounded.run(lambda: command(*args, **options))  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> BoundedPipeline:
        """Commands sent together, bounded together."""
        return BoundedPipeline(self, transaction, shard_hint)


class BoundedPipeline(_Pipeline):
    """redis-py's pipeline, bounded."""

    def __init__(self, client: Redis, transaction: bool, shard_hint: str | None) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction, shard_hint)
        self._bounded = client.bounded

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        execute = super().execute
        result: list[Any] = await self._bounded.run(lambda: execute(raise_on_error))
        return result


def open(url: str, op_timeout_s: float = OP_TIMEOUT_S) -> Redis:
    """A client whose every call takes at most `op_timeout_s`, connecting included. Connects on first use; a connection
    that takes longer is there for a later call."""
    pool = aioredis.BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS_MAX,
        timeout=op_timeout_s,
        socket_timeout=None,  # asyncio.timeout bounds the whole call
        socket_connect_timeout=max(op_timeout_s, CONNECT_TIMEOUT_S),
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    client = Redis(connection_pool=pool, op_timeout_s=op_timeout_s, url=url)
    keep_connecting(client)
    client.auto_close_connection_pool = True
    return client


def open_blocking(url: str, block_s: float = BLOCK_S) -> aioredis.Redis:
    """A client for reads that wait in Redis up to `block_s` (XREAD BLOCK); its errors are redis-py's own."""
    pool = aioredis.ConnectionPool.from_url(
        url,
        socket_timeout=block_s + 2.0,
        socket_connect_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    client = aioredis.Redis(connection_pool=pool)
    make_cancellable(client)
    client.auto_close_connection_pool = True
    return client
