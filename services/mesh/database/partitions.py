"""The maintenance job of partitions: makes days ahead, drops days past their retention. Any process may run it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime

import asyncpg

from services.mesh.database.database import Database
from services.mesh.errors import MeshError

log = logging.getLogger(__name__)

INTERVAL_S = 600.0
"""Days are made a week ahead, so even a day of failures does no harm."""


def utc_now() -> datetime:
    """The time, as `maintain` takes it."""
    return datetime.now(UTC)


async def maintain_once(database: Database, moment: datetime) -> tuple[int, int] | None:
    """One run as of `moment`; returns (partitions made, dropped), or None if another process is at it."""
    async with database.transaction() as connection:
        row = await connection.fetchrow("SELECT made, dropped FROM mesh_maintain_partitions($1)", moment)
    assert row is not None
    return None if row["made"] < 0 else (row["made"], row["dropped"])


async def maintain(
    database: Database, *, interval_s: float = INTERVAL_S, now: Callable[[], datetime] = utc_now
) -> None:
    """Runs for ever. A run that fails (the database away, a lock not had) is logged, and the next one does its work."""
    while True:
        try:
            done = await maintain_once(database, now())
            if done is not None and any(done):
                log.info("partitions: %d made, %d dropped", *done, extra={"schema": database.schema})
        except (MeshError, asyncpg.LockNotAvailableError) as error:
            log.warning("partitions were not maintained: %s", error)
        await asyncio.sleep(interval_s * random.uniform(0.8, 1.2))
