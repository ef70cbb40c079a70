"""The engine on a real PostgreSQL and Redis, its background tasks running."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from services.inference.catalog import Offers
from services.inference.engine.parts import EngineParts
from services.mesh.database import Database
from services.mesh.redis import Redis


@contextlib.asynccontextmanager
async def running_parts(
    offers: Offers, database: Database, redis: Redis, worker_dir: Path, **options: Any
) -> AsyncIterator[EngineParts]:
    """Started, and closed in the end."""
    parts = EngineParts(offers, database, redis, redis, worker="inference-0", worker_dir=worker_dir, **options)
    await parts.start()
    tasks = [asyncio.ensure_future(run()) for _, run in parts.background]
    try:
        yield parts
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await parts.close()
