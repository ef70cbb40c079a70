"""ConfirmSession's core: a session proves anew who it is, for methods that ask for it (step-up).

Whoever checks a proof (the password here, second factors in services/auth/factors) does it so:

    await confirmations.attempt(caller)          # counts the try; too many end the session
    …                                            # looks at the proof; PROOF_WRONG if it is wrong
    return await confirmations.confirm(caller, ["totp"])

The access token that is answered says when the proof was given (`auth_time`), and so do those of later refreshes. The
refresh token stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.issuer import Issuer, Refresh
from services.auth.passwords import Passwords
from services.auth.store import SQL
from services.mesh import audit
from services.mesh.access import tokens
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.telemetry.logs import get_logger

log = get_logger()


class Confirmations:
    """Proofs of sessions. Raises MeshError for what a caller did wrong."""

    def __init__(
        self, database: Database, outbox: Outbox, passwords: Passwords, issuer: Issuer, *, tries_max: int
    ) -> None:
        """tries_max: proofs that a session may try without a right one among them; the next one ends it."""
        self._database, self._outbox, self._passwords, self._issuer = database, outbox, passwords, issuer
        self._tries_max = tries_max

    async def attempt(self, caller: Caller) -> None:
        """Counts a try, before its proof is looked at. CREDENTIAL_REVOKED: there were too many, the session is over."""
        async with self._database.transaction() as conn:
            tried = await conn.fetchval(SQL["try_proof"], caller.session_id)
            over = tried is None or tried > self._tries_max
            if tried is not None and over:
                await store.end_session(conn, self._outbox, caller.session_id)
                await self._record(conn, caller, "session.end", succeeded=True, reason="too many wrong proofs")
        if over:  # raised outside, so that the end of the session is committed
            log.warning("a session ended for its wrong proofs", session_id=caller.session_id, user_id=caller.user_id)
            raise tokens.revoked()

    async def wrong(self, caller: Caller, method: str) -> MeshError:
        """PROOF_WRONG, to be raised, for a proof that was wrong; the trail knows of it. method: as in SessionInfo."""
        async with self._database.transaction() as conn:
            await self._record(conn, caller, "session.confirm", succeeded=False, after={"methods": [method]})
        return MeshError(
            "PROOF_WRONG",
            f"The {method.replace('_', ' ')} is wrong, so nothing is confirmed. After {self._tries_max} wrong ones the "
            "session ends.",
        )

    async def confirm(
        self, caller: Caller, proof_methods: Sequence[str], *, password_hash: str = ""
    ) -> auth_pb2.Session:
        """The caller's session with a new access token, whose `auth_time` is now, and without a refresh token.

        password_hash: what the proof was checked against, if it was the password: replaced meanwhile, it proves
        nothing. CREDENTIAL_REVOKED, SUSPENDED, PROOF_WRONG.
        """
        async with self._database.transaction() as conn:
            user = await conn.fetchrow(SQL["share_user"], caller.user_id)
            plan = await store.held_session_plan(conn, caller.session_id) if user else ""
            row = await conn.fetchrow(SQL["lock_session"], caller.session_id) if user else None
            if user is None or row is None or row["end_time"] is not None:
                raise tokens.revoked()
            store.refuse_suspended(user)
            now: datetime = user["moment"]
            end_time = self._issuer.end_of(row["create_time"])
            if min(end_time, row["refresh_expire_time"]) <= now:
                raise tokens.expired()
            replaced = bool(password_hash) and user["password_hash"] != password_hash
            if not replaced:
                refresh = Refresh("", row["refresh_expire_time"])
                session = self._issuer.issue(
                    user,
                    caller.session_id,
                    now,
                    auth_time=now,
                    plan=plan,
                    end_time=end_time,
                    refresh=refresh,
                    org_id=row["org_id"],
                )
                access_expire_time = session.access_expire_time.ToDatetime(UTC)
                await conn.execute(SQL["confirm_session"], caller.session_id, now, access_expire_time)
                await self._record(
                    conn, caller, "session.confirm", succeeded=True, after={"methods": list(proof_methods)}
                )
        if replaced:
            raise await self.wrong(caller, "password")
        return session

    async def confirm_by_password(self, caller: Caller, password: str) -> auth_pb2.Session:
        """The same, by the password of the caller. PROOF_WRONG, CREDENTIAL_REVOKED, RATE_LIMITED."""
        await self.attempt(caller)
        async with self._database.connection() as conn:
            user = await conn.fetchrow(SQL["user_by_id"], caller.user_id)
        password_hash: str = user["password_hash"] if user else ""
        checked = await self._passwords.check(password_hash or None, password)
        if not checked.right:
            raise await self.wrong(caller, "password")
        return await self.confirm(caller, ["password"], password_hash=password_hash)

    async def _record(
        self,
        conn: Connection,
        caller: Caller,
        action: str,
        *,
        succeeded: bool,
        reason: str = "",
        after: dict[str, list[str]] | None = None,
    ) -> None:
        await audit.record(
            conn,
            self._outbox,
            action,
            Party("session", caller.session_id),
            subject_user_id=caller.user_id,
            reason=reason,
            after=after,
            succeeded=succeeded,
        )
