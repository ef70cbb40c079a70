"""Reads of one partition each, all waiting at once: for a Redis Cluster, where no command may touch several slots.

A single Redis is asked for all partitions in one command, which is cheaper (`Group.read`). Here each partition has a
read of its own under way, on a connection of its own; whoever asks gets what has come. A read that brought something
is begun anew only when its entries were fetched, so the entries of a partition stay in order, and at most one batch of
each waits here. A node that is away holds up its own partitions alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from redis.exceptions import RedisError

from services.mesh.backoff import Backoff
from services.mesh.events.metrics import CONSUMER_FAILURES

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 2.0

Found = list[tuple[int, Any]]
"""By partition: what its read brought."""


class ApartReads:
    """Of one worker in one group."""

    def __init__(self, group: str, partitions: int, read: Callable[[int, int, float], Awaitable[Any]]) -> None:
        """read: of a partition, so many entries at most, waited for up to so many seconds; None or empty: nothing."""
        self._group = group
        self._partitions = partitions
        self._read = read
        self._reads: dict[int, asyncio.Task[Any]] = {}
        self._backoffs: dict[int, Backoff] = {}  # of partitions whose last read failed

    @property
    def idle(self) -> list[int]:
        """Partitions without a read under way, whose entries were all fetched."""
        return [one for one in range(self._partitions) if one not in self._reads]

    async def next(self, count: int, block_s: float) -> Found:
        """What comes first, within block_s or so, at most `count` of a partition; nothing, if nothing does.

        Raises the error of a read where none brought anything, unless it is that of a node that is away while others
        are there: that is logged, and tried again.
        """
        for partition in self.idle:
            pause_s = self._backoffs[partition].next_s() if partition in self._backoffs else 0.0
            self._reads[partition] = asyncio.create_task(self._read_after(pause_s, partition, count, block_s))
        await asyncio.wait(self._reads.values(), return_when=asyncio.FIRST_COMPLETED)
        found, errors = self._fetch()
        if found or not errors:
            return found  # what failed fails again, and is told then
        for error in errors.values():
            if not isinstance(error, RedisError | OSError):
                raise error
        if len(self._backoffs) == self._partitions:
            raise next(iter(errors.values()))
        for partition, error in errors.items():
            CONSUMER_FAILURES.labels(self._group, "away").inc()
            log.warning("%s: partition %d cannot be read now, others can: %s", self._group, partition, error)
        return []

    def fetch(self) -> Found:
        """What has come by now, without waiting."""
        return self._fetch()[0]

    async def stop(self) -> None:
        """Ends all reads. Entries that one of them brought stay in this worker's hand, for its next start."""
        reads = list(self._reads.values())
        self._reads.clear()
        for read in reads:
            read.cancel()
        if reads:
            await asyncio.wait(reads)
        _look_at(reads)

    async def _read_after(self, pause_s: float, partition: int, count: int, block_s: float) -> Any:
        if pause_s:
            await asyncio.sleep(pause_s)
        return await self._read(partition, count, block_s)

    def _fetch(self) -> tuple[Found, dict[int, BaseException]]:
        found: Found = []
        errors: dict[int, BaseException] = {}
        for partition, read in list(self._reads.items()):
            if not read.done():
                continue
            del self._reads[partition]
            error = read.exception()
            if error is None:
                self._backoffs.pop(partition, None)
                if read.result():
                    found.append((partition, read.result()))
            else:
                errors[partition] = error
                if isinstance(error, RedisError | OSError):
                    self._backoffs.setdefault(partition, Backoff(FIRST_PAUSE_S, MAX_PAUSE_S))
        return found, errors


def _look_at(reads: Iterable[asyncio.Task[Any]]) -> None:
    """So that no error is told as one that nobody looked at."""
    for read in reads:
        if not read.cancelled():
            read.exception()
