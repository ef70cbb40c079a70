"""WatchPost and WatchFeed: streams that say they are alive, can be resumed, and end with the caller's credential."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, aclosing
from typing import Any

from promptmesh.prompts.v1 import events_pb2, posts_pb2

from services.mesh.call import Call, Caller, current
from services.mesh.dependencies import unavailable
from services.mesh.errors import MeshError
from services.mesh.events import Tail
from services.mesh.streams import CREDENTIAL_ENDED, HEARTBEAT, GuardHost, Item, Signal, guard
from services.prompts.ahead import Ahead, reading_ahead
from services.prompts.example_buffer import ExampleBuffer
from services.prompts.feed_view import FeedView
from services.prompts.follower import Follower
from services.prompts.places import Places, place_of
from services.prompts.post_view import PostView
from services.prompts.replay import Replay
from services.prompts.store import PostStore
from services.prompts.waiters import Waiter, Waiters

FOLLOWED_WITHIN_S = 5.0


class Watches:
    """Part of PostService: the streams."""

    def __init__(
        self,
        host: GuardHost,
        store: PostStore,
        tail: Tail,
        follower: Follower,
        buffer: ExampleBuffer,
        waiters: Waiters,
        *,
        places: Places,
    ) -> None:
        """host: the process, as guarded streams need it. places: who may open how many."""
        self._host = host
        self._places = places
        self._store = store
        self._tail = tail
        self._follower = follower
        self._buffer = buffer
        self._waiters = waiters

    async def WatchPost(
        self, request: posts_pb2.WatchPostRequest, context: Any
    ) -> AsyncIterator[posts_pb2.WatchPostResponse]:
        """Streams one post: as it is, then what changes of it and its example's text."""
        call = current()
        with self._place(call, context), self._waiters.of_post(request.post_id.lower()) as waiter:
            await self._followed()
            cursor = self._follower.position  # before the read: what happens after it is in waiter.events
            row = await self._store.get(call.caller, request.post_id)
            view = PostView(call.caller, request.post_id, row, self._buffer, cursor)
            messages = self._post_messages(call.caller, view, waiter)
            async with aclosing(guard(call, messages, mesh=self._host)) as items:
                async for item in items:
                    if isinstance(item, Item):
                        yield item.value
                    elif item is HEARTBEAT:
                        yield posts_pb2.WatchPostResponse(cursor=view.cursor, heartbeat=posts_pb2.Heartbeat())
                    else:
                        yield posts_pb2.WatchPostResponse(cursor=view.cursor, done=_done(item))

    async def WatchFeed(
        self, request: posts_pb2.WatchFeedRequest, context: Any
    ) -> AsyncIterator[posts_pb2.WatchFeedResponse]:
        """Streams all posts that the caller may see, from now on or after a cursor."""
        call = current()
        with self._place(call, context), self._waiters.of_feed() as waiter:
            await self._followed()
            after = request.after if request.HasField("after") else self._tail.head
            async with (
                self._tail.subscribe(after) as events,
                reading_ahead(events, waiter.wake) as ahead,
            ):
                view = FeedView(call.caller, request.tag, self._buffer, after)
                cursor = view.passed
                # So that a watcher has a cursor to resume after before anything happens.
                yield posts_pb2.WatchFeedResponse(cursor=cursor, heartbeat=posts_pb2.Heartbeat())
                replay = Replay(view, self._store, self._tail, after)
                messages = self._feed_messages(view, replay, waiter, ahead)
                async with aclosing(guard(call, messages, mesh=self._host)) as items:
                    async for item in items:
                        if isinstance(item, Item):
                            cursor = item.value.cursor
                            yield item.value
                        elif item is HEARTBEAT:
                            cursor = view.passed
                            yield posts_pb2.WatchFeedResponse(cursor=cursor, heartbeat=posts_pb2.Heartbeat())
                        else:
                            # Not `passed`: what the guard had read ahead was not sent if the credential ended.
                            yield posts_pb2.WatchFeedResponse(cursor=cursor, done=_done(item))

    async def _post_messages(
        self, caller: Caller, view: PostView, waiter: Waiter
    ) -> AsyncIterator[posts_pb2.WatchPostResponse]:
        yield posts_pb2.WatchPostResponse(cursor=view.cursor, post=view.post)
        while True:
            delta = view.delta()
            if delta is not None:
                yield posts_pb2.WatchPostResponse(cursor=view.cursor, example_delta=delta)
            await waiter.wake.wait()
            waiter.wake.clear()
            if waiter.events and isinstance(waiter.events[-1].payload, events_pb2.PostDeleted):
                # Nothing of a deleted post is shown, to a slow reader neither.
                waiter.events = deque([waiter.events[-1]])
            while waiter.events:
                if view.event(waiter.events.popleft()):
                    view.post.liked = await self._liked(caller, view)
                    yield posts_pb2.WatchPostResponse(cursor=view.cursor, post=view.post)
                elif view.deleted:
                    done = posts_pb2.WatchDone(reason=posts_pb2.WATCH_END_DELETED)
                    yield posts_pb2.WatchPostResponse(cursor=view.cursor, done=done)
                    return
            if waiter.error is not None:
                raise waiter.error

    async def _feed_messages(
        self, view: FeedView, replay: Replay, waiter: Waiter, ahead: Ahead
    ) -> AsyncIterator[posts_pb2.WatchFeedResponse]:
        waiter.posts.update(self._buffer.posts())
        waiter.wake.set()
        while True:
            await waiter.wake.wait()
            waiter.wake.clear()
            for position, message in await replay.messages(ahead.take()):
                if message is not None:
                    yield message
                view.passed = position
            for message in view.deltas(waiter.posts):
                yield message

    async def _liked(self, caller: Caller, view: PostView) -> bool:
        """Whether the caller likes the post now: events carry no likes. Not known for the moment: as it was."""
        try:
            return await self._store.liked(caller, view.post.post_id)
        except MeshError:
            return view.post.liked

    async def _followed(self) -> None:
        """Waits until this process follows the log: at once but in its first moments."""
        try:
            async with asyncio.timeout(FOLLOWED_WITHIN_S):
                await self._follower.ready.wait()
        except TimeoutError:
            raise unavailable() from None

    def _place(self, call: Call, context: Any) -> AbstractContextManager[None]:
        return self._places.take(call.caller, place_of(call))


def _done(item: Signal) -> posts_pb2.WatchDone:
    ended = item is CREDENTIAL_ENDED
    return posts_pb2.WatchDone(reason=posts_pb2.WATCH_END_CREDENTIAL_ENDED if ended else posts_pb2.WATCH_END_DRAINING)
