"""Limits that administrators set, in PostgreSQL; every process follows them by their version."""

from __future__ import annotations

import asyncio

import asyncpg

from services.inference.limits.limits import Limits
from services.inference.limits.model import KIND_NAMES, VALUE_NAMES, LimitValues
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.database import Connection, Database, queries
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.telemetry.logs import get_logger

SQL = queries("services.inference")
log = get_logger()


class Overrides:
    """Keeps `limits` at the newest version. With PostgreSQL away, what was known holds on."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._values: dict[tuple[int, str], LimitValues] = {}
        self._version = 0
        self._outbox: Outbox | None = None

    def record_to(self, outbox: Outbox) -> None:
        """Has the audit trail told of every change made here."""
        self._outbox = outbox

    async def follow(self, poll_s: float) -> None:
        """Takes every change within `poll_s` seconds; runs until cancelled."""
        while True:
            try:
                await self.refresh()
            except MeshError as error:
                if error.reason != "DEPENDENCY_UNAVAILABLE":
                    raise
            await asyncio.sleep(poll_s)

    async def refresh(self) -> None:
        """Takes what changed. Raises MeshError DEPENDENCY_UNAVAILABLE."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(SQL["changed_limits"], self._version)
        if not rows:
            return
        for row in rows:
            subject = (row["kind"], row["subject_id"])
            if row["removed"]:
                self._values.pop(subject, None)
            else:
                self._values[subject] = values_of(row)
            self._version = max(self._version, row["version"])
        self._limits.override(self._values)
        log.info("limits were changed", version=self._version, subjects=len(rows))

    async def set(self, kind: int, subject_id: str, org_id: str, values: LimitValues) -> asyncpg.Record:
        """Replaces what was set for a subject. Holds in this process when it returns."""
        async with self._database.transaction() as conn:
            version = await conn.fetchval(SQL["next_limits_version"])  # its lock makes changes one after another
            before = await conn.fetchrow(SQL["get_limits"], kind, subject_id)
            row = await conn.fetchrow(
                SQL["set_limits"],
                kind,
                subject_id,
                org_id,
                values.requests_per_minute,
                values.tokens_per_minute,
                values.concurrent_requests,
                values.nanos_per_day,
                values.nanos_per_month,
                values.requests_per_day,
                values.output_tokens_per_request,
                version,
            )
            assert row is not None
            await self._record(conn, "limits.set", before, row)
        await self.refresh()
        return row

    async def remove(self, kind: int, subject_id: str) -> bool:
        """Whether anything was set for the subject; it is no more."""
        async with self._database.transaction() as conn:
            version = await conn.fetchval(SQL["next_limits_version"])
            before = await conn.fetchrow(SQL["get_limits"], kind, subject_id)
            row = await conn.fetchrow(SQL["remove_limits"], kind, subject_id, version)
            if row is not None:
                await self._record(conn, "limits.delete", before, row)
        if row is None:
            return False
        await self.refresh()
        return True

    async def _record(
        self, conn: Connection, action: str, before: asyncpg.Record | None, after: asyncpg.Record
    ) -> None:
        if self._outbox is not None:
            subject = Party(KIND_NAMES[after["kind"]], after["subject_id"])
            told = _told(before) if before is not None else None
            await audit.record(
                conn, self._outbox, action, subject, org_id=after["org_id"], before=told, after=_told(after)
            )

    async def page(self, after: tuple[int, str], size: int) -> list[asyncpg.Record]:
        """What is set, by kind and id, after a subject."""
        async with self._database.connection() as conn:
            return await conn.fetch(SQL["list_limits"], *after, size)


def values_of(row: asyncpg.Record) -> LimitValues:
    """The limits in a row."""
    return LimitValues(**{name: row[name] for name in VALUE_NAMES})


def _told(row: asyncpg.Record) -> dict[str, int]:
    return {name: row[name] for name in VALUE_NAMES if row[name] is not None}
