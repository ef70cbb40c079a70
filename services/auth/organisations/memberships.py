"""Who belongs to an organisation, what they may do there, and what goes with them when they do no more.

Whoever changes an organisation, its members or its accounts holds its row (`locked`); whoever makes something in its
name shares it (`shared`): so no key and no session comes about beside the removal of its person. The order of all locks
stands in services/auth/store.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from promptmesh.auth.v1 import events_pb2, organisations_pb2
from promptmesh.auth.v1.organisations_pb2 import MemberRole

from services.auth import store, workload_accounts
from services.auth.store import SQL, Row
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.database import Connection
from services.mesh.errors import MeshError
from services.mesh.events import NewEvent, Outbox

OWNER = int(MemberRole.MEMBER_ROLE_OWNER)
ADMIN = int(MemberRole.MEMBER_ROLE_ADMIN)
MEMBER = int(MemberRole.MEMBER_ROLE_MEMBER)
ROLE_NAMES: Mapping[int, str] = {OWNER: "owner", ADMIN: "administrator", MEMBER: "member"}


def organisation_of(row: Row) -> organisations_pb2.Organisation:
    """The contract's organisation as one of its members sees it, from a row with their `role`."""
    organisation = organisations_pb2.Organisation(
        org_id=row["org_id"], display_name=row["display_name"], personal=row["personal"], role=row["role"]
    )
    organisation.create_time.FromDatetime(row["create_time"])
    return organisation


def party(row: Row) -> Party:
    """An organisation as the trail names it."""
    return Party("organisation", row["org_id"], row["display_name"])


async def member_of(conn: Connection, org_id: str, user_id: str, least: int = MEMBER) -> Row:
    """An organisation with the role of one of its members. ORGANISATION_NOT_FOUND, MEMBER_ROLE_MISSING.

    least: the role that they need, or one above it.
    """
    row = await conn.fetchrow(SQL["membership"], org_id, user_id)
    if row is None:
        raise no_such_organisation(org_id)
    if row["role"] > least:
        wanted = " or ".join(ROLE_NAMES[role] for role in range(OWNER, least + 1))
        raise MeshError(
            "MEMBER_ROLE_MISSING",
            f"This takes the role {wanted} in the organisation, and yours is {ROLE_NAMES[row['role']]}. Ask an owner.",
            metadata={"org_id": row["org_id"], "role": wanted},
        )
    return row


async def locked(conn: Connection, org_id: str, user_id: str, least: int) -> Row:
    """As member_of, the organisation being held for a change until the transaction ends."""
    await conn.execute(SQL["lock_organisation"], org_id)
    return await member_of(conn, org_id, user_id, least)


async def shared(conn: Connection, org_id: str, user_id: str, least: int = MEMBER) -> Row:
    """As member_of, the membership being held as it is until the transaction ends."""
    await conn.execute(SQL["share_organisation"], org_id)
    return await member_of(conn, org_id, user_id, least)


def refuse_personal(row: Row, what: str) -> None:
    """Raises LAST_OWNER for what an organisation of a person's own has not."""
    if row["personal"]:
        raise MeshError(
            "LAST_OWNER",
            f"This is the organisation of a person's own: {what}. Make a team with CreateOrganisation.",
            metadata={"org_id": row["org_id"]},
        )


async def refuse_last_owner(conn: Connection, org_id: str, user_id: str) -> None:
    """Raises LAST_OWNER if there is no other owner. The organisation is locked."""
    if not await conn.fetchval(SQL["another_owner"], org_id, user_id):
        raise MeshError(
            "LAST_OWNER",
            "This is the last owner: without one, nobody could administer the organisation. Make somebody else an "
            "owner first, or delete the organisation.",
            metadata={"org_id": org_id, "user_id": user_id},
        )


def refuse_above(own: Row, role: int) -> None:
    """Raises MEMBER_ROLE_MISSING for an administrator who touches an owner, or makes one."""
    if role == OWNER and own["role"] != OWNER:
        raise MeshError(
            "MEMBER_ROLE_MISSING",
            "Only an owner makes, changes or removes an owner. Ask one.",
            metadata={"org_id": own["org_id"], "role": ROLE_NAMES[OWNER]},
        )


async def remove(
    conn: Connection, outbox: Outbox, organisation: Row, user_id: str, *, actor: Party | None = None
) -> None:
    """Takes a person out of a locked team: keys revoked, sessions ended, invitations that they sent gone. actor: as
    the trail names who does it, where it is not who calls."""
    org_id = organisation["org_id"]
    await conn.execute(SQL["delete_member"], org_id, user_id)
    await drop_invitations(conn, org_id, user_id, None)
    await store.end_sessions_of_org(conn, outbox, org_id, user_id)
    await store.revoke_keys_of_org(conn, outbox, org_id, user_id=user_id)
    await owners_changed(conn, outbox, org_id, actor=actor)


async def owners_changed(conn: Connection, outbox: Outbox, org_id: str, *, actor: Party | None = None) -> None:
    """Tells every service where all owners of a locked team are suspended now, or are not any more: its service
    accounts are refused meanwhile, since nobody who may answer for them can. actor: as in remove."""
    row = await conn.fetchrow(SQL["suspend_organisation"], org_id)
    if row is None:
        return
    await store.tell_of_org(conn, outbox, row)
    until = row["suspend_time"]
    await audit.record(
        conn,
        outbox,
        "organisation.suspend" if until is not None else "organisation.restore",
        party(row),
        actor=actor,
        org_id=row["org_id"],
        after={"suspend_time": until.isoformat() if until is not None else None},
    )


async def drop_invitations(conn: Connection, org_id: str, user_id: str, role: int | None) -> None:
    """Ends the invitations of a locked team that somebody sent and could not send any more. role: theirs now."""
    least = next((one for one in ROLE_NAMES if may_invite(role, one)), MEMBER + 1)
    await conn.execute(SQL["drop_invitations_by"], org_id, user_id, least)


def may_invite(own: int | None, role: int) -> bool:
    """Whether a member (None: no member) may invite somebody to a role."""
    return own is not None and own <= ADMIN and own <= role


async def dissolve(conn: Connection, outbox: Outbox, organisation: Row, *, actor: Party | None = None) -> None:
    """Deletes a locked team with all that it has here, and tells the other services to. actor: as in remove."""
    org_id = organisation["org_id"]
    await store.end_sessions_of_org(conn, outbox, org_id, None)
    await workload_accounts.tell_of_deleted(conn, outbox, await conn.fetch(SQL["list_service_accounts"], org_id))
    await store.revoke_keys_of_org(conn, outbox, org_id)
    await conn.execute(SQL["delete_organisation"], org_id)
    deleted = events_pb2.OrganisationDeleted(org_id=org_id)
    deleted.delete_time.GetCurrentTime()
    await outbox.append(conn, [NewEvent(org_id, org_id, organisation["version"] + 1, deleted)])
    await audit.record(
        conn,
        outbox,
        "organisation.delete",
        party(organisation),
        actor=actor,
        org_id=org_id,
        before={"display_name": organisation["display_name"]},
    )


def no_such_organisation(org_id: str) -> MeshError:
    """The same for one that there is not and for one of others."""
    return MeshError(
        "ORGANISATION_NOT_FOUND",
        f"You belong to no organisation {org_id}. ListOrganisations shows those that you belong to.",
        metadata={"org_id": org_id},
    )


def member_message(row: Row, *, email: bool) -> organisations_pb2.Member:
    """The contract's member. email: whether the address may be told."""
    member = organisations_pb2.Member(
        user_id=row["user_id"],
        display_name=row["display_name"],
        email=row["email"] if email else "",
        role=row["role"],
    )
    member.create_time.FromDatetime(row["create_time"])
    return member
