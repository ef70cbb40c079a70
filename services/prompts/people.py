"""What auth tells of people: another name, and that they are gone."""

from __future__ import annotations

from collections.abc import Sequence

from promptmesh.auth.v1 import events_pb2 as auth_events_pb2

from services.mesh.database import Connection, queries
from services.mesh.events import Event, Outbox
from services.mesh.events.erasure import NOBODY, Gone
from services.mesh.ids import SYSTEM_CLOCK, Clock
from services.prompts.changes import deleted

SQL = queries("services.prompts")
BATCH = 500  # posts or likes in one statement, so that none takes long


class RenamedHandler:
    """Handles `auth.v1.UserRenamed`: posts show the newest name from their next reading on."""

    async def __call__(self, conn: Connection, events: Sequence[Event]) -> None:
        """Renames in the caller's transaction. An older name that comes late changes nothing."""
        for event in sorted(events, key=lambda one: one.aggregate_version):
            payload = event.payload
            assert isinstance(payload, auth_events_pb2.UserRenamed)
            name, version = payload.display_name, event.aggregate_version
            if not await conn.fetchval(SQL["learn_author_name"], payload.user_id, event.org_id, name, version):
                continue
            while len(await conn.fetch(SQL["rename_author"], payload.user_id, name, BATCH)) == BATCH:
                pass


class PostsOfGone:
    """Erases what people and organisations that are gone have published and liked."""

    def __init__(self, outbox: Outbox, *, clock: Clock = SYSTEM_CLOCK, batch: int = BATCH) -> None:
        self._outbox, self._clock, self._batch = outbox, clock, batch

    async def __call__(self, conn: Connection, gone: Gone) -> None:
        """Deletes posts as their authors would, takes likes back, forgets ids. Any number of times."""
        person = gone.user_id != NOBODY
        statement = SQL["lock_posts_of_author"] if person else SQL["lock_posts_of_organisation"]
        while locked := await conn.fetch(statement, gone.user_id if person else gone.org_id, self._batch):
            ids = [row["post_id"] for row in locked]
            rows = await conn.fetch(SQL["get_posts"], ids)
            await conn.execute(SQL["delete_posts"], ids, self._clock.now())
            await self._outbox.append(conn, [deleted(row) for row in rows])
        if not person:
            return
        while await conn.fetch(SQL["take_back_likes"], gone.user_id, self._batch):
            pass
        await conn.execute(SQL["forget_author"], gone.user_id)
