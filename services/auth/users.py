"""GetMe, ListUsers, SetRoles: people and what they may do."""

from __future__ import annotations

import re
import unicodedata

from promptmesh.access.v1.access_pb2 import Role
from promptmesh.auth.v1 import auth_pb2

from services.auth import store
from services.auth.administration import no_such_user, refuse_last_admin, taken
from services.auth.store import SQL
from services.mesh import audit
from services.mesh.access import tokens
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.paging import PageTokens, page_size
from services.mesh.telemetry.logs import get_logger

log = get_logger()
_LIKE_SPECIAL = re.compile(r"[\\%_]")


class Users:
    """People. Raises MeshError for what a caller did wrong."""

    def __init__(self, database: Database, outbox: Outbox, pages: PageTokens) -> None:
        self._database, self._outbox, self._pages = database, outbox, pages

    async def me(self, caller: Caller) -> auth_pb2.User:
        """The person who calls, or the service account. USER_NOT_FOUND."""
        async with self._database.connection() as conn:
            row = await conn.fetchrow(SQL["user_by_id"], caller.user_id)
            account = None if row is not None else await conn.fetchrow(SQL["service_account"], caller.user_id)
            user = store.user_of(row) if row is not None else None
            if user is not None:
                await store.add_plans(conn, [user])
        if user is not None:
            return user
        if account is not None:
            return store.account_as_user(account)
        if caller.is_(Role.ROLE_SERVICE):  # deleted a moment ago: that its keys are revoked has not come round yet
            raise tokens.revoked()
        raise no_such_user(caller.user_id)

    async def list(self, request: auth_pb2.ListUsersRequest) -> auth_pb2.ListUsersResponse:
        """A page of people, newest first, all or those that a query finds. PAGE_TOKEN_INVALID."""
        size = page_size(request.page_size)
        query = normal_name(request.query).strip()
        filters = {"list": "users", "query": query}
        cursor = self._pages.decode(request.page_token, filters)
        after = cursor[0] if cursor else None
        async with self._database.transaction() as conn:
            if query:
                await conn.execute(SQL["plan_search"])
                prefix = _LIKE_SPECIAL.sub(r"\\\g<0>", normal_email(query)) + "%"
                rows = await conn.fetch(SQL["search_users"], after, size + 1, prefix, query)
            else:
                rows = await conn.fetch(SQL["list_users"], after, size + 1)
            response = auth_pb2.ListUsersResponse(users=[store.administered_user_of(row) for row in rows[:size]])
            await store.add_plans(conn, response.users)
        if len(rows) > size:
            response.next_page_token = self._pages.encode([rows[size - 1]["user_id"]], filters)
        return response

    async def set_roles(self, caller: Caller, request: auth_pb2.SetRolesRequest) -> auth_pb2.User:
        """Replaces a person's roles. USER_NOT_FOUND, LAST_ADMIN."""
        roles = sorted({int(Role.ROLE_USER), *(int(role) for role in request.roles)})
        async with self._database.transaction() as conn:
            row = await taken(conn, caller, request.user_id)
            before = list(row["roles"])
            if before == roles:
                return store.user_of(row)
            if Role.ROLE_ADMIN in before and Role.ROLE_ADMIN not in roles:
                await refuse_last_admin(conn, row["user_id"])
            changed = await store.change_roles(conn, self._outbox, row["user_id"], roles)
            await audit.record(
                conn,
                self._outbox,
                "user.set_roles",
                Party("user", row["user_id"], row["display_name"]),
                subject_user_id=row["user_id"],
                org_id=row["org_id"],
                reason=request.reason,
                before={"roles": before},
                after={"roles": roles},
            )
        log.info("roles changed", user_id=changed["user_id"], by=caller.user_id, before=before, after=roles)
        return store.user_of(changed)


def normal_email(email: str) -> str:
    """The form under which an email is unique: NFC, lower case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", email).lower())


def normal_name(name: str) -> str:
    """A display name in one form (NFC)."""
    return unicodedata.normalize("NFC", name)
