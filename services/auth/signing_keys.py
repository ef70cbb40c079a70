"""Which keys tokens are verified with: those that processes of auth sign with, now or until lately.

A process says at its start, and then every minute, that it signs with its key. So a key is replaced by restarting the
processes with another file: tokens of the old key stay good until they end, wherever the new one is known already.
"""

from __future__ import annotations

import asyncio

from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.store import RESTRICTION_MARGIN_S, SQL
from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.telemetry.logs import get_logger

log = get_logger()


class SigningKeys:
    """Keeps this process's key among those in force. Times are in seconds."""

    def __init__(
        self, database: Database, outbox: Outbox, own: auth_pb2.JsonWebKey, *, seen_s: float, access_lifetime_s: int
    ) -> None:
        self._database, self._outbox, self._own = database, outbox, own
        self._seen_s = seen_s
        # A key was signed with until seen_s after it was last seen, give or take some rounds that failed.
        self._kept_s = access_lifetime_s + RESTRICTION_MARGIN_S + 5 * seen_s

    async def present(self) -> auth_pb2.JsonWebKeySet:
        """The keys in force."""
        async with self._database.connection() as conn:
            return await store.signing_keys(conn)

    async def keep(self) -> None:
        """Says that this process signs with its key, and removes those that nobody signs with any more."""
        own = self._own
        async with self._database.transaction() as conn:
            added = await conn.fetchval(SQL["see_signing_key"], own.kid, own.x, own.y)
            retired = [row["kid"] for row in await conn.fetch(SQL["retire_signing_keys"], self._kept_s)]
            if added or retired:
                await store.tell_of_signing_keys(conn, self._outbox, own.kid if added else retired[0])
        if added or retired:
            log.info("signing keys changed", added=own.kid if added else "", retired=retired)

    async def keep_on(self) -> None:
        """Keeps it for ever."""
        while True:
            await asyncio.sleep(self._seen_s)
            await self.keep()
