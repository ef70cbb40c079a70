"""Challenges: what was begun and awaits a proof. Opaque tokens of which digests are kept; expiring, good once, and for
a bounded number of tries, counted under the lock of their row."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from services.auth.store import SQL, Row
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError

PREFIX = "pmc_"
TOKEN_BYTES = 32
WEBAUTHN_BYTES = 32  # at least 16 (WebAuthn, section 13.4.3)

# What a challenge was begun for.
TOTP, PASSKEY, LOG_IN, PROOF = "totp", "passkey", "log_in", "proof"


@dataclass(frozen=True, slots=True)
class NewChallenge:
    """What to remember until its proof comes. user_id None: whoever has a passkey; session_id None: none is open."""

    purpose: str
    user_id: str | None = None
    session_id: str | None = None
    factor_id: str | None = None
    secret: bytes | None = field(default=None, repr=False)
    webauthn: bytes | None = None
    methods: Sequence[str] = ()
    password_digest: bytes | None = None


class Challenges:
    """Challenges in the database. log_in_s, setup_s: how long they are good, in seconds; tries_max: wrong proofs;
    open_max: of a person for one purpose, about; a newer one ends the oldest."""

    def __init__(self, *, tries_max: int, log_in_s: float, setup_s: float, open_max: int) -> None:
        self._tries_max, self._open_max = tries_max, open_max
        self._lifetimes_s = {LOG_IN: log_in_s, PROOF: log_in_s, TOTP: setup_s, PASSKEY: setup_s}

    async def begin(self, conn: Connection, new: NewChallenge) -> tuple[str, datetime]:
        """Its token, which is told to the caller alone, and when it ends."""
        token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        if new.user_id is not None:
            await conn.execute(SQL["drop_old_challenges"], new.user_id, new.purpose, self._open_max - 1)
        expire_time: datetime = await conn.fetchval(
            SQL["insert_challenge"],
            *(digest_of(token), new.purpose, new.user_id, new.session_id, new.factor_id, new.secret, new.webauthn),
            *(list(new.methods), new.password_digest, self._lifetimes_s[new.purpose]),
        )
        return token, expire_time

    async def owner(self, conn: Connection, token: str) -> str | None:
        """Whose it is, so that their row can be locked first; None: nobody's by name. LINK_INVALID."""
        row = await conn.fetchrow(SQL["challenge_owner"], digest_of(token))
        if row is None:
            raise over()
        owner: str | None = row["user_id"]
        return owner

    async def take(
        self, conn: Connection, token: str, *purposes: str, user_id: str | None, session_id: str | None
    ) -> Row:
        """Its row, locked. LINK_INVALID where it is over, or of another purpose, person or session."""
        row = await conn.fetchrow(SQL["lock_challenge"], digest_of(token), self._tries_max)
        if row is None or row["purpose"] not in purposes:
            raise over()
        if (row["user_id"], row["session_id"]) != (user_id, session_id):
            raise over()
        return row

    async def end(self, conn: Connection, challenge: Row) -> None:
        """It did what it was for."""
        await conn.execute(SQL["end_challenge"], challenge["digest"])

    async def count(self, conn: Connection, challenge: Row) -> None:
        """A wrong proof came for it."""
        await conn.execute(SQL["try_challenge"], challenge["digest"])

    async def end_all(self, conn: Connection, user_id: str, purpose: str | None = None) -> None:
        """Ends what a person has begun, for one purpose or any."""
        await conn.execute(SQL["end_challenges_of_user"], user_id, purpose)

    async def purge(self, database: Database, *, every_s: float) -> None:
        """Removes those that have expired, for ever."""
        while True:
            while True:
                async with database.connection() as conn:
                    if not await conn.fetch(SQL["purge_challenges"]):
                        break
            await asyncio.sleep(every_s)


def digest_of(token: str) -> bytes:
    """What is kept of a token: it has 256 random bits, so a plain hash does."""
    return hashlib.sha256(token.encode()).digest()


def new_webauthn() -> bytes:
    """What a passkey is to sign."""
    return secrets.token_bytes(WEBAUTHN_BYTES)


def over() -> MeshError:
    """LINK_INVALID, the same whatever ended it."""
    return MeshError(
        "LINK_INVALID",
        "This challenge is not one of this mesh, was used, had too many wrong proofs, or has expired. Begin anew.",
    )
