"""Posts in PostgreSQL.

A change and its events are one transaction. Whoever changes a post that exists holds the lock of its row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import asyncpg
from promptmesh.prompts.v1 import events_pb2, posts_pb2

from services.mesh.call import Caller
from services.mesh.database import Connection, Database, queries
from services.mesh.events import Outbox
from services.mesh.ids import SYSTEM_CLOCK, Clock, uuid7
from services.prompts.changes import changed, deleted, first_submitted, new_post, submitted
from services.prompts.content import Content, Edit
from services.prompts.quotas import Take
from services.prompts.rules import not_found, refuse_reused, require_author, require_etag
from services.prompts.views import latest_view, set_time

SQL = queries("services.prompts")

# Before the first page: later than every post.
FIRST_PAGE = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class PostStore:
    """Creates, reads, changes and deletes posts, and counts likes. Raises MeshError for what a caller did wrong."""

    def __init__(
        self, database: Database, outbox: Outbox, *, clock: Clock = SYSTEM_CLOCK, new_id: Callable[[], str] = uuid7
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._clock = clock
        self._new_id = new_id

    async def create(
        self, caller: Caller, content: Content, request_id: str = "", take: Take | None = None
    ) -> posts_pb2.Post:
        """The caller's new post, waiting for moderation; or the one that they made with the request_id and this content
        before. One round trip where no limit holds. Raises REQUEST_ID_REUSED; POST_NOT_FOUND if that post was deleted;
        LIMIT_REACHED of `take`."""
        now = self._clock.now()
        post = new_post()
        post.post_id = self._new_id()
        post.org_id, post.author_id, post.author_name = caller.org_id, caller.user_id, caller.display_name
        post.title, post.body = content.title, content.body
        post.tags.extend(content.tags)
        set_time(post, "create_time", now)
        post.update_time.CopyFrom(post.create_time)
        event = self._outbox.row(first_submitted(post))
        digest = content.digest() if request_id else None
        row = (
            *(post.post_id, post.org_id, post.author_id, post.author_name, request_id or None, digest, now),
            *(content.title, content.body, content.tags),
            *event,
        )
        if not await self._insert(row, take):
            return await self._made_before(caller, request_id, digest)
        self._outbox.wake()
        return post

    async def _insert(self, row: Sequence[object], take: Take | None) -> bool:
        """Whether the post was made; where it was before, it is not counted."""
        if take is None:
            async with self._database.connection() as conn:
                return bool(await conn.fetchval(SQL["insert_post"], *row))
        async with self._database.transaction() as conn:
            # The post first: one that was made before is answered even though the limit is reached.
            if not await conn.fetchval(SQL["insert_post"], *row):
                return False
            await take.count(conn)
        return True

    async def _made_before(self, caller: Caller, request_id: str, digest: bytes | None) -> posts_pb2.Post:
        async with self._database.connection() as conn:
            found = await conn.fetchrow(SQL["find_request"], caller.user_id, request_id)
            if found is None:  # nothing removes a request_id: only a row restored from elsewhere could
                raise RuntimeError(f"request_id {request_id} is taken and not to be found")
            if found["request_digest"] != digest:
                refuse_reused(request_id)
            row = await conn.fetchrow(SQL["get_post"], found["post_id"], caller.user_id)
        if row is None:
            raise not_found(found["post_id"])
        return latest_view(row)

    async def get(self, caller: Caller, post_id: str) -> asyncpg.Record | None:
        """The row of a post for the caller, or None; what they may see of it is for `views` to say."""
        async with self._database.connection() as conn:
            return await conn.fetchrow(SQL["get_post"], post_id, caller.user_id or None)

    async def author(self, author_id: str, posts_max: int) -> asyncpg.Record | None:
        """What an author has published, counted over at most `posts_max` posts; None: nothing."""
        async with self._database.connection() as conn:
            return await conn.fetchrow(SQL["get_author"], author_id, posts_max)

    async def present(self, post_ids: Sequence[str]) -> dict[str, asyncpg.Record]:
        """Rows by id of those posts that are not deleted, in one read, without anybody's likes."""
        async with self._database.connection() as conn:
            return {row["post_id"]: row for row in await conn.fetch(SQL["get_posts"], post_ids)}

    async def liked(self, caller: Caller, post_id: str) -> bool:
        """Whether the caller likes a post."""
        if not caller.user_id:
            return False
        async with self._database.connection() as conn:
            return bool(await conn.fetchval(SQL["liked"], post_id, caller.user_id))

    async def list_page(
        self, caller: Caller, *, author_id: str, tag: str, after: str, limit: int, states: Sequence[int] = ()
    ) -> Sequence[asyncpg.Record]:
        """Up to `limit` rows, newest first, of posts older than `after`. An author's own, of the
        organisation that they act for, include unpublished ones; of those alone `states` chooses (none: any)."""
        viewer = caller.user_id or None
        async with self._database.connection() as conn:
            if author_id and author_id == viewer:
                return await conn.fetch(
                    SQL["list_own"], after, limit, viewer, tag or None, caller.org_id, list(states) or None
                )
            if author_id:
                return await conn.fetch(SQL["list_by_author"], after, limit, viewer, author_id, tag or None)
            if tag:
                return await conn.fetch(SQL["list_by_tag"], after, limit, viewer, tag)
            return await conn.fetch(SQL["list_published"], after, limit, viewer)

    async def update(
        self, caller: Caller, post_id: str, etag: str, edit: Edit, take: Take | None = None
    ) -> posts_pb2.Post:
        """Makes a new revision that waits for moderation; an edit that changes nothing makes none.

        Raises POST_NOT_FOUND, NOT_OWNER, ETAG_MISMATCH; LIMIT_REACHED of `take`.
        """
        async with self._database.transaction() as conn:
            row = await self._own(conn, caller, post_id, etag)
            before = Content(row["title"], row["body"], tuple(row["tags"]))
            after = edit.of(before)
            if after == before:
                return latest_view(row)
            if take is not None:
                await take.count(conn)
            await conn.execute(SQL["insert_revision"], post_id, after.title, after.body, after.tags, self._clock.now())
            [edited] = await conn.fetch(SQL["get_posts"], [post_id])
            await self._outbox.append(conn, [submitted(edited), changed(edited, events_pb2.POST_CHANGE_SUBMITTED)])
        post = latest_view(edited)
        post.liked = row["liked"]
        return post

    async def delete(self, caller: Caller, post_id: str, etag: str) -> None:
        """Deletes a post with all its content, at once. Raises POST_NOT_FOUND, NOT_OWNER, ETAG_MISMATCH."""
        async with self._database.transaction() as conn:
            row = await self._own(conn, caller, post_id, etag)
            await conn.execute(SQL["delete_post"], post_id, self._clock.now())
            await self._outbox.append(conn, [deleted(row)])

    async def like(self, caller: Caller, post_id: str) -> None:
        """Likes a published post, once. Raises POST_NOT_FOUND."""
        async with self._database.connection() as conn:
            now = self._clock.now()
            if not await conn.fetchval(SQL["like_post"], post_id, caller.user_id, caller.org_id, now):
                raise not_found(post_id)

    async def unlike(self, caller: Caller, post_id: str) -> None:
        """Takes a like back, if there is one. Raises POST_NOT_FOUND."""
        async with self._database.connection() as conn:
            if not await conn.fetchval(SQL["unlike_post"], post_id, caller.user_id):
                raise not_found(post_id)

    async def _own(self, conn: Connection, caller: Caller, post_id: str, etag: str) -> asyncpg.Record:
        """The present row of the caller's own post, locked until the transaction ends."""
        await conn.fetchval(SQL["lock_post"], post_id)
        row = require_author(caller, post_id, await conn.fetchrow(SQL["get_post"], post_id, caller.user_id or None))
        require_etag(row, etag)
        return row
