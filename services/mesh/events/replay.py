"""Serves the events of this service from its outbox to consumers that Redis left without (EventSourceService)."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

from promptmesh.events.v1.events_pb2 import EventBatch, PositionedEnvelope, ReplayDone, ReplayRequest, ReplayResponse
from promptmesh.events.v1.events_pb2_grpc import EventSourceServiceServicer

from services.mesh.database import Database, queries

log = logging.getLogger(__name__)

SQL = queries("services.mesh.events", "sql")

PAGE = 500
PAGE_BYTES_MAX = 1_000_000
"""A message stays well below gRPC's limit of 4 MiB; a single event may be larger than this and goes alone."""


class EventSource(EventSourceServiceServicer):
    """The generated servicer over the service's outbox."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def Replay(self, request: ReplayRequest, context: Any) -> AsyncIterator[ReplayResponse]:
        """Streams what comes after the positions asked for, in order, up to the head at the time of the call."""
        after = {one.partition: one.position for one in request.after}
        async with self._database.connection() as connection:
            row = await connection.fetchrow(SQL["head"])
        assert row is not None
        head, dropped = row["position"], row["dropped"]
        cursor = min(after.values())
        if cursor < dropped and cursor < head:
            log.error(
                "%s asks for events after position %d; those up to %d were dropped when their retention ended, and are "
                "lost to it. It gets the rest",
                request.consumer,
                cursor,
                dropped,
            )
        wanted = list(after)
        while cursor < head:
            async with self._database.connection() as connection:
                rows = await connection.fetch(SQL["replay_page"], cursor, head, wanted, PAGE)
            events: list[PositionedEnvelope] = []
            size = 0
            for found in rows:
                cursor = found["position"]
                if cursor <= after[found["partition"]]:
                    continue
                size += len(found["envelope"])
                if events and size > PAGE_BYTES_MAX:
                    yield ReplayResponse(batch=EventBatch(events=events))
                    events, size = [], len(found["envelope"])
                events.append(
                    PositionedEnvelope(position=cursor, partition=found["partition"], envelope=found["envelope"])
                )
            if events:
                yield ReplayResponse(batch=EventBatch(events=events))
            if len(rows) < PAGE:
                break
        yield ReplayResponse(done=ReplayDone(head=head))
