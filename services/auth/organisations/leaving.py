"""What becomes of a person's organisations when their account goes, or turns out to be another's; and what of them is
in a copy of their data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from services.auth import store
from services.auth.organisations import service_accounts
from services.auth.organisations.memberships import OWNER, ROLE_NAMES, dissolve, refuse_last_owner, remove
from services.auth.store import SQL, Row
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.database import Connection
from services.mesh.events import Outbox


def leaving(outbox: Outbox) -> Callable[[Connection, Row], Awaitable[None]]:
    """What is done, in the transaction of an account's deletion, before its row of `users`, which is locked, goes.

    Takes the person out of their teams; a team that has no other member is deleted. LAST_OWNER where others would be
    left without an owner. Keys of their own organisation, service accounts' too, are revoked: its rows go with it. What
    they made for others stays, and nothing says any more that they did.
    """

    async def leave(conn: Connection, user: Row) -> None:
        made = [row["org_id"] for row in await conn.fetch(SQL["organisations_of_maker"], user["user_id"])]
        for row in await _locked(conn, user, made):
            if row["personal"]:
                await store.revoke_keys_of_org(conn, outbox, row["org_id"])
                continue
            membership = await conn.fetchrow(SQL["membership"], row["org_id"], user["user_id"])
            if membership is None:
                continue
            if await conn.fetchval(SQL["count_members"], row["org_id"]) == 1:
                await dissolve(conn, outbox, membership)
                continue
            if membership["role"] == OWNER:
                await refuse_last_owner(conn, row["org_id"], user["user_id"])
            await remove(conn, outbox, membership, user["user_id"])
            await audit.record(
                conn,
                outbox,
                "member.leave",
                Party("user", user["user_id"], user["display_name"]),
                subject_user_id=user["user_id"],
                org_id=row["org_id"],
                before={"role": ROLE_NAMES[membership["role"]]},
            )
        await conn.execute(SQL["forget_maker"], user["user_id"], made)

    return leave


async def dispossess(conn: Connection, outbox: Outbox, user: Row) -> int:
    """Leaves no organisation to whoever used an account before it was proved to be the person's, whose row is locked.

    They are taken out of their teams, and a team without other members is deleted. One that others are left in without
    an owner goes to its longest-standing administrator, or else member: nobody could administer it. Of the person's own
    organisation, service accounts, the number of which is answered, and all keys go.
    """
    accounts = 0
    who = Party("user", user["user_id"], user["display_name"])
    for row in await _locked(conn, user):
        org_id = row["org_id"]
        if row["personal"]:
            accounts += await service_accounts.delete_all(conn, outbox, org_id, who)
            await store.revoke_keys_of_org(conn, outbox, org_id)
            continue
        membership = await conn.fetchrow(SQL["membership"], org_id, user["user_id"])
        if membership is None:
            continue
        heir = await conn.fetchrow(SQL["heir"], org_id, user["user_id"])
        if heir is None:
            await dissolve(conn, outbox, membership, actor=who)
            continue
        if heir["role"] != OWNER and membership["role"] == OWNER:
            await conn.execute(SQL["set_member_role"], org_id, heir["user_id"], OWNER)
            await _record(conn, outbox, "member.set_role", org_id, heir, who, heir["role"], OWNER)
        await remove(conn, outbox, membership, user["user_id"], actor=who)
        await _record(conn, outbox, "member.remove", org_id, user, who, membership["role"], None)
    return accounts


async def _locked(conn: Connection, user: Row, others: Sequence[str] = ()) -> list[Row]:
    """The organisations of a person whose row is locked: all locked, and others with them, in the order of locks."""
    rows = await conn.fetch(SQL["organisations_of_user"], user["user_id"])
    for org_id in sorted({str(one) for one in (*(row["org_id"] for row in rows), *others)}):
        await conn.execute(SQL["lock_organisation"], org_id)
    return sorted(rows, key=lambda one: str(one["org_id"]))


async def _record(
    conn: Connection, outbox: Outbox, action: str, org_id: str, whose: Row, actor: Party, before: int, after: int | None
) -> None:
    await audit.record(
        conn,
        outbox,
        action,
        Party("user", whose["user_id"], whose["display_name"]),
        actor=actor,
        subject_user_id=whose["user_id"],
        org_id=org_id,
        reason="the address of an account that was not proved has turned out to be another's",
        before={"role": ROLE_NAMES[before]},
        after={"role": ROLE_NAMES[after]} if after is not None else None,
    )


async def exported(conn: Connection, user: Row) -> object:
    """The organisations that a person belongs to, as JSON takes it."""
    rows = await conn.fetch(SQL["organisations_of_user"], user["user_id"])
    return [
        {"org_id": row["org_id"], "display_name": row["display_name"], "role": ROLE_NAMES[row["role"]]} for row in rows
    ]
