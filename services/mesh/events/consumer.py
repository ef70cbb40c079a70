"""A consumer: a group over all partitions of a producer, each event done once, whatever is lost or dies.

Three loops. The reader takes new entries and does them. The keeper, once a second, moves the checkpoints, notices new
epochs and lost groups, takes over what departed workers left, and has dead letters done again. The replayer asks the
producer for what Redis forgot. What they do overlaps harmlessly: the inbox knows what is done.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from redis.exceptions import RedisError

from services.mesh import dependencies
from services.mesh.backoff import Backoff
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.events.catch_up import CatchUp, Replay
from services.mesh.events.checkpoints import Checkpoint, Checkpoints
from services.mesh.events.context import Tracer
from services.mesh.events.dead_letters import retry_requested
from services.mesh.events.envelope import Decoder, Handler
from services.mesh.events.group import Entry, Group, NoGroupError, PendingEntry, Progress
from services.mesh.events.metrics import CONSUMER_FAILURES
from services.mesh.events.processing import Attempts, Processor
from services.mesh.failpoints import Failpoint

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]

AFTER_ACK = Failpoint("consumer.after_ack")

FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 2.0
BLOCKING_TIMEOUT_S = 5.0
"""For the client of reads that wait: well over `ConsumerOptions.block_s`."""


@dataclass(frozen=True, slots=True)
class ConsumerOptions:
    """How a consumer paces itself."""

    batch: int = 128
    """Most events in a transaction, and most read of a partition at a time."""
    linger_s: float = 0.002
    """After the first new entries came out of quiet: the relay fills one partition after the other."""
    interval_s: float = 0.04
    """Least time between two batches that are not full: under load more is done in one transaction."""
    block_s: float = 1.0
    keep_interval_s: float = 1.0
    recheck_interval_s: float = 5.0
    """How often PostgreSQL is asked where nothing moved: for checkpoints that another worker changed, and for dead
    letters that an operator wants done again."""
    reclaim_interval_s: float = 5.0
    reclaim_idle_s: float = 15.0
    """An entry in hand for so long belongs to a worker that is gone."""
    suspect_deliveries: int = 3
    """An entry that was delivered so often without success is done by itself, its starts counted."""
    departed_idle_s: float = 3600.0
    attempts: Attempts = field(default_factory=Attempts)


class Consumer:
    """One worker's part in one group."""

    def __init__(
        self,
        database: Database,
        streams: Redis,
        blocking_streams: Redis,
        *,
        producer: str,
        group: str,
        worker: str,
        partitions: int,
        types: Iterable[type[Message]],
        handle: Handler,
        replay: Replay,
        options: ConsumerOptions | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """streams, blocking_streams: from `connect_streams`, the second with a time-out well over `block_s`.

        group: unique among all services ("prompts.screened"). worker: stable over restarts, so that a worker goes on
        with what it had in hand. types: payload messages wanted; others are passed over.
        """
        self.group_name = group
        self._options = options = options or ConsumerOptions()
        types = list(types)
        self._database = database
        self._handle = handle
        self._decoder = Decoder(types)
        self._group = Group(streams, blocking_streams, producer, group, worker, partitions)
        self._checkpoints = Checkpoints(database, producer, group, partitions, worker)
        self._processor = Processor(
            database,
            producer=producer,
            consumer=group,
            types=types,
            handle=handle,
            attempts=options.attempts,
            tracer=tracer,
        )
        self._catch_up = CatchUp(replay, self._checkpoints, self._processor, consumer=group, batch=options.batch)
        # Epochs to replay for, by partition. '' stands for a stream without one: the relay was not there since a loss.
        self._wanted: dict[int, str] = {}
        self._replay_now = asyncio.Event()
        self._replayed_without_epoch: set[int] = set()
        self._in_hand: set[tuple[int, int]] = set()
        self._next_reclaim = 0.0
        self._next_retry = 0.0
        self._next_advance = 0.0
        self._advanced: dict[int, Checkpoint] = {}  # what PostgreSQL was last told
        self._next_read = 0.0
        self._making_group = asyncio.Lock()

    async def run(self) -> None:
        """Consumes until it is cancelled. PostgreSQL, Redis or the producer being away is waited out."""
        await self._patiently("prepare", self._checkpoints.make)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_forever(), name=f"{self.group_name}.read")
            tasks.create_task(self._keep_forever(), name=f"{self.group_name}.keep")
            tasks.create_task(self._replay_forever(), name=f"{self.group_name}.replay")

    # Reading

    async def _read_forever(self) -> None:
        await self._patiently("read its own", self._resume)
        try:
            while True:
                await self._patiently("read", self._read)
        finally:
            await self._group.stop_reading()

    async def _resume(self) -> None:
        """What this worker had in hand when it ended."""
        try:
            while own := await self._group.pending(self._options.batch, own=True):
                await self._take_over(own, idle_s=0.0)
        except NoGroupError:
            await self._make_group()

    async def _read(self) -> None:
        options = self._options
        try:
            entries = await self._group.read(options.batch, options.block_s)
            if entries and len(entries) < options.batch:
                await asyncio.sleep(max(options.linger_s, self._next_read - time.monotonic()))
                entries += await self._read_more()
                entries.sort(key=lambda one: one.position)
        except NoGroupError:
            await self._make_group()
            return
        self._next_read = time.monotonic() + options.interval_s
        for start in range(0, len(entries), options.batch):
            await self._do(entries[start : start + options.batch])

    async def _read_more(self) -> list[Entry]:
        """What came meanwhile. What was read before is in hand, so a failure here is left to the next read."""
        try:
            return await self._group.read(self._options.batch, None)
        except (NoGroupError, RedisError, OSError):
            return []

    async def _do(self, entries: Sequence[Entry]) -> None:
        keys = [(one.partition, one.position) for one in entries]
        self._in_hand.update(keys)
        try:
            await self._processor.process(entries)
            await self._acknowledge(entries)
        finally:
            self._in_hand.difference_update(keys)
        AFTER_ACK.hit()

    async def _acknowledge(self, entries: Sequence[Entry | PendingEntry]) -> None:
        try:
            await self._group.acknowledge(entries)
        except (RedisError, OSError) as error:
            # They are done; somebody takes them over later, finds them in the inbox, and acknowledges.
            log.info("%s: %d entries could not be acknowledged: %s", self.group_name, len(entries), error)

    async def _make_group(self) -> None:
        """A group that is made anew has forgotten what it did: ask for everything after the checkpoints, then go on."""
        async with self._making_group:
            if all(one.delivered >= 0 for one in await self._group.progress()):
                return  # made by another loop or worker meanwhile
            log.warning("%s: the group is new, or Redis lost it; asking for a replay", self.group_name)
            await self._checkpoints.want_replay()
            self._next_advance = 0.0
            await self._group.create()

    # Keeping

    async def _keep_forever(self) -> None:
        while True:
            await self._patiently("keep", self._keep)
            await asyncio.sleep(self._options.keep_interval_s * random.uniform(0.9, 1.1))

    async def _keep(self) -> None:
        await self._keep_checkpoints()
        now = time.monotonic()
        if now >= self._next_reclaim:
            self._next_reclaim = now + self._options.reclaim_interval_s * random.uniform(0.8, 1.2)
            await self._reclaim()
            await self._group.forget_departed(self._options.departed_idle_s)
        if now >= self._next_retry:
            self._next_retry = now + self._options.recheck_interval_s * random.uniform(0.8, 1.2)
            await retry_requested(self._database, self.group_name, self._decoder, self._handle)

    async def _keep_checkpoints(self) -> None:
        progress = dict(enumerate(await self._group.progress()))
        if any(one.delivered < 0 for one in progress.values()):
            await self._make_group()
            return
        seen = {partition: Checkpoint(one.done, one.epoch) for partition, one in progress.items()}
        now = time.monotonic()
        if seen == self._advanced and not self._wanted and now < self._next_advance:
            return  # a quiet group costs PostgreSQL nothing
        stored = await self._checkpoints.advance(seen)
        self._advanced, self._next_advance = seen, now + self._options.recheck_interval_s * random.uniform(0.8, 1.2)
        for partition, one in progress.items():
            if self._wants_replay(partition, one, stored.get(partition)):
                self._wanted[partition] = one.epoch
            else:
                self._wanted.pop(partition, None)
        if self._wanted:
            self._replay_now.set()

    def _wants_replay(self, partition: int, progress: Progress, stored: Checkpoint | None) -> bool:
        if progress.epoch:
            self._replayed_without_epoch.discard(partition)
            return stored is None or stored.epoch != progress.epoch
        return partition not in self._replayed_without_epoch

    async def _reclaim(self) -> None:
        try:
            idle_s = self._options.reclaim_idle_s
            idle = await self._group.pending(self._options.batch, idle_s=idle_s)
            idle = [one for one in idle if (one.partition, one.position) not in self._in_hand]
            await self._take_over(idle, idle_s=idle_s)
        except NoGroupError:
            await self._make_group()

    async def _take_over(self, pending: Sequence[PendingEntry], *, idle_s: float) -> None:
        usual = [one for one in pending if one.deliveries < self._options.suspect_deliveries]
        suspect = [one for one in pending if one.deliveries >= self._options.suspect_deliveries]
        entries, gone = await self._group.claim(usual, idle_s=idle_s)
        for start in range(0, len(entries), self._options.batch):
            await self._do(entries[start : start + self._options.batch])
        entries, gone_too = await self._group.claim(suspect, idle_s=idle_s, count=False)
        for entry in entries:
            await self._processor.process_suspect(entry)
            await self._acknowledge([entry])
        gone += gone_too
        if gone:
            log.error(
                "%s: %d entries were removed from the streams before they were done; asking for a replay",
                self.group_name,
                len(gone),
            )
            # In this order: acknowledged, they no longer hold the checkpoint back.
            await self._checkpoints.want_replay(sorted({one.partition for one in gone}))
            self._next_advance = 0.0
            await self._acknowledge(gone)

    # Replaying

    async def _replay_forever(self) -> None:
        while True:
            await self._replay_now.wait()
            self._replay_now.clear()
            wanted = dict(self._wanted)
            if wanted:
                await self._patiently("replay", partial(self._replay, wanted))

    async def _replay(self, wanted: dict[int, str]) -> None:
        done = await self._catch_up.run(wanted)
        self._replayed_without_epoch.update(one for one in done if not wanted[one])

    async def _patiently(self, what: str, work: Work) -> None:
        """Awaits `work()`, again and again while a part is away."""
        backoff = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S)
        while True:
            try:
                await work()
                return
            except Exception as error:
                if not _is_away(error):
                    raise
                CONSUMER_FAILURES.labels(self.group_name, "away").inc()
                pause_s = backoff.next_s()
                log.warning("%s: cannot %s now, again in %.2f s: %s", self.group_name, what, pause_s, error)
                await asyncio.sleep(pause_s)


def _is_away(error: Exception) -> bool:
    if isinstance(error, MeshError):
        return error.reason == "DEPENDENCY_UNAVAILABLE"
    return isinstance(error, RedisError) or dependencies.is_away(error)
