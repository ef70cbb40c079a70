"""WatchPost over gRPC, with real events and real pieces of examples."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from promptmesh.inference.v1.events_pb2 import EXAMPLE_OUTCOME_READY, ExampleFinished
from promptmesh.moderation.v1.events_pb2 import PostScreened
from promptmesh.moderation.v1.moderation_pb2 import VERDICT_ALLOW, VERDICT_HOLD
from promptmesh.prompts.v1 import posts_pb2
from promptmesh.prompts.v1.posts_pb2 import (
    CreatePostRequest,
    DeletePostRequest,
    LikePostRequest,
    WatchFeedRequest,
    WatchPostRequest,
)

from tests.integration.prompts.world import Someone, World, collect


def is_post(state: int) -> Any:
    """Tells the message that shows the post in a state."""
    return lambda message: message.HasField("post") and message.post.state == state


def is_example(message: Any) -> bool:
    """Tells the message that shows the finished example."""
    return bool(message.post.example.state == posts_pb2.EXAMPLE_STATE_READY)


def is_delta(message: Any) -> bool:
    """Tells a piece."""
    return bool(message.HasField("example_delta"))


async def create(world: World, who: Someone, **more: Any) -> Any:
    """A new post."""
    return await world.stub.CreatePost(
        CreatePostRequest(title="T", body="B", tags=["a"], **more), metadata=who.metadata
    )


def ready(post_id: str, text: str, revision: int = 1) -> ExampleFinished:
    """A finished example."""
    return ExampleFinished(post_id=post_id, revision=revision, outcome=EXAMPLE_OUTCOME_READY, text=text, model="demo")


def allow(post_id: str, revision: int = 1) -> PostScreened:
    """A verdict."""
    return PostScreened(post_id=post_id, revision=revision, verdict=VERDICT_ALLOW)


async def test_an_author_sees_a_post_from_pending_to_its_example_piece_by_piece(world: World) -> None:
    ann = world.auth.person("Ann")
    post = await create(world, ann)
    watch = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=ann.metadata)
    seen: list[Any] = []
    await collect(watch, seen, until=is_post(posts_pb2.POST_STATE_PENDING))
    assert seen[0].post == post
    # A piece that comes before its revision is published is not shown before.
    await world.piece(post.post_id, 0, "Once ")
    await world.moderation.tell(PostScreened(post_id=post.post_id, revision=1, verdict=VERDICT_HOLD))
    await collect(watch, seen, until=is_post(posts_pb2.POST_STATE_HELD))
    await world.moderation.tell(allow(post.post_id))
    await collect(watch, seen, until=is_delta)
    await world.piece(post.post_id, 5, "upon a time.")
    await collect(watch, seen, until=is_delta)
    await world.inference.tell(ready(post.post_id, "Once upon a time."))
    await collect(watch, seen, until=is_example)
    kinds = [message.WhichOneof("event") for message in seen]
    assert kinds == ["post", "post", "post", "example_delta", "example_delta", "post"]
    assert [message.post.state for message in seen[:3]] == [
        posts_pb2.POST_STATE_PENDING,
        posts_pb2.POST_STATE_HELD,
        posts_pb2.POST_STATE_PUBLISHED,
    ]
    deltas = [message.example_delta for message in seen[3:5]]
    assert [(delta.offset, delta.text) for delta in deltas] == [(0, "Once "), (5, "upon a time.")]
    assert seen[-1].post.example.text == "Once upon a time."
    cursors = [message.cursor for message in seen]
    assert cursors == sorted(cursors)
    watch.cancel()


async def test_who_comes_in_the_middle_gets_the_text_so_far_then_the_rest(world: World) -> None:
    ann, bob = world.auth.person("Ann"), world.auth.person("Bob")
    post = await create(world, ann)
    await world.moderation.tell(allow(post.post_id))
    first = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=ann.metadata)
    await collect(first, [], until=is_post(posts_pb2.POST_STATE_PUBLISHED))
    await world.piece(post.post_id, 0, "né🙂 ")
    await world.piece(post.post_id, 4, "b ")
    seen: list[Any] = []
    while sum(len(one.example_delta.text) for one in seen) < 6:
        await collect(first, seen, until=is_delta)
    second = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=bob.metadata)
    late: list[Any] = []
    await collect(second, late, until=is_delta)
    await world.piece(post.post_id, 6, "c")
    await collect(second, late, until=is_delta)
    await world.inference.tell(ready(post.post_id, "né🙂 b c"))
    await collect(second, late, until=is_example)
    deltas = [message.example_delta for message in late if is_delta(message)]
    assert [(delta.offset, delta.text) for delta in deltas] == [(0, "né🙂 b "), (6, "c")]
    # Who comes after the end gets it with the post.
    third = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id))
    [message] = await collect(third, [], until=lambda _: True)
    assert message.post.example.text == "né🙂 b c"
    for watch in (first, second, third):
        watch.cancel()


async def test_after_a_lost_piece_a_watcher_waits_for_the_whole_example(world: World) -> None:
    ann = world.auth.person("Ann")
    post = await create(world, ann)
    await world.moderation.tell(allow(post.post_id))
    watch = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=ann.metadata)
    await collect(watch, [], until=is_post(posts_pb2.POST_STATE_PUBLISHED))
    await world.piece(post.post_id, 0, "a")
    seen: list[Any] = []
    await collect(watch, seen, until=is_delta)
    await world.piece(post.post_id, 5, "lost before")
    await world.piece(post.post_id, 1, "late")
    await world.inference.tell(ready(post.post_id, "abcde"))
    await collect(watch, seen, until=is_example)
    assert [message.example_delta.text for message in seen if is_delta(message)] == ["a"]
    watch.cancel()


async def test_it_ends_when_the_post_is_deleted(world: World) -> None:
    ann = world.auth.person("Ann")
    post = await create(world, ann)
    watch = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=ann.metadata)
    seen: list[Any] = []
    await collect(watch, seen, until=lambda message: message.HasField("post"))
    await world.stub.DeletePost(DeletePostRequest(post_id=post.post_id), metadata=ann.metadata)
    async for message in watch:
        seen.append(message)
    assert seen[-1].done.reason == posts_pb2.WATCH_END_DELETED
    assert len(seen) == 2


async def test_it_ends_when_the_session_does(world: World) -> None:
    ann = world.auth.person("Ann")
    post = await create(world, ann)
    watch = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=ann.metadata)
    seen: list[Any] = []
    await collect(watch, seen, until=lambda message: message.HasField("post"))
    world.auth.end_session(ann)
    async for message in watch:
        seen.append(message)
    assert seen[-1].done.reason == posts_pb2.WATCH_END_CREDENTIAL_ENDED


async def test_it_ends_when_the_process_drains(world: World) -> None:
    ann = world.auth.person("Ann")
    post = await create(world, ann)
    watch = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=ann.metadata)
    seen: list[Any] = []
    await collect(watch, seen, until=lambda message: message.HasField("post"))
    world.mesh.draining.set()
    async for message in watch:
        seen.append(message)
    assert seen[-1].done.reason == posts_pb2.WATCH_END_DRAINING


async def test_a_change_tells_whether_the_caller_likes_the_post_by_now(world: World) -> None:
    ann, bob = world.auth.person("Ann"), world.auth.person("Bob")
    post = await create(world, ann)
    await world.moderation.tell(allow(post.post_id))
    author = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=ann.metadata)
    await collect(author, [], until=is_post(posts_pb2.POST_STATE_PUBLISHED))
    watch = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=bob.metadata)
    seen: list[Any] = []
    await collect(watch, seen, until=lambda message: message.HasField("post"))
    await world.stub.LikePost(LikePostRequest(post_id=post.post_id), metadata=bob.metadata)
    await world.inference.tell(ready(post.post_id, "x"))
    await collect(watch, seen, until=is_example)
    assert [message.post.liked for message in seen] == [False, True]
    assert seen[-1].post.like_count == 1
    author.cancel()
    watch.cancel()


async def test_what_one_may_not_see_one_may_not_watch(world: World) -> None:
    post = await create(world, world.auth.person("Ann"))
    for who in (Someone(), world.auth.person("Bob")):
        watch = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=who.metadata)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await collect(watch, [], until=lambda _: True)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watchers_leave_nothing_behind(world: World) -> None:
    ann = world.auth.person("Ann")
    post = await create(world, ann)
    watches = [
        *(world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=ann.metadata) for _ in range(20)),
        *(world.stub.WatchFeed(WatchFeedRequest(), metadata=ann.metadata) for _ in range(20)),
    ]
    for watch in watches:
        await collect(watch, [], until=lambda _: True)
    server = world.mesh.started
    assert server is not None
    assert server.pipeline is not None
    assert server.pipeline.calls == len(watches)
    assert stream_tasks()
    for watch in watches:
        watch.cancel()
    async with asyncio.timeout(30):
        while server.pipeline.calls or stream_tasks():
            await asyncio.sleep(0.02)


def stream_tasks() -> list[asyncio.Task[Any]]:
    """Tasks of streams that are open."""
    return [task for task in asyncio.all_tasks() if task.get_name() in ("guarded stream", "prompts.read_ahead")]
