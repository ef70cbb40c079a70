"""WatchFeed over gRPC: who sees what, resume without loss or duplicates, pieces of examples."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from promptmesh.moderation.v1.events_pb2 import PostScreened
from promptmesh.moderation.v1.moderation_pb2 import VERDICT_REJECT
from promptmesh.prompts.v1 import posts_pb2
from promptmesh.prompts.v1.posts_pb2 import (
    CreatePostRequest,
    DeletePostRequest,
    Post,
    UpdatePostRequest,
    WatchFeedRequest,
    WatchPostRequest,
)

from tests.integration.prompts.test_watch_post import allow, create, is_delta, is_example, is_post, ready
from tests.integration.prompts.world import NOBODY, Someone, World, collect, running_world, without_heartbeats


class Feed:
    """A watcher of the feed, from the moment that its first message came."""

    def __init__(self, call: Any, first: Any) -> None:
        self.call = call
        self.seen: list[Any] = []
        self.start: int = first.cursor

    async def until(self, wanted: Any) -> list[Any]:
        """Messages, without heartbeats, up to one for which `wanted(message)` is true."""
        await collect(self.call, self.seen, until=wanted)
        return without_heartbeats(self.seen)


async def feed(world: World, who: Someone = NOBODY, **request: Any) -> Feed:
    """A watcher that has begun: its first message is a heartbeat with the cursor."""
    call = world.stub.WatchFeed(WatchFeedRequest(**request), metadata=who.metadata)
    [first] = await collect(call, [], until=lambda _: True)
    assert first.WhichOneof("event") == "heartbeat"
    return Feed(call, first)


def told(message: Any) -> tuple[str, str, int]:
    """(kind, post, state) of a message."""
    kind = message.WhichOneof("event")
    if kind == "post":
        return kind, message.post.post_id, message.post.state
    return kind, message.gone.post_id if kind == "gone" else message.example_delta.post_id, 0


async def edit(world: World, who: Someone, post_id: str, **fields: Any) -> Post:
    """Changes a post."""
    request = UpdatePostRequest(post=Post(post_id=post_id, **fields))
    request.update_mask.paths.extend(fields)
    answer: Post = await world.stub.UpdatePost(request, metadata=who.metadata)
    return answer


async def test_everyone_sees_what_is_published_and_its_author_the_rest(world: World) -> None:
    ann, bob = world.auth.person("Ann"), world.auth.person("Bob")
    own, others, public = await feed(world, ann), await feed(world, bob), await feed(world)
    good, bad = await create(world, ann), await create(world, ann)
    await own.until(is_post(posts_pb2.POST_STATE_PENDING))
    await world.moderation.tell(
        PostScreened(post_id=bad.post_id, revision=1, verdict=VERDICT_REJECT, public_reason="No."),
        allow(good.post_id),
    )
    await own.until(is_post(posts_pb2.POST_STATE_PUBLISHED))
    await world.inference.tell(ready(good.post_id, "Done."))
    await own.until(is_example)
    # An edit is between its author and moderation, until it is published.
    await edit(world, ann, good.post_id, title="Edited")
    await world.moderation.tell(allow(good.post_id, 2))
    await world.stub.DeletePost(DeletePostRequest(post_id=bad.post_id), metadata=ann.metadata)
    await world.stub.DeletePost(DeletePostRequest(post_id=good.post_id), metadata=ann.metadata)

    def last(message: Any) -> bool:
        return bool(message.gone.post_id == good.post_id)

    pending, published = posts_pb2.POST_STATE_PENDING, posts_pb2.POST_STATE_PUBLISHED
    everyones = [
        ("post", good.post_id, published),
        ("post", good.post_id, published),
        ("post", good.post_id, published),
        ("gone", good.post_id, 0),
    ]
    for watcher in (others, public):
        messages = await watcher.until(last)
        # The second edition may be published or not before the post is deleted.
        assert [told(one) for one in messages] in (everyones, [*everyones[:2], everyones[3]])
        assert messages[1].post.example.text == "Done."
        assert not any(one.post.reasons for one in messages)
    mine = await own.until(last)
    assert [told(one) for one in mine if one.post.post_id == bad.post_id] == [
        ("post", bad.post_id, pending),
        ("post", bad.post_id, posts_pb2.POST_STATE_REJECTED),
    ]
    assert ("gone", bad.post_id, 0) in [told(one) for one in mine]
    assert next(told(one) for one in mine if one.post.revision == 2) == ("post", good.post_id, pending)
    rejected = next(one for one in mine if one.post.state == posts_pb2.POST_STATE_REJECTED)
    assert rejected.post.reasons[0].message == "No."
    for watcher in (own, others, public):
        cursors = [one.cursor for one in watcher.seen]
        assert cursors == sorted(cursors)
        watcher.call.cancel()


async def test_by_tag_a_post_comes_and_goes(world: World) -> None:
    ann = world.auth.person("Ann")
    watcher = await feed(world, tag="story")
    post = await world.stub.CreatePost(CreatePostRequest(title="T", body="B", tags=["story"]), metadata=ann.metadata)
    other = await world.stub.CreatePost(CreatePostRequest(title="O", body="B"), metadata=ann.metadata)
    await world.moderation.tell(allow(post.post_id), allow(other.post_id))
    await watcher.until(is_post(posts_pb2.POST_STATE_PUBLISHED))
    await edit(world, ann, post.post_id, tags=["else"])
    await world.moderation.tell(allow(post.post_id, 2))
    messages = await watcher.until(lambda message: message.HasField("gone"))
    assert [told(one)[:2] for one in messages] == [("post", post.post_id), ("gone", post.post_id)]
    watcher.call.cancel()


async def test_resumed_after_a_cursor_nothing_is_lost_and_nothing_comes_twice(world: World) -> None:
    ann = world.auth.person("Ann")
    whole = await feed(world, ann)
    expected = 30

    async def write() -> None:
        for _ in range(expected):
            post = await create(world, ann)
            await world.moderation.tell(allow(post.post_id))

    writing = asyncio.create_task(write())
    seen: list[Any] = []
    cursor = whole.start
    published: set[str] = set()
    while len(published) < expected:
        call = world.stub.WatchFeed(WatchFeedRequest(after=cursor), metadata=ann.metadata)
        taken = 0
        async for message in call:
            cursor = message.cursor
            if message.HasField("post"):
                seen.append(message)
                taken += 1
                if message.post.state == posts_pb2.POST_STATE_PUBLISHED:
                    published.add(message.post.post_id)
            if taken == 7 or len(published) == expected:
                break
        call.cancel()
    await writing
    count = 0

    def last(message: Any) -> bool:
        nonlocal count
        count += message.post.state == posts_pb2.POST_STATE_PUBLISHED
        return count == expected

    # A resume shows a post as it is by then, which may be later than when it was first told of; never earlier.
    live = await whole.until(last)
    assert [(one.cursor, one.post.post_id) for one in seen] == [(one.cursor, one.post.post_id) for one in live]
    assert all(again.post.state >= first.post.state for again, first in zip(seen, live, strict=True))
    whole.call.cancel()


async def test_a_cursor_from_nowhere_is_refused(world: World) -> None:
    call = world.stub.WatchFeed(WatchFeedRequest(after=10**9))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(call, [], until=lambda _: True)
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE


async def test_pieces_come_after_their_post_and_to_who_joins_later_from_the_beginning(world: World) -> None:
    ann = world.auth.person("Ann")
    early = await feed(world)
    other_tag = await feed(world, tag="b")
    post = await create(world, ann)
    await world.piece(post.post_id, 0, "Once ")
    await world.moderation.tell(allow(post.post_id))
    await early.until(is_delta)
    late = await feed(world)
    await late.until(is_delta)
    await world.piece(post.post_id, 5, "upon")
    await early.until(is_delta)
    await late.until(is_delta)
    await world.inference.tell(ready(post.post_id, "Once upon"))
    messages = await early.until(is_example)
    assert [one.WhichOneof("event") for one in messages] == ["post", "example_delta", "example_delta", "post"]
    for watcher in (early, late):
        deltas = [one.example_delta for one in await watcher_seen(watcher) if is_delta(one)]
        assert [(delta.offset, delta.text) for delta in deltas] == [(0, "Once "), (5, "upon")]
    # What everyone was told does not reach who watches another tag.
    tagged = await world.stub.CreatePost(CreatePostRequest(title="T", body="B", tags=["b"]), metadata=ann.metadata)
    await world.moderation.tell(allow(tagged.post_id))
    messages = await other_tag.until(is_post(posts_pb2.POST_STATE_PUBLISHED))
    assert [told(one)[1] for one in messages] == [tagged.post_id]
    for watcher in (early, late, other_tag):
        watcher.call.cancel()


async def watcher_seen(watcher: Feed) -> list[Any]:
    """What a watcher has read so far."""
    return without_heartbeats(watcher.seen)


async def test_streams_are_alive_and_limited(database_url: str, redis_url: str) -> None:
    async with running_world(database_url, redis_url, heartbeat_s=0.05, watch_streams_max=2) as world:
        ann = world.auth.person("Ann")
        post = await create(world, ann)
        first = await feed(world)
        second = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=ann.metadata)
        beats: list[Any] = []
        await collect(second, beats, until=lambda message: message.HasField("heartbeat"))
        assert beats[0].HasField("post")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await feed(world)
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        # What is passed over moves the cursor of heartbeats on: nothing of it is read again after a resume.
        await create(world, ann)
        await collect(first.call, first.seen, until=lambda message: message.cursor > first.start)
        second.cancel()
        async with asyncio.timeout(30):
            while True:  # the place is free once the server has seen that its watcher left
                try:
                    third = await feed(world, ann)
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0.02)
                    continue
                break
        first.call.cancel()
        world.auth.end_session(ann)
        await collect(third.call, third.seen, until=lambda message: message.HasField("done"))
        assert third.seen[-1].done.reason == posts_pb2.WATCH_END_CREDENTIAL_ENDED


async def test_a_watch_ends_when_its_access_token_does(world: World) -> None:
    ann = world.auth.person("Ann", lives_s=2.0)
    watcher = await feed(world, ann)
    await watcher.until(lambda message: message.HasField("done"))
    assert watcher.seen[-1].done.reason == posts_pb2.WATCH_END_CREDENTIAL_ENDED
