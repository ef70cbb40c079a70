"""A consumer group in Redis: reading, acknowledging, taking over from workers that are gone, progress."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from redis.exceptions import ClusterCrossSlotError, ResponseError

from services.mesh.events.apart import ApartReads
from services.mesh.events.streams import Script, StreamNames, position_of, run_command, run_script

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

PROGRESS = Script("progress")
FORGET = Script("forget")

_MS_PER_S = 1000


class NoGroupError(Exception):
    """Redis does not know the group, or not the stream: it is new, or Redis lost data."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as a stream or a replay brought it."""

    position: int
    partition: int
    envelope: bytes


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """An entry that was delivered and not acknowledged. deliveries: how often."""

    position: int
    partition: int
    deliveries: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a group has come in a partition. epoch '': unknown; delivered -1: no group; lowest_pending -1: none."""

    epoch: str
    delivered: int
    lowest_pending: int

    @property
    def done(self) -> int:
        """The position up to which everything in the stream was acknowledged."""
        return self.lowest_pending - 1 if self.lowest_pending >= 0 else self.delivered


class Group:
    """One worker's view of a group over all partitions of a producer."""

    def __init__(self, client: Redis, blocking: Redis, producer: str, group: str, worker: str, partitions: int) -> None:
        """client: for short commands. blocking: for reads that wait; its time-out must be longer than they do."""
        self._client = client
        self._blocking = blocking
        self._names = StreamNames(producer)
        self._group = group
        self._worker = worker
        self._partitions = partitions
        self._streams = [self._names.stream(one) for one in range(partitions)]
        self._partition_of = {stream.encode(): index for index, stream in enumerate(self._streams)}
        self._apart: ApartReads | None = None  # as soon as Redis says that it is a cluster

    async def create(self) -> None:
        """Makes the group, from the beginning, wherever it is missing."""
        pipeline = self._client.pipeline(transaction=False)
        for stream in self._streams:
            pipeline.execute_command("XGROUP", "CREATE", stream, self._group, "0", "MKSTREAM")
        for answer in await pipeline.execute(raise_on_error=False):
            if isinstance(answer, Exception) and not str(answer).startswith("BUSYGROUP"):
                raise answer

    async def read(self, count: int, block_s: float | None) -> list[Entry]:
        """New entries, at most `count` of each partition, by position; waits up to block_s (None: not at all).

        Of one caller at a time. Raises NoGroupError.
        """
        if self._apart is None:
            try:
                return self._entries(await self._read_streams(self._streams, count, block_s))
            except ClusterCrossSlotError:
                log.info("%s: Redis is a cluster; each partition is read by itself", self._group)
                self._apart = ApartReads(self._group, self._partitions, self._read_one)
        if block_s is not None:
            found = await self._apart.next(count, block_s)
        else:
            # First what may fail: what is fetched is in nobody's hand but the caller's.
            more = await self._read_at_once(self._apart.idle, count)
            found = [*more, *self._apart.fetch()]
        return self._entries([stream for _, answer in found for stream in answer])

    async def stop_reading(self) -> None:
        """Ends reads that are under way. After it nothing is read."""
        if self._apart is not None:
            await self._apart.stop()

    async def _read_one(self, partition: int, count: int, block_s: float) -> Any:
        return await self._read_streams([self._streams[partition]], count, block_s)

    async def _read_streams(self, streams: Sequence[str], count: int, block_s: float | None) -> Any:
        client = self._client if block_s is None else self._blocking
        try:
            return await run_command(client, "XREADGROUP", *self._read_arguments(streams, count, block_s))
        except ResponseError as error:
            # UNBLOCKED: the stream was deleted while we waited.
            if str(error).startswith(("NOGROUP", "UNBLOCKED")):
                raise NoGroupError(str(error)) from error
            raise

    async def _read_at_once(self, partitions: Sequence[int], count: int) -> list[tuple[int, Any]]:
        """What partitions have now. One that cannot be read is passed over: its next read that waits tells why."""
        pipeline = self._client.pipeline(transaction=False)
        for one in partitions:
            pipeline.execute_command("XREADGROUP", *self._read_arguments([self._streams[one]], count, None))
        answers = await pipeline.execute(raise_on_error=False) if partitions else []
        both = zip(partitions, answers, strict=True)
        return [(one, answer) for one, answer in both if answer and not isinstance(answer, Exception)]

    def _read_arguments(self, streams: Sequence[str], count: int, block_s: float | None) -> list[Any]:
        arguments: list[Any] = ["GROUP", self._group, self._worker, "COUNT", count]
        if block_s is not None:
            arguments += ["BLOCK", max(1, int(block_s * _MS_PER_S))]
        return [*arguments, "STREAMS", *streams, *(">" for _ in streams)]

    def _entries(self, answer: Any) -> list[Entry]:
        entries = [
            Entry(position_of(entry_id), partition, fields[1])
            for stream, found in answer or ()
            for partition in (self._partition_of[stream],)
            for entry_id, fields in found
            if fields is not None
        ]
        entries.sort(key=lambda entry: entry.position)
        return entries

    async def acknowledge(self, entries: Iterable[Entry | PendingEntry]) -> None:
        """Says that entries are done."""
        ids: dict[int, list[str]] = {}
        for entry in entries:
            ids.setdefault(entry.partition, []).append(f"{entry.position}-0")
        if len(ids) == 1:
            ((partition, of_partition),) = ids.items()
            await run_command(self._client, "XACK", self._streams[partition], self._group, *of_partition)
        elif ids:
            pipeline = self._client.pipeline(transaction=False)
            for partition, of_partition in ids.items():
                pipeline.execute_command("XACK", self._streams[partition], self._group, *of_partition)
            for answer in await pipeline.execute(raise_on_error=False):
                if isinstance(answer, Exception):
                    raise answer

    async def pending(self, count: int, *, idle_s: float = 0.0, own: bool = False) -> list[PendingEntry]:
        """Entries that wait for their acknowledgement, at most `count` a partition, by position.

        idle_s: only those not delivered to anybody for that long. own: only those of this worker.
        """
        pipeline = self._client.pipeline(transaction=False)
        for stream in self._streams:
            arguments: list[Any] = ["IDLE", int(idle_s * _MS_PER_S)] if idle_s else []
            arguments += ["-", "+", count, *((self._worker,) if own else ())]
            pipeline.execute_command("XPENDING", stream, self._group, *arguments)
        answers = await pipeline.execute(raise_on_error=False)
        found: list[PendingEntry] = []
        for partition, answer in enumerate(answers):
            if isinstance(answer, Exception):
                if str(answer).startswith("NOGROUP"):
                    raise NoGroupError(str(answer)) from answer
                raise answer
            found += [PendingEntry(position_of(one[0]), partition, one[3]) for one in answer]
        return sorted(found, key=lambda one: one.position)

    async def claim(
        self, entries: Sequence[PendingEntry], *, idle_s: float = 0.0, count: bool = True
    ) -> tuple[list[Entry], list[PendingEntry]]:
        """Takes pending entries over; returns (those had, by position; those that are no longer in the stream).

        Entries that another worker took meanwhile are in neither. count: adds one to their deliveries.
        """
        if not entries:
            return [], []
        # What XCLAIM does with an entry that was deleted differs (6.2 hands out a hole, 7 forgets that it was pending),
        # and 7's way loses it silently. So look first.
        pipeline = self._client.pipeline(transaction=False)
        for one in entries:
            pipeline.execute_command("XRANGE", self._streams[one.partition], f"{one.position}-0", f"{one.position}-0")
        there: dict[tuple[int, int], Entry] = {}
        gone: list[PendingEntry] = []
        for one, answer in zip(entries, await pipeline.execute(raise_on_error=False), strict=True):
            if isinstance(answer, Exception):
                raise answer
            if answer:
                there[one.partition, one.position] = Entry(one.position, one.partition, answer[0][1][1])
            else:
                gone.append(one)
        claimed = await self._claim(list(there.values()), idle_s, count)
        had = [entry for key, entry in there.items() if key in claimed]
        return sorted(had, key=lambda entry: entry.position), gone

    async def _claim(self, entries: Sequence[Entry], idle_s: float, count: bool) -> set[tuple[int, int]]:
        ids: dict[int, list[str]] = {}
        for entry in entries:
            ids.setdefault(entry.partition, []).append(f"{entry.position}-0")
        pipeline = self._client.pipeline(transaction=False)
        for partition, of_partition in ids.items():
            arguments = [self._streams[partition], self._group, self._worker, int(idle_s * _MS_PER_S), *of_partition]
            # JUSTID leaves the count of deliveries as it is.
            pipeline.execute_command("XCLAIM", *arguments, *(() if count else ("JUSTID",)))
        claimed: set[tuple[int, int]] = set()
        answers = await pipeline.execute(raise_on_error=False) if ids else []
        for partition, answer in zip(ids, answers, strict=True):
            if isinstance(answer, Exception):
                raise answer
            claimed.update((partition, position_of(one[0] if count else one)) for one in answer if one is not None)
        return claimed

    async def progress(self) -> list[Progress]:
        """By partition: epoch and how far the group has come, at one moment each."""
        calls = [((self._names.stream(one), self._names.meta(one)), (self._group,)) for one in range(self._partitions)]
        found: list[Progress] = []
        for answer in await run_script(self._client, PROGRESS, calls):
            if isinstance(answer, Exception):
                raise answer
            found.append(Progress(answer[0].decode(), answer[1], answer[2]))
        return found

    async def forget_departed(self, idle_s: float) -> None:
        """Removes workers from the group that hold nothing and were not seen for idle_s (pods that are gone)."""
        calls = [((stream,), (self._group, self._worker, int(idle_s * _MS_PER_S))) for stream in self._streams]
        for answer in await run_script(self._client, FORGET, calls):
            if isinstance(answer, Exception):
                raise answer
