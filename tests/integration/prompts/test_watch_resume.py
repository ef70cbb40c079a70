"""WatchFeed after a cursor: what is gone or edited away stays so, old cursors are refused, nobody takes all places."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import grpc
import pytest
from promptmesh.events.v1.events_pb2 import Envelope
from promptmesh.prompts.v1 import posts_pb2
from promptmesh.prompts.v1.posts_pb2 import CreatePostRequest, DeletePostRequest, Post, WatchFeedRequest

from services.mesh.errors import error_of
from tests.integration.prompts.test_watch_feed import Feed, edit, feed, told
from tests.integration.prompts.test_watch_post import allow, is_example, is_post, ready
from tests.integration.prompts.world import NOBODY, Someone, World, collect, running_world

SECRET = "the secret that got out"


async def publish(world: World, watcher: Feed, who: Someone, body: str, *tags: str) -> Post:
    """A new post, once the watcher was told that it is published."""
    post: Post = await world.stub.CreatePost(CreatePostRequest(title="T", body=body, tags=tags), metadata=who.metadata)
    await world.moderation.tell(allow(post.post_id))
    await watcher.until(lambda one: one.post.post_id == post.post_id)
    return post


async def republish(world: World, watcher: Feed, who: Someone, post_id: str, **fields: Any) -> None:
    """Edits a post once, and waits until the watcher was told that the second revision is published."""
    await edit(world, who, post_id, **fields)
    await world.moderation.tell(allow(post_id, 2))
    await watcher.until(lambda one: one.gone.post_id == post_id or one.post.revision == 2)


async def delete(world: World, watcher: Feed, who: Someone, post_id: str) -> None:
    await world.stub.DeletePost(DeletePostRequest(post_id=post_id), metadata=who.metadata)
    await watcher.until(lambda one: one.gone.post_id == post_id)


async def test_a_resume_shows_nothing_that_was_deleted_or_edited_away(world: World) -> None:
    ann, bob = world.auth.person("Ann"), world.auth.person("Bob")
    live = await feed(world)
    deleted = await publish(world, live, ann, SECRET)
    edited = await publish(world, live, ann, SECRET)
    waiting = await publish(world, live, ann, "in the open")
    await world.inference.tell(ready(deleted.post_id, SECRET))
    await live.until(is_example)
    await republish(world, live, ann, edited.post_id, body="harmless")
    await delete(world, live, ann, deleted.post_id)
    await edit(world, ann, waiting.post_id, body=SECRET)  # between its author and moderation
    end = await publish(world, live, ann, "end")

    for who in (NOBODY, bob):
        again = await feed(world, who, after=live.start)
        messages = await again.until(lambda one: one.post.post_id == end.post_id)
        assert SECRET not in str(messages)
        # Each event at its own cursor, as it was told at the time.
        assert [one.cursor for one in messages] == [one.cursor for one in live.seen if not one.HasField("heartbeat")]
        assert {told(one)[0] for one in messages if told(one)[1] == deleted.post_id} == {"gone"}
        assert {one.post.body for one in messages if one.post.post_id == edited.post_id} == {"harmless"}
        assert {one.post.body for one in messages if one.post.post_id == waiting.post_id} == {"in the open"}
        again.call.cancel()
    own = await feed(world, ann, after=live.start)
    messages = await own.until(is_end(end))
    assert {one.post.body for one in messages if one.post.post_id == waiting.post_id} == {SECRET}
    assert {told(one)[0] for one in messages if told(one)[1] == deleted.post_id} == {"gone"}
    own.call.cancel()
    live.call.cancel()


def is_end(end: Post) -> Any:
    """Tells the message that shows a published post."""
    return lambda one: one.post.post_id == end.post_id and is_post(posts_pb2.POST_STATE_PUBLISHED)(one)


async def test_by_tag_a_resume_tells_that_a_post_has_left_it(world: World) -> None:
    ann = world.auth.person("Ann")
    live = await feed(world, tag="story")
    post = await publish(world, live, ann, SECRET, "story")
    await republish(world, live, ann, post.post_id, tags=["else"])
    end = await publish(world, live, ann, "end", "story")
    again = await feed(world, after=live.start, tag="story")
    messages = await again.until(lambda one: one.post.post_id == end.post_id)
    assert [told(one)[:2] for one in messages] == [
        ("gone", post.post_id),
        ("gone", post.post_id),
        ("post", end.post_id),
    ]
    again.call.cancel()
    live.call.cancel()


async def age_log(database_url: str, upto: int, age_s: int) -> None:
    """Makes the events up to a position older."""
    admin = await asyncpg.connect(database_url)
    try:
        for row in await admin.fetch("SELECT id, envelope FROM prompts.outbox WHERE position <= $1", upto):
            envelope = Envelope.FromString(row["envelope"])
            envelope.create_time.seconds -= age_s
            await admin.execute(
                "UPDATE prompts.outbox SET envelope = $2 WHERE id = $1", row["id"], envelope.SerializeToString()
            )
    finally:
        await admin.close()


async def test_what_was_missed_may_be_24_hours_old_and_no_older(world: World, database_url: str) -> None:
    ann = world.auth.person("Ann")
    live = await feed(world)
    await publish(world, live, ann, "old")
    seen = live.seen[-1].cursor
    newer = await publish(world, live, ann, "newer")
    await age_log(database_url, seen, 25 * 3600)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await feed(world, after=seen - 1)
    error = error_of(caught.value)
    assert error.reason == "CURSOR_EXPIRED"
    assert "24 hours" in error.message
    # A cursor is not old because nothing happened for long after it.
    again = await feed(world, after=seen)
    await again.until(lambda one: one.post.post_id == newer.post_id)
    present = await feed(world)
    await age_log(database_url, present.start, 25 * 3600)
    quiet = await feed(world, after=present.start)
    for one in (live, again, present, quiet):
        one.call.cancel()


async def refused(world: World, who: Someone, **metadata: str) -> Any:
    """The error that a feed is refused with."""
    call = world.stub.WatchFeed(WatchFeedRequest(), metadata=(*who.metadata, *metadata.items()))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await collect(call, [], until=lambda _: True)
    return error_of(caught.value)


async def test_nobody_takes_all_streams(database_url: str, redis_url: str) -> None:
    limits = {"watch_streams_per_caller_max": 2, "watch_streams_per_address_max": 1}
    async with running_world(database_url, redis_url, **limits) as world:
        ann, bob = world.auth.person("Ann"), world.auth.person("Bob")
        key = world.auth.key_of(ann, "posts:read")
        first, second, other = await feed(world, ann), await feed(world, ann), await feed(world, bob)
        anonymous = await feed(world)
        elsewhere = world.stub.WatchFeed(WatchFeedRequest(), metadata=(("x-envoy-external-address", "203.0.113.9"),))
        await collect(elsewhere, [], until=lambda _: True)
        for who, limit in ((ann, 2), (key, 2), (NOBODY, 1)):
            error = await refused(world, who)
            assert error.reason == "WATCH_LIMIT"
            assert error.retry_after_s
            assert str(limit) in error.message
            assert error.quota
        first.call.cancel()
        anonymous.call.cancel()
        async with asyncio.timeout(30):
            for who in (ann, NOBODY):
                while True:  # the place is free once the server has seen that its watcher left
                    try:
                        another = await feed(world, who)
                    except grpc.aio.AioRpcError:
                        await asyncio.sleep(0.02)
                        continue
                    another.call.cancel()
                    break
        for one in (second.call, other.call, elsewhere):
            one.cancel()


async def test_many_who_resume_at_once_read_a_few_at_a_time(database_url: str, redis_url: str) -> None:
    async with running_world(database_url, redis_url, watch_catch_up_reads_max=1) as world:
        ann = world.auth.person("Ann")
        live = await feed(world)
        posts = [await publish(world, live, ann, "body") for _ in range(5)]

        async def resume() -> list[str]:
            again = await feed(world, after=live.start)
            messages = await again.until(lambda one: one.post.post_id == posts[-1].post_id)
            again.call.cancel()
            return [one.post.post_id for one in messages]

        for seen in await asyncio.gather(*(resume() for _ in range(30))):
            assert seen == [post.post_id for post in posts]
        live.call.cancel()
