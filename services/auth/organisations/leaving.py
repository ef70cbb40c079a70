"""What becomes of a person's organisations when their account goes, and what of them is in a copy of their data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from services.auth import store
from services.auth.organisations.memberships import OWNER, ROLE_NAMES, dissolve, refuse_last_owner, remove
from services.auth.store import SQL, Row
from services.mesh.database import Connection
from services.mesh.events import Outbox


def leaving(outbox: Outbox) -> Callable[[Connection, Row], Awaitable[None]]:
    """What is done, in the transaction of an account's deletion, before its row of `users`, which is locked, goes.

    Takes the person out of their teams; a team that has no other member is deleted. LAST_OWNER where others would be
    left without an owner. Keys of their own organisation, service accounts' too, are revoked: its rows go with it.
    """

    async def leave(conn: Connection, user: Row) -> None:
        rows = await conn.fetch(SQL["organisations_of_user"], user["user_id"])
        for row in sorted(rows, key=lambda one: str(one["org_id"])):  # the order of locks
            await conn.execute(SQL["lock_organisation"], row["org_id"])
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

    return leave


async def exported(conn: Connection, user: Row) -> object:
    """The organisations that a person belongs to, as JSON takes it."""
    rows = await conn.fetch(SQL["organisations_of_user"], user["user_id"])
    return [
        {"org_id": row["org_id"], "display_name": row["display_name"], "role": ROLE_NAMES[row["role"]]} for row in rows
    ]
