"""Links that are mailed: each good once, for a while, for one purpose, and kept as a digest alone."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from enum import IntEnum

from services.auth.purge import purge_on
from services.auth.store import SQL, Row
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError

PREFIX = "pml_"
PURGE_EVERY_S = 300.0
_TOKEN_BYTES = 32  # random: a plain digest cannot be turned back


class LinkKind(IntEnum):
    """What a link is good for."""

    VERIFY_EMAIL = 1
    RESET_PASSWORD = 2
    CONFIRM_EMAIL = 3


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


class MailedLinks:
    """Makes and uses up links. lifetimes_s: of each kind, in seconds."""

    def __init__(self, lifetimes_s: Mapping[LinkKind, int]) -> None:
        self._lifetimes_s = lifetimes_s

    async def make(self, conn: Connection, kind: LinkKind, user: Row, email: str) -> str:
        """The token of a new link. Others of its kind stay good: whoever asks for many takes nobody's away."""
        token = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        await conn.execute(
            SQL["insert_link"],
            *(digest_of(token), int(kind), user["user_id"], user["org_id"], email, self._lifetimes_s[kind]),
        )
        return token

    async def find(self, conn: Connection, kind: LinkKind, token: str) -> Row:
        """Whose it is (`user_id`), and the address that it was mailed to (`email`). LINK_INVALID."""
        row = await conn.fetchrow(SQL["find_link"], digest_of(token), int(kind))
        if row is None:
            raise link_invalid()
        return row

    async def use(self, conn: Connection, kind: LinkKind, token: str, user_id: str) -> str:
        """Uses it up, in this transaction, which holds the person's row; the address. LINK_INVALID."""
        email: str | None = await conn.fetchval(SQL["use_link"], digest_of(token), int(kind), user_id)
        if email is None:
            raise link_invalid()
        return email

    async def drop(self, conn: Connection, user_id: str, *kinds: LinkKind) -> None:
        """Makes all links of a person's worthless that are of these kinds."""
        await conn.execute(SQL["drop_links"], user_id, [int(kind) for kind in kinds])


async def purge_links(database: Database) -> None:
    """Removes links that have expired, for ever."""
    await purge_on(database, SQL["purge_links"], every_s=PURGE_EVERY_S)


def link_invalid() -> MeshError:
    """The one answer to every link that is not good."""
    return MeshError(
        "LINK_INVALID",
        "This link is good no more: it was used, it has expired, a newer one took its place or was used instead, your"
        " password or address was changed since, or it never was one. Open the newest mail, or ask for another.",
    )
