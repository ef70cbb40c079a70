"""A person's factors and recovery codes in the database, and what every change of them brings with it."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Sequence

from promptmesh.auth.v1 import auth_pb2, factors_pb2

from services.auth import store
from services.auth.factors import recovery
from services.auth.factors.challenges import LOG_IN, PROOF, Challenges
from services.auth.factors.notices import Notices
from services.auth.factors.recovery import RecoveryDigests
from services.auth.store import SQL, Row
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection
from services.mesh.errors import MeshError, QuotaViolation
from services.mesh.events import Outbox

KIND_NAMES = {auth_pb2.FACTOR_KIND_TOTP: "authenticator app", auth_pb2.FACTOR_KIND_PASSKEY: "passkey"}


class Book:
    """Factors of people. All methods want the lock of the person's row (`user`), in a transaction of the caller's."""

    def __init__(
        self,
        outbox: Outbox,
        challenges: Challenges,
        digests: RecoveryDigests,
        notices: Notices,
        *,
        factors_max: int,
        issuers: Collection[str],
    ) -> None:
        """issuers: of the identity providers that one can log in with."""
        self._outbox, self._challenges, self._digests, self._notices = outbox, challenges, digests, notices
        self._factors_max, self._issuers = factors_max, sorted(issuers)

    async def check_room(self, conn: Connection, user: Row) -> None:
        """Raises FACTOR_LIMIT where there are as many as may be."""
        rows = await conn.fetch(SQL["factors_of_user"], user["user_id"])
        if len(rows) >= self._factors_max:
            raise MeshError(
                "FACTOR_LIMIT",
                f"You have {len(rows)} second factors, the most that can be. Remove one that you no longer use.",
                quota=[QuotaViolation("second factors", f"At most {self._factors_max}")],
            )

    async def add(
        self,
        conn: Connection,
        user: Row,
        session_id: str,
        *,
        factor_id: str,
        kind: auth_pb2.FactorKind.ValueType,
        display_name: str,
        secret: bytes | None = None,
        last_step: int | None = None,
        credential_id: bytes | None = None,
        credential: bytes | None = None,
        sign_count: int | None = None,
        transports: Sequence[str] | None = None,
    ) -> factors_pb2.CreateFactorResponse | None:
        """A new factor, with recovery codes if it is the first; None if somebody has the passkey already.

        All other sessions end: whoever has one was let in by less. FACTOR_LIMIT.
        """
        await self.check_room(conn, user)
        name = line(display_name) or KIND_NAMES[kind].capitalize()
        row = await conn.fetchrow(
            SQL["insert_factor"],
            *(factor_id, user["org_id"], user["user_id"], kind, name, secret, last_step),
            *(credential_id, credential, sign_count, list(transports) if transports is not None else None),
        )
        if row is None:
            return None
        first = not user["second_factor"]
        await self._settle(conn, user, session_id)
        codes = await self.renew_codes(conn, user) if first else []
        await self._notices.tell(conn, user, "factor_added", factor=f"{KIND_NAMES[kind]} “{name}”")
        await self._record(conn, user, "factor.create", row)
        return factors_pb2.CreateFactorResponse(factor=factor_of(row), recovery_codes=codes)

    async def remove(self, conn: Connection, user: Row, session_id: str, factor_id: str) -> None:
        """Removes a factor, and with the last one the recovery codes; other sessions end. FACTOR_NOT_FOUND,
        LAST_WAY_IN."""
        row = await conn.fetchrow(SQL["delete_factor"], factor_id, user["user_id"])
        if row is None:
            raise MeshError(
                "FACTOR_NOT_FOUND",
                f"You have no second factor {factor_id}. ListFactors shows those that you have.",
                metadata={"factor_id": factor_id},
            )
        if not await self._settle(conn, user, session_id):
            await conn.execute(SQL["delete_recovery_codes"], user["user_id"])
        if not await conn.fetchval(SQL["has_way_in"], user["user_id"], self._issuers):  # rolls all of it back
            raise MeshError(
                "LAST_WAY_IN", "This is your last way to log in. Set a password or link an identity provider first."
            )
        kind = KIND_NAMES[row["kind"]]
        await self._notices.tell(conn, user, "factor_removed", factor=f"{kind} “{row['display_name']}”")
        await self._record(conn, user, "factor.delete", row)

    async def renew_codes(self, conn: Connection, user: Row) -> list[str]:
        """Ten new recovery codes instead of those that there were."""
        codes = recovery.new_codes()
        user_id = user["user_id"]
        await conn.execute(SQL["delete_recovery_codes"], user_id)
        digests = [self._digests.of(user_id, code) for code in codes]
        await conn.execute(SQL["insert_recovery_codes"], user_id, user["org_id"], digests)
        return codes

    async def tell_of_codes(self, conn: Connection, user: Row) -> None:
        """Tells that a person asked for new codes."""
        await self._notices.tell(conn, user, "recovery_codes_created")
        await audit.record(
            conn,
            self._outbox,
            "recovery_codes.create",
            Party("user", user["user_id"], user["display_name"]),
            subject_user_id=user["user_id"],
            org_id=user["org_id"],
        )

    async def reset(self, conn: Connection, user_id: str) -> int:
        """Removes every factor and recovery code of a person, and what they had begun; how many factors there were.

        For administrators: they end the sessions, tell the person ("second_factor_reset") and write the trail.
        """
        removed = await conn.fetch(SQL["delete_factors_of_user"], user_id)
        await conn.execute(SQL["delete_recovery_codes"], user_id)
        await self._challenges.end_all(conn, user_id)
        await conn.fetchval(SQL["set_second_factor"], user_id)
        return len(removed)

    async def _settle(self, conn: Connection, user: Row, session_id: str) -> bool:
        """After a change: the mark in the person's row (which is answered), and the end of what stood on the old state:
        other sessions, log-ins under way."""
        has_factor: bool = await conn.fetchval(SQL["set_second_factor"], user["user_id"])
        await store.end_sessions_of(conn, self._outbox, user["user_id"], spared=session_id)
        for purpose in (LOG_IN, PROOF):
            await self._challenges.end_all(conn, user["user_id"], purpose)
        return has_factor

    async def _record(self, conn: Connection, user: Row, action: str, row: Row) -> None:
        change = {"kind": KIND_NAMES[row["kind"]], "display_name": row["display_name"]}
        await audit.record(
            conn,
            self._outbox,
            action,
            Party("factor", row["factor_id"], row["display_name"]),
            subject_user_id=user["user_id"],
            org_id=user["org_id"],
            before=change if action == "factor.delete" else None,
            after=change if action == "factor.create" else None,
        )


async def locked(conn: Connection, caller: Caller) -> Row:
    """The caller's row of `users`, locked, with `moment`. USER_NOT_FOUND."""
    user = await conn.fetchrow(SQL["user_to_log_in"], caller.user_id)
    if user is None:
        raise MeshError("USER_NOT_FOUND", f"There is no user {caller.user_id}.", metadata={"user_id": caller.user_id})
    return user


def factor_of(row: Row) -> factors_pb2.Factor:
    """The contract's factor from a row of `factors`."""
    factor = factors_pb2.Factor(factor_id=row["factor_id"], kind=row["kind"], display_name=row["display_name"])
    factor.create_time.FromDatetime(row["create_time"])
    if row["last_use_time"] is not None:
        factor.last_use_time.FromDatetime(row["last_use_time"])
    return factor


def line(name: str) -> str:
    """A name as one line of visible characters (NFC): it stands in mails and lists."""
    shown = "".join(" " if unicodedata.category(one)[0] in "CZ" else one for one in unicodedata.normalize("NFC", name))
    return " ".join(shown.split())
