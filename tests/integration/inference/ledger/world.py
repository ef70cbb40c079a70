"""Ledgers over one database, and what PostgreSQL knows of their records."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from services.inference.ledger.ledger import Ledger
from services.inference.ledger.record import CallRecord
from services.inference.ledger.settings import LedgerOptions
from services.mesh.database import Database
from services.mesh.errors import MeshError

OPTIONS = LedgerOptions(
    sync_ms=1, segment_bytes=64 * 1024, flush_ms=5, sweep_s=0.05, adopt_s=0, recovery_wait_s=10, close_s=10
)
SUMS = (
    *("requests", "failures", "cache_hits", "input_tokens", "output_tokens", "cost_nanos"),
    *("unpriced_requests", "estimated_requests"),
)


@contextlib.asynccontextmanager
async def running(database: Database, worker_dir: Path, **changes: Any) -> AsyncIterator[Ledger]:
    """A ledger that is closed at the end. Options by name; `on_recovered` and others of Ledger too."""
    own = {name: changes.pop(name) for name in ("on_recovered", "redact", "worker") if name in changes}
    ledger = Ledger(database, replace(OPTIONS, **changes), worker_dir, **own)
    await ledger.start()
    try:
        yield ledger
    finally:
        await ledger.close()


async def rows(database: Database) -> dict[str, Any]:
    """Records by id."""
    async with database.connection() as conn:
        return {row["id"]: row for row in await conn.fetch("SELECT * FROM requests")}


async def until_stored(database: Database, ids: Sequence[str]) -> dict[str, Any]:
    """Waits until these are in PostgreSQL."""
    async with asyncio.timeout(30):
        while True:
            # While PostgreSQL starts, or finds its connections cut, it cannot be asked.
            with contextlib.suppress(MeshError):
                found = await rows(database)
                if found.keys() >= set(ids):
                    return found
            await asyncio.sleep(0.01)


async def sums(database: Database, table: str = "usage_hourly") -> dict[str, int]:
    """The whole of a roll-up."""
    columns = ", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in SUMS)
    async with database.connection() as conn:
        row = await conn.fetchrow(f"SELECT {columns} FROM {table}")
    assert row is not None
    return dict(row)


def sums_of(records: Sequence[CallRecord]) -> dict[str, int]:
    """What a roll-up of these must say."""
    return {
        "requests": len(records),
        "failures": sum(one.outcome in (3, 5) for one in records),
        "cache_hits": sum(one.cache in (3, 4) for one in records),
        "input_tokens": sum(one.input_tokens for one in records),
        "output_tokens": sum(one.output_tokens for one in records),
        "cost_nanos": sum(one.cost_nanos or 0 for one in records),
        "unpriced_requests": sum(one.cost_nanos is None for one in records),
        "estimated_requests": sum(one.basis == 2 for one in records),
    }
