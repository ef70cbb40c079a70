"""How long the moderators' queue is, looked at now and then."""

from __future__ import annotations

from services.mesh.database import Database, queries
from services.mesh.ids import SYSTEM_CLOCK, Clock
from services.moderation.metrics import CASES_OPEN, OLDEST_CASE

SQL = queries("services.moderation")
INTERVAL_S = 15.0
COUNTED_MAX = 10_000  # further on "very many" is all that anyone wants to know


async def look(database: Database, clock: Clock = SYSTEM_CLOCK) -> None:
    """Sets the gauges of the queue. MeshError: PostgreSQL is away."""
    async with database.connection() as conn:
        row = await conn.fetchrow(SQL["waiting_cases"], COUNTED_MAX)
    assert row is not None
    CASES_OPEN.set(row["waiting"])
    oldest = row["oldest_time"]
    OLDEST_CASE.set(0.0 if oldest is None else max(0.0, (clock.now() - oldest).total_seconds()))
