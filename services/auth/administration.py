"""AdministrationService's core: what administrators do with other people's accounts, each act with a reason.

Acts that can take an administrator's powers (roles, suspension) run one at a time (`lock_roles`), and look at who acts
once more: of two administrators who suspend one another at once, one does.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Protocol

from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import administration_pb2 as pb
from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.organisations import memberships
from services.auth.store import SQL, Row
from services.mesh import audit
from services.mesh.access import tokens
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import FieldViolation, MeshError
from services.mesh.events import Outbox
from services.mesh.telemetry.logs import get_logger

log = get_logger()


class SecondFactors(Protocol):
    """What administration needs of second factors (services/auth/factors)."""

    async def reset(self, conn: Connection, user_id: str) -> int:
        """Removes every factor and recovery code of a person, whose row is locked; how many factors there were."""


class Mails(Protocol):
    """What administration needs of mail (services/auth/mail)."""

    async def send(
        self, conn: Connection, template: str, *, to: str, org_id: str = "", user_id: str = "", **values: str
    ) -> None:
        """Writes a mail in the transaction. template: "suspended" (until, reason), "restored" (reason),
        "second_factor_reset" (reason); each has display_name too."""


class NoSecondFactors:
    """Nobody has a second factor."""

    async def reset(self, conn: Connection, user_id: str) -> int:
        return 0


class NoMails:
    """Nobody is told."""

    async def send(
        self, conn: Connection, template: str, *, to: str, org_id: str = "", user_id: str = "", **values: str
    ) -> None:
        return


class Administration:
    """Other people's accounts. Raises MeshError for what a caller did wrong."""

    def __init__(
        self, database: Database, outbox: Outbox, factors: SecondFactors | None = None, mails: Mails | None = None
    ) -> None:
        self._database, self._outbox = database, outbox
        self._factors, self._mails = factors or NoSecondFactors(), mails or NoMails()

    async def get(self, user_id: str) -> auth_pb2.User:
        """One person. USER_NOT_FOUND."""
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["user_by_id"], user_id)
        if row is None:
            raise no_such_user(user_id)
        return store.administered_user_of(row)

    async def suspend(self, caller: Caller, request: pb.SuspendUserRequest) -> auth_pb2.User:
        """Suspends a person until a time; again: until another. Their sessions and keys are refused meanwhile, and are
        good again after. USER_NOT_FOUND, LAST_ADMIN."""
        until = _moment(request)
        async with self._database.transaction() as conn:
            row = await taken(conn, caller, request.user_id)
            if row["user_id"] == caller.user_id:
                what = "is you: nobody suspends themselves. Another administrator can do it"
                raise MeshError("INVALID_FIELD", f"user_id {what}.", violations=[FieldViolation("user_id", what)])
            if Role.ROLE_ADMIN in row["roles"]:
                await refuse_last_admin(conn, row["user_id"])
            changed = await store.suspend(conn, self._outbox, row["user_id"], until, request.reason)
            await self._record(conn, "user.suspend", row, request.reason, _suspension(row), _suspension(changed))
            await self._teams_changed(conn, row)
            await self._tell(conn, row, "suspended", until=f"{until:%Y-%m-%d %H:%M} UTC", reason=request.reason)
        log.info("user suspended", user_id=row["user_id"], by=caller.user_id, until=until.isoformat())
        return store.administered_user_of(changed)

    async def restore(self, caller: Caller, request: pb.RestoreUserRequest) -> auth_pb2.User:
        """Ends a suspension before its time; without one nothing happens. USER_NOT_FOUND."""
        async with self._database.transaction() as conn:
            row = await taken(conn, caller, request.user_id)
            if not store.suspended(row):
                return store.administered_user_of(row)
            changed = await store.suspend(conn, self._outbox, row["user_id"], None, "")
            await self._record(conn, "user.restore", row, request.reason, _suspension(row), _suspension(changed))
            await self._teams_changed(conn, row)
            await self._tell(conn, row, "restored", reason=request.reason)
        log.info("user restored", user_id=row["user_id"], by=caller.user_id)
        return store.administered_user_of(changed)

    async def end_sessions(self, caller: Caller, request: pb.EndSessionsRequest) -> int:
        """Ends every session of a person, the caller's own too; how many. USER_NOT_FOUND."""
        async with self._database.transaction() as conn:
            row = await taken(conn, caller, request.user_id)
            ended = await store.end_sessions_of(conn, self._outbox, row["user_id"])
            await self._record(conn, "user.end_sessions", row, request.reason, None, {"ended": ended})
        return ended

    async def reset_second_factor(self, caller: Caller, request: pb.ResetSecondFactorRequest) -> auth_pb2.User:
        """Removes a person's second factors and ends their sessions; they are told. USER_NOT_FOUND."""
        async with self._database.transaction() as conn:
            row = await taken(conn, caller, request.user_id)
            removed = await self._factors.reset(conn, row["user_id"])
            ended = await store.end_sessions_of(conn, self._outbox, row["user_id"])
            after = {"removed": removed, "ended": ended}
            await self._record(conn, "user.reset_second_factor", row, request.reason, None, after)
            await self._tell(conn, row, "second_factor_reset", reason=request.reason)
        return store.administered_user_of(row)

    async def revoke_api_keys(self, caller: Caller, request: pb.RevokeApiKeysRequest) -> int:
        """Revokes every API key that a person may know the secret of: their own, and those of the service accounts of
        teams that nobody else owns; how many. USER_NOT_FOUND."""
        async with self._database.transaction() as conn:
            row = await taken(conn, caller, request.user_id)
            # Those of their own keys too, in one pass: in two, another call could wait for this one in a circle.
            teams = [one["org_id"] for one in await conn.fetch(SQL["lock_key_organisations"], row["user_id"])]
            revoked = await store.revoke_keys_of(conn, self._outbox, row)
            await self._record(conn, "user.revoke_api_keys", row, request.reason, None, {"revoked": revoked})
            for team in await conn.fetch(SQL["solely_owned_teams"], row["user_id"], teams):
                ended = await store.revoke_account_keys(conn, self._outbox, team["org_id"])
                if ended:
                    await audit.record(
                        conn,
                        self._outbox,
                        "organisation.revoke_api_keys",
                        memberships.party(team),
                        subject_user_id=row["user_id"],
                        org_id=team["org_id"],
                        reason=request.reason,
                        after={"revoked": ended},
                    )
                revoked += ended
        return revoked

    async def _held_teams(self, conn: Connection, row: Row) -> list[str]:
        """The teams that a person is in, locked. All of them: in one that is not theirs they may be made the owner just
        now (organisations/leaving.py), by who does not see yet what becomes of them here."""
        teams = [one["org_id"] for one in await conn.fetch(SQL["teams_of_member"], row["user_id"])]
        for org_id in teams:
            await conn.execute(SQL["lock_organisation"], org_id)
        return teams

    async def _teams_changed(self, conn: Connection, row: Row) -> None:
        """After a suspension began or ended: what it means for the teams that the person owns."""
        for org_id in await self._held_teams(conn, row):
            await memberships.owners_changed(conn, self._outbox, org_id)

    async def _record(
        self,
        conn: Connection,
        action: str,
        row: Row,
        reason: str,
        before: dict[str, Any] | None,
        after: dict[str, Any],
    ) -> None:
        await audit.record(
            conn,
            self._outbox,
            action,
            Party("user", row["user_id"], row["display_name"]),
            subject_user_id=row["user_id"],
            org_id=row["org_id"],
            reason=reason,
            before=before,
            after=after,
        )

    async def _tell(self, conn: Connection, row: Row, template: str, **values: str) -> None:
        whose = {"org_id": row["org_id"], "user_id": row["user_id"], "display_name": row["display_name"]}
        await self._mails.send(conn, template, to=row["email"], **whose, **values)


async def taken(conn: Connection, caller: Caller, user_id: str) -> Row:
    """The person's row, locked, while no other such act is under way, and who calls still an administrator.
    CREDENTIAL_REVOKED, SUSPENDED, ROLE_MISSING, USER_NOT_FOUND."""
    await conn.execute(SQL["lock_roles"])
    actor = await conn.fetchrow(SQL["user_by_id"], caller.user_id)
    if actor is None:
        raise tokens.revoked()
    store.refuse_suspended(actor)
    if Role.ROLE_ADMIN not in actor["roles"]:
        raise MeshError("ROLE_MISSING", "You are no administrator any more.", metadata={"roles": "admin"})
    row = await conn.fetchrow(SQL["lock_user"], user_id)
    if row is None:
        raise no_such_user(user_id)
    return row


async def refuse_last_admin(conn: Connection, user_id: str) -> None:
    """Raises LAST_ADMIN unless somebody beside the person can make administrators. Under `lock_roles`."""
    if not await conn.fetchval(SQL["another_admin"], user_id):
        raise MeshError(
            "LAST_ADMIN",
            "This is the last administrator: without one, nobody could make another. Give the role to somebody else "
            "first.",
            metadata={"user_id": user_id},
        )


def _suspension(row: Row) -> dict[str, Any]:
    until = row["suspend_time"]
    return {"suspend_time": until.isoformat() if until is not None else None, "reason": row["suspend_reason"]}


def _moment(request: pb.SuspendUserRequest) -> datetime:
    try:
        return request.expire_time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        what = "is no moment between the years 1 and 9999"
        raise MeshError(
            "INVALID_FIELD", f"expire_time {what}.", violations=[FieldViolation("expire_time", what)]
        ) from None


def no_such_user(user_id: str) -> MeshError:
    """USER_NOT_FOUND."""
    return MeshError("USER_NOT_FOUND", f"There is no user {user_id}.", metadata={"user_id": user_id})
