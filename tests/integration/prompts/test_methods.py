"""Every method over gRPC: who may call it for which post, what is refused and how."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from promptmesh.access.v1 import access_pb2
from promptmesh.moderation.v1.moderation_pb2 import VERDICT_HOLD, VERDICT_REJECT
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc
from promptmesh.prompts.v1.posts_pb2 import (
    CreatePostRequest,
    DeletePostRequest,
    GetAuthorRequest,
    GetPostPageRequest,
    GetPostRequest,
    LikePostRequest,
    ListPostsRequest,
    Post,
    UnlikePostRequest,
    UpdatePostRequest,
    WatchFeedRequest,
    WatchPostRequest,
)

from services.mesh.errors import error_of
from services.mesh.ids import uuid7
from tests.integration.prompts.test_watch_post import allow, create, is_post
from tests.integration.prompts.world import NOBODY, Someone, World, collect

OK = "OK"
# By method, of one post: how it is called.
CALLS: dict[str, Callable[[str], Any]] = {
    "GetPost": lambda post_id: GetPostRequest(post_id=post_id),
    "UpdatePost": lambda post_id: UpdatePostRequest(
        post=Post(post_id=post_id, title="Edited"), update_mask=FieldMask(paths=["title"])
    ),
    "LikePost": lambda post_id: LikePostRequest(post_id=post_id),
    "UnlikePost": lambda post_id: UnlikePostRequest(post_id=post_id),
    "WatchPost": lambda post_id: WatchPostRequest(post_id=post_id),
    "DeletePost": lambda post_id: DeletePostRequest(post_id=post_id),
}
# Methods that are not about one post.
OTHERS: dict[str, Callable[[], Any]] = {
    "CreatePost": lambda: CreatePostRequest(title="T", body="B"),
    "ListPosts": ListPostsRequest,
    "WatchFeed": WatchFeedRequest,
    "GetAuthor": lambda: GetAuthorRequest(author_id=uuid7()),
    "GetPostPage": lambda: GetPostPageRequest(post_id=uuid7()),
}
# Unpublished, then published: GetPost, UpdatePost, LikePost, UnlikePost, WatchPost, DeletePost.
NONE, MISSING, OWNER = "CREDENTIAL_MISSING", "POST_NOT_FOUND", "NOT_OWNER"
SCOPE, ABSENT = "SCOPE_MISSING", "AUTHOR_NOT_FOUND"
UNPUBLISHED: dict[str, list[str]] = {
    "nobody": [MISSING, NONE, NONE, NONE, MISSING, NONE],
    "another": [MISSING, MISSING, MISSING, MISSING, MISSING, MISSING],
    "moderator": [OK, OWNER, MISSING, MISSING, OK, OWNER],
    "admin": [OK, OWNER, MISSING, MISSING, OK, OWNER],
    "auditor": [OK, SCOPE, SCOPE, SCOPE, OK, SCOPE],
    "reading key of the author": [OK, SCOPE, SCOPE, SCOPE, OK, SCOPE],
    "key of another": [MISSING, MISSING, MISSING, MISSING, MISSING, MISSING],
    "key of no use": [SCOPE] * 6,
    "writing key of the author": [OK, OK, MISSING, MISSING, OK, OK],
    "author": [OK, OK, MISSING, MISSING, OK, OK],
}
PUBLISHED: dict[str, list[str]] = {
    "nobody": [OK, NONE, NONE, NONE, OK, NONE],
    "another": [OK, OWNER, OK, OK, OK, OWNER],
    "moderator": [OK, OWNER, OK, OK, OK, OWNER],
    "admin": [OK, OWNER, OK, OK, OK, OWNER],
    "auditor": [OK, SCOPE, SCOPE, SCOPE, OK, SCOPE],
    "reading key of the author": [OK, SCOPE, SCOPE, SCOPE, OK, SCOPE],
    "key of another": [OK, OWNER, OK, OK, OK, OWNER],
    "key of no use": [SCOPE] * 6,
    "writing key of the author": [OK, OK, OK, OK, OK, OK],
    "author": [OK, OK, OK, OK, OK, OK],
}
OTHERS_BY_CALLER: dict[str, list[str]] = {
    "nobody": [NONE, OK, OK, ABSENT, OK],
    "another": [OK, OK, OK, ABSENT, OK],
    "moderator": [OK, OK, OK, ABSENT, OK],
    "admin": [OK, OK, OK, ABSENT, OK],
    "auditor": [SCOPE, OK, OK, ABSENT, OK],
    "reading key of the author": [SCOPE, OK, OK, ABSENT, OK],
    "key of another": [OK, OK, OK, ABSENT, OK],
    "key of no use": [SCOPE, SCOPE, SCOPE, SCOPE, OK],
    "writing key of the author": [OK, OK, OK, ABSENT, OK],
    "author": [OK, OK, OK, ABSENT, OK],
}


async def outcome(world: World, method: str, request: Any, who: Someone) -> str:
    """OK, or the reason of the refusal."""
    call = getattr(world.stub, method)(request, metadata=who.metadata)
    try:
        if method.startswith("Watch"):
            await collect(call, [], until=lambda _: True)
            call.cancel()
        else:
            await call
    except grpc.aio.AioRpcError as error:
        return error_of(error).reason
    return OK


async def reason_of(call: Any) -> str:
    """The reason of a refusal."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_of(caught.value).reason


def callers(world: World, author: Someone) -> dict[str, Someone]:
    """One of each kind."""
    auth = world.auth
    another = auth.person("Bob")
    return {
        "nobody": NOBODY,
        "another": another,
        "moderator": auth.person("Mo", access_pb2.ROLE_USER, access_pb2.ROLE_MODERATOR),
        "admin": auth.person("Ad", access_pb2.ROLE_USER, access_pb2.ROLE_ADMIN),
        "auditor": auth.person("Au", access_pb2.ROLE_AUDITOR),
        "reading key of the author": auth.key_of(author, "posts:read"),
        "key of another": auth.key_of(another, "posts:read", "posts:write"),
        "key of no use": auth.key_of(author, "inference:invoke"),
        "writing key of the author": auth.key_of(author, "posts:read", "posts:write"),
        "author": author,
    }


async def published(world: World, author: Someone, *tags: str) -> str:
    """Id of a new post that everyone sees."""
    post = await world.stub.CreatePost(CreatePostRequest(title="T", body="B", tags=tags), metadata=author.metadata)
    watch = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=author.metadata)
    await world.moderation.tell(allow(post.post_id))
    await collect(watch, [], until=is_post(posts_pb2.POST_STATE_PUBLISHED))
    watch.cancel()
    return str(post.post_id)


def test_the_tables_hold_every_method() -> None:
    methods = {method.name for method in posts_pb2.DESCRIPTOR.services_by_name["PostService"].methods}
    assert methods == CALLS.keys() | OTHERS.keys()
    assert posts_pb2_grpc.PostServiceServicer


async def test_who_may_do_what_with_an_unpublished_post(world: World) -> None:
    ann = world.auth.person("Ann")
    found = {}
    for name, who in callers(world, ann).items():
        post = await create(world, ann)
        found[name] = [await outcome(world, method, make(post.post_id), who) for method, make in CALLS.items()]
    assert found == UNPUBLISHED


async def test_who_may_do_what_with_a_published_post(world: World) -> None:
    ann = world.auth.person("Ann")
    found = {}
    for name, who in callers(world, ann).items():
        post_id = await published(world, ann)
        found[name] = [await outcome(world, method, make(post_id), who) for method, make in CALLS.items()]
    assert found == PUBLISHED


async def test_who_may_create_list_and_watch(world: World) -> None:
    found = {
        name: [await outcome(world, method, make(), who) for method, make in OTHERS.items()]
        for name, who in callers(world, world.auth.person("Ann")).items()
    }
    assert found == OTHERS_BY_CALLER


@pytest.mark.parametrize("verdict", [VERDICT_HOLD, VERDICT_REJECT])
async def test_what_was_held_or_rejected_is_as_unseen_as_what_waits(world: World, verdict: Any) -> None:
    ann = world.auth.person("Ann")
    post = await create(world, ann)
    screened = allow(post.post_id)
    screened.verdict = verdict
    watch = world.stub.WatchPost(WatchPostRequest(post_id=post.post_id), metadata=ann.metadata)
    await world.moderation.tell(screened)
    state = posts_pb2.POST_STATE_HELD if verdict == VERDICT_HOLD else posts_pb2.POST_STATE_REJECTED
    await collect(watch, [], until=is_post(state))
    watch.cancel()
    assert await outcome(world, "GetPost", GetPostRequest(post_id=post.post_id), NOBODY) == MISSING
    listed = await world.stub.ListPosts(ListPostsRequest(author_id=ann.user_id))
    assert not listed.posts
    listed = await world.stub.ListPosts(ListPostsRequest(author_id=ann.user_id.upper()), metadata=ann.metadata)
    assert [one.state for one in listed.posts] == [state]


async def test_an_author_lists_their_own_by_state(world: World) -> None:
    ann, bob = world.auth.person("Ann"), world.auth.person("Bob")
    seen = await published(world, ann)
    waiting = [(await create(world, ann)).post_id for _ in range(3)]
    pending, out = posts_pb2.POST_STATE_PENDING, posts_pb2.POST_STATE_PUBLISHED

    async def listed(*states: int, token: str = "", size: int = 0) -> posts_pb2.ListPostsResponse:
        request = ListPostsRequest(author_id=ann.user_id, page_size=size, page_token=token)
        request.states.extend(states)
        return await world.stub.ListPosts(request, metadata=ann.metadata)

    assert [one.post_id for one in (await listed(out)).posts] == [seen]
    assert [one.post_id for one in (await listed(pending)).posts] == waiting[::-1]
    assert len((await listed(out, pending)).posts) == 4
    first = await listed(pending, size=2)
    assert [one.post_id for one in (await listed(pending, size=2, token=first.next_page_token)).posts] == waiting[:1]
    assert await reason_of(listed(out, size=2, token=first.next_page_token)) == "PAGE_TOKEN_INVALID"
    for who, author in ((ann, bob.user_id), (ann, ""), (NOBODY, ann.user_id)):
        request = ListPostsRequest(author_id=author, states=[pending])
        assert await reason_of(world.stub.ListPosts(request, metadata=getattr(who, "metadata", ()))) == "INVALID_FIELD"


async def test_pages_hold_every_post_once_while_others_are_written(world: World) -> None:
    ann = world.auth.person("Ann")
    there = [await published(world, ann, "odd" if number % 2 else "even") for number in range(11)]
    for size, request, expected in (
        (1, {}, there),
        (4, {}, there),
        (11, {}, there),
        (3, {"tag": "odd"}, there[1::2]),
        (2, {"author_id": ann.user_id, "tag": "even"}, there[0::2]),
        (5, {"author_id": ann.user_id}, there),
    ):
        seen: list[str] = []
        token = ""
        while True:
            answer = await world.stub.ListPosts(ListPostsRequest(page_size=size, page_token=token, **request))
            assert len(answer.posts) <= size
            seen += [post.post_id for post in answer.posts]
            await create(world, ann)
            token = answer.next_page_token
            if not token:
                break
        assert seen == expected[::-1]
    # Another's list, or a token that was changed, is no continuation of this one.
    first = await world.stub.ListPosts(ListPostsRequest(page_size=2))
    for wrong in (
        ListPostsRequest(page_size=2, page_token=first.next_page_token, tag="odd"),
        ListPostsRequest(page_size=2, page_token=first.next_page_token[:-2] + "xx"),
        ListPostsRequest(page_size=2, page_token="nonsense"),
    ):
        assert await reason_of(world.stub.ListPosts(wrong)) == "PAGE_TOKEN_INVALID"


async def test_pages_of_ones_own_hold_what_is_not_published_and_say_what_one_likes(world: World) -> None:
    ann = world.auth.person("Ann")
    shown = await published(world, ann)
    waiting = await create(world, ann)
    await world.stub.LikePost(LikePostRequest(post_id=shown), metadata=ann.metadata)
    answer = await world.stub.ListPosts(ListPostsRequest(author_id=ann.user_id), metadata=ann.metadata)
    assert [(post.post_id, post.liked) for post in answer.posts] == [(waiting.post_id, False), (shown, True)]
    answer = await world.stub.ListPosts(ListPostsRequest(), metadata=ann.metadata)
    assert [(post.post_id, post.liked) for post in answer.posts] == [(shown, True)]
    answer = await world.stub.ListPosts(ListPostsRequest())
    assert [(post.post_id, post.liked) for post in answer.posts] == [(shown, False)]


async def test_one_request_id_makes_one_post(world: World) -> None:
    ann = world.auth.person("Ann")
    request_id = uuid7()
    posts = await asyncio.gather(*(create(world, ann, request_id=request_id) for _ in range(20)))
    assert len({post.post_id for post in posts}) == 1
    answer = await world.stub.ListPosts(ListPostsRequest(author_id=ann.user_id), metadata=ann.metadata)
    assert len(answer.posts) == 1
    other = CreatePostRequest(title="Other", body="B", request_id=request_id)
    assert await reason_of(world.stub.CreatePost(other, metadata=ann.metadata)) == "REQUEST_ID_REUSED"


async def test_what_is_wrong_is_named(world: World) -> None:
    ann = world.auth.person("Ann")
    post = await create(world, ann)
    for wrong, reason, field in (
        (
            UpdatePostRequest(post=Post(post_id=post.post_id), update_mask=FieldMask(paths=["state"])),
            "FIELD_MASK_INVALID",
            "update_mask",
        ),
        (
            UpdatePostRequest(post=Post(post_id=post.post_id), update_mask=FieldMask(paths=["title"])),
            "INVALID_FIELD",
            "post.title",
        ),
        (
            UpdatePostRequest(post=Post(post_id="p", title="T"), update_mask=FieldMask(paths=["title"])),
            "INVALID_FIELD",
            "post.post_id",
        ),
        (UpdatePostRequest(post=Post(post_id=post.post_id, title="T")), "FIELD_MASK_INVALID", "update_mask"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await world.stub.UpdatePost(wrong, metadata=ann.metadata)
        error = error_of(caught.value)
        assert (error.reason, error.violations[0].field) == (reason, field)
    for request in (
        CreatePostRequest(title="", body="B"),
        CreatePostRequest(title="two\nlines", body="B"),
        CreatePostRequest(title="x" * 201, body="B"),
        CreatePostRequest(title="T", body="x" * 20_001),
        CreatePostRequest(title="T", body=" \u200b"),
        CreatePostRequest(title="T", body="B", tags=["Upper"]),
        CreatePostRequest(title="T", body="B", tags=["a", "a"]),
        CreatePostRequest(title="T", body="B", request_id="1"),
    ):
        assert await reason_of(world.stub.CreatePost(request, metadata=ann.metadata)) == "INVALID_FIELD"


async def test_text_is_kept_to_the_character(world: World) -> None:
    ann = world.auth.person("Ann")
    body = "\u202eé\u0301 🙂\r\n\t'\"\\ %s {} $1 " + "x" * 19_000
    post = await world.stub.CreatePost(CreatePostRequest(title="T🙂", body=body), metadata=ann.metadata)
    read = await world.stub.GetPost(GetPostRequest(post_id=post.post_id), metadata=ann.metadata)
    assert read == post
    assert read.body == body
