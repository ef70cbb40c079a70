"""redis-py's connections, such that whoever waits on one can always be cancelled.

redis-py bounds a send with `asyncio.wait_for`, which on Python 3.11 loses a cancellation that arrives in the moment the
send is done (python/cpython#86296, mended in 3.12). A loop that is being ended would then go on for ever, and the
process would not stop.

And such that a connection that takes longer than a call may wait comes up nevertheless: connecting takes several round
trips. If each call that is cut broke it off for the next to begin anew, a machine that is merely busy would never reach
its Redis again (seen: with ten processes on two cores, each connection that was lost opened the breaker).
"""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio as aioredis
from redis.exceptions import ConnectionError

CONNECT_TIMEOUT_S = 1.0


class _Cancellable:
    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        task = asyncio.current_task()
        asked = 0 if task is None else task.cancelling()
        await super().send_packed_command(command, check_health)  # type: ignore[misc]
        if task is not None and task.cancelling() > asked:
            # As redis-py does it when it notices: the answer that is under way belongs to nobody.
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise asyncio.CancelledError


class _Connecting:
    """Connects in a task of its own, which those who need the connection wait for, each as long as it may."""

    _connecting: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        task = self._connecting
        if task is None:
            if self.is_connected:  # type: ignore[attr-defined]
                return
            task = self._connecting = asyncio.create_task(self._come_up())
            task.add_done_callback(self._connected)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            here = asyncio.current_task()
            if task.cancelled() and (here is None or not here.cancelling()):
                raise ConnectionError("The connection was closed before it was there.") from None
            raise

    async def disconnect(self, *arguments: Any, **options: Any) -> None:
        task = self._connecting
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        await super().disconnect(*arguments, **options)  # type: ignore[misc]

    async def _come_up(self) -> None:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await super().connect()  # type: ignore[misc]

    def _connected(self, task: asyncio.Task[None]) -> None:
        self._connecting = None
        if not task.cancelled():
            task.exception()  # told to those who wait, if there are any


class _Connection(_Cancellable, aioredis.Connection):
    pass


class _SSLConnection(_Cancellable, aioredis.SSLConnection):
    pass


class _UnixConnection(_Cancellable, aioredis.UnixDomainSocketConnection):
    pass


class _PersistentConnection(_Connecting, aioredis.Connection):
    pass


class _PersistentSSLConnection(_Connecting, aioredis.SSLConnection):
    pass


class _PersistentUnixConnection(_Connecting, aioredis.UnixDomainSocketConnection):
    pass


_PERSISTENT: dict[type[Any], type[Any]] = {
    aioredis.Connection: _PersistentConnection,
    aioredis.SSLConnection: _PersistentSSLConnection,
    aioredis.UnixDomainSocketConnection: _PersistentUnixConnection,
}
_CANCELLABLE: dict[type[Any], type[Any]] = {
    aioredis.Connection: _Connection,
    aioredis.SSLConnection: _SSLConnection,
    aioredis.UnixDomainSocketConnection: _UnixConnection,
}


def make_cancellable(client: aioredis.Redis) -> None:
    """For a client that has made no connection yet."""
    pool: Any = client.connection_pool
    pool.connection_class = _CANCELLABLE[pool.connection_class]


def keep_connecting(client: aioredis.Redis) -> None:
    """Likewise, for a client whose calls are cut."""
    pool: Any = client.connection_pool
    pool.connection_class = _PERSISTENT[pool.connection_class]
