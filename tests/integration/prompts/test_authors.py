"""GetAuthor: what everyone may know of an author, and that it is right whatever happened to their posts."""

from __future__ import annotations

import asyncio
from datetime import UTC

import pytest
from promptmesh.moderation.v1.moderation_pb2 import VERDICT_ALLOW, VERDICT_HOLD, VERDICT_REJECT
from promptmesh.prompts.v1.posts_pb2 import Author, GetAuthorRequest

from services.mesh.call import Caller
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from services.prompts.authors import Authors
from services.prompts.content import Edit
from services.prompts.store import SQL
from tests.integration.prompts.support import Bench, person, screened


async def read(bench: Bench, author_id: str, most: int = 1000) -> Author:
    return await Authors(bench.store, posts_counted_max=most).GetAuthor(GetAuthorRequest(author_id=author_id), None)


async def refused(bench: Bench, author_id: str) -> MeshError:
    with pytest.raises(MeshError) as caught:
        await read(bench, author_id)
    return caught.value


async def published(bench: Bench, author: Caller, count: int = 1) -> list[str]:
    posts = [(await bench.create(author)).post_id for _ in range(count)]
    await bench.screen(*(screened(post_id, 1, VERDICT_ALLOW) for post_id in posts))
    return posts


async def test_who_published_nothing_is_told_of_like_nobody(bench: Bench) -> None:
    nobody, author = uuid7(), person()
    for verdict in (VERDICT_HOLD, VERDICT_REJECT):
        post = await bench.create(author)
        await bench.screen(screened(post.post_id, 1, verdict))
    await bench.create(author)
    error, other = await refused(bench, author.user_id), await refused(bench, nobody)
    assert error.reason == other.reason == "AUTHOR_NOT_FOUND"
    assert error.message.replace(author.user_id, "") == other.message.replace(nobody, "")


async def test_counts_are_of_what_is_published(bench: Bench) -> None:
    author, others = person("Ada"), [person() for _ in range(3)]
    first, second = await published(bench, author, 2)
    await bench.create(author)  # waits
    for other in others:
        await bench.store.like(other, first)
    await bench.store.like(others[0], second)
    await bench.store.like(others[0], second)
    await bench.store.unlike(others[1], first)
    await published(bench, others[0])  # somebody else's
    found = await read(bench, author.user_id)
    assert (found.author_id, found.author_name) == (author.user_id, "Ada")
    assert (found.published_count, found.like_count, found.more) == (2, 3, False)
    row = await bench.store.get(author, first)
    assert row is not None
    assert found.first_publish_time.ToDatetime(UTC) == row["publish_time"]


async def test_a_deleted_post_and_its_likes_are_gone(bench: Bench) -> None:
    author = person()
    [first, second] = await published(bench, author, 2)
    await bench.store.like(person(), first)
    await bench.store.delete(author, first, "")
    found = await read(bench, author.user_id)
    assert (found.published_count, found.like_count) == (1, 0)
    await bench.store.delete(author, second, "")
    assert (await refused(bench, author.user_id)).reason == "AUTHOR_NOT_FOUND"


async def test_an_edit_that_waits_changes_nothing(bench: Bench) -> None:
    author = person()
    [post_id] = await published(bench, author)
    before = await read(bench, author.user_id)
    await bench.store.update(author, post_id, "", Edit(title="Another"))
    assert await read(bench, author.user_id) == before


async def test_counts_end_at_their_bound_and_say_so(bench: Bench) -> None:
    author = person()
    posts = await published(bench, author, 4)
    for post_id in posts:
        await bench.store.like(person(), post_id)
    exact, bounded = await read(bench, author.user_id, 4), await read(bench, author.user_id, 3)
    assert (exact.published_count, exact.like_count, exact.more) == (4, 4, False)
    assert (bounded.published_count, bounded.like_count, bounded.more) == (3, 3, True)
    assert bounded.first_publish_time == exact.first_publish_time  # the oldest are counted


async def test_the_name_is_the_newest(bench: Bench) -> None:
    author = person("Ada")
    await published(bench, author)
    renamed = Caller(author.kind, user_id=author.user_id, org_id=author.org_id, display_name="Countess")
    await published(bench, renamed)
    assert (await read(bench, author.user_id)).author_name == "Countess"


async def test_likes_at_once_are_all_counted(bench: Bench) -> None:
    author = person()
    posts = await published(bench, author, 2)
    await asyncio.gather(*(bench.store.like(person(), post_id) for post_id in posts for _ in range(10)))
    assert (await read(bench, author.user_id)).like_count == 20


async def test_it_is_read_from_an_index(bench: Bench) -> None:
    await published(bench, person(), 30)
    async with bench.database.connection() as conn:
        plan = "\n".join(row[0] for row in await conn.fetch("EXPLAIN " + SQL["get_author"], uuid7(), 1000))
    assert plan.count("posts_by_author_published") == 2
    assert "Seq Scan" not in plan
    assert "Sort" not in plan
