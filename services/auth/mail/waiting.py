"""How long mails have waited, looked at now and then by each process of auth, whoever sends them."""

from __future__ import annotations

from services.auth.mail.metrics import OLDEST
from services.auth.store import SQL
from services.mesh.database import Database

INTERVAL_S = 15.0


async def look(database: Database) -> None:
    """Sets the gauge, by PostgreSQL's clock, which gave the mails their time. MeshError: PostgreSQL is away."""
    async with database.connection() as conn:
        age_s = await conn.fetchval(SQL["oldest_mail"])
    OLDEST.set(max(0.0, age_s or 0.0))
