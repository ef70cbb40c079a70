"""CreateApiKey, ListApiKeys, RevokeApiKey, ResolveApiKey, ReportKeyUses. A key is a person's or a service account's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.key_restrictions import networks_of
from services.auth.organisations import memberships
from services.auth.organisations.memberships import ADMIN
from services.auth.organisations.repeated import body_digest
from services.auth.organisations.service_accounts import account_of_admin
from services.auth.store import SQL, Row
from services.auth.users import normal_name
from services.mesh import audit
from services.mesh.access import keys
from services.mesh.access.scopes import DEFAULT_KEY_SCOPES, scopes_of
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import FieldViolation, MeshError, QuotaViolation
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from services.mesh.paging import PageTokens, page_size

_ACCOUNT_ROLES = (int(Role.ROLE_SERVICE),)


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whom a key is made for."""

    org_id: str
    user_id: str | None  # either this
    service_account_id: str | None  # or this
    display_name: str
    roles: Sequence[int]

    @property
    def subject(self) -> str:
        """As quotas name it."""
        return f"user:{self.user_id}" if self.user_id else f"service_account:{self.service_account_id}"

    @property
    def who(self) -> dict[str, Any]:
        """As store.tell_of_key takes it."""
        return {"display_name": self.display_name, "roles": self.roles}


class ApiKeys:
    """API keys. Raises MeshError for what a caller did wrong."""

    def __init__(
        self, database: Database, outbox: Outbox, pages: PageTokens, *, key_pepper: bytes, keys_max: int
    ) -> None:
        """keys_max: of a person or a service account, in force at once."""
        self._database, self._outbox, self._pages = database, outbox, pages
        self._pepper, self._keys_max = key_pepper, keys_max

    async def create(self, caller: Caller, request: auth_pb2.CreateApiKeyRequest) -> auth_pb2.CreateApiKeyResponse:
        """A new key with its secret; it acts for the organisation that the session acts for, or for a service account.

        API_KEY_LIMIT, SCOPE_MISSING, REQUEST_ID_REUSED, INVALID_FIELD, MEMBER_NOT_FOUND, MEMBER_ROLE_MISSING.
        """
        scopes = _scopes(caller, request)
        expire_time = _expire_time(request)
        networks = networks_of(request.allowed_networks)
        secret = keys.new_secret()
        digest = body_digest(request) if request.request_id else None
        async with self._database.transaction() as conn:
            owner = await self._owner(conn, caller, request.service_account_id)
            plan = await store.held_plan(conn, owner.org_id)
            if digest is not None:
                await _refuse_repeated(conn, owner, request.request_id, digest)
            await self._refuse_too_many(conn, owner)
            row = await conn.fetchrow(
                SQL["insert_api_key"],
                *(uuid7(), owner.org_id, owner.user_id, owner.service_account_id, normal_name(request.display_name)),
                *(keys.prefix(secret), keys.digest(self._pepper, secret), scopes, expire_time),
                *(request.request_id or None, digest, networks, list(request.models)),
            )
            assert row is not None
            await store.tell_of_key(conn, self._outbox, row, owner.who, plan)
            await record_act(conn, self._outbox, "api_key.create", row, after=_told(row))
        return auth_pb2.CreateApiKeyResponse(api_key=store.api_key_of(row), secret=secret)

    async def list(self, caller: Caller, request: auth_pb2.ListApiKeysRequest) -> auth_pb2.ListApiKeysResponse:
        """A page of the caller's keys or a service account's, newest first. PAGE_TOKEN_INVALID, MEMBER_NOT_FOUND,
        MEMBER_ROLE_MISSING."""
        size = page_size(request.page_size)
        account_id = request.service_account_id.lower()
        filters = {"list": "api keys", "user_id": caller.user_id} | ({"account": account_id} if account_id else {})
        cursor = self._pages.decode(request.page_token, filters)
        after = cursor[0] if cursor else None
        async with self._database.transaction() as conn:
            if account_id:
                await account_of_admin(conn, caller, account_id)
                rows = await conn.fetch(SQL["list_account_keys"], account_id, after, size + 1)
            else:
                rows = await conn.fetch(SQL["list_api_keys"], caller.user_id, after, size + 1)
        response = auth_pb2.ListApiKeysResponse(api_keys=[store.api_key_of(row) for row in rows[:size]])
        if len(rows) > size:
            response.next_page_token = self._pages.encode([rows[size - 1]["api_key_id"]], filters)
        return response

    async def revoke(self, caller: Caller, request: auth_pb2.RevokeApiKeyRequest) -> auth_pb2.ApiKey:
        """Revokes a key of the caller's, or one that acts for an organisation that they administer; one that is revoked
        stays as it is. API_KEY_NOT_FOUND."""
        async with self._database.transaction() as conn:
            found = await conn.fetchrow(SQL["api_key"], request.api_key_id)
            if found is None or not await _may_revoke(conn, caller, found):
                raise no_such_key(request.api_key_id)
            plan = await store.held_plan(conn, found["org_id"])
            row = await conn.fetchrow(SQL["revoke_api_key"], request.api_key_id)
            if row is not None:
                who = {"display_name": found["user_name"], "roles": found["roles"]}
                await store.tell_of_key(conn, self._outbox, row, who, plan)
                await record_act(conn, self._outbox, "api_key.revoke", row)
            else:
                row = await conn.fetchrow(SQL["api_key"], request.api_key_id)
        assert row is not None, "keys are not deleted while their owner is there"
        return store.api_key_of(row)

    async def resolve(self, digest: bytes) -> auth_pb2.KeyIdentity:
        """The identity behind a digest, a revoked key's too. API_KEY_NOT_FOUND."""
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["resolve_api_key"], digest)
        if row is None:
            raise MeshError("API_KEY_NOT_FOUND", "There is no API key with this digest.")
        return store.key_identity_of(row, row["user_name"], row["roles"], row["plan"])

    async def used(self, api_key_ids: Iterable[str]) -> None:
        """Keys were used just now. One is written at most once a minute."""
        async with self._database.connection() as conn:
            await conn.execute(SQL["keys_used"], list(api_key_ids))

    async def _owner(self, conn: Connection, caller: Caller, service_account_id: str) -> KeyOwner:
        """Whom the key is for; their row is locked, which makes counting and inserting one step."""
        user = await conn.fetchrow(SQL["lock_user"], caller.user_id)
        if user is None:
            raise MeshError("USER_NOT_FOUND", f"There is no user {caller.user_id}.")
        if service_account_id:
            account = await account_of_admin(conn, caller, service_account_id)
            await conn.execute(SQL["lock_service_account"], account["service_account_id"])
            return KeyOwner(
                account["org_id"], None, account["service_account_id"], account["display_name"], _ACCOUNT_ROLES
            )
        if caller.org_id != user["org_id"]:  # a team's: they may have been removed a moment ago
            await memberships.shared(conn, caller.org_id, caller.user_id)
        return KeyOwner(caller.org_id, user["user_id"], None, user["display_name"], user["roles"])

    async def _refuse_too_many(self, conn: Connection, owner: KeyOwner) -> None:
        if owner.user_id:
            live = await conn.fetchval(SQL["live_api_keys"], owner.user_id)
        else:
            live = await conn.fetchval(SQL["live_account_keys"], owner.service_account_id)
        if live >= self._keys_max:
            limit = f"{self._keys_max} API keys in force are as many as a person or a service account may have"
            raise MeshError(
                "API_KEY_LIMIT",
                f"{limit}. Revoke one that is no longer used.",
                quota=[QuotaViolation(owner.subject, limit)],
            )


def no_such_key(api_key_id: str) -> MeshError:
    """The same for one that there is not and for one of others."""
    return MeshError(
        "API_KEY_NOT_FOUND",
        f"You have no API key {api_key_id}. ListApiKeys shows those that you have.",
        metadata={"api_key_id": api_key_id},
    )


async def record_act(
    conn: Connection, outbox: Outbox, action: str, row: Row, *, after: dict[str, object] | None = None
) -> None:
    """Tells the trail of an act on a key."""
    await audit.record(
        conn,
        outbox,
        action,
        Party("api_key", row["api_key_id"], row["prefix"]),
        subject_user_id=row["user_id"] or "",
        org_id=row["org_id"],
        after=after,
    )


async def _may_revoke(conn: Connection, caller: Caller, row: Row) -> bool:
    if row["user_id"] == caller.user_id:
        return True
    membership = await conn.fetchrow(SQL["membership"], row["org_id"], caller.user_id)
    return membership is not None and membership["role"] <= ADMIN


async def _refuse_repeated(conn: Connection, owner: KeyOwner, request_id: str, digest: bytes) -> None:
    if owner.user_id:
        found = await conn.fetchrow(SQL["api_key_of_request"], owner.user_id, request_id)
    else:
        found = await conn.fetchrow(SQL["api_key_of_account_request"], owner.service_account_id, request_id)
    if found is None:
        return
    if found["request_digest"] == digest:
        advice = "Its secret was shown once; if it is lost, revoke the key and make another with a new request_id."
    else:
        advice = "It came with another body then: for another key send another request_id."
    raise MeshError(
        "REQUEST_ID_REUSED",
        f"This request_id has made the key {found['api_key_id']} already. {advice}",
        metadata={"api_key_id": found["api_key_id"], "request_id": request_id},
    )


def _scopes(caller: Caller, request: auth_pb2.CreateApiKeyRequest) -> list[str]:
    scopes = list(request.scopes or DEFAULT_KEY_SCOPES)
    allowed = caller.scopes & scopes_of(_ACCOUNT_ROLES) if request.service_account_id else caller.scopes
    missing = sorted(set(scopes) - allowed)
    if missing:
        raise MeshError(
            "SCOPE_MISSING",
            f"A key carries no more than its maker may do, and you may not do {', '.join(missing)}.",
            metadata={"scopes": ", ".join(missing)},
        )
    return scopes


def _told(row: Row) -> dict[str, object]:
    """What the trail is told of a new key."""
    told: dict[str, object] = {"display_name": row["display_name"], "scopes": row["scopes"]}
    for name in ("allowed_networks", "models"):
        if row[name]:
            told[name] = row[name]
    if row["service_account_id"]:
        told["service_account_id"] = row["service_account_id"]
    return told


def _expire_time(request: auth_pb2.CreateApiKeyRequest) -> datetime | None:
    if not request.HasField("expire_time"):
        return None
    try:
        return request.expire_time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        what = "is no moment between the years 1 and 9999"
        raise MeshError(
            "INVALID_FIELD", f"expire_time {what}.", violations=[FieldViolation("expire_time", what)]
        ) from None
