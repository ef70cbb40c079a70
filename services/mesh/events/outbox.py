"""The outbox: a change's events, written in the transaction of the change."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from services.mesh.database.after_commit import after_commit
from services.mesh.database.queries import queries
from services.mesh.events import context
from services.mesh.events.envelope import NewEvent, encode, partition_of
from services.mesh.ids import uuid7

if TYPE_CHECKING:
    from services.mesh.database import Connection

SQL = queries("services.mesh.events", "sql")


class OutboxRow(NamedTuple):
    """A row of `outbox` as it is inserted, in the order of the columns of sql/append.sql."""

    id: str
    org_id: str
    aggregate_id: str
    partition: int
    type: str
    envelope: bytes


class Outbox:
    """Appends events; tells the relay when they are committed."""

    def __init__(
        self,
        producer: str,
        partitions: int,
        *,
        new_id: Callable[[], str] = uuid7,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """producer: the service's name. partitions: may be raised (consumers first), never lowered."""
        self.producer = producer
        self.partitions = partitions
        self._new_id = new_id
        self._time_ns = time_ns
        self._wakers: list[Callable[[], None]] = []

    def row(self, event: NewEvent) -> OutboxRow:
        """The row of an event: for callers that insert it in a statement of their own."""
        event_id = self._new_id()
        traceparent = context.traceparent_for(event.aggregate_id) if event.traceparent is None else event.traceparent
        return OutboxRow(
            event_id,
            event.org_id,
            event.aggregate_id,
            partition_of(event.aggregate_id, self.partitions),
            event.payload.DESCRIPTOR.full_name,
            encode(event, event_id, self._time_ns(), traceparent),
        )

    async def append(self, conn: Connection, events: Sequence[NewEvent]) -> list[str]:
        """Inserts events in the caller's transaction, in one statement; returns their ids.

        Within `Database.transaction()` the relay is woken by itself after the commit.
        """
        if not events:
            return []
        return await self.append_rows(conn, [self.row(event) for event in events])

    async def append_rows(self, conn: Connection, rows: Sequence[OutboxRow]) -> list[str]:
        """As `append`, for rows made before."""
        await conn.execute(SQL["append"], *(list(column) for column in zip(*rows, strict=True)))
        after_commit(self.wake)
        return [row.id for row in rows]

    def wake(self) -> None:
        """After a commit: have the events relayed now rather than at the next poll. Cheap; may be called often."""
        for waker in self._wakers:
            waker()

    def on_wake(self, waker: Callable[[], None]) -> None:
        """Has `waker` called at each `wake`; the relay registers itself."""
        self._wakers.append(waker)
