"""Create-, List-, Get-, Update-, Delete- and SwitchOrganisation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from promptmesh.auth.v1 import auth_pb2
from promptmesh.auth.v1 import organisations_pb2 as pb

from services.auth import store
from services.auth.issuer import Issuer, Refresh, proved
from services.auth.organisations import memberships
from services.auth.organisations.memberships import ADMIN, OWNER, organisation_of, party
from services.auth.organisations.repeated import body_digest, refuse_other_body
from services.auth.store import SQL
from services.auth.users import normal_name
from services.mesh import audit
from services.mesh.access import tokens
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError, QuotaViolation
from services.mesh.events import Outbox
from services.mesh.ids import uuid7


@dataclass(frozen=True, slots=True)
class OrganisationLimits:
    """As many as there may be: organisations of a person, teams that they own, members (with invitations under way) and
    service accounts."""

    organisations_max: int = 50
    teams_owned_max: int = 10
    members_max: int = 1000
    service_accounts_max: int = 100
    invitation_lifetime_s: int = 7 * 86_400


class Organisations:
    """Organisations of people. Raises MeshError for what a caller did wrong."""

    def __init__(self, database: Database, outbox: Outbox, issuer: Issuer, limits: OrganisationLimits) -> None:
        self._database, self._outbox, self._issuer, self._limits = database, outbox, issuer, limits

    async def create(self, caller: Caller, request: pb.CreateOrganisationRequest) -> pb.Organisation:
        """A new team, owned by the caller. ORGANISATION_LIMIT, REQUEST_ID_REUSED."""
        digest = body_digest(request)
        async with self._database.transaction() as conn:
            await conn.fetchrow(SQL["lock_user"], caller.user_id)  # counting and inserting are one step
            if request.request_id:
                found = await conn.fetchrow(SQL["organisation_of_request"], caller.user_id, request.request_id)
                if found is not None:
                    refuse_other_body(found["request_digest"] == digest, request.request_id, org_id=found["org_id"])
                    return organisation_of(await memberships.member_of(conn, found["org_id"], caller.user_id))
            await refuse_more_teams(conn, caller.user_id, self._limits.organisations_max)
            await refuse_more_owned(conn, caller.user_id, self._limits.teams_owned_max)
            row = await conn.fetchrow(
                SQL["insert_organisation"],
                *(uuid7(), normal_name(request.display_name), caller.user_id),
                *(request.request_id or None, digest if request.request_id else None),
            )
            assert row is not None
            await conn.execute(SQL["insert_member"], row["org_id"], caller.user_id, OWNER)
            await audit.record(
                conn,
                self._outbox,
                "organisation.create",
                party(row),
                org_id=row["org_id"],
                after={"display_name": row["display_name"]},
            )
            return organisation_of(await memberships.member_of(conn, row["org_id"], caller.user_id))

    async def list(self, caller: Caller) -> pb.ListOrganisationsResponse:
        """The caller's own and their teams."""
        async with self._database.connection() as conn:
            rows = await conn.fetch(SQL["organisations_of_user"], caller.user_id)
        return pb.ListOrganisationsResponse(organisations=[organisation_of(row) for row in rows])

    async def get(self, caller: Caller, request: pb.GetOrganisationRequest) -> pb.Organisation:
        """One of them. ORGANISATION_NOT_FOUND."""
        async with self._database.connection() as conn:
            return organisation_of(await memberships.member_of(conn, request.org_id, caller.user_id))

    async def update(self, caller: Caller, request: pb.UpdateOrganisationRequest) -> pb.Organisation:
        """Another name. ORGANISATION_NOT_FOUND, MEMBER_ROLE_MISSING."""
        name = normal_name(request.display_name)
        async with self._database.transaction() as conn:
            before = await memberships.locked(conn, request.org_id, caller.user_id, ADMIN)
            if before["display_name"] != name:
                await conn.execute(SQL["rename_organisation"], before["org_id"], name)
                await audit.record(
                    conn,
                    self._outbox,
                    "organisation.rename",
                    party(before),
                    # Ones own is mostly called as its person is: their key seals it, and their erasure makes it go.
                    subject_user_id=caller.user_id if before["personal"] else "",
                    org_id=before["org_id"],
                    before={"display_name": before["display_name"]},
                    after={"display_name": name},
                )
            return organisation_of(await memberships.member_of(conn, before["org_id"], caller.user_id))

    async def delete(self, caller: Caller, request: pb.DeleteOrganisationRequest) -> None:
        """Deletes a team. ORGANISATION_NOT_FOUND, MEMBER_ROLE_MISSING, LAST_OWNER for the caller's own."""
        async with self._database.transaction() as conn:
            row = await memberships.locked(conn, request.org_id, caller.user_id, OWNER)
            memberships.refuse_personal(row, "it lives as long as their account")
            await memberships.dissolve(conn, self._outbox, row)

    async def switch(self, caller: Caller, request: pb.SwitchOrganisationRequest) -> auth_pb2.Session:
        """A new access token of the caller's session, for another organisation; the refresh token stays.
        ORGANISATION_NOT_FOUND, CREDENTIAL_REVOKED, CREDENTIAL_EXPIRED, SUSPENDED.

        The token ends no later than the one that makes the call: whoever took an access token alone could otherwise
        live on it, switching to and fro, for as long as the session lasts.
        """
        async with self._database.transaction() as conn:
            # Not shared: who refreshes or confirms the session meanwhile reads which organisation it acts for.
            user = await conn.fetchrow(SQL["lock_user"], caller.user_id)
            organisation = await memberships.shared(conn, request.org_id, caller.user_id)
            row = await conn.fetchrow(SQL["lock_session"], caller.session_id)
            if user is None or row is None or row["end_time"] is not None:
                raise MeshError("CREDENTIAL_REVOKED", "The session has ended. Log in again with CreateSession.")
            store.refuse_suspended(user)
            end_time = self._issuer.end_of(row["create_time"])
            present = datetime.fromtimestamp(caller.expire_time or 0, UTC)  # an access token always ends
            if min(end_time, row["refresh_expire_time"], present) <= user["moment"]:
                raise tokens.expired()
            plan = await store.held_plan(conn, organisation["org_id"])
            session = self._issuer.issue(
                user,
                row["session_id"],
                user["moment"],
                auth_time=proved(row),
                plan=plan,
                end_time=end_time,
                refresh=Refresh("", row["refresh_expire_time"]),
                org_id=organisation["org_id"],
                access_end_time=present,
            )
            if row["org_id"] != organisation["org_id"]:
                expire_time = session.access_expire_time.ToDatetime(user["moment"].tzinfo)
                await conn.execute(SQL["switch_session"], row["session_id"], organisation["org_id"], expire_time)
                await audit.record(
                    conn,
                    self._outbox,
                    "session.switch_organisation",
                    party(organisation),
                    subject_user_id=caller.user_id,
                    org_id=organisation["org_id"],
                    before={"org_id": row["org_id"]},
                    after={"org_id": organisation["org_id"]},
                )
            else:
                expire_time = session.access_expire_time.ToDatetime(user["moment"].tzinfo)
                await conn.execute(SQL["repeat_session"], row["session_id"], expire_time)
        return session


async def refuse_more_teams(conn: Connection, user_id: str, organisations_max: int) -> None:
    """Raises ORGANISATION_LIMIT for somebody who is in as many teams as one may. Their row is locked."""
    if await conn.fetchval(SQL["count_teams"], user_id) + 1 >= organisations_max:
        limit = f"{organisations_max} organisations are as many as a person may belong to, their own included"
        raise MeshError(
            "ORGANISATION_LIMIT",
            f"{limit}. Leave or delete one that is no longer used.",
            quota=[QuotaViolation(f"user:{user_id}", limit)],
        )


async def refuse_more_owned(conn: Connection, user_id: str, teams_owned_max: int) -> None:
    """Raises ORGANISATION_LIMIT for somebody who owns as many teams as one may: each has limits of its own, so that who
    owned any number would have any quota. Their row is locked."""
    if await conn.fetchval(SQL["count_owned_teams"], user_id) >= teams_owned_max:
        limit = f"{teams_owned_max} teams are as many as a person may own"
        raise MeshError(
            "ORGANISATION_LIMIT",
            f"{limit}. Delete one that is no longer used, or leave it to another owner.",
            quota=[QuotaViolation(f"user:{user_id}", limit)],
        )
