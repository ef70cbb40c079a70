"""Anything that can happen to posts, in any order, stale and twice: what is seen is always what a model says."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)
from promptmesh.moderation.v1.moderation_pb2 import VERDICT_ALLOW, VERDICT_HOLD, VERDICT_REJECT
from promptmesh.prompts.v1 import posts_pb2
from promptmesh.prompts.v1.events_pb2 import PostChanged, PostDeleted

from services.mesh.call import ANONYMOUS, Caller
from services.mesh.database import Database, DatabaseOptions
from services.mesh.database.setup import set_up
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from services.prompts.content import Content, Edit
from services.prompts.store import PostStore
from tests.integration.prompts.support import Bench, finished, person, screened

TAGS = ("a", "b", "c")
STATES = {
    VERDICT_ALLOW: posts_pb2.POST_STATE_PUBLISHED,
    VERDICT_HOLD: posts_pb2.POST_STATE_HELD,
    VERDICT_REJECT: posts_pb2.POST_STATE_REJECTED,
}
OPEN = (posts_pb2.POST_STATE_PENDING, posts_pb2.POST_STATE_HELD)
contents = st.builds(
    Content,
    st.sampled_from(["T", "U"]),
    st.sampled_from(["x", "y", "z"]),
    st.lists(st.sampled_from(TAGS), unique=True).map(tuple),
)
verdicts = st.sampled_from([VERDICT_ALLOW, VERDICT_HOLD, VERDICT_REJECT])
numbers = st.integers(1, 4)


@dataclass
class Expected:
    """What the model knows of a post."""

    author: Caller
    revisions: list[Content]
    request_id: str
    state: int = posts_pb2.POST_STATE_PENDING
    published: int = 0
    example: str | None = None
    likes: set[str] = field(default_factory=set)
    version: int = 1
    deleted: bool = False


class Posts(RuleBasedStateMachine):
    """The store and the handlers against the model."""

    bench: ClassVar[Bench]
    run: ClassVar[Any]
    posts = Bundle("posts")

    @initialize()
    def begin(self) -> None:
        self.authors = [person("Ann"), person("Bob")]
        self.model: dict[str, Expected] = {}
        self.done(self.clear())

    async def clear(self) -> None:
        async with self.bench.database.connection() as conn:
            await conn.execute("TRUNCATE posts, post_revisions, published_tags, likes, outbox")

    def done(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The result, or the reason of its refusal."""
        try:
            return self.run(work)
        except MeshError as error:
            return error.reason

    @rule(target=posts, content=contents, who=st.integers(0, 1))
    def create(self, content: Content, who: int) -> Any:
        if len(self.model) >= 4:
            return multiple()
        author, request_id = self.authors[who], uuid7()
        post = self.done(self.bench.store.create(author, content, request_id))
        self.model[post.post_id] = Expected(author, [content], request_id)
        return post.post_id

    @rule(post_id=posts, other=contents)
    def create_again(self, post_id: str, other: Content) -> None:
        expected = self.model[post_id]
        first = expected.revisions[0]
        store = self.bench.store
        again = self.done(store.create(expected.author, first, expected.request_id))
        assert again == "POST_NOT_FOUND" if expected.deleted else again.post_id == post_id
        if other != first:
            assert self.done(store.create(expected.author, other, expected.request_id)) == "REQUEST_ID_REUSED"

    @rule(post_id=posts, content=contents)
    def edit(self, post_id: str, content: Content) -> None:
        expected = self.model[post_id]
        edit = Edit(content.title, content.body, content.tags)
        result = self.done(self.bench.store.update(expected.author, post_id, "", edit))
        if expected.deleted:
            assert result == "POST_NOT_FOUND"
        elif content == expected.revisions[-1]:
            assert result.revision == len(expected.revisions)
        else:
            expected.revisions.append(content)
            expected.state = posts_pb2.POST_STATE_PENDING
            expected.version += 1
            assert result.revision == len(expected.revisions)

    @rule(post_id=posts)
    def delete(self, post_id: str) -> None:
        expected = self.model[post_id]
        result = self.done(self.bench.store.delete(expected.author, post_id, ""))
        assert result == ("POST_NOT_FOUND" if expected.deleted else None)
        if not expected.deleted:
            expected.deleted, expected.published = True, 0
            expected.version += 1

    @rule(batch=st.lists(st.tuples(posts, numbers, verdicts), min_size=1, max_size=6))
    def screen(self, batch: list[tuple[str, int, Any]]) -> None:
        self.done(self.bench.screen(*(screened(*one) for one in batch)))
        for post_id, revision, verdict in batch:
            expected = self.model[post_id]
            counts = not expected.deleted and revision == len(expected.revisions) and expected.state in OPEN
            if counts and expected.state != STATES[verdict]:
                expected.state = STATES[verdict]
                expected.version += 1
                if verdict == VERDICT_ALLOW:
                    expected.published, expected.example = revision, ""

    @rule(batch=st.lists(st.tuples(posts, numbers, st.sampled_from(["one", "two"])), min_size=1, max_size=6))
    def attach(self, batch: list[tuple[str, int, str]]) -> None:
        self.done(self.bench.attach(*(finished(*one) for one in batch)))
        for post_id, revision, text in batch:
            expected = self.model[post_id]
            if expected.published == revision and expected.example == "":
                expected.example = text
                expected.version += 1

    @rule(post_id=posts, who=st.integers(0, 1), likes=st.booleans())
    def like(self, post_id: str, who: int, likes: bool) -> None:
        expected, caller = self.model[post_id], self.authors[who]
        result = self.done((self.bench.store.like if likes else self.bench.store.unlike)(caller, post_id))
        if not expected.published:
            assert result == "POST_NOT_FOUND"
        elif likes:
            expected.likes.add(caller.user_id)
        else:
            expected.likes.discard(caller.user_id)

    @invariant()
    def what_is_seen(self) -> None:
        if hasattr(self, "model"):
            self.done(self.check())

    async def check(self) -> None:
        visible = [post_id for post_id, one in self.model.items() if one.published]
        assert await self.bench.listed() == sorted(visible, reverse=True)
        for tag in TAGS:
            tagged = [one for one in visible if tag in self.model[one].revisions[self.model[one].published - 1].tags]
            assert await self.bench.listed(tag=tag) == sorted(tagged, reverse=True)
        for author in self.authors:
            own = [one for one, expected in self.model.items() if expected.author is author and not expected.deleted]
            assert await self.bench.listed(author, author_id=author.user_id) == sorted(own, reverse=True)
        for post_id, expected in self.model.items():
            await self.check_post(post_id, expected)
        await self.check_log()

    async def check_post(self, post_id: str, expected: Expected) -> None:
        public = await self.bench.seen(ANONYMOUS, post_id)
        own = await self.bench.seen(expected.author, post_id)
        if expected.deleted:
            assert public is None
            assert own is None
            return
        assert own is not None
        assert (own.state, own.revision) == (expected.state, len(expected.revisions))
        assert Content(own.title, own.body, tuple(own.tags)) == expected.revisions[-1]
        assert own.liked == (expected.author.user_id in expected.likes)
        assert (public is None) == (expected.published == 0)
        if public is not None:
            assert (public.state, public.revision) == (posts_pb2.POST_STATE_PUBLISHED, expected.published)
            assert Content(public.title, public.body, tuple(public.tags)) == expected.revisions[expected.published - 1]
            assert public.example.text == expected.example
            assert public.like_count == own.like_count == len(expected.likes)
            assert not public.reasons

    async def check_log(self) -> None:
        """Each version of a post was told of, and the last word about each is how it is."""
        last: dict[str, tuple[int, Any]] = {}
        versions: dict[str, set[int]] = {}
        for event in await self.bench.log():
            versions.setdefault(event.aggregate_id, set()).add(event.aggregate_version)
            if isinstance(event.payload, PostChanged | PostDeleted):
                last[event.aggregate_id] = max(
                    last.get(event.aggregate_id, (0, None)),
                    (event.aggregate_version, event.payload),
                    key=lambda one: one[0],
                )
        for post_id, expected in self.model.items():
            assert versions[post_id] == set(range(1, expected.version + 1))
            if expected.version > 1:
                version, payload = last[post_id]
                assert version == expected.version
                if isinstance(payload, PostChanged):
                    now = await self.bench.public(post_id)
                    told = payload.published if payload.HasField("published") else None
                    assert (told and told.body, told and told.example.text) == (
                        now and now.body,
                        now and now.example.text,
                    )


@contextmanager
def loop_running(bench_of: Any) -> Iterator[tuple[Bench, Any]]:
    """A bench on an event loop of its own: hypothesis runs its steps outside of any."""
    with asyncio.Runner() as runner:
        database, bench = runner.run(bench_of())
        try:
            yield bench, runner.run
        finally:
            runner.run(database.close())


@pytest.mark.timeout(300)
def test_what_is_seen_is_what_was_allowed(database_url: str) -> None:
    async def bench_of() -> tuple[Database, Bench]:
        url = f"postgresql://promptmesh_prompts:machine@{database_url.partition('@')[2]}"
        await set_up({"prompts": url}, database_url, services=("prompts",))
        database = await Database.open(url, schema="prompts", options=DatabaseOptions(max_connections=2))
        outbox = Outbox("prompts", 4)
        return database, Bench(database, outbox, PostStore(database, outbox))

    with loop_running(bench_of) as (bench, run):
        Posts.bench, Posts.run = bench, staticmethod(run)
        run_state_machine_as_test(
            Posts,
            settings=settings(
                max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
            ),
        )
