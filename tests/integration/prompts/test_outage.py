"""Without Redis posts are written, read and watched; what happened meanwhile goes on by itself once it is back."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

from promptmesh.prompts.v1 import posts_pb2
from promptmesh.prompts.v1.posts_pb2 import GetPostRequest, LikePostRequest, WatchFeedRequest

from services.local.embedded.redis import running_redis, temporary_redis
from tests.integration.prompts.test_watch_post import allow, create, is_example, is_post, ready
from tests.integration.prompts.world import collect, running_world


def shown(message: Any) -> tuple[str, int, bool]:
    """Of a message with a post: which, in which state, with its example or not."""
    return message.post.post_id, message.post.state, is_example(message)


async def test_redis_goes_with_all_its_data_and_comes_back(database_url: str, tmp_path: Path) -> None:
    redis = temporary_redis(tmp_path / "redis")
    with ExitStack() as stack:
        here = stack.enter_context(ExitStack())
        here.enter_context(running_redis(redis))
        async with running_world(database_url, redis.url()) as world:
            ann = world.auth.person("Ann")
            feed = world.stub.WatchFeed(WatchFeedRequest(), metadata=ann.metadata)
            seen: list[Any] = []
            before = await create(world, ann)
            await world.moderation.tell(allow(before.post_id))
            await collect(feed, seen, until=is_post(posts_pb2.POST_STATE_PUBLISHED))
            here.close()  # it keeps nothing: all that it carried is gone
            during = await create(world, ann)
            await world.moderation.tell(allow(during.post_id))
            await world.inference.tell(ready(before.post_id, "Written."))
            await collect(feed, seen, until=lambda message: message.post.post_id == during.post_id)
            liked = await world.stub.LikePost(LikePostRequest(post_id=before.post_id), metadata=ann.metadata)
            assert liked.like_count == 1
            waiting = await world.stub.GetPost(GetPostRequest(post_id=during.post_id), metadata=ann.metadata)
            assert waiting.state == posts_pb2.POST_STATE_PENDING
            stack.enter_context(running_redis(redis))
            wanted = {
                (during.post_id, posts_pb2.POST_STATE_PUBLISHED, False),
                (before.post_id, posts_pb2.POST_STATE_PUBLISHED, True),
            }
            await collect(feed, seen, until=lambda message: not wanted.difference(shown(one) for one in seen))
            feed.cancel()
    told = [shown(one) for one in seen if one.HasField("post")]
    assert len(told) == len(set(told)) == 5
