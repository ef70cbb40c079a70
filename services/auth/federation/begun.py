"""Log-ins that were begun here and await the provider's answer, each bound to the browser that began it.

`state` goes round by the provider, the cookie stays in the browser: an answer counts only where both meet, so nobody
can have somebody else's browser finish a log-in that is theirs (log-in CSRF), and none counts twice.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field

from services.auth.cookies import Metadata, value_of
from services.auth.federation.id_tokens import nonce_digest
from services.auth.purge import purge_on
from services.auth.store import SQL
from services.mesh.call import Caller, CallerKind
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.sealing import Sealer, SealError

TOKEN_BYTES = 32
VERIFIER_BYTES = 64  # 86 characters; RFC 7636, section 4.1: 43 to 128
_NAME = "promptmesh-oidc"


@dataclass(frozen=True, slots=True)
class LoginCookie:
    """The cookie that binds a log-in to a browser. lifetime_s: as long as the log-in waits."""

    secure: bool
    lifetime_s: int

    @property
    def name(self) -> str:
        """With the prefix, browsers take it only when it is secure, of this very host, for all paths."""
        return f"__Host-{_NAME}" if self.secure else _NAME

    def put(self, token: str) -> tuple[str, str]:
        """The header that sets it."""
        return ("set-cookie", f"{self.name}={token}; Max-Age={self.lifetime_s}; {self._attributes}")

    def clear(self) -> tuple[str, str]:
        """The header that takes it away."""
        return ("set-cookie", f"{self.name}=; Max-Age=0; {self._attributes}")

    def read(self, metadata: Metadata) -> str:
        """What came with a call; empty if nothing did."""
        return value_of(metadata, self.name)

    @property
    def _attributes(self) -> str:
        # Strict is enough: the page that the provider sends the browser to makes the call itself, by script.
        return "Path=/; HttpOnly; SameSite=Strict" + ("; Secure" if self.secure else "")


@dataclass(frozen=True, slots=True)
class NewLogin:
    """What is told to the browser and the provider, and nowhere kept as it is."""

    state: str = field(repr=False)
    cookie: str = field(repr=False)
    nonce: str = field(repr=False)
    verifier: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class BegunLogin:
    """What was begun. user_id, session_id: who links an identity; None: a log-in."""

    provider: str
    verifier: str = field(repr=False)
    nonce_digest: bytes
    user_id: str | None
    session_id: str | None


class BegunLogins:
    """Keeps them. lifetime_s: how long one waits, in seconds."""

    def __init__(self, database: Database, sealer: Sealer, *, lifetime_s: int) -> None:
        self._database, self._sealer, self._lifetime_s = database, sealer, lifetime_s

    def new(self) -> NewLogin:
        """Random values of a log-in."""
        token = secrets.token_urlsafe
        return NewLogin(token(TOKEN_BYTES), token(TOKEN_BYTES), token(TOKEN_BYTES), token(VERIFIER_BYTES))

    async def add(self, new: NewLogin, provider: str, caller: Caller) -> None:
        """Remembers it, with the session that asks, if one does."""
        digest = digest_of(new.state)
        links = caller.kind is CallerKind.SESSION
        async with self._database.connection() as conn:
            await conn.execute(
                SQL["insert_federated_login"],
                *(digest, digest_of(new.cookie), nonce_digest(new.nonce)),
                *(self._sealer.seal(new.verifier, digest.hex(), provider), provider),
                *(caller.user_id if links else None, caller.session_id if links else None, self._lifetime_s),
            )

    async def take(self, state: str, cookie: str, caller: Caller) -> BegunLogin:
        """Uses one up. LINK_INVALID, the same whatever is wrong."""
        digest = digest_of(state)
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["take_federated_login"], digest, digest_of(cookie))
        if row is None or (row["session_id"] is not None and row["session_id"] != caller.session_id):
            raise over()
        try:
            verifier = self._sealer.open(bytes(row["verifier"]), digest.hex(), row["provider"])
        except SealError:  # the mesh's pepper was changed meanwhile
            raise over() from None
        return BegunLogin(
            provider=row["provider"],
            verifier=verifier,
            nonce_digest=bytes(row["nonce_digest"]),
            user_id=row["user_id"],
            session_id=row["session_id"],
        )

    async def purge(self, *, every_s: float) -> None:
        """Removes those that have expired, for ever."""
        await purge_on(self._database, SQL["purge_federated_logins"], every_s=every_s)


def digest_of(token: str) -> bytes:
    """What is kept of a token: it has 256 random bits, so a plain hash does."""
    return hashlib.sha256(token.encode()).digest()


def over() -> MeshError:
    """The one answer to every state or link that is not good."""
    return MeshError(
        "LINK_INVALID",
        "This log-in was not begun in this browser and session, was used, or has expired. Begin it anew.",
    )
