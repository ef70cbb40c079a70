"""InviteMember, ListInvitations, RevokeInvitation, AcceptInvitation."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from promptmesh.auth.v1 import organisations_pb2 as pb

from services.auth import store
from services.auth.mail import Links, Mails
from services.auth.organisations import memberships
from services.auth.organisations.memberships import ADMIN, OWNER, ROLE_NAMES, organisation_of
from services.auth.organisations.organisations import OrganisationLimits, refuse_more_owned, refuse_more_teams
from services.auth.store import SQL, Row
from services.auth.throttle import Throttle
from services.auth.users import normal_email
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError, QuotaViolation
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from services.mesh.paging import PageTokens, page_size

TOKEN_PREFIX = "pml_"  # noqa: S105 - of links, so that a scanner finds a leaked one
TOKEN_BYTES = 32


class Invitations:
    """Invitations into teams. Raises MeshError for what a caller did wrong."""

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        pages: PageTokens,
        mails: Mails,
        links: Links,
        limits: OrganisationLimits,
        throttle: Throttle,
    ) -> None:
        self._database, self._outbox, self._pages = database, outbox, pages
        self._mails, self._links, self._limits, self._throttle = mails, links, limits, throttle

    async def invite(self, caller: Caller, request: pb.InviteMemberRequest) -> pb.Invitation:
        """Mails a link; one that was sent to the address before is good no more. ORGANISATION_NOT_FOUND,
        MEMBER_ROLE_MISSING, ORGANISATION_LIMIT, RATE_LIMITED, LAST_OWNER for the caller's own organisation,
        LINK_INVALID while the caller's own address is not proved.

        That the address is a member's already is not told: whether somebody is registered is nobody's business.
        """
        email = normal_email(request.email)
        token = TOKEN_PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
        async with self._database.transaction() as conn:
            row = await memberships.locked(conn, request.org_id, caller.user_id, ADMIN)
            memberships.refuse_personal(row, "it has no other member")
            memberships.refuse_above(row, request.role)
            await _refuse_unproved(conn, caller)
            await self._refuse_more_members(conn, row["org_id"], email)
            await self._throttle.invite(conn, row["org_id"], caller.user_id, email)
            expire_time = datetime.now(UTC) + timedelta(seconds=self._limits.invitation_lifetime_s)
            made = await conn.fetchrow(
                SQL["insert_invitation"],
                *(uuid7(), row["org_id"], email, request.role, caller.user_id, _digest(token), expire_time),
            )
            assert made is not None
            await self._mails.send(
                conn,
                "invitation",
                to=email,
                org_id=row["org_id"],
                inviter=caller.display_name,
                organisation=row["display_name"],
                link=self._links.to("invitation", token),
            )
            await audit.record(
                conn,
                self._outbox,
                "member.invite",
                Party("invitation", made["invitation_id"]),
                org_id=row["org_id"],
                after={"role": ROLE_NAMES[request.role]},
            )
        return _invitation(made)

    async def list(self, caller: Caller, request: pb.ListInvitationsRequest) -> pb.ListInvitationsResponse:
        """A page of those under way, newest first. ORGANISATION_NOT_FOUND, MEMBER_ROLE_MISSING, PAGE_TOKEN_INVALID."""
        size = page_size(request.page_size)
        filters = {"list": "invitations", "org_id": request.org_id.lower(), "user_id": caller.user_id}
        async with self._database.connection() as conn:
            own = await memberships.member_of(conn, request.org_id, caller.user_id, ADMIN)
            after: Sequence[str | int | None] = self._pages.decode(request.page_token, filters) or (None,)
            rows = await conn.fetch(SQL["list_invitations"], own["org_id"], *after, size + 1)
        response = pb.ListInvitationsResponse(invitations=[_invitation(row) for row in rows[:size]])
        if len(rows) > size:
            response.next_page_token = self._pages.encode([rows[size - 1]["invitation_id"]], filters)
        return response

    async def revoke(self, caller: Caller, request: pb.RevokeInvitationRequest) -> None:
        """Ends one. ORGANISATION_NOT_FOUND, MEMBER_ROLE_MISSING, MEMBER_NOT_FOUND, also for one that was used or has
        ended."""
        async with self._database.transaction() as conn:
            row = await memberships.locked(conn, request.org_id, caller.user_id, ADMIN)
            found = await conn.fetchrow(SQL["revoke_invitation"], row["org_id"], request.invitation_id)
            if found is None:
                raise MeshError(
                    "MEMBER_NOT_FOUND",
                    f"The organisation has no invitation {request.invitation_id} under way: there is none, or it was "
                    "used, revoked, replaced by a newer one, or has ended. ListInvitations shows those that there are.",
                    metadata={"invitation_id": request.invitation_id},
                )
            memberships.refuse_above(row, found["role"])  # rolls it back
            await audit.record(
                conn,
                self._outbox,
                "member.revoke_invitation",
                Party("invitation", found["invitation_id"]),
                org_id=row["org_id"],
                before={"role": ROLE_NAMES[found["role"]]},
            )

    async def accept(self, caller: Caller, request: pb.AcceptInvitationRequest) -> pb.Organisation:
        """Joins the team of an invitation to the caller's address, which they have proved. LINK_INVALID,
        ORGANISATION_LIMIT."""
        digest = _digest(request.token)
        async with self._database.transaction() as conn:
            user = await conn.fetchrow(SQL["lock_user"], caller.user_id)
            found = await conn.fetchrow(SQL["invitation_of_token"], digest)
            # Who has the link of another's mail joins nothing: address and link have to be of one person.
            if user is None or found is None or found["email"] != user["email"]:
                raise _no_such_link()
            if user["email_verify_time"] is None:  # anybody may register under the address; the invitation stays good
                raise MeshError(
                    "LINK_INVALID",
                    "The invitation goes to the owner of your address, and you have not proved yet that you are. Open "
                    "the link of the confirmation mail (SendVerification mails another), then accept again.",
                )
            organisation = await conn.fetchrow(SQL["lock_organisation"], found["org_id"])
            taken = await conn.fetchval(SQL["delete_invitation"], found["invitation_id"], digest)
            if organisation is None or taken is None:
                raise _no_such_link()
            inviter = await conn.fetchrow(SQL["member"], found["org_id"], found["inviter_id"])
            # A suspended inviter counts as none.
            own = None if inviter is None or store.suspended(inviter) else inviter["role"]
            if not memberships.may_invite(own, found["role"]):
                raise _no_such_link()
            if await conn.fetchrow(SQL["member"], found["org_id"], caller.user_id) is None:
                await refuse_more_teams(conn, caller.user_id, self._limits.organisations_max)
                if found["role"] == OWNER:
                    await refuse_more_owned(conn, caller.user_id, self._limits.teams_owned_max)
                await conn.execute(SQL["insert_member"], found["org_id"], caller.user_id, found["role"])
                await memberships.owners_changed(conn, self._outbox, found["org_id"])
                await audit.record(
                    conn,
                    self._outbox,
                    "member.join",
                    Party("user", caller.user_id, caller.display_name),
                    subject_user_id=caller.user_id,
                    org_id=found["org_id"],
                    after={"role": ROLE_NAMES[found["role"]], "invitation_id": found["invitation_id"]},
                )
            return organisation_of(await memberships.member_of(conn, found["org_id"], caller.user_id))

    async def purge(self, *, every_s: float) -> None:
        """Removes invitations that have ended, for ever."""
        while True:
            async with self._database.connection() as conn:
                await conn.execute(SQL["purge_invitations"])
            await asyncio.sleep(every_s)

    async def _refuse_more_members(self, conn: Connection, org_id: str, email: str) -> None:
        members = await conn.fetchval(SQL["count_members"], org_id)
        if members + await conn.fetchval(SQL["count_invitations"], org_id, email) >= self._limits.members_max:
            limit = f"{self._limits.members_max} members and invitations are as many as an organisation may have"
            raise MeshError(
                "ORGANISATION_LIMIT",
                f"{limit}. Remove a member, or revoke an invitation.",
                quota=[QuotaViolation(f"org:{org_id}", limit)],
            )


def _invitation(row: Row) -> pb.Invitation:
    """The contract's invitation from a row of `invitations`."""
    invitation = pb.Invitation(
        invitation_id=row["invitation_id"], email=row["email"], role=row["role"], inviter_id=row["inviter_id"]
    )
    invitation.expire_time.FromDatetime(row["expire_time"])
    invitation.create_time.FromDatetime(row["create_time"])
    return invitation


async def _refuse_unproved(conn: Connection, caller: Caller) -> None:
    """Nobody has mails sent, with a name of their own in them, of whom not even an address is known."""
    user = await conn.fetchrow(SQL["user_by_id"], caller.user_id)
    if user is None or user["email_verify_time"] is None:
        raise MeshError(
            "LINK_INVALID",
            "Who invites others by mail has to have proved an address of their own, and you have not yet. Open the "
            "link of the confirmation mail (SendVerification mails another), then invite again.",
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _no_such_link() -> MeshError:
    return MeshError(
        "LINK_INVALID",
        "The invitation is none, was used, has ended, was replaced by a newer one, or went to another address than "
        "yours. Open the newest mail; if that does not help, ask for a new one, sent to the address of your account.",
    )
