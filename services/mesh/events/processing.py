"""Doing a batch of events: once each, in one transaction; event by event where that fails; given up in the end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import asyncpg
import grpc
from google.protobuf.message import Message

from services.mesh import dependencies
from services.mesh.backoff import Backoff
from services.mesh.database import Database, queries
from services.mesh.database.faults import is_conflict
from services.mesh.errors import MeshError
from services.mesh.events import context
from services.mesh.events.dead_letters import DeadLetter, Reason, explain, put
from services.mesh.events.envelope import Decoder, EnvelopeError, Event, Handler
from services.mesh.events.group import Entry
from services.mesh.events.metrics import (
    CONSUMER_BATCH_SECONDS,
    CONSUMER_EVENTS,
    CONSUMER_FAILURES,
    CONSUMER_LAG_SECONDS,
    DEAD_LETTERS,
)
from services.mesh.failpoints import Failpoint

log = logging.getLogger(__name__)

SQL = queries("services.mesh.events", "sql")

BEFORE_COMMIT = Failpoint("consumer.before_commit")
AFTER_COMMIT = Failpoint("consumer.after_commit")

FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 5.0

_WAIT_CODES = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}
)


@dataclass(frozen=True, slots=True)
class Attempts:
    """When an event is given up."""

    failures: int = 5
    """Tries whose failure is the event's (or the handler's) own."""
    timeouts: int = 20
    """Tries that took too long: usually a part that is slow, but one event may be too much for it."""
    starts: int = 10
    """Workers that died with the event in hand, alone."""


class Processor:
    """Does entries of one producer for one consumer."""

    def __init__(
        self,
        database: Database,
        *,
        producer: str,
        consumer: str,
        types: Iterable[type[Message]],
        handle: Handler,
        attempts: Attempts | None = None,
        tracer: context.Tracer | None = None,
        sleep: Callable[[float], Any] = asyncio.sleep,
    ) -> None:
        self._database = database
        self._producer = producer
        self._consumer = consumer
        self._decoder = Decoder(types)
        self._handle = handle
        self._committed: Callable[[Sequence[Event]], None] | None = getattr(handle, "committed", None)
        self._attempts = attempts or Attempts()
        self._tracer = tracer
        self._sleep = sleep
        for reason in get_args(Reason):
            DEAD_LETTERS.labels(consumer, reason)  # there from the start: a counter that begins at 1 hides its first

    async def process(self, entries: Sequence[Entry]) -> None:
        """Returns when every entry is done, was done before, is of no interest, or was given up; waits for parts that
        are away as long as it takes."""
        events: list[Event] = []
        for entry in entries:
            event = await self._decode(entry)
            if event is not None:
                events.append(event)
        if events:
            await self._run(events, {event.position: entry for event, entry in _pairs(events, entries)})

    async def process_suspect(self, entry: Entry) -> None:
        """As `process`, for an entry that workers died with: counts the start first, gives up after too many."""
        event = await self._decode(entry)
        if event is None:
            return
        starts = await self._until_there(lambda: self._count_start(event))
        if starts > self._attempts.starts:
            error = f"{starts - 1} workers died while they did this event alone"
            await self._give_up(event, entry, "CRASH", error, starts - 1)
            return
        await self._run([event], {event.position: entry}, suspect=True)

    async def _decode(self, entry: Entry) -> Event | None:
        try:
            return self._decoder.decode(entry.envelope, entry.position, entry.partition)
        except EnvelopeError as error:
            letter = DeadLetter.undecodable(self._consumer, self._producer, entry, explain(error))
        await self._until_there(lambda: put(self._database, letter))
        return None

    async def _run(self, events: Sequence[Event], entries: dict[int, Entry], suspect: bool = False) -> None:
        failures = timeouts = 0
        backoff = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S)
        while True:
            try:
                await self._once(events, suspect)
                return
            except Exception as error:
                kind = _kind(error)
                CONSUMER_FAILURES.labels(self._consumer, kind).inc()
                if kind == "failure" and len(events) > 1:
                    log.warning(
                        "%s: a batch of %d events failed, doing them one by one: %s",
                        self._consumer,
                        len(events),
                        explain(error),
                    )
                    for event in events:
                        await self._run([event], entries)
                    return
                failures += kind == "failure"
                timeouts += kind == "timeout"
                if failures >= self._attempts.failures or timeouts >= self._attempts.timeouts:
                    if len(events) == 1:
                        event = events[0]
                        log.exception("%s: event %s (%s) is given up", self._consumer, event.id, event.type)
                        await self._give_up(
                            event, entries[event.position], "ERROR", explain(error), failures + timeouts
                        )
                        return
                    for event in events:
                        await self._run([event], entries)
                    return
                pause_s = backoff.next_s()
                log.warning(
                    "%s: %d events at position %d, %s, again in %.2f s: %s",
                    self._consumer,
                    len(events),
                    events[0].position,
                    kind,
                    pause_s,
                    explain(error),
                )
                await self._sleep(pause_s)

    async def _once(self, events: Sequence[Event], suspect: bool) -> None:
        started = time.perf_counter()
        by_id = {event.id: event for event in events}
        with context.handling(self._consumer, events, self._tracer):
            fresh = await self._in_transaction(by_id, suspect)
        AFTER_COMMIT.hit()
        if fresh:
            self._observe(fresh, started)
            self._tell_committed(fresh)

    async def _in_transaction(self, by_id: dict[str, Event], suspect: bool) -> list[Event]:
        """Does those of the events that were not done before; returns them."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(SQL["record"], self._consumer, list(by_id))
            if len(rows) == len(by_id):
                fresh = list(by_id.values())
            else:
                recorded = {row[0] for row in rows}
                fresh = [event for event in by_id.values() if event.id in recorded]
            if fresh:
                await self._handle(connection, fresh)
            if suspect:
                for event_id in by_id:
                    await connection.execute(SQL["clear_suspect"], self._consumer, event_id)
            BEFORE_COMMIT.hit()
        return fresh

    def _observe(self, fresh: Sequence[Event], started: float) -> None:
        CONSUMER_EVENTS.labels(self._consumer).inc(len(fresh))
        CONSUMER_BATCH_SECONDS.labels(self._consumer).observe(time.perf_counter() - started)
        CONSUMER_LAG_SECONDS.labels(self._consumer).set(max(0.0, time.time() - fresh[-1].create_time.timestamp()))

    def _tell_committed(self, fresh: Sequence[Event]) -> None:
        if self._committed is None:
            return
        try:
            self._committed(fresh)
        except Exception:
            # The work is done and stays done; only what was to follow in memory is missing.
            log.exception("%s: `committed` failed", self._consumer)

    async def _count_start(self, event: Event) -> int:
        async with self._database.connection() as connection:
            return int(await connection.fetchval(SQL["count_start"], self._consumer, event.id))

    async def _give_up(self, event: Event, entry: Entry, reason: Reason, error: str, attempts: int) -> None:
        letter = DeadLetter(
            consumer=self._consumer,
            event_id=event.id,
            producer=self._producer,
            org_id=event.org_id,
            type=event.type,
            aggregate_id=event.aggregate_id,
            partition=event.partition,
            position=event.position,
            envelope=entry.envelope,
            reason=reason,
            error=error,
            attempts=attempts,
        )
        await self._until_there(lambda: put(self._database, letter))

    async def _until_there(self, work: Callable[[], Any]) -> Any:
        """Awaits `work()`, again and again while PostgreSQL is away."""
        backoff = Backoff(FIRST_PAUSE_S, MAX_PAUSE_S)
        while True:
            try:
                return await work()
            except Exception as error:
                if _kind(error) == "failure":
                    raise
                pause_s = backoff.next_s()
                log.warning("%s: the database is away, again in %.2f s: %s", self._consumer, pause_s, explain(error))
                await self._sleep(pause_s)


def _pairs(events: Sequence[Event], entries: Sequence[Entry]) -> Iterable[tuple[Event, Entry]]:
    by_position = {entry.position: entry for entry in entries}
    return ((event, by_position[event.position]) for event in events)


def _kind(error: Exception) -> str:
    """`away` (a part is missing), `conflict` (run again), `timeout`, or `failure` (the event's or handler's own)."""
    if is_conflict(error):
        return "conflict"
    if isinstance(error, TimeoutError | asyncpg.QueryCanceledError):
        return "timeout"
    if isinstance(error, MeshError):
        # The pool turns a cancelled statement into DEPENDENCY_UNAVAILABLE; its cause says what it was.
        if isinstance(error.__cause__, asyncpg.QueryCanceledError):
            return "timeout"
        return "away" if error.code in _WAIT_CODES else "failure"
    return "away" if dependencies.is_away(error) else "failure"
