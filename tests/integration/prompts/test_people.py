"""What becomes of posts and likes when auth tells that people are gone or have another name."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from promptmesh.auth.v1.events_pb2 import OrganisationDeleted, UserDeleted, UserRenamed
from promptmesh.moderation.v1.moderation_pb2 import VERDICT_ALLOW
from promptmesh.prompts.v1.events_pb2 import PostDeleted

from services.mesh.call import Caller
from services.mesh.events import Event
from services.mesh.events.erasure import NOBODY, Erasures
from services.mesh.ids import uuid7
from services.prompts.people import PostsOfGone, RenamedHandler
from tests.integration.prompts.support import Bench, person, screened

_positions = itertools.count(1)


def told(payload: Any, aggregate_id: str, version: int = 2) -> Event:
    return Event(
        *(uuid7(), payload.DESCRIPTOR.full_name, uuid7(), aggregate_id, version, datetime.now(UTC), ""),
        *(next(_positions), 0, payload),
    )


def deleted(who: Caller) -> Event:
    return told(UserDeleted(user_id=who.user_id, org_id=who.org_id), who.user_id)


def renamed(who: Caller, name: str, version: int) -> Event:
    return told(UserRenamed(user_id=who.user_id, display_name=name), who.user_id, version)


def erasures(bench: Bench, batch: int = 500) -> Erasures:
    return Erasures(bench.database, PostsOfGone(bench.outbox, batch=batch), every_s=0.0)


async def erase(bench: Bench, *events: Event, batch: int = 500) -> None:
    async with bench.database.transaction() as conn:
        await erasures(bench, batch)(conn, events)


async def rename(bench: Bench, *events: Event) -> None:
    async with bench.database.transaction() as conn:
        await RenamedHandler()(conn, events)


async def count(bench: Bench, query: str, *arguments: Any) -> int:
    async with bench.database.connection() as conn:
        return int(await conn.fetchval(query, *arguments))


async def test_a_person_who_is_gone_leaves_nothing(bench: Bench) -> None:
    gone, other = person("Gone"), person("Other")
    posts = [await bench.create(gone, f"Post {number}", "a-tag") for number in range(5)]
    kept = await bench.create(other, "Kept")
    shown = [*posts[:3], kept]
    await bench.screen(*(screened(one.post_id, 1, VERDICT_ALLOW) for one in shown))
    await bench.store.like(gone, kept.post_id)
    await bench.store.like(other, posts[0].post_id)
    await rename(bench, renamed(gone, "Gone For Good", 2))
    for _ in range(2):  # again changes nothing more
        await erase(bench, deleted(gone), batch=2)
        assert await bench.listed() == [kept.post_id]
        assert await bench.listed(tag="a-tag") == []
        seen = await bench.public(kept.post_id)
        assert seen is not None
        assert seen.like_count == 0
        told_of = [one.aggregate_id for one in await bench.log() if isinstance(one.payload, PostDeleted)]
        assert sorted(told_of) == sorted(one.post_id for one in posts)
    everywhere = "SELECT count(*) FROM posts WHERE author_id = $1 OR author_name LIKE 'Gone%'"
    assert await count(bench, everywhere, gone.user_id) == 0
    assert await count(bench, "SELECT count(*) FROM likes WHERE user_id = $1", gone.user_id) == 0
    assert await count(bench, "SELECT count(*) FROM author_names") == 0
    assert await count(bench, "SELECT count(*) FROM post_revisions WHERE title LIKE 'Post%'") == 0


async def test_what_comes_late_is_erased_too(bench: Bench) -> None:
    gone = person("Gone")
    await erase(bench, deleted(gone))
    late = await bench.create(gone, "Late")
    await bench.screen(screened(late.post_id, 1, VERDICT_ALLOW))
    assert await bench.listed() == [late.post_id]
    assert await erasures(bench).one_again()
    assert await bench.listed() == []
    soon = Erasures(bench.database, PostsOfGone(bench.outbox), every_s=300.0)
    assert await soon.one_again()
    assert not await soon.one_again()  # for the next five minutes


async def test_an_organisation_that_is_gone_takes_its_posts_along(bench: Bench) -> None:
    member, other = person("Member"), person("Other")
    colleague = replace(person("Colleague"), org_id=member.org_id)
    posts = [await bench.create(one, "A title") for one in (member, colleague, other)]
    await bench.screen(*(screened(one.post_id, 1, VERDICT_ALLOW) for one in posts))
    await erase(bench, told(OrganisationDeleted(org_id=member.org_id), member.org_id))
    assert await bench.listed() == [posts[2].post_id]
    assert await count(bench, "SELECT count(*) FROM erasures WHERE user_id = $1", NOBODY) == 1


async def test_the_newest_name_is_shown_whatever_order_they_come_in(bench: Bench) -> None:
    author = person("Ada")
    post = await bench.create(author)
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    await rename(bench, renamed(author, "Third", 4), renamed(author, "Second", 3))
    await rename(bench, renamed(author, "First", 2))
    seen = await bench.public(post.post_id)
    assert seen is not None
    assert (seen.author_name, seen.etag) == ("Third", (await bench.public(post.post_id)).etag)  # type: ignore[union-attr]
    # A token tells an older name for minutes: what is written with it shows the newest all the same.
    written = await bench.create(author)
    await bench.screen(screened(written.post_id, 1, VERDICT_ALLOW))
    shown = await bench.public(written.post_id)
    assert shown is not None
    assert shown.author_name == "Third"
