"""Limits that administrators set, in PostgreSQL; every process follows them by their version."""

from __future__ import annotations

import asyncio

import asyncpg

from services.inference.limits.limits import Limits
from services.inference.limits.model import VALUE_NAMES, LimitValues
from services.mesh.database import Database, queries
from services.mesh.errors import MeshError
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
            version = await conn.fetchval(SQL["next_limits_version"])
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
        await self.refresh()
        return row

    async def remove(self, kind: int, subject_id: str) -> bool:
        """Whether anything was set for the subject; it is no more."""
        async with self._database.transaction() as conn:
            version = await conn.fetchval(SQL["next_limits_version"])
            row = await conn.fetchrow(SQL["remove_limits"], kind, subject_id, version)
        if row is None:
            return False
        await self.refresh()
        return True

    async def page(self, after: tuple[int, str], size: int) -> list[asyncpg.Record]:
        """What is set, by kind and id, after a subject."""
        async with self._database.connection() as conn:
            return await conn.fetch(SQL["list_limits"], *after, size)


def values_of(row: asyncpg.Record) -> LimitValues:
    """The limits in a row."""
    return LimitValues(**{name: row[name] for name in VALUE_NAMES})
