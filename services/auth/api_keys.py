"""CreateApiKey, ListApiKeys, RevokeApiKey, ResolveApiKey."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.store import SQL, Row
from services.auth.users import normal_name
from services.mesh.access import keys
from services.mesh.access.scopes import DEFAULT_KEY_SCOPES
from services.mesh.call import Caller
from services.mesh.database import Connection, Database
from services.mesh.errors import FieldViolation, MeshError, QuotaViolation
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from services.mesh.paging import PageTokens, page_size


class ApiKeys:
    """API keys of people. Raises MeshError for what a caller did wrong."""

    def __init__(
        self, database: Database, outbox: Outbox, pages: PageTokens, *, key_pepper: bytes, keys_max: int
    ) -> None:
        self._database, self._outbox, self._pages = database, outbox, pages
        self._pepper, self._keys_max = key_pepper, keys_max

    async def create(self, caller: Caller, request: auth_pb2.CreateApiKeyRequest) -> auth_pb2.CreateApiKeyResponse:
        """A new key with its secret. API_KEY_LIMIT, SCOPE_MISSING, REQUEST_ID_REUSED."""
        scopes = list(request.scopes or DEFAULT_KEY_SCOPES)
        missing = sorted(set(scopes) - caller.scopes)
        if missing:
            raise MeshError(
                "SCOPE_MISSING",
                f"A key carries no more than its maker may do, and you may not do {', '.join(missing)}.",
                metadata={"scopes": ", ".join(missing)},
            )
        expire_time = _expire_time(request)
        secret = keys.new_secret()
        async with self._database.transaction() as conn:
            user = await conn.fetchrow(SQL["lock_user"], caller.user_id)
            if user is None:
                raise MeshError("USER_NOT_FOUND", f"There is no user {caller.user_id}.")
            if request.request_id:
                await self._refuse_repeated(conn, user, request)
            await self._refuse_too_many(conn, user)
            row = await conn.fetchrow(
                SQL["insert_api_key"],
                *(uuid7(), user["org_id"], user["user_id"], normal_name(request.display_name)),
                *(keys.prefix(secret), keys.digest(self._pepper, secret), scopes, expire_time),
                *(request.request_id or None, _digest(request) if request.request_id else None),
            )
            assert row is not None
            await store.tell_of_key(conn, self._outbox, row, user)
        return auth_pb2.CreateApiKeyResponse(api_key=store.api_key_of(row), secret=secret)

    async def list(self, caller: Caller, request: auth_pb2.ListApiKeysRequest) -> auth_pb2.ListApiKeysResponse:
        """A page of the caller's keys, newest first. PAGE_TOKEN_INVALID."""
        size = page_size(request.page_size)
        filters = {"list": "api keys", "user_id": caller.user_id}
        cursor = self._pages.decode(request.page_token, filters)
        async with self._database.connection() as conn:
            rows = await conn.fetch(SQL["list_api_keys"], caller.user_id, cursor[0] if cursor else None, size + 1)
        response = auth_pb2.ListApiKeysResponse(api_keys=[store.api_key_of(row) for row in rows[:size]])
        if len(rows) > size:
            response.next_page_token = self._pages.encode([rows[size - 1]["api_key_id"]], filters)
        return response

    async def revoke(self, caller: Caller, request: auth_pb2.RevokeApiKeyRequest) -> auth_pb2.ApiKey:
        """Revokes a key of the caller's; one that is revoked stays as it is. API_KEY_NOT_FOUND."""
        async with self._database.transaction() as conn:
            row = await conn.fetchrow(SQL["revoke_api_key"], request.api_key_id, caller.user_id)
            if row is not None:
                user = await conn.fetchrow(SQL["user_by_id"], caller.user_id)
                assert user is not None, "api_keys refers to users"
                await store.tell_of_key(conn, self._outbox, row, user)
            else:
                row = await conn.fetchrow(SQL["own_api_key"], request.api_key_id, caller.user_id)
        if row is None:
            raise MeshError(
                "API_KEY_NOT_FOUND",
                f"You have no API key {request.api_key_id}. ListApiKeys shows those that you have.",
                metadata={"api_key_id": request.api_key_id},
            )
        return store.api_key_of(row)

    async def rotate(self, caller: Caller, request: auth_pb2.RotateApiKeyRequest) -> auth_pb2.CreateApiKeyResponse:
        """A second secret of a key of the caller's. API_KEY_NOT_FOUND."""
        raise MeshError("METHOD_UNKNOWN", "not yet")

    async def resolve(self, digest: bytes) -> auth_pb2.KeyIdentity:
        """The identity behind a digest, a revoked key's too. API_KEY_NOT_FOUND."""
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["resolve_api_key"], digest)
        if row is None:
            raise MeshError("API_KEY_NOT_FOUND", "There is no API key with this digest.")
        return store.key_identity_of(row, row["user_name"], row["roles"], row["plan"])

    async def _refuse_repeated(self, conn: Connection, user: Row, request: auth_pb2.CreateApiKeyRequest) -> None:
        found = await conn.fetchrow(SQL["api_key_of_request"], user["user_id"], request.request_id)
        if found is None:
            return
        if found["request_digest"] == _digest(request):
            advice = "Its secret was shown once; if it is lost, revoke the key and make another with a new request_id."
        else:
            advice = "It came with another body then: for another key send another request_id."
        raise MeshError(
            "REQUEST_ID_REUSED",
            f"This request_id has made the key {found['api_key_id']} already. {advice}",
            metadata={"api_key_id": found["api_key_id"], "request_id": request.request_id},
        )

    async def _refuse_too_many(self, conn: Connection, user: Row) -> None:
        # The lock of the user's row, which the caller holds, makes counting and inserting one step.
        if await conn.fetchval(SQL["live_api_keys"], user["user_id"]) >= self._keys_max:
            limit = f"{self._keys_max} API keys in force are as many as a person may have"
            raise MeshError(
                "API_KEY_LIMIT",
                f"{limit}. Revoke one that is no longer used.",
                quota=[QuotaViolation(f"user:{user['user_id']}", limit)],
            )


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


def _digest(request: auth_pb2.CreateApiKeyRequest) -> bytes:
    """Of all that the request says but its id, the same for the same body."""
    body = auth_pb2.CreateApiKeyRequest()
    body.CopyFrom(request)
    body.ClearField("request_id")
    return hashlib.sha256(body.SerializeToString(deterministic=True)).digest()
