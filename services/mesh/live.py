"""Live messages to whoever listens right now, over Redis, kept nowhere: what nobody would miss after a reload.

Publishing never raises and never waits long; a listener that loses Redis goes on when it is back, and has missed what
was said meanwhile. Whatever must not be lost is an event (outbox).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from redis.exceptions import RedisError

from services.mesh.backoff import Backoff
from services.mesh.errors import MeshError
from services.mesh.redis import BLOCK_S, Redis, open_blocking
from services.mesh.telemetry.metrics import LIVE_DROPPED

KEEP_MESSAGES = 1000  # for listeners that are between two reads
READ_MESSAGES = 200
_FIELD = b"p"
log = logging.getLogger(__name__)


class LiveStream:
    """One named stream of payloads."""

    def __init__(self, redis: Redis, name: str) -> None:
        self._redis = redis
        self._key = f"live:{{{name}}}"
        self._dropped = LIVE_DROPPED.labels(name)

    async def publish(self, payload: bytes) -> bool:
        """Sends a payload to those who listen; False if Redis did not take it."""
        try:
            await self._redis.xadd(self._key, {_FIELD: payload}, maxlen=KEEP_MESSAGES, approximate=True)
        except (MeshError, RedisError):
            self._dropped.inc()
            return False
        return True

    async def follow(self, *, block_s: float = BLOCK_S) -> AsyncIterator[bytes]:
        """Payloads from now on, for ever. One a process, shared among its watchers: each holds a connection."""
        client = open_blocking(self._redis.url, block_s)
        backoff = Backoff(0.05, 2.0)
        last: bytes | str = ""
        try:
            while True:
                try:
                    if not last:
                        last = await self._head(client)
                    found: Any = await client.xread(
                        {self._key: last}, count=READ_MESSAGES, block=max(1, int(block_s * 1000))
                    )
                except (RedisError, OSError, TimeoutError) as error:
                    log.warning("live stream %s is cut: %s", self._key, type(error).__name__)
                    last = ""  # Redis may have lost its data: ids may begin anew
                    await asyncio.sleep(backoff.next_s())
                    continue
                backoff.reset()
                for _key, messages in found or ():
                    for message_id, fields in messages:
                        last = message_id
                        yield fields[_FIELD]
        finally:
            await client.aclose()

    async def _head(self, client: Any) -> bytes | str:
        """The id of the newest message: `$` would be asked anew by each read, and skip what came between two."""
        newest = await client.xrevrange(self._key, count=1)
        head: bytes | str = newest[0][0] if newest else "0-0"
        return head
