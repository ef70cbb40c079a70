"""Stored keys: added, listed, removed, and handed to the providers of every process."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import structlog
from promptmesh.inference.v1 import provider_keys_pb2 as pb

from services.inference.catalog import Offers
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.database import Database, queries
from services.mesh.errors import FieldViolation, MeshError, QuotaViolation
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from services.mesh.sealing import Sealer, SealError

SQL = queries("services.inference")
KEYS_MAX = 1000  # in all, as the contract says
KEYS_OF_PROVIDER_MAX = 100  # the most that taking turns looks through
HINT_CHARS = 4
_log = structlog.get_logger(__name__)


class ProviderKeys:
    """`sealer` None: the secret that encrypts is not set, so keys can be listed and removed, not added or used.

    `look_again` brings the newest configuration, in which a provider may stand that this process has not heard of.
    `outbox`: where the audit trail is told of keys made and deleted; None: nobody is.
    """

    def __init__(
        self,
        database: Database,
        offers: Offers,
        sealer: Sealer | None,
        *,
        look_again: Callable[[], Awaitable[None]] | None = None,
        outbox: Outbox | None = None,
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self._database = database
        self._offers = offers
        self._sealer = sealer
        self._look_again = look_again
        self._outbox = outbox
        self._new_id = new_id
        self._seen_version = -1
        self._taking = asyncio.Lock()

    async def follow(self, poll_s: float) -> None:
        """Takes what is there, and every change within `poll_s` seconds; runs until cancelled.

        With PostgreSQL away, keys stay in use.
        """
        while True:
            try:
                await self.refresh()
            except MeshError as error:
                if error.reason != "DEPENDENCY_UNAVAILABLE":
                    raise
            await asyncio.sleep(poll_s)

    async def refresh(self) -> None:
        """Hands what is stored to the providers, if it changed."""
        async with self._taking:
            async with self._database.connection() as conn:
                version = await conn.fetchval(SQL["provider_keys_version"])
                if version == self._seen_version:
                    return
                rows = await conn.fetch(SQL["sealed_provider_keys"])
            self._offers.store_keys(self._opened(rows))
            self._seen_version = rows[0]["version"]
            await self._reseal(rows)

    async def add(self, provider: str, secret: str, display_name: str, author_id: str) -> pb.ProviderKey:
        """Stores a key. PROVIDER_KEYS_OFF, INVALID_FIELD, LIMIT_REACHED."""
        if self._sealer is None:
            raise MeshError(
                "PROVIDER_KEYS_OFF",
                "Keys of providers cannot be kept: PROMPTMESH_PROVIDER_KEY_SECRET is not set where inference runs. Set "
                "it to 32 random bytes in base64url, or name a variable with the key in api_key_env.",
            )
        _check_secret(secret)
        if provider not in self._offers.key_takers and self._look_again is not None:
            await self._look_again()
        self._check_provider(provider)
        key_id = self._new_id()
        sealed = self._sealer.seal(secret, key_id, provider)
        async with self._database.transaction() as conn:
            await conn.execute(SQL["lock_provider_keys"])
            count = await conn.fetchrow(SQL["count_provider_keys"], provider)
            assert count is not None
            _check_room(provider, count["all_keys"], count["of_provider"])
            row = await conn.fetchrow(
                SQL["insert_provider_key"], key_id, provider, display_name, secret[-HINT_CHARS:], sealed, author_id
            )
            assert row is not None
            if self._outbox is not None:
                # The hint is what people tell keys apart by; no more of the secret leaves this table.
                after = {"provider": provider, "display_name": display_name, "hint": row["hint"]}
                await audit.record(
                    conn, self._outbox, "provider_key.create", Party("provider_key", key_id), after=after
                )
        await self._taken()
        return _message(row)

    async def listed(self, provider: str) -> list[pb.ProviderKey]:
        """Of one provider, or of all where it is empty."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(SQL["list_provider_keys"], provider)
        return [_message(row) for row in rows]

    async def remove(self, key_id: str) -> None:
        """PROVIDER_KEY_NOT_FOUND."""
        async with self._database.transaction() as conn:
            await conn.execute(SQL["lock_provider_keys"])
            provider = await conn.fetchval(SQL["delete_provider_key"], key_id)
            if provider is None:
                raise MeshError(
                    "PROVIDER_KEY_NOT_FOUND",
                    f"There is no key {key_id}; ListProviderKeys (GET /api/v1/providerKeys) names those there are.",
                    metadata={"provider_key_id": key_id},
                )
            if self._outbox is not None:
                subject = Party("provider_key", key_id)
                await audit.record(conn, self._outbox, "provider_key.delete", subject, before={"provider": provider})
        await self._taken()

    async def _taken(self) -> None:
        """Here at once. The change is made already: where PostgreSQL goes away now, it comes with the next look."""
        try:
            await self.refresh()
        except MeshError as error:
            _log.warning("a change of keys of providers is taken later", reason=error.reason)

    def _check_provider(self, provider: str) -> None:
        known = self._offers.key_takers
        if provider not in known:
            names = ", ".join(sorted(known)) or "none yet"
            what = f"names no provider of the configuration in force that takes keys ({names})"
            raise MeshError(
                "INVALID_FIELD", f"provider {what}.", violations=[FieldViolation("provider", what, "known")]
            )

    def _opened(self, rows: list[asyncpg.Record]) -> dict[str, list[str]]:
        opened: dict[str, list[str]] = {}
        for row in rows:
            key_id, provider = row["provider_key_id"], row["provider"]
            if key_id is None:
                continue  # there are none
            if self._sealer is None:
                _log.error("a key of a provider cannot be used: no secret is set", provider=provider, key_id=key_id)
                continue
            try:
                secret = self._sealer.open(bytes(row["sealed"]), key_id, provider)
            except SealError as error:
                _log.error("a key of a provider cannot be used", provider=provider, key_id=key_id, why=str(error))
                continue
            opened.setdefault(provider, []).append(secret)
        return opened

    async def _reseal(self, rows: list[asyncpg.Record]) -> None:
        """Brings what an older secret sealed under the first one, so that the older one can go."""
        sealer = self._sealer
        old = [row for row in rows if row["sealed"] is not None and sealer and not sealer.is_current(row["sealed"])]
        for row in old:
            assert sealer is not None
            key_id, provider = row["provider_key_id"], row["provider"]
            try:
                secret = sealer.open(bytes(row["sealed"]), key_id, provider)
            except SealError:
                continue  # said above
            sealed = sealer.seal(secret, key_id, provider)
            async with self._database.connection() as conn:
                # Another process may have been first, or the key may be gone: then nothing is written.
                await conn.execute(SQL["reseal_provider_key"], key_id, row["sealed"], sealed)
            _log.info("a key of a provider is sealed under the new secret", provider=provider, key_id=key_id)


def _check_secret(secret: str) -> None:
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        what = "may hold only printable ASCII characters without spaces, as it goes into a header"
        raise MeshError("INVALID_FIELD", f"secret {what}.", violations=[FieldViolation("secret", what, "printable")])


def _check_room(provider: str, in_all: int, of_provider: int) -> None:
    for count, most, subject in (
        (in_all, KEYS_MAX, "provider keys"),
        (of_provider, KEYS_OF_PROVIDER_MAX, f"provider keys of {provider}"),
    ):
        if count >= most:
            raise MeshError(
                "LIMIT_REACHED",
                f"There are {count} {subject} already, the most that can be. Remove one that is no longer used.",
                quota=[QuotaViolation(subject, f"At most {most}")],
            )


def _message(row: asyncpg.Record) -> pb.ProviderKey:
    message = pb.ProviderKey(
        provider_key_id=row["provider_key_id"],
        provider=row["provider"],
        display_name=row["display_name"],
        hint=row["hint"],
        author_id=row["author_id"],
    )
    message.create_time.FromDatetime(row["create_time"])
    return message
