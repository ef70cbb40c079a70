"""What one watcher of the feed sees: decided event by event from what the event carries. What happened before the
watcher came is told as it is by now: see replay.py."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
from promptmesh.prompts.v1 import events_pb2, posts_pb2

from services.mesh.call import Caller
from services.mesh.events import Event
from services.prompts.changes import created_post
from services.prompts.example_buffer import ExampleBuffer, Shown, next_delta
from services.prompts.views import is_author, latest_view, published_view

# Changes of what everyone sees; others are between author and moderation.
PUBLIC_CHANGES = frozenset({events_pb2.POST_CHANGE_PUBLISHED, events_pb2.POST_CHANGE_EXAMPLE})
SHOWN_SPARE = 64


class FeedView:
    """Turns events and text of examples into the messages of one watcher.

    `cursor` is the position of the last event taken in, `passed` that of the last whose message was handed on. Everyone
    is shown what is published, its author alone the rest. `liked` is not told here: events carry no likes.
    """

    def __init__(self, caller: Caller, tag: str, buffer: ExampleBuffer, cursor: int) -> None:
        self._caller = caller
        self._tag = tag
        self._buffer = buffer
        self._shown: dict[str, Shown] = {}
        self.cursor = self.passed = cursor

    def event(self, event: Event) -> posts_pb2.WatchFeedResponse | None:
        """The message that an event makes for this watcher, if any."""
        self.cursor = event.position
        payload = event.payload
        if isinstance(payload, events_pb2.PostChanged):
            return self._changed(payload)
        if isinstance(payload, events_pb2.PostDeleted):
            return self._deleted(event, payload)
        if isinstance(payload, events_pb2.PostSubmitted):
            return self._submitted(event, payload)
        return None

    def present(self, event: Event, row: asyncpg.Record | None) -> posts_pb2.WatchFeedResponse:
        """The message in place of an event of the past: the event's post as it is now. row: None if it was deleted."""
        post: posts_pb2.Post | None = None
        if row is None:
            self._over(event.aggregate_id, None)
        elif is_author(self._caller, row["author_id"], row["org_id"]):
            post = latest_view(row)
        else:
            post = published_view(row)
        if post is None or (self._tag and self._tag not in post.tags):
            gone = posts_pb2.PostGone(post_id=event.aggregate_id)
            return posts_pb2.WatchFeedResponse(cursor=event.position, gone=gone)
        return posts_pb2.WatchFeedResponse(cursor=event.position, post=post)

    def deltas(self, posts: set[str]) -> Iterator[posts_pb2.WatchFeedResponse]:
        """More text of examples; takes out of `posts` those that are done with for now. An example is shown once the
        watcher has passed the event that published its revision, and while it is under way."""
        for post_id in list(posts):
            writing = self._buffer.get(post_id)
            if writing is not None and writing.published_at is not None:
                if writing.published_at > self.cursor:
                    continue  # its post comes first
                if not self._tag or self._tag in writing.tags:
                    delta = next_delta(writing, self._shown.setdefault(post_id, Shown()))
                    if delta is not None:
                        posts.discard(post_id)
                        yield posts_pb2.WatchFeedResponse(cursor=self.cursor, example_delta=delta)
            posts.discard(post_id)
        if len(self._shown) > 2 * len(self._buffer) + SHOWN_SPARE:
            self._shown = {one: shown for one, shown in self._shown.items() if self._buffer.get(one) is not None}

    def _submitted(self, event: Event, payload: events_pb2.PostSubmitted) -> posts_pb2.WatchFeedResponse | None:
        # Of later revisions a PostChanged tells as well.
        if payload.revision > 1 or not is_author(self._caller, payload.author_id, event.org_id):
            return None
        return self._post(created_post(event, payload))

    def _changed(self, payload: events_pb2.PostChanged) -> posts_pb2.WatchFeedResponse | None:
        if payload.change == events_pb2.POST_CHANGE_EXAMPLE:
            self._over(payload.published.post_id, payload.published.revision)
        if is_author(self._caller, payload.latest.author_id, payload.latest.org_id):
            return self._post(payload.latest)
        if payload.change in PUBLIC_CHANGES and payload.HasField("published"):
            return self._post(payload.published)
        return None

    def _post(self, post: posts_pb2.Post) -> posts_pb2.WatchFeedResponse | None:
        if not self._tag or self._tag in post.tags:
            return posts_pb2.WatchFeedResponse(cursor=self.cursor, post=post)
        if post.revision > 1:  # an earlier revision may have had the tag
            return self._gone(post.post_id)
        return None

    def _deleted(self, event: Event, payload: events_pb2.PostDeleted) -> posts_pb2.WatchFeedResponse | None:
        self._over(payload.post_id, None)
        seen = payload.published_revision and (not self._tag or self._tag in payload.published_tags)
        if seen or is_author(self._caller, payload.author_id, event.org_id):
            return self._gone(payload.post_id)
        return None

    def _gone(self, post_id: str) -> posts_pb2.WatchFeedResponse:
        return posts_pb2.WatchFeedResponse(cursor=self.cursor, gone=posts_pb2.PostGone(post_id=post_id))

    def _over(self, post_id: str, revision: int | None) -> None:
        """Ends an example here and now, though the process's own follower may be a little behind this watcher."""
        self._shown.pop(post_id, None)
        writing = self._buffer.get(post_id)
        if writing is not None and (revision is None or writing.revision <= revision):
            self._buffer.finished(post_id, writing.revision)
