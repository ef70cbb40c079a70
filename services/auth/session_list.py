"""ListSessions, RevokeSession, RevokeOtherSessions: a person looks after their own sessions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from promptmesh.auth.v1 import accounts_pb2

from services.auth import store
from services.auth.devices import UNKNOWN
from services.auth.store import SQL, Row
from services.mesh import audit
from services.mesh.audit import Party
from services.mesh.call import Caller
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.paging import PageTokens, page_size

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime.fromtimestamp(0, UTC)


class SessionList:
    """Sessions of the caller. Raises MeshError for what a caller did wrong."""

    def __init__(self, database: Database, outbox: Outbox, pages: PageTokens, *, session_lifetime_s: int) -> None:
        """session_lifetime_s: after which a session ends whatever happens."""
        self._database, self._outbox, self._pages = database, outbox, pages
        self._lifetime_s = session_lifetime_s

    async def list(
        self, caller: Caller, request: accounts_pb2.ListSessionsRequest
    ) -> accounts_pb2.ListSessionsResponse:
        """A page of the caller's open sessions, the last used first. PAGE_TOKEN_INVALID."""
        size = page_size(request.page_size)
        filters = {"list": "sessions", "user_id": caller.user_id}
        cursor = self._pages.decode(request.page_token, filters)
        after_time = _EPOCH + int(cursor[0]) * _MICROSECOND if cursor else None
        after_id = cursor[1] if cursor else None
        async with self._database.connection() as conn:
            rows = await conn.fetch(
                SQL["list_sessions"], caller.user_id, after_time, after_id, size + 1, float(self._lifetime_s)
            )
        response = accounts_pb2.ListSessionsResponse(
            sessions=[self._info_of(row, caller.session_id) for row in rows[:size]]
        )
        if len(rows) > size:
            last = rows[size - 1]
            used = (last["last_use_time"] - _EPOCH) // _MICROSECOND
            response.next_page_token = self._pages.encode([used, last["session_id"]], filters)
        return response

    async def revoke(self, caller: Caller, session_id: str) -> None:
        """Ends one of the caller's sessions; one that is over stays so. SESSION_NOT_FOUND."""
        async with self._database.transaction() as conn:
            found = await conn.fetchval(SQL["own_session"], session_id, caller.user_id)
            if found is None:
                raise MeshError(
                    "SESSION_NOT_FOUND",
                    f"You have no session {session_id}. ListSessions shows those that you have.",
                    metadata={"session_id": session_id},
                )
            if await store.end_session(conn, self._outbox, found):
                await audit.record(
                    conn,
                    self._outbox,
                    "session.revoke",
                    Party("session", found),
                    subject_user_id=caller.user_id,
                )

    async def revoke_others(self, caller: Caller) -> int:
        """Ends all of the caller's sessions but the one that calls; how many there were."""
        async with self._database.transaction() as conn:
            # Log-ins and refreshes under way come before or after, whole: the one's session is among those ended.
            await conn.fetchrow(SQL["lock_user"], caller.user_id)
            ended = await store.end_sessions_of(conn, self._outbox, caller.user_id, spared=caller.session_id)
            if ended:
                await audit.record(
                    conn,
                    self._outbox,
                    "session.revoke_others",
                    Party("user", caller.user_id, caller.display_name),
                    subject_user_id=caller.user_id,
                    after={"ended": ended},
                )
        return ended

    def _info_of(self, row: Row, current_id: str) -> accounts_pb2.SessionInfo:
        info = accounts_pb2.SessionInfo(
            session_id=row["session_id"],
            device=row["device"] or UNKNOWN,
            network=row["network"],
            current=row["session_id"] == current_id,
            methods=row["methods"],
        )
        end_time = row["create_time"] + timedelta(seconds=self._lifetime_s)
        info.create_time.FromDatetime(row["create_time"])
        info.last_use_time.FromDatetime(row["last_use_time"])
        info.idle_expire_time.FromDatetime(min(row["refresh_expire_time"], end_time))
        info.end_time.FromDatetime(end_time)
        return info
