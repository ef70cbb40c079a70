"""Wrong proofs of a session: whoever has one that is not theirs must not guess its person's password for ever.

After so many in a window the session ends, whatever right ones came between, and its person is told by mail: somebody
else may have it.
"""

from __future__ import annotations

from services.auth import store
from services.auth.mail import Links, Mails
from services.auth.store import SQL
from services.auth.throttle import Throttle
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.events import Outbox
from services.mesh.telemetry.logs import get_logger

log = get_logger()
REASON = "too many wrong proofs"
# What a person is told, by method as SessionInfo has it.
_WRONG = {
    "totp": "The code is wrong, was used before, or is too old. A code of your app has six digits and is good once, for"
    " about a minute: wait for the next one.",
    "recovery_code": "The recovery code is wrong, or was used before. Each of the ten is good once.",
    "passkey": "The passkey is none of this account's, or was asked too long ago. Try again with one that is.",
    "password": "The password is wrong.",
}


def words_for(method: str) -> str:
    """Why a proof is refused, and what is allowed."""
    return _WRONG[method]


class WrongProofs:
    """Counts them, and ends sessions."""

    def __init__(self, database: Database, outbox: Outbox, throttle: Throttle, mails: Mails, pages: Links) -> None:
        self._database, self._outbox, self._throttle = database, outbox, throttle
        self._mails, self._pages = mails, pages

    async def count(self, caller: Caller) -> bool:
        """Counts one of the session that calls; True: it was one too many, and the session is over."""
        async with self._database.transaction() as conn:
            over = await self._throttle.wrong_proof(conn, caller.session_id)
            if over:
                await self.end(conn, caller)
        return over

    async def end(self, conn: Connection, caller: Caller) -> None:
        """Ends the session that calls, in this transaction; its person is told, once."""
        if not await store.end_session(conn, self._outbox, caller.session_id):
            return
        log.warning("a session ended for its wrong proofs", session_id=caller.session_id, user_id=caller.user_id)
        await audit.record(
            conn,
            self._outbox,
            "session.end",
            Party("session", caller.session_id),
            subject_user_id=caller.user_id,
            reason=REASON,
        )
        user = await conn.fetchrow(SQL["user_by_id"], caller.user_id)
        # Nobody is told at an address that was never proved: it may be a stranger's.
        if user is not None and user["email_verify_time"] is not None:
            await self._mails.send(
                conn,
                "session_guessed",
                to=user["email"],
                org_id=user["org_id"],
                user_id=user["user_id"],
                link=self._pages.page("forgot-password"),
            )
