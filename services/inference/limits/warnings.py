"""Says, once, that a limit of a day or a month is nearly used up or used up: off the path of calls.

What is used comes with Redis's answers, some ten times a second at most for an organisation. A level that is seen
waits here until the next round writes it down with its event; of several processes one is the first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime
from typing import NamedTuple, cast

from promptmesh.inference.v1 import events_pb2, limits_pb2

from services.inference.limits.model import Period
from services.inference.limits.slices import Slice
from services.mesh.database import Database, queries
from services.mesh.errors import MeshError
from services.mesh.events import NewEvent, Outbox
from services.mesh.ids import uuid7
from services.mesh.telemetry.logs import get_logger

SQL = queries("services.inference")
log = get_logger()

NEARLY, WHOLLY = 80, 100  # percent of the limit
# A call is reserved at the most that it can cost, so money is hardly ever used up to the last nano-dollar: a call that
# is refused with this much used means that it is.
REFUSED_AT = 95
QUEUE_MAX = 10_000  # levels that wait to be written while PostgreSQL is away; of more, the next look tells again
BATCH = 200
EVERY_S = 1.0
PURGE_EVERY_S = 3600.0


class Reached(NamedTuple):
    """A level that was reached. Times of the window in seconds since the epoch."""

    kind: int
    subject_id: str
    org_id: str
    limit: str
    percent: int
    limit_value: int
    used: int
    begin: int
    end: int


class Watermarks:
    """Notices levels. `look` is told of each slice of which Redis has said how it stands."""

    def __init__(self, queue_max: int = QUEUE_MAX) -> None:
        self.queue: deque[Reached] = deque()
        self._max = queue_max

    def look(self, one: Slice, *, refused: bool = False) -> None:
        """refused: a call was just refused because too little of the limit is left."""
        meter = one.meter
        if one.warned == WHOLLY or meter.spec.period < Period.DAY:
            return
        percent = level_of(one.used, meter.limit, refused=refused)
        if percent > one.warned and len(self.queue) < self._max:
            one.warned = percent
            self.queue.append(
                Reached(
                    meter.kind,
                    meter.subject_id,
                    meter.org.org_id,
                    meter.spec.name,
                    percent,
                    meter.limit,
                    one.used,
                    one.begin,
                    one.end,
                )
            )


def level_of(used: int, limit: int, *, refused: bool = False) -> int:
    """The level that is reached: 0, 80 or 100. A limit of 0 has none: nothing of it is ever used."""
    if limit <= 0:
        return 0
    percent = used * 100 // limit
    if percent >= WHOLLY or (refused and percent >= REFUSED_AT):
        return WHOLLY
    return NEARLY if percent >= NEARLY else 0


class WarningWriter:
    """Writes levels down with their events, each once for a window, whoever saw it."""

    def __init__(self, database: Database, outbox: Outbox, marks: Watermarks) -> None:
        self._database, self._outbox, self._queue = database, outbox, marks.queue

    async def run(self) -> None:
        """Until cancelled. With PostgreSQL away the levels wait."""
        loop = asyncio.get_running_loop()
        purge_at = loop.time()
        while True:
            try:
                while self._queue:
                    await self.write()
                if loop.time() >= purge_at:
                    async with self._database.connection() as conn:
                        await conn.execute(SQL["purge_limit_warnings"])
                    purge_at = loop.time() + PURGE_EVERY_S
            except MeshError as error:
                if error.reason != "DEPENDENCY_UNAVAILABLE":
                    raise
            await asyncio.sleep(EVERY_S)

    async def write(self) -> int:
        """One batch; how many of it nobody had written before. Raises MeshError DEPENDENCY_UNAVAILABLE."""
        batch = [self._queue[at] for at in range(min(BATCH, len(self._queue)))]
        async with self._database.transaction() as conn:
            new = [one for one in batch if await conn.fetchval(SQL["insert_limit_warning"], *_row(one))]
            await self._outbox.append(conn, [NewEvent(one.org_id, uuid7(), 1, message_of(one)) for one in new])
        for _ in batch:
            self._queue.popleft()
        for one in new:
            log.info(
                "a limit is nearly used up" if one.percent < WHOLLY else "a limit is used up",
                limit=one.limit,
                kind=one.kind,
                subject_id=one.subject_id,
                org_id=one.org_id,
            )
        return len(new)


def _row(one: Reached) -> tuple[object, ...]:
    begin, end = datetime.fromtimestamp(one.begin, UTC), datetime.fromtimestamp(one.end, UTC)
    return one.org_id, one.kind, one.subject_id, one.limit, begin, one.percent, end


def message_of(one: Reached) -> events_pb2.LimitWarning:
    """The event of a level."""
    message = events_pb2.LimitWarning(
        kind=cast(limits_pb2.LimitKind.ValueType, one.kind),
        subject_id=one.subject_id,
        org_id=one.org_id,
        limit=one.limit,
        percent=one.percent,
        limit_value=one.limit_value,
        used=one.used,
    )
    message.begin_time.FromSeconds(one.begin)
    message.end_time.FromSeconds(one.end)
    return message
