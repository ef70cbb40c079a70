"""The past of a feed that is resumed: posts as they are now, never as events of then carry them.

The log keeps what was published for as long as consumers may need it; a watcher may be shown no post that was deleted
since, and no text that its author has edited away. So what an event of the past has to say is looked up, once a batch.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import asyncpg
from promptmesh.prompts.v1 import events_pb2, posts_pb2

from services.mesh.events import Event, Tail
from services.prompts.feed_view import FeedView
from services.prompts.store import PostStore

BEHIND_MAX = 64  # events; who is no further behind the log's end has caught up
_DELETED = sys.maxsize  # later than every version

Told = tuple[int, posts_pb2.WatchFeedResponse | None]


class Replay:
    """Turns events into messages for one watcher: up to the log's end from the database, then from events alone.

    Each event makes its message at its own cursor, as it did for those who watched then, so that a resume loses nothing
    and repeats nothing; what the message shows may be newer than the event. After it nothing older is shown: events
    that were still to come when a post was looked up are looked up as well.
    """

    def __init__(self, view: FeedView, store: PostStore, tail: Tail, after: int) -> None:
        """tail: already subscribed to after `after`, so that its head is the log's end of now."""
        self._view = view
        self._store = store
        self._tail = tail
        self._until = tail.head
        self._live = self._until <= after
        self._shown: dict[str, int] = {}  # post → version shown, while events before that version are still to come

    async def messages(self, events: Sequence[Event]) -> list[Told]:
        """For each event, in order: its position, and the message that it makes for this watcher, if any.

        Raises DEPENDENCY_UNAVAILABLE if posts are to be looked up and cannot be.
        """
        made = [(event, self._view.event(event)) for event in events]
        old = {event.aggregate_id for event, message in made if message is not None and self._is_old(event)}
        rows: dict[str, asyncpg.Record] = {}
        if old:
            async with self._tail.past_reads:
                rows = await self._store.present(list(old))
        messages = [(event.position, self._present(event, message, rows)) for event, message in made]
        if events and not self._live:
            self._passed(events[-1].position)
        return messages

    def _is_old(self, event: Event) -> bool:
        if isinstance(event.payload, events_pb2.PostDeleted):
            return False  # it stays true, and shows nothing
        return not self._live or event.aggregate_version < self._shown.get(event.aggregate_id, 0)

    def _present(
        self, event: Event, message: posts_pb2.WatchFeedResponse | None, rows: dict[str, asyncpg.Record]
    ) -> posts_pb2.WatchFeedResponse | None:
        post_id = event.aggregate_id
        if message is not None and self._is_old(event):
            row = rows.get(post_id)
            self._shown[post_id] = _DELETED if row is None else row["version"]
            message = self._view.present(event, row)
        if event.aggregate_version >= self._shown.get(post_id, 0) or isinstance(event.payload, events_pb2.PostDeleted):
            self._shown.pop(post_id, None)
        return message

    def _passed(self, position: int) -> None:
        if position < self._until:
            return
        head = self._tail.head
        if head - position <= BEHIND_MAX:
            self._live = True
        else:  # it reads slowly: what has happened meanwhile is past as well
            self._until = head
