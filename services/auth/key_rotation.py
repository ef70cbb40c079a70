"""RotateApiKey: a second live secret, so that callers can change over."""

from __future__ import annotations

from datetime import datetime

from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.api_keys import no_such_key, record_act
from services.auth.organisations.service_accounts import account_of_admin
from services.auth.store import SQL, Row
from services.mesh.access import keys
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox


class KeyRotation:
    """Next secrets of keys. Raises MeshError for what a caller did wrong."""

    def __init__(self, database: Database, outbox: Outbox, *, key_pepper: bytes) -> None:
        self._database, self._outbox, self._pepper = database, outbox, key_pepper

    async def rotate(self, caller: Caller, request: auth_pb2.RotateApiKeyRequest) -> auth_pb2.CreateApiKeyResponse:
        """The next secret of a key in force: of the caller's, or of a service account that they administer. An
        administrator revokes members' keys and rotates none: they would hold a secret that acts as another person.
        API_KEY_NOT_FOUND."""
        secret = keys.new_secret()
        async with self._database.transaction() as conn:
            who = await self._owner(conn, caller, request.api_key_id)
            plan = await store.held_plan(conn, who["org_id"])
            before = await conn.fetchrow(SQL["lock_api_key"], request.api_key_id)
            if before is None or not _in_force(before, who["moment"]):
                raise no_such_key(request.api_key_id)
            row = await conn.fetchrow(
                SQL["rotate_api_key"],
                *(before["api_key_id"], keys.digest(self._pepper, secret), keys.prefix(secret)),
                request.overlap_seconds,
            )
            assert row is not None, "the row is locked"
            kept = (row["digest"], row["previous_digest"])
            ended = [one for one in (before["digest"], before["previous_digest"]) if one and one not in kept]
            told = {"display_name": who["user_name"], "roles": who["roles"]}
            await store.tell_of_key(conn, self._outbox, row, told, plan, ended)
            await record_act(
                conn,
                self._outbox,
                "api_key.rotate",
                row,
                after={"prefix": row["prefix"], "overlap_seconds": request.overlap_seconds},
            )
        return auth_pb2.CreateApiKeyResponse(api_key=store.api_key_of(row), secret=secret)

    async def _owner(self, conn: Connection, caller: Caller, api_key_id: str) -> Row:
        found = await conn.fetchrow(SQL["api_key"], api_key_id)
        if found is None:
            raise no_such_key(api_key_id)
        if found["service_account_id"] is not None:
            try:
                await account_of_admin(conn, caller, found["service_account_id"])
            except MeshError:  # a key of others is not there
                raise no_such_key(api_key_id) from None
        elif found["user_id"] != caller.user_id:
            raise no_such_key(api_key_id)
        return found


def _in_force(row: Row, now: datetime) -> bool:
    return row["revoke_time"] is None and (row["expire_time"] is None or row["expire_time"] > now)
