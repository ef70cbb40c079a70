"""UpdateMe, ExportMe, DeleteMe: what others see, all that is kept, and the end of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson
from google.api import httpbody_pb2
from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import accounts_pb2, auth_pb2, events_pb2

from services.auth import store
from services.auth.accounts.parts import Parts
from services.auth.store import SQL, Row
from services.auth.users import normal_name
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection
from services.mesh.errors import FieldViolation, MeshError
from services.mesh.events import NewEvent

FIELDS = ("display_name",)
# The query leaves secrets out by name; a column that somebody adds later is left out if its name says what it is.
SECRETS = ("digest", "hash", "secret", "salt", "sealed", "token", "private")
Leaving = Callable[[Connection, Row], Awaitable[None]]
"""What another part of auth does before a person (a row of `users`, locked) goes: refuses (LAST_OWNER), or removes rows
of its own that refer to them."""
Exported = Callable[[Connection, Row], Awaitable[object]]
"""What another part of auth keeps of a person, as JSON takes it, without secrets."""


class Profile:
    """The person as a whole. Raises MeshError for what a caller did wrong."""

    def __init__(
        self, parts: Parts, *, leaving: Sequence[Leaving] = (), exported: Mapping[str, Exported] | None = None
    ) -> None:
        self._parts, self._leaving, self._exported = parts, leaving, exported or {}

    async def update(self, caller: Caller, request: accounts_pb2.UpdateMeRequest) -> auth_pb2.User:
        """Another display name. FIELD_MASK_INVALID."""
        unknown = sorted(set(request.update_mask.paths) - set(FIELDS))
        if unknown:
            fault = f"names {', '.join(one or 'an empty path' for one in unknown)}; only display_name can be changed"
            raise MeshError(
                "FIELD_MASK_INVALID",
                f"update_mask {fault}.",
                violations=[FieldViolation("update_mask", fault)],
            )
        name = normal_name(request.user.display_name)
        async with self._parts.database.transaction() as conn:
            user = await self._parts.lock(conn, caller.user_id)
            if user["display_name"] == name:
                return store.user_of(user)
            changed = await conn.fetchrow(SQL["rename_user"], caller.user_id, name)
            assert changed is not None, "the transaction holds the lock of the row"
            await conn.execute(SQL["rename_own_organisation"], user["org_id"], name, user["display_name"])
            renamed = events_pb2.UserRenamed(user_id=caller.user_id, display_name=name)
            event = NewEvent(user["org_id"], user["user_id"], changed["version"], renamed)
            await self._parts.outbox.append(conn, [event])
            await audit.record(
                conn,
                self._parts.outbox,
                "user.rename",
                Party("user", user["user_id"], name),
                subject_user_id=user["user_id"],
                before={"display_name": user["display_name"]},
                after={"display_name": name},
            )
        return store.user_of(changed)

    async def export(self, caller: Caller) -> httpbody_pb2.HttpBody:
        """All that auth keeps of the caller, as one JSON document."""
        async with self._parts.database.transaction() as conn:
            user = await self._parts.lock(conn, caller.user_id)
            document = orjson.loads(await conn.fetchval(SQL["export_user"], caller.user_id))
            for name, exported in self._exported.items():
                document[name] = await exported(conn, user)
            person = Party("user", user["user_id"], user["display_name"])
            await audit.record(conn, self._parts.outbox, "user.export", person, subject_user_id=user["user_id"])
        return httpbody_pb2.HttpBody(
            content_type="application/json", data=orjson.dumps(without_secrets(document), option=orjson.OPT_INDENT_2)
        )

    async def delete(self, caller: Caller) -> None:
        """Ends the account: sessions and keys at once, and everything else with the event. LAST_ADMIN."""
        parts = self._parts
        async with parts.database.transaction() as conn:
            await conn.execute(SQL["lock_roles"])
            user = await parts.lock(conn, caller.user_id)
            if Role.ROLE_ADMIN in user["roles"] and not await conn.fetchval(SQL["another_admin"], user["user_id"]):
                raise MeshError(
                    "LAST_ADMIN",
                    "You are the last administrator: without one, nobody could make another. Give the role to somebody"
                    " else first.",
                    metadata={"user_id": user["user_id"]},
                )
            person = Party("user", user["user_id"], user["display_name"])
            await audit.record(conn, parts.outbox, "user.delete", person, subject_user_id=user["user_id"])
            for leave in self._leaving:
                await leave(conn, user)
            await store.end_sessions_of(conn, parts.outbox, user["user_id"])
            await store.revoke_keys_of(conn, parts.outbox, user)
            await self._erase(conn, user)
            if user["email_verify_time"] is not None:  # as Parts.notify
                # Of nobody any more: nothing of it stays once it is sent.
                await parts.mails.send(conn, "account_deleted", to=user["email"])

    async def _erase(self, conn: Connection, user: Row) -> None:
        email = user["email"] if user["email_verify_time"] is not None else None
        gone = await conn.fetchrow(SQL["delete_user"], user["user_id"], email)
        assert gone is not None, "the transaction holds the lock of the row"
        await conn.execute(SQL["delete_own_organisation"], user["org_id"])
        deleted = events_pb2.UserDeleted(user_id=user["user_id"], org_id=user["org_id"])
        deleted.delete_time.FromDatetime(gone["delete_time"])
        event = NewEvent(user["org_id"], user["user_id"], user["version"] + 1, deleted)
        await self._parts.outbox.append(conn, [event])


def without_secrets(value: object) -> object:
    """A JSON document without what serves to check or open something."""
    if isinstance(value, dict):
        return {name: without_secrets(one) for name, one in value.items() if not any(word in name for word in SECRETS)}
    if isinstance(value, list):
        return [without_secrets(one) for one in value]
    return value
