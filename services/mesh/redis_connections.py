"""redis-py's connections, such that whoever waits on one can always be cancelled.

redis-py bounds a send with `asyncio.wait_for`, which on Python 3.11 loses a cancellation that arrives in the moment the
send is done (python/cpython#86296, mended in 3.12). A loop that is being ended would then go on for ever, and the
process would not stop.
"""

from __future__ import annotations

import asyncio
from typing import Any

import redis.asyncio as aioredis


class _Cancellable:
    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        task = asyncio.current_task()
        asked = 0 if task is None else task.cancelling()
        await super().send_packed_command(command, check_health)  # type: ignore[misc]
        if task is not None and task.cancelling() > asked:
            # As redis-py does it when it notices: the answer that is under way belongs to nobody.
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise asyncio.CancelledError


class _Connection(_Cancellable, aioredis.Connection):
    pass


class _SSLConnection(_Cancellable, aioredis.SSLConnection):
    pass


class _UnixConnection(_Cancellable, aioredis.UnixDomainSocketConnection):
    pass


_CANCELLABLE: dict[type[Any], type[Any]] = {
    aioredis.Connection: _Connection,
    aioredis.SSLConnection: _SSLConnection,
    aioredis.UnixDomainSocketConnection: _UnixConnection,
}


def make_cancellable(client: aioredis.Redis) -> None:
    """For a client that has made no connection yet."""
    pool: Any = client.connection_pool
    pool.connection_class = _CANCELLABLE[pool.connection_class]
