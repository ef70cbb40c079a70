"""CreateSession, RefreshSession, DeleteSession: from a password to tokens, from tokens to tokens, and out."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.devices import origin_of_call
from services.auth.issuer import Issuer, Refresh, proved
from services.auth.passwords import Passwords
from services.auth.refresh_tokens import RefreshToken, digest_of, new_salt
from services.auth.store import SQL, Row
from services.auth.throttle import LogInTry, Throttle
from services.auth.users import normal_email
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from services.mesh.telemetry.logs import get_logger

log = get_logger()

# The hash may be replaced while it is checked; the one after that is checked once more.
_LOGIN_ATTEMPTS = 2


# What is still to be proved by a person (a row of `users`, locked) who has proved something; None: nothing.
SecondFactor = Callable[[Connection, Row, Sequence[str]], Awaitable[auth_pb2.SecondFactorChallenge | None]]


class Sessions:
    """Sessions of people. Raises MeshError for what a caller did wrong."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        passwords: Passwords,
        issuer: Issuer,
        throttle: Throttle,
        *,
        reuse_s: float,
        verification: bool,
        sessions_max: int,
    ) -> None:
        """reuse_s: how long after a refresh its token is answered as before instead of ending the session.
        verification: whether only who proved their address can log in; sessions_max: open ones of a person."""
        self._database, self._outbox = database, outbox
        self._passwords, self._issuer, self._throttle = passwords, issuer, throttle
        self._verification, self._sessions_max = verification, sessions_max
        self._reuse = timedelta(seconds=reuse_s)
        self._second_factor: SecondFactor | None = None

    async def create(self, request: auth_pb2.CreateSessionRequest, replaced: str = "") -> auth_pb2.Session:
        """Logs in. LOGIN_FAILED, whichever of the two is wrong or whether the address is unproved; RATE_LIMITED;
        SUSPENDED, only to who knows both.

        replaced: the refresh token that a browser loses by this. Its session ends with the log-in: nobody could end
        it any more. Any token that was ever the session's is enough; what is none changes nothing.
        """
        email = normal_email(request.email)
        log_in = await self._throttle.log_in(email)
        found: Row | None = None
        for _ in range(_LOGIN_ATTEMPTS):
            found = await self._account(email)
            async with self._throttle.checking(*log_in.taken):
                checked = await self._passwords.check(found["password_hash"] if found else None, request.password)
            if found is None or not checked.right or (self._verification and found["email_verify_time"] is None):
                break
            try:
                session = await self._opened(found, log_in, replaced)
            except MeshError as error:
                await self._refused(found, error)
                raise
            if session is not None:
                if checked.renewed_hash:
                    await self._renew(found, checked.renewed_hash)
                return session
        unproved = ", or the address is not confirmed yet: open the link that was mailed" if self._verification else ""
        failed = MeshError("LOGIN_FAILED", f"Email or password is wrong{unproved}.")
        await self._refused(found, failed)
        raise failed

    async def refresh(self, refresh_token: str) -> auth_pb2.Session:
        """A new pair for the last one's refresh token, which is used up. CREDENTIAL_INVALID, _EXPIRED, _REVOKED.

        A used token ends its session: thief and owner cannot be told apart, and the owner can log in. Just after its
        use it gets the same successor instead: an answer may have been lost, and tabs of one browser share a cookie. A
        thief gains nothing by that: they hold what the owner holds, and the first use of it by either, the window being
        over, makes the other's next one end the session. No token follows another within the window, so that what was
        sent before it is never two tokens behind. A thief who refreshes in step with the owner, always within the
        window, is not found so: the session's end, which no refresh moves, bounds that.

        A person who is suspended is told so (SUSPENDED), and the token stays good for when they are not.
        """
        token = self._issuer.read(refresh_token)
        if token is None:
            raise _invalid()
        async with self._database.transaction() as conn:
            user_id = await conn.fetchval(SQL["session_owner"], token.session_id)
            user = await conn.fetchrow(SQL["share_user"], user_id) if user_id else None
            plan = await store.held_session_plan(conn, token.session_id) if user else ""
            row = await conn.fetchrow(SQL["lock_session"], token.session_id) if user else None
            if user is None or row is None:
                raise _expired() if token.ours else _invalid()
            session = await self._refreshed(conn, token, user, row, plan)
        if session is None:  # raised outside, so that the end of the session is committed
            log.warning("a used refresh token came again", session_id=token.session_id, user_id=user_id)
            raise _revoked("it was used before")
        return session

    async def delete(self, caller: Caller, refresh_token: str = "") -> None:
        """Logs out: ends the session whose access token makes the call. More than once is fine.

        refresh_token: of the browser, whose session ends as well; it may be another one. Any token that was ever the
        session's is enough: a used one would end it too.
        """
        session_ids = {caller.session_id, *self._named(refresh_token)}
        async with self._database.transaction() as conn:
            for session_id in sorted(session_ids):
                if await store.end_session(conn, self._outbox, session_id):
                    await self._record(conn, "session.delete", session_id, caller.user_id)

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

    def _named(self, refresh_token: str) -> tuple[str, ...]:
        """The session that a token was made for, if this mesh made it."""
        token = self._issuer.read(refresh_token)
        return (token.session_id,) if token is not None and token.ours else ()

    async def _opened(self, found: Row, log_in: LogInTry, replaced: str) -> auth_pb2.Session | None:
        """A session; None if the hash that was checked has been replaced since: a session outlives no password."""
        async with self._database.transaction() as conn:
            user = await conn.fetchrow(SQL["user_to_log_in"], found["user_id"])
            if user is None or user["password_hash"] != found["password_hash"]:
                return None
            session = await self.log_in(conn, user, ["password"])
            if not session.HasField("challenge"):  # else the password alone makes no address known
                await self._throttle.logged_in(conn, log_in, user)
                await self.end_replaced(conn, replaced)
            return session

    async def complete(self, conn: Connection, user: Row, methods: Sequence[str], replaced: str) -> auth_pb2.Session:
        """As open, for a log-in whose last proof, the last of `methods`, was right. replaced: as in create.
        LOGIN_FAILED where the address has to be proved and is not: a passkey alone does not say that it is theirs."""
        if self._verification and user["email_verify_time"] is None:
            raise MeshError(
                "LOGIN_FAILED", "The account's address is not confirmed yet: open the link that was mailed."
            )
        session = await self.open(conn, user, methods)
        await self._throttle.completed(conn, user, methods[:-1])
        await self.end_replaced(conn, replaced)
        return session

    async def end_replaced(self, conn: Connection, refresh_token: str) -> None:
        """Ends the session of a refresh token that a browser loses by a log-in."""
        for session_id in self._named(refresh_token):
            await store.end_session(conn, self._outbox, session_id)

    async def log_in(
        self, conn: Connection, user: Row, methods: Sequence[str], auth_time: datetime | None = None
    ) -> auth_pb2.Session:
        """As open, but where the person has a second factor, which `methods` are not: the challenge to prove it."""
        store.refuse_suspended(user)
        challenge = await self._second_factor(conn, user, methods) if self._second_factor else None
        if challenge is not None:
            return auth_pb2.Session(challenge=challenge)
        return await self.open(conn, user, methods, auth_time)

    def ask_second_factor(self, ask: SecondFactor) -> None:
        """Sets who says what is still to be proved (services/auth/factors)."""
        self._second_factor = ask

    async def open(
        self, conn: Connection, user: Row, methods: Sequence[str], auth_time: datetime | None = None
    ) -> auth_pb2.Session:
        """A new session of a person. user: of the query `user_to_log_in`, in this transaction; methods: how they proved
        who they are, as SessionInfo names them; auth_time: when they did, if it was not just now. Where they have as
        many as one may, the least recently used one ends: nobody is kept out by sessions that they, or somebody with
        their password, opened. SUSPENDED."""
        store.refuse_suspended(user)
        now = user["moment"]
        plan = await store.held_plan(conn, user["org_id"])
        proof_time = now if auth_time is None else min(auth_time, now)
        end_time = self._issuer.end_of(now)
        session = self._issuer.issue(user, uuid7(), now, auth_time=proof_time, plan=plan, end_time=end_time)
        await store.add_session(
            conn,
            user,
            session_id=session.session_id,
            refresh_digest=digest_of(session.refresh_token),
            now=now,
            auth_time=proof_time,
            access_expire_time=_time(session.access_expire_time),
            refresh_expire_time=_time(session.refresh_expire_time),
            methods=methods,
            origin=origin_of_call(),
        )
        await conn.execute(SQL["logged_in"], user["user_id"], now)
        who = Party("user", user["user_id"], user["display_name"])
        await audit.record(
            conn,
            self._outbox,
            "session.create",
            Party("session", session.session_id),
            actor=who,
            subject_user_id=user["user_id"],
            org_id=user["org_id"],
            after={"methods": list(methods)},
        )
        unused = await store.end_unused_sessions(
            conn,
            self._outbox,
            user["user_id"],
            kept=self._sessions_max - 1,
            spared=session.session_id,
            lifetime_s=self._issuer.session_lifetime_s,
        )
        for session_id in unused:
            why = f"the least recently used of more than {self._sessions_max}"
            await self._record(conn, "session.end", session_id, user["user_id"], why)
        return session

    async def _refused(self, found: Row | None, error: MeshError) -> None:
        """Tells the trail of a log-in that was refused; of one to no account too, so that neither takes longer."""
        user_id, org_id = (found["user_id"], found["org_id"]) if found is not None else ("", "")
        async with self._database.transaction() as conn:
            await audit.record(
                conn,
                self._outbox,
                "session.create",
                Party("user", user_id),
                actor=Party("anonymous", ""),
                subject_user_id=user_id,
                org_id=org_id,
                reason=error.reason,
                succeeded=False,
            )

    async def _record(self, conn: Connection, action: str, session_id: str, user_id: str, reason: str = "") -> None:
        subject = Party("session", session_id)
        await audit.record(conn, self._outbox, action, subject, subject_user_id=user_id, reason=reason)

    async def _renew(self, found: Row, password_hash: str) -> None:
        """Keeps the password under the present parameters, unless it was replaced meanwhile."""
        async with self._database.connection() as conn:
            await conn.execute(SQL["renew_password_hash"], found["user_id"], found["password_hash"], password_hash)

    async def _refreshed(
        self, conn: Connection, token: RefreshToken, user: Row, row: Row, plan: str
    ) -> auth_pb2.Session | None:
        """The session's next pair; None if the token was used before, which ends the session. row: locked; plan: of its
        organisation."""
        now: datetime = user["moment"]
        present = hmac.compare_digest(row["refresh_digest"], token.digest)
        again = self._again(token, row) if token.ours else None
        if not present and not token.ours:
            raise _invalid()
        if row["end_time"] is not None:
            raise _revoked("its session has ended")
        if not present and again is None:
            await store.end_session(conn, self._outbox, token.session_id)
            await self._record(
                conn, "session.end", token.session_id, user["user_id"], "a used refresh token came again"
            )
            return None
        end_time = self._issuer.end_of(row["create_time"])
        if min(row["refresh_expire_time"], end_time) <= now:
            raise _expired()
        store.refuse_suspended(user)
        if again is not None:
            session = self._issuer.issue(
                user,
                token.session_id,
                now,
                auth_time=proved(row),
                plan=plan,
                end_time=end_time,
                refresh=again,
                org_id=row["org_id"],
            )
            await conn.execute(SQL["repeat_session"], token.session_id, _time(session.access_expire_time))
            return session
        salt = new_salt()
        successor = self._issuer.next(token, salt, now)
        session = self._issuer.issue(
            user,
            token.session_id,
            now,
            auth_time=proved(row),
            plan=plan,
            end_time=end_time,
            refresh=successor,
            org_id=row["org_id"],
        )
        origin = origin_of_call()
        await conn.execute(
            SQL["rotate_session"],
            token.session_id,
            digest_of(session.refresh_token),
            _time(session.access_expire_time),
            _time(session.refresh_expire_time),
            salt,
            now,
            origin.device,
            origin.network,
        )
        return session

    def _again(self, token: RefreshToken, row: Row) -> Refresh | None:
        """The present refresh token once more, for who brings it or its predecessor just after a refresh; else None."""
        now: datetime = row["moment"]
        if not self._reuse or row["rotate_time"] is None or now >= row["rotate_time"] + self._reuse:
            return None
        expire_time: datetime = row["refresh_expire_time"]
        if hmac.compare_digest(row["refresh_digest"], token.digest):
            return Refresh(token.text, expire_time)
        if not hmac.compare_digest(row["previous_digest"], token.digest):
            return None
        successor = self._issuer.next(token, row["rotate_salt"], now).token
        # Another where the mesh's pepper was changed meanwhile.
        return Refresh(successor, expire_time) if digest_of(successor) == row["refresh_digest"] else None


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
