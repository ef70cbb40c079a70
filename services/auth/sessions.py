"""CreateSession, RefreshSession, DeleteSession: from a password to tokens, from tokens to tokens, and out."""

from __future__ import annotations

import asyncio
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.passwords import Passwords
from services.auth.refresh_tokens import RefreshToken, RefreshTokens, digest_of
from services.auth.signing import public_jwk
from services.auth.store import SQL, Row
from services.auth.users import normal_email
from services.mesh.access.tokens import sign_access_token
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from services.mesh.telemetry.logs import get_logger

log = get_logger()

# The hash may be replaced while it is checked; the one after that is checked once more.
_LOGIN_ATTEMPTS = 2


class Issuer:
    """Makes pairs of tokens. Lifetimes are in seconds."""

    def __init__(
        self,
        key: EllipticCurvePrivateKey,
        refresh_tokens: RefreshTokens,
        *,
        access_lifetime_s: int,
        refresh_lifetime_s: int,
    ) -> None:
        self._key, self._kid = key, public_jwk(key).kid
        self._refresh_tokens = refresh_tokens
        self._access_lifetime = timedelta(seconds=access_lifetime_s)
        self._refresh_lifetime = timedelta(seconds=refresh_lifetime_s)

    def issue(self, user: Row, session_id: str, now: datetime) -> auth_pb2.Session:
        """A new pair for a session. user: a row of `users`; now: no later than that row was read."""
        access_expire_time = now + self._access_lifetime
        access_token = sign_access_token(
            self._key,
            self._kid,
            user_id=user["user_id"],
            org_id=user["org_id"],
            display_name=user["display_name"],
            roles=user["roles"],
            session_id=session_id,
            issue_time=now.timestamp(),
            expire_time=access_expire_time.timestamp(),
        )
        session = auth_pb2.Session(
            session_id=session_id,
            access_token=access_token,
            refresh_token=self._refresh_tokens.make(session_id),
            user=store.user_of(user),
        )
        session.access_expire_time.FromDatetime(access_expire_time)
        session.refresh_expire_time.FromDatetime(now + self._refresh_lifetime)
        return session

    def read(self, refresh_token: str) -> RefreshToken | None:
        """What a refresh token says; None if it has not the form of one."""
        return self._refresh_tokens.read(refresh_token)


class Sessions:
    """Sessions of people. Raises MeshError for what a caller did wrong."""

    def __init__(self, database: Database, outbox: Outbox, passwords: Passwords, issuer: Issuer) -> None:
        self._database, self._outbox = database, outbox
        self._passwords, self._issuer = passwords, issuer

    async def create(self, request: auth_pb2.CreateSessionRequest) -> auth_pb2.Session:
        """Logs in. LOGIN_FAILED, whichever of the two is wrong; RATE_LIMITED."""
        for _ in range(_LOGIN_ATTEMPTS):
            found = await self._account(normal_email(request.email))
            checked = await self._passwords.check(found["password_hash"] if found else None, request.password)
            if found is None or not checked.right:
                break
            session = await self._opened(found)
            if session is not None:
                if checked.renewed_hash:
                    await self._renew(found, checked.renewed_hash)
                return session
        raise MeshError("LOGIN_FAILED", "Email or password is wrong.")

    async def refresh(self, request: auth_pb2.RefreshSessionRequest) -> auth_pb2.Session:
        """A new pair for the last one's refresh token, which is used up. CREDENTIAL_INVALID, _EXPIRED, _REVOKED.

        A used token ends its session: thief and owner cannot be told apart, and the owner can log in.
        """
        token = self._issuer.read(request.refresh_token)
        if token is None:
            raise _invalid()
        async with self._database.transaction() as conn:
            user_id = await conn.fetchval(SQL["session_owner"], token.session_id)
            user = await conn.fetchrow(SQL["share_user"], user_id) if user_id else None
            row = await conn.fetchrow(SQL["lock_session"], token.session_id) if user else None
            if user is None or row is None:
                raise _expired() if token.ours else _invalid()
            session = await self._refreshed(conn, token, user, row)
        if session is None:  # raised outside, so that the end of the session is committed
            log.warning("a used refresh token came again", session_id=token.session_id, user_id=user_id)
            raise _revoked("it was used before")
        return session

    async def delete(self, caller: Caller) -> None:
        """Logs out: ends the session whose access token makes the call. More than once is fine."""
        async with self._database.transaction() as conn:
            await store.end_session(conn, self._outbox, caller.session_id)

    async def purge(self, *, retention_s: int, every_s: float) -> None:
        """Removes sessions that are over, for ever."""
        kept_s = retention_s + store.RESTRICTION_MARGIN_S  # watchers are told of ended ones as long
        while True:
            while True:
                async with self._database.connection() as conn:
                    rows = await conn.fetch(SQL["purge_sessions"], kept_s)
                if not rows:
                    break
                log.info("sessions removed", count=len(rows))
            await asyncio.sleep(every_s)

    async def _account(self, email: str) -> Row | None:
        if "\0" in email:  # no text of PostgreSQL holds it, so no account does
            return None
        async with self._database.connection() as conn:
            return await conn.fetchrow(SQL["user_by_email"], email)

    async def _opened(self, found: Row) -> auth_pb2.Session | None:
        """A session; None if the hash that was checked has been replaced since: a session outlives no password."""
        async with self._database.transaction() as conn:
            user = await conn.fetchrow(SQL["share_user"], found["user_id"])
            if user is None or user["password_hash"] != found["password_hash"]:
                return None
            session = self._issuer.issue(user, uuid7(), user["moment"])
            await store.add_session(
                conn,
                user,
                session_id=session.session_id,
                refresh_digest=digest_of(session.refresh_token),
                now=user["moment"],
                access_expire_time=_time(session.access_expire_time),
                refresh_expire_time=_time(session.refresh_expire_time),
            )
        return session

    async def _renew(self, found: Row, password_hash: str) -> None:
        """Keeps the password under the present parameters, unless it was replaced meanwhile."""
        async with self._database.connection() as conn:
            await conn.execute(SQL["renew_password_hash"], found["user_id"], found["password_hash"], password_hash)

    async def _refreshed(self, conn: Connection, token: RefreshToken, user: Row, row: Row) -> auth_pb2.Session | None:
        """The session's next pair; None if the token was used before, which ends the session."""
        present = hmac.compare_digest(row["refresh_digest"], token.digest)
        if not present and not token.ours:
            raise _invalid()
        if row["end_time"] is not None:
            raise _revoked("its session has ended")
        if not present:
            await store.end_session(conn, self._outbox, token.session_id)
            return None
        now: datetime = user["moment"]
        if row["refresh_expire_time"] <= now:
            raise _expired()
        session = self._issuer.issue(user, token.session_id, now)
        await conn.execute(
            SQL["rotate_session"],
            token.session_id,
            digest_of(session.refresh_token),
            _time(session.access_expire_time),
            _time(session.refresh_expire_time),
        )
        return session


def _time(timestamp: Any) -> datetime:
    moment: datetime = timestamp.ToDatetime(UTC)
    return moment


def _invalid() -> MeshError:
    return MeshError(
        "CREDENTIAL_INVALID", "This is no refresh token of this mesh. Log in with CreateSession to get one."
    )


def _expired() -> MeshError:
    return MeshError("CREDENTIAL_EXPIRED", "The refresh token has expired. Log in again with CreateSession.")


def _revoked(why: str) -> MeshError:
    return MeshError(
        "CREDENTIAL_REVOKED",
        f"The refresh token is good no more: {why}. Each is good once; log in again with CreateSession.",
    )
