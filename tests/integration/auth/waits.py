"""Connections that hold locks against the service, to put calls into an order that would rarely come about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tests.integration.auth.world import PATIENCE_S, Place


@asynccontextmanager
async def connected(place: Place) -> AsyncIterator[asyncpg.Connection]:
    """One more connection of the superuser."""
    connection = await asyncpg.connect(place.admin_url, server_settings={"search_path": "auth"})
    try:
        yield connection
    finally:
        await connection.close()


async def until_waiting_for(watcher: asyncpg.Connection, holder: asyncpg.Connection, others: int = 1) -> None:
    """Waits until so many sessions of PostgreSQL wait for what another holds."""
    pid = holder.get_server_pid()
    question = "SELECT count(*) FROM pg_stat_activity WHERE $1 = ANY (pg_blocking_pids(pid))"
    async with asyncio.timeout(PATIENCE_S):
        while await watcher.fetchval(question, pid) < others:
            await asyncio.sleep(0.01)
