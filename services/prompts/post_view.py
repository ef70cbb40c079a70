"""What one watcher of one post sees: its present state first, then what changes of it."""

from __future__ import annotations

import asyncpg
from promptmesh.prompts.v1 import events_pb2, posts_pb2

from services.mesh.call import Caller
from services.mesh.events import Event
from services.prompts.example_buffer import ExampleBuffer, Shown, next_delta
from services.prompts.feed_view import PUBLIC_CHANGES
from services.prompts.rules import require_visible
from services.prompts.views import sees_latest


class PostView:
    """Turns events and text of an example into the messages of one watcher; `cursor` is the last event's position.

    `post` is the post as it was shown last. Events that tell no more than the state read at the beginning are left out
    by their version.
    """

    def __init__(
        self, caller: Caller, post_id: str, row: asyncpg.Record | None, buffer: ExampleBuffer, cursor: int
    ) -> None:
        """Raises POST_NOT_FOUND if the caller may not see the post."""
        self.post = require_visible(caller, post_id, row)
        assert row is not None
        self._latest = sees_latest(caller, self.post.author_id, self.post.org_id)
        self._version: int = row["version"]
        self._buffer = buffer
        self._shown = Shown()
        self.cursor = cursor
        self.deleted = False

    def event(self, event: Event) -> bool:
        """Takes in an event of this post; whether `post` is to be shown anew. Sets `deleted` at the end."""
        self.cursor = max(self.cursor, event.position)
        payload = event.payload
        if isinstance(payload, events_pb2.PostDeleted):
            self.deleted = True
            return False
        if not isinstance(payload, events_pb2.PostChanged) or event.aggregate_version <= self._version:
            return False
        if self._latest:
            post = payload.latest
        elif payload.change in PUBLIC_CHANGES and payload.HasField("published"):
            post = payload.published
        else:
            return False
        self._version = event.aggregate_version
        liked = self.post.liked
        self.post = posts_pb2.Post()
        self.post.CopyFrom(post)
        self.post.liked = liked
        return True

    def delta(self) -> posts_pb2.ExampleDelta | None:
        """More text of the example of the revision whose publishing this watcher has been shown."""
        if self.deleted or self.post.example.state != posts_pb2.EXAMPLE_STATE_WRITING:
            return None
        writing = self._buffer.get(self.post.post_id)
        if writing is None or writing.revision != self.post.published_revision:
            return None
        return next_delta(writing, self._shown)
