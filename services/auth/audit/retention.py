"""What keeps the trail in order: days that are over their retention go, with a checkpoint; new days are closed.

A dropped day is the start of the chain. Its last hash is kept, in a checkpoint and in a record of the chain itself: the
chain goes on from there, and verifies.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import asyncpg
from promptmesh.auth.v1 import audit_pb2

from services.auth.audit.chain import TRIM_ACTION, Link, trim_id
from services.auth.audit.personal import PersonKeys
from services.auth.audit.reading import id_at
from services.auth.audit.trail import Act, Trail
from services.auth.store import SQL
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError
from services.mesh.ids import SYSTEM_CLOCK, Clock, uuid7
from services.mesh.telemetry.logs import get_logger

log = get_logger()

INTERVAL_S = 600.0
RESEAL_MAX = 200  # keys in a transaction


class Retention:
    """The maintenance of the trail; any process may run it. retention_days: 0 keeps all."""

    def __init__(
        self,
        database: Database,
        trail: Trail,
        keys: PersonKeys,
        retention_days: int,
        *,
        clock: Clock = SYSTEM_CLOCK,
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self._database, self._trail, self._keys = database, trail, keys
        self._days, self._clock, self._new_id = retention_days, clock, new_id

    async def run(self, interval_s: float = INTERVAL_S) -> None:
        """For ever. What fails (the database away, a lock not had) is logged, and done by the next run."""
        while True:
            try:
                await self.once()
            except (MeshError, asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
                log.warning("the audit trail was not maintained", error=str(error))
            await asyncio.sleep(interval_s * random.uniform(0.8, 1.2))

    async def once(self) -> Link | None:
        """One run; the checkpoint that it left, if it dropped records."""
        async with self._database.transaction() as conn:
            await conn.execute(SQL["audit_lock_timeout"])
            await conn.execute(SQL["audit_close_days"])
        while True:
            async with self._database.transaction() as conn:
                if await self._keys.reseal(conn, RESEAL_MAX) < RESEAL_MAX:
                    break
        if self._days == 0:
            return None
        async with self._database.transaction() as conn:
            await conn.execute(SQL["audit_lock_timeout"])
            dropped = await self._drop(conn)
        if dropped is not None:
            log.info("records of the audit trail were dropped", up_to=dropped.sequence)
        return dropped

    async def _drop(self, conn: Connection) -> Link | None:
        oldest = self._clock.now().astimezone(UTC).date() - timedelta(days=self._days)
        names = [row["name"] for row in await conn.fetch(SQL["audit_old_days"], oldest)]
        if not names:
            return None
        # The head first, as every writer: no day is dropped while one appends.
        head = await conn.fetchrow(SQL["audit_lock_head"])
        assert head is not None, "the migration made it"
        begin = id_at(datetime(oldest.year, oldest.month, oldest.day, tzinfo=UTC))
        row = await conn.fetchrow(SQL["audit_last_before"], begin)
        link = Link(row["sequence"], bytes(row["hash"])) if row is not None else None
        if link is not None:
            await conn.execute(SQL["audit_insert_checkpoint"], link.sequence, link.hash)
            await self._trail.take(conn, [Act(self._new_id(), "auth", self._told(link))])
        for name in names:
            await conn.execute(SQL["audit_drop_day"], name)
        return link

    def _told(self, link: Link) -> audit_pb2.ActRecorded:
        record = audit_pb2.AuditRecord(
            action=TRIM_ACTION,
            actor=audit_pb2.AuditParty(kind="service", id="auth"),
            subject=audit_pb2.AuditParty(kind="audit_trail", id=trim_id(link)),
            succeeded=True,
        )
        record.act_time.FromDatetime(self._clock.now())
        return audit_pb2.ActRecorded(record=record)
