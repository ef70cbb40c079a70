"""The relay: gives committed events their place in the log, then carries them to Redis.

Two steps, each safe at any crash, each done by one worker at a time (whoever holds a row's lock):

1. Sequencing touches PostgreSQL only, so it goes on while Redis is away; the tail of the log stands on it alone.
2. Publishing reads from the log behind a cursor. Redis holds each position once: a batch sent again after a crash is
   refused entry by entry. Where Redis knows less than the cursor, it lost data and gets a new epoch (publish.lua).

Callers never wait for either. While Redis is away rows wait in the outbox.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from services.mesh.backoff import Backoff
from services.mesh.database import Database, queries
from services.mesh.errors import MeshError
from services.mesh.events.metrics import OUTBOX_PENDING, RELAY_BATCH, RELAY_FAILURES, STREAM_EPOCHS
from services.mesh.events.outbox import Outbox
from services.mesh.events.spans import trace_published
from services.mesh.events.streams import Script, StreamNames, run_script
from services.mesh.failpoints import Failpoint

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from services.mesh.telemetry.traces import Tracing

log = logging.getLogger(__name__)

SQL = queries("services.mesh.events", "sql")
PUBLISH = Script("publish")
TRIM = Script("trim")

AFTER_SEQUENCE = Failpoint("relay.after_sequence")
AFTER_PUBLISH = Failpoint("relay.after_publish")

FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 2.0
GAUGE_INTERVAL_S = 5.0


@dataclass(frozen=True, slots=True)
class RelayOptions:
    """How the relay paces itself."""

    batch: int = 500
    """Most events numbered, and most published, at a time."""
    linger_s: float = 0.002
    """Wait after a wake that comes out of quiet."""
    interval_s: float = 0.04
    """Least time between two batches: under load what is written meanwhile goes along, one batch instead of many. A
    batch costs some six round trips, whatever is in it."""
    poll_interval_s: float = 0.2
    """For what no wake told of: a worker that died between its commit and its wake."""
    contended_pause_s: float = 0.005
    """Before trying again where another worker was at it and may not have seen our rows."""
    audit_interval_s: float = 1.0
    """How often streams without traffic are compared with the cursor."""
    trim_interval_s: float = 20.0
    stream_max_entries: int = 100_000
    """Of one partition. Beyond it entries go that a group still wants; it then asks for a replay."""


class Relay:
    """The relay of one producer in one process. Any number of processes may run one."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        streams: Redis,
        options: RelayOptions | None = None,
        *,
        new_epoch: Callable[[], str] = lambda: uuid.uuid4().hex,
        tracing: Tracing | None = None,
    ) -> None:
        """streams: from `connect_streams`. tracing: told of events that are traced."""
        self._database = database
        self._outbox = outbox
        self._streams = streams
        self._names = StreamNames(outbox.producer)
        self._options = options or RelayOptions()
        self._new_epoch = new_epoch
        self._tracing = tracing
        self._woken = asyncio.Event()
        self._to_publish = asyncio.Event()
        self._listeners: list[Callable[[int], None]] = []
        self._published = -1
        self.head = 0
        """Last position given, as far as this process knows."""
        outbox.on_wake(self.wake)

    def wake(self) -> None:
        """There may be rows to number."""
        self._woken.set()

    def on_sequenced(self, listener: Callable[[int], None]) -> None:
        """Has `listener` told the head after each look at it (the tail registers itself)."""
        self._listeners.append(listener)

    async def run(self) -> None:
        """Relays until it is cancelled. PostgreSQL or Redis being away is waited out."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sequence_forever(), name="relay.sequence")
            group.create_task(self._publish_forever(), name="relay.publish")
            group.create_task(self._trim_forever(), name="relay.trim")
            group.create_task(self._gauge_forever(), name="relay.gauge")

    # Sequencing

    async def _sequence_forever(self) -> None:
        backoff = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S)
        next_at = 0.0
        while True:
            if await _set_within(self._woken, self._options.poll_interval_s):
                await asyncio.sleep(max(self._options.linger_s, next_at - time.monotonic()))
            next_at = time.monotonic() + self._options.interval_s
            self._woken.clear()
            try:
                alone = await self.sequence()
                backoff.reset()
            except MeshError as error:
                RELAY_FAILURES.labels("sequence").inc()
                await _pause("events cannot be numbered now", backoff, error)
                continue
            if not alone:
                await asyncio.sleep(self._options.contended_pause_s)
                self._woken.set()

    async def sequence(self) -> bool:
        """Numbers all committed rows; returns False if another worker was at it. Raises MeshError."""
        numbered = batch = self._options.batch
        while numbered == batch:
            async with self._database.connection() as connection:
                row = await connection.fetchrow(SQL["sequence"], batch)
            assert row is not None
            numbered = row["sequenced"]
            if numbered > 0:
                AFTER_SEQUENCE.hit()
                RELAY_BATCH.labels("sequence").observe(numbered)
            self._noticed(row["head"])
        return numbered >= 0

    def _noticed(self, head: int) -> None:
        self.head = head
        if head != self._published:
            self._to_publish.set()
        for listener in self._listeners:
            listener(head)

    # Publishing

    async def _publish_forever(self) -> None:
        backoff = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S)
        failed = False
        while True:
            audit = failed or not await _set_within(self._to_publish, self._options.audit_interval_s)
            self._to_publish.clear()
            try:
                alone = await self.publish(audit=audit)
                if failed:
                    log.info("events are published again")
                failed = False
                backoff.reset()
            except (MeshError, RedisError, OSError) as error:
                failed = True
                RELAY_FAILURES.labels("publish").inc()
                await _pause("events wait in the outbox", backoff, error)
                continue
            if not alone and not audit:
                await asyncio.sleep(self._options.contended_pause_s)
                self._to_publish.set()

    async def publish(self, *, audit: bool = False) -> bool:
        """Publishes all numbered events; returns False if another worker was at it.

        audit: also compares every stream with the cursor. Raises MeshError, RedisError.
        """
        while True:
            count = await self._publish_batch(audit)
            if count is None:
                return False
            if count < self._options.batch:
                return True
            audit = False

    async def _publish_batch(self, audit: bool) -> int | None:
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SQL["unpublished"], self._options.batch)
            if row is None:
                return None
            positions = row["positions"] or ()
            self._published = row["published"]
            if not positions and not audit:
                return 0
            heads: list[int] = list(row["heads"])
            heads += [0] * (self._outbox.partitions - len(heads))
            pairs: dict[int, list[Any]] = {partition: [] for partition in range(len(heads))} if audit else {}
            for position, partition, envelope in zip(
                positions, row["partitions"] or (), row["envelopes"] or (), strict=True
            ):
                pairs.setdefault(partition, []).extend((position, envelope))
            heads += [0] * (max(pairs) + 1 - len(heads))
            await self._send(pairs, heads, row["log_head"])
            if positions:
                AFTER_PUBLISH.hit()
                for partition, added in pairs.items():
                    if added:
                        heads[partition] = added[-2]
                await connection.execute(SQL["published"], positions[-1], heads)
                RELAY_BATCH.labels("publish").observe(len(positions))
        if positions:
            self._published = positions[-1]
            if self._tracing is not None:
                trace_published(self._tracing, row["envelopes"])
        return len(positions)

    async def _send(self, pairs: dict[int, list[Any]], heads: list[int], log_head: int) -> None:
        calls = [
            (
                (self._names.stream(partition), self._names.meta(partition)),
                (heads[partition], log_head, self._new_epoch(), *added),
            )
            for partition, added in pairs.items()
        ]
        candidates = [str(arguments[2]).encode() for _, arguments in calls]
        answers = await run_script(self._streams, PUBLISH, calls)
        for partition, candidate, answer in zip(pairs, candidates, answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            if answer[0] == candidate:
                STREAM_EPOCHS.inc()
                # Nothing was ever published there: it is new, as at every first start, and nothing was lost.
                log.log(
                    logging.WARNING if heads[partition] else logging.INFO,
                    "stream %s begins a new epoch after position %d: it is new, or Redis lost data; consumers will ask "
                    "for a replay",
                    self._names.stream(partition),
                    heads[partition],
                )

    # Upkeep

    async def _trim_forever(self) -> None:
        while True:
            await asyncio.sleep(self._options.trim_interval_s * random.uniform(0.8, 1.2))
            try:
                await self.trim()
            except (RedisError, OSError) as error:
                log.info("streams were not trimmed: %s", error)

    async def trim(self) -> int:
        """Removes from the streams what all groups have done; returns how many entries went. Raises RedisError."""
        partitions = range(self._outbox.partitions)
        calls = [
            ((self._names.stream(one), self._names.meta(one)), (self._options.stream_max_entries, self._new_epoch()))
            for one in partitions
        ]
        removed = 0
        for partition, answer in zip(partitions, await run_script(self._streams, TRIM, calls), strict=True):
            if isinstance(answer, Exception):
                raise answer
            removed += answer[0]
            if answer[1]:
                STREAM_EPOCHS.inc()
                log.warning(
                    "stream %s was cut to %d entries while a group still wanted them: is a consumer down, or a group "
                    "left behind? It will ask for a replay",
                    self._names.stream(partition),
                    self._options.stream_max_entries,
                )
        return removed

    async def _gauge_forever(self) -> None:
        while True:
            await asyncio.sleep(GAUGE_INTERVAL_S * random.uniform(0.8, 1.2))
            try:
                async with self._database.connection() as connection:
                    row = await connection.fetchrow(SQL["backlog"])
            except MeshError:
                continue  # sequencing says so already
            assert row is not None
            OUTBOX_PENDING.labels("sequence").set(row["unsequenced"])
            OUTBOX_PENDING.labels("publish").set(row["unpublished"])


async def _pause(what: str, backoff: Backoff, error: Exception) -> None:
    pause_s = backoff.next_s()
    log.warning("%s; next try in %.2f s: %s", what, pause_s, error)
    await asyncio.sleep(pause_s)


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event is set, or becomes so in time."""
    if event.is_set():
        return True
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
