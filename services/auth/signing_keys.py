"""Which keys tokens are signed and verified with, and how one follows another without a refused call.

- A process reads its keys anew every `seen_s`. One that it finds is published at once: pushed to every service.
- It signs with the newest key that has been published for `publish_s`. That is longer than a service goes on with what
  it knows while auth is away, so no service that still answers can lack the key.
- A key that a newer one has followed is said to be in use no more. Once that is longer ago than its last token lives,
  it is retired, whether or not its file is still there.

A process that has no other key signs with the one it has: a mesh of one file replaces it by restarting the processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.signing import Signer, SigningKeyError, public_jwk
from services.auth.store import RESTRICTION_MARGIN_S, SQL
from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.telemetry.logs import get_logger

log = get_logger()


class SigningKeys:
    """Keeps this process's keys among those in force. Times are in seconds."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        load: Callable[[], Sequence[Signer]],
        *,
        seen_s: float,
        publish_s: float,
        access_lifetime_s: int,
    ) -> None:
        """load: reads the keys, the newest last; raises SigningKeyError."""
        self._database, self._outbox, self._load = database, outbox, load
        self._seen_s, self._publish = seen_s, timedelta(seconds=publish_s)
        # A key was signed with until seen_s after it was last seen, give or take some rounds that failed.
        self._kept_s = access_lifetime_s + RESTRICTION_MARGIN_S + 5 * seen_s
        self._own = list(load())
        self._signer = self._own[0]

    def signer(self) -> Signer:
        """The key to sign with now."""
        return self._signer

    async def present(self) -> auth_pb2.JsonWebKeySet:
        """The keys in force."""
        async with self._database.connection() as conn:
            return await store.signing_keys(conn)

    async def keep(self) -> None:
        """Publishes this process's keys, chooses the one to sign with, and retires those that nobody signs with."""
        await self._reload()
        async with self._database.transaction() as conn:
            rows = {
                row["kid"]: row for row in await conn.fetch(SQL["own_signing_keys"], [one.kid for one in self._own])
            }
            now: datetime = await conn.fetchval(SQL["moment"])
            published = {kid: row["create_time"] for kid, row in rows.items()}
            signer, newer = chosen(self._own, published, now, self._publish)
            added = []
            for one in (signer, *newer):
                jwk = public_jwk(one.key)
                if await conn.fetchval(SQL["see_signing_key"], jwk.kid, jwk.x, jwk.y):
                    added.append(jwk.kid)
            retired = [row["kid"] for row in await conn.fetch(SQL["retire_signing_keys"], self._kept_s)]
            if added or retired:
                await store.tell_of_signing_keys(conn, self._outbox, (added or retired)[0])
        if signer.kid != self._signer.kid:
            log.info("signing with another key", kid=signer.kid, before=self._signer.kid)
        self._signer = signer
        if added or retired:
            log.info("signing keys changed", added=added, retired=retired)

    async def keep_on(self) -> None:
        """Keeps it for ever."""
        while True:
            await asyncio.sleep(self._seen_s)
            await self.keep()

    async def _reload(self) -> None:
        try:
            self._own = list(await asyncio.to_thread(self._load))
        except SigningKeyError as error:  # what is known goes on; a restart would not get by with it
            log.error("the signing keys cannot be read; those known stay in use", error=str(error))


def chosen(
    own: Sequence[Signer], published: Mapping[str, datetime], now: datetime, publish: timedelta
) -> tuple[Signer, Sequence[Signer]]:
    """The key to sign with, and the newer ones that are to be known before they sign.

    own: the newest last; published: since when each has been, where it has.
    """
    for position in range(len(own) - 1, -1, -1):
        since = published.get(own[position].kid)
        if since is not None and since + publish <= now:
            return own[position], own[position + 1 :]
    # None has been known for long enough: the one that has been for longest, of those the oldest.
    longest = min(range(len(own)), key=lambda position: (published.get(own[position].kid, now), position))
    return own[longest], own[longest + 1 :]
