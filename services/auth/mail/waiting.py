"""How long mails have waited, looked at now and then by each process of auth, whoever sends them."""

from __future__ import annotations

import asyncio
import random

from services.auth.mail.metrics import OLDEST
from services.auth.store import SQL
from services.mesh.database import Database
from services.mesh.errors import MeshError

INTERVAL_S = 15.0


async def look(database: Database) -> None:
    """Sets the gauge, by PostgreSQL's clock, which gave the mails their time. MeshError: PostgreSQL is away."""
    async with database.connection() as conn:
        age_s = await conn.fetchval(SQL["oldest_mail"])
    OLDEST.set(max(0.0, age_s or 0.0))


async def watch(database: Database) -> None:
    """Looks for ever. With PostgreSQL away the gauge stays as it is."""
    while True:
        try:
            await look(database)
        except MeshError as error:
            if error.reason != "DEPENDENCY_UNAVAILABLE":
                raise
        await asyncio.sleep(INTERVAL_S * random.uniform(0.8, 1.2))
