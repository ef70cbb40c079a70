"""Removing what is over, in batches."""

from __future__ import annotations

import asyncio
from typing import Any

from services.mesh.database import Database


async def purge_on(database: Database, statement: str, *arguments: Any, every_s: float) -> None:
    """Runs a statement that removes a batch and answers its rows, until there are none; again and again, for ever."""
    while True:
        while True:
            async with database.connection() as conn:
                if not await conn.fetch(statement, *arguments):
                    break
        await asyncio.sleep(every_s)
