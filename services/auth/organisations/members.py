"""ListMembers, SetMemberRole, RemoveMember."""

from __future__ import annotations

from collections.abc import Sequence

from promptmesh.auth.v1 import organisations_pb2 as pb

from services.auth.organisations import memberships
from services.auth.organisations.memberships import ADMIN, OWNER, ROLE_NAMES, member_message
from services.auth.organisations.organisations import OrganisationLimits, refuse_more_owned
from services.auth.store import SQL, Row
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.paging import PageTokens, page_size


class Members:
    """Members of teams. Raises MeshError for what a caller did wrong."""

    def __init__(self, database: Database, outbox: Outbox, pages: PageTokens, limits: OrganisationLimits) -> None:
        self._database, self._outbox, self._pages, self._limits = database, outbox, pages, limits

    async def list(self, caller: Caller, request: pb.ListMembersRequest) -> pb.ListMembersResponse:
        """A page of members, oldest first. ORGANISATION_NOT_FOUND, PAGE_TOKEN_INVALID."""
        size = page_size(request.page_size)
        filters = {"list": "members", "org_id": request.org_id.lower(), "user_id": caller.user_id}
        async with self._database.connection() as conn:
            own = await memberships.member_of(conn, request.org_id, caller.user_id)
            after: Sequence[str | int | None] = self._pages.decode(request.page_token, filters) or (None, None)
            rows = await conn.fetch(SQL["list_members"], own["org_id"], *after, size + 1)
        told = own["role"] <= ADMIN
        response = pb.ListMembersResponse(
            members=[member_message(row, email=told or row["user_id"] == caller.user_id) for row in rows[:size]]
        )
        if len(rows) > size:
            last = rows[size - 1]
            response.next_page_token = self._pages.encode([last["create_us"], last["user_id"]], filters)
        return response

    async def set_role(self, caller: Caller, request: pb.SetMemberRoleRequest) -> pb.Member:
        """Another role for a member. ORGANISATION_NOT_FOUND, MEMBER_NOT_FOUND, MEMBER_ROLE_MISSING, LAST_OWNER,
        ORGANISATION_LIMIT where they would own more teams than one may."""
        async with self._database.transaction() as conn:
            if request.role == OWNER:
                await conn.fetchrow(SQL["lock_user"], request.user_id)  # counting and writing are one step
            row = await memberships.locked(conn, request.org_id, caller.user_id, ADMIN)
            member = await self._member(conn, row, request.user_id)
            if member["role"] != request.role:
                memberships.refuse_personal(row, "its person is its owner")
                memberships.refuse_above(row, min(member["role"], request.role))
                if member["role"] == OWNER:
                    await memberships.refuse_last_owner(conn, row["org_id"], member["user_id"])
                if request.role == OWNER:
                    await refuse_more_owned(conn, member["user_id"], self._limits.teams_owned_max)
                await conn.execute(SQL["set_member_role"], row["org_id"], member["user_id"], request.role)
                await memberships.owners_changed(conn, self._outbox, row["org_id"])
                await memberships.drop_invitations(conn, row["org_id"], member["user_id"], request.role)
                await audit.record(
                    conn,
                    self._outbox,
                    "member.set_role",
                    Party("user", member["user_id"], member["display_name"]),
                    subject_user_id=member["user_id"],
                    org_id=row["org_id"],
                    before={"role": ROLE_NAMES[member["role"]]},
                    after={"role": ROLE_NAMES[request.role]},
                )
                member = await self._member(conn, row, request.user_id)
        return member_message(member, email=True)

    async def remove(self, caller: Caller, request: pb.RemoveMemberRequest) -> None:
        """Takes a member out, or oneself. ORGANISATION_NOT_FOUND, MEMBER_NOT_FOUND, MEMBER_ROLE_MISSING, LAST_OWNER."""
        oneself = request.user_id.lower() == caller.user_id
        async with self._database.transaction() as conn:
            row = await memberships.locked(
                conn, request.org_id, caller.user_id, memberships.MEMBER if oneself else ADMIN
            )
            member = await self._member(conn, row, request.user_id)
            memberships.refuse_personal(row, "its person stays in it")
            if not oneself:
                memberships.refuse_above(row, member["role"])
            if member["role"] == OWNER:
                await memberships.refuse_last_owner(conn, row["org_id"], member["user_id"])
            await memberships.remove(conn, self._outbox, row, member["user_id"])
            await audit.record(
                conn,
                self._outbox,
                "member.leave" if oneself else "member.remove",
                Party("user", member["user_id"], member["display_name"]),
                subject_user_id=member["user_id"],
                org_id=row["org_id"],
                before={"role": ROLE_NAMES[member["role"]]},
            )

    async def _member(self, conn: Connection, organisation: Row, user_id: str) -> Row:
        member = await conn.fetchrow(SQL["member"], organisation["org_id"], user_id)
        if member is None:
            raise MeshError(
                "MEMBER_NOT_FOUND",
                f"The organisation has no member {user_id}. ListMembers shows those that it has.",
                metadata={"user_id": user_id},
            )
        return member
