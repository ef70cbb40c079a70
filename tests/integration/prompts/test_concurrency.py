"""Who meets whom at the same post: whichever comes first, the outcome is one that some order explains."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from promptmesh.moderation.v1.moderation_pb2 import VERDICT_ALLOW, VERDICT_HOLD
from promptmesh.prompts.v1 import events_pb2, posts_pb2
from promptmesh.prompts.v1.events_pb2 import ExampleRequested, PostChanged, PostDeleted, PostSubmitted

from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from services.prompts.content import Content, Edit
from tests.integration.prompts.support import Bench, finished, person, screened

ROUNDS = 12


async def together(*awaitables: Awaitable[Any]) -> list[Any]:
    """Runs all at once; errors of ours are results, others are raised."""
    results = await asyncio.gather(*awaitables, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, MeshError):
            raise result
    return results


async def test_twenty_creations_under_one_request_id_make_one_post(bench: Bench) -> None:
    ann, request_id, content = person("Ann"), uuid7(), Content("T", "B", ("a",))
    posts = await together(*(bench.store.create(ann, content, request_id) for _ in range(20)))
    assert len({post.post_id for post in posts}) == 1
    assert all(post == posts[0] for post in posts)
    assert len(await bench.payloads(PostSubmitted)) == 1
    async with bench.database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM posts") == 1
        assert await conn.fetchval("SELECT count(*) FROM post_revisions") == 1


async def test_different_contents_under_one_request_id_leave_one_and_refuse_the_rest(bench: Bench) -> None:
    ann, request_id = person("Ann"), uuid7()
    results = await together(
        *(bench.store.create(ann, Content("T", str(number), ()), request_id) for number in range(10))
    )
    refused = [result for result in results if isinstance(result, MeshError)]
    assert len(refused) == 9
    assert {error.reason for error in refused} == {"REQUEST_ID_REUSED"}


async def test_an_edit_meets_a_verdict_and_only_what_was_screened_is_seen(bench: Bench) -> None:
    ann = person("Ann")
    for _ in range(ROUNDS):
        post = await bench.create(ann, body="Screened")
        await together(
            bench.screen(screened(post.post_id, 1, VERDICT_ALLOW)),
            bench.store.update(ann, post.post_id, "", Edit(body="Unscreened")),
        )
        shown = await bench.public(post.post_id)
        assert shown is None or (shown.body, shown.revision) == ("Screened", 1)
        own = await bench.seen(ann, post.post_id)
        assert own is not None
        assert (own.state, own.body, own.revision) == (posts_pb2.POST_STATE_PENDING, "Unscreened", 2)
    for change in await bench.payloads(PostChanged):
        if change.HasField("published"):
            assert change.published.body == "Screened"


async def test_edits_with_one_etag_let_one_through(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann)
    results = await together(
        *(bench.store.update(ann, post.post_id, post.etag, Edit(title=f"Title {number}")) for number in range(8))
    )
    assert sorted(isinstance(result, MeshError) for result in results) == [False] + [True] * 7
    assert {result.reason for result in results if isinstance(result, MeshError)} == {"ETAG_MISMATCH"}
    own = await bench.seen(ann, post.post_id)
    assert own is not None
    assert own.revision == 2


async def test_edits_without_etag_are_all_kept_as_revisions(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann)
    await together(*(bench.store.update(ann, post.post_id, "", Edit(title=f"Title {n}")) for n in range(8)))
    events = [event for event in await bench.log() if isinstance(event.payload, PostSubmitted)]
    assert sorted(event.payload.revision for event in events) == list(range(1, 10))
    assert sorted(event.aggregate_version for event in events) == list(range(1, 10))


async def test_a_deletion_meets_verdict_and_example_and_nothing_comes_back(bench: Bench) -> None:
    ann = person("Ann")
    for _ in range(ROUNDS):
        post = await bench.create(ann, "T", "tag")
        await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
        await bench.store.update(ann, post.post_id, "", Edit(body="Again"))
        await together(
            bench.attach(finished(post.post_id, 1)),
            bench.screen(screened(post.post_id, 2, VERDICT_ALLOW)),
            bench.store.delete(ann, post.post_id, ""),
            bench.store.like(person(), post.post_id),
            bench.store.delete(ann, post.post_id, ""),
        )
        assert await bench.seen(ann, post.post_id) is None
        of_post = [event for event in await bench.log() if event.aggregate_id == post.post_id]
        last = max(of_post, key=lambda event: event.aggregate_version)
        assert isinstance(last.payload, PostDeleted)
        assert sum(isinstance(event.payload, PostDeleted) for event in of_post) == 1
    async with bench.database.connection() as conn:
        for table in ("post_revisions", "published_tags", "likes"):
            assert await conn.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_one_verdict_that_comes_to_many_consumers_publishes_once(bench: Bench) -> None:
    ann = person("Ann")
    posts = [await bench.create(ann) for _ in range(10)]
    # Each consumer has them in another order: locks are taken in one.
    await together(
        *(
            bench.screen(*(screened(post.post_id, 1, VERDICT_ALLOW) for post in posts[turn:] + posts[:turn]))
            for turn in range(len(posts))
        )
    )
    assert len(await bench.payloads(ExampleRequested)) == len(posts)
    assert len(await bench.payloads(PostChanged)) == len(posts)
    await together(
        *(
            bench.attach(*(finished(post.post_id, 1) for post in posts[turn:] + posts[:turn]))
            for turn in range(len(posts))
        )
    )
    assert len(await bench.payloads(PostChanged)) == 2 * len(posts)


async def test_held_and_allowed_at_once_ends_published(bench: Bench) -> None:
    ann = person("Ann")
    for _ in range(ROUNDS):
        post = await bench.create(ann)
        await together(
            bench.screen(screened(post.post_id, 1, VERDICT_HOLD)),
            bench.screen(screened(post.post_id, 1, VERDICT_ALLOW)),
        )
        shown = await bench.public(post.post_id)
        assert shown is not None
        assert shown.state == posts_pb2.POST_STATE_PUBLISHED
    assert all(
        change.change != events_pb2.POST_CHANGE_HELD or not change.HasField("published")
        for change in await bench.payloads(PostChanged)
    )


@pytest.mark.parametrize("fans", [1, 5])
async def test_the_count_is_the_number_of_likes_whoever_likes_and_takes_back_at_once(bench: Bench, fans: int) -> None:
    post = await bench.create(person("Ann"))
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    people = [person(f"Fan {number}") for number in range(fans)]
    for _ in range(ROUNDS):
        await together(
            *(
                change(who, post.post_id)
                for who in people
                for change in (bench.store.like, bench.store.unlike, bench.store.like, bench.store.unlike)
            )
        )
        async with bench.database.connection() as conn:
            likes = await conn.fetchval("SELECT count(*) FROM likes")
        shown = await bench.public(post.post_id)
        assert shown is not None
        assert shown.like_count == likes
    await together(*(bench.store.like(who, post.post_id) for who in people for _ in range(3)))
    shown = await bench.public(post.post_id)
    assert shown is not None
    assert shown.like_count == fans
