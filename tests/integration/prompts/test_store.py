"""Posts from creation to deletion, one step at a time."""

from __future__ import annotations

import pytest
from promptmesh.access.v1 import access_pb2
from promptmesh.inference.v1.events_pb2 import EXAMPLE_OUTCOME_FAILED, EXAMPLE_OUTCOME_WITHHELD
from promptmesh.moderation.v1 import moderation_pb2
from promptmesh.moderation.v1.moderation_pb2 import VERDICT_ALLOW, VERDICT_HOLD, VERDICT_REJECT, Finding
from promptmesh.prompts.v1 import events_pb2, posts_pb2
from promptmesh.prompts.v1.events_pb2 import ExampleRequested, PostChanged, PostDeleted, PostSubmitted

from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from services.prompts.changes import created_post
from services.prompts.content import Content, Edit
from tests.integration.prompts.support import Bench, finished, person, screened


async def refused(awaitable: object) -> MeshError:
    """The error that a call is refused with."""
    with pytest.raises(MeshError) as caught:
        await awaitable  # type: ignore[misc]
    return caught.value


async def test_a_new_post_waits_and_only_its_author_and_overseers_see_it(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann, "A title", "b", "a", body="A prompt")
    assert post == await bench.seen(ann, post.post_id)
    assert (post.state, post.revision, post.published_revision) == (posts_pb2.POST_STATE_PENDING, 1, 0)
    assert (post.author_id, post.author_name, post.org_id) == (ann.user_id, "Ann", ann.org_id)
    assert (post.title, post.body, list(post.tags)) == ("A title", "A prompt", ["b", "a"])
    assert not post.HasField("publish_time")
    for role in (access_pb2.ROLE_MODERATOR, access_pb2.ROLE_ADMIN, access_pb2.ROLE_AUDITOR):
        assert await bench.seen(person("Mo", role), post.post_id) == post
    assert await bench.public(post.post_id) is None
    assert await bench.seen(person("Bob"), post.post_id) is None
    assert await bench.listed() == await bench.listed(tag="a") == await bench.listed(author_id=ann.user_id) == []
    assert await bench.listed(ann, author_id=ann.user_id) == [post.post_id]


async def test_its_one_event_holds_all_that_its_author_is_to_see(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann, "A title", "a")
    [event] = await bench.log()
    assert isinstance(event.payload, PostSubmitted)
    assert (event.aggregate_id, event.aggregate_version, event.org_id) == (post.post_id, 1, ann.org_id)
    told = created_post(event, event.payload)
    for time in ("create_time", "update_time"):  # the event's own clock was read a moment later
        getattr(told, time).CopyFrom(getattr(post, time))
    assert told == post


async def test_allowed_it_is_published_and_asks_for_an_example(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann, "A title", "a", "b")
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    shown = await bench.public(post.post_id)
    assert shown is not None
    assert (shown.state, shown.published_revision) == (posts_pb2.POST_STATE_PUBLISHED, 1)
    assert shown.example.state == posts_pb2.EXAMPLE_STATE_WRITING
    assert shown.HasField("publish_time")
    assert shown == await bench.seen(ann, post.post_id)
    assert shown.etag != post.etag
    assert await bench.listed() == await bench.listed(tag="b") == await bench.listed(author_id=ann.user_id)
    assert await bench.listed() == [post.post_id]
    _, changed, requested = await bench.log()
    assert changed.payload == PostChanged(change=events_pb2.POST_CHANGE_PUBLISHED, latest=shown, published=shown)
    assert changed.aggregate_version == 2
    assert requested.payload == ExampleRequested(post_id=post.post_id, revision=1, title=post.title, body=post.body)


async def test_held_then_allowed_or_rejected(bench: Bench) -> None:
    ann = person("Ann")
    one, two = [await bench.create(ann) for _ in range(2)]
    await bench.screen(*(screened(post.post_id, 1, VERDICT_HOLD) for post in (one, two)))
    for post in (one, two):
        held = await bench.seen(ann, post.post_id)
        assert held is not None
        assert held.state == posts_pb2.POST_STATE_HELD
        assert await bench.public(post.post_id) is None
    await bench.screen(screened(one.post_id, 1, VERDICT_ALLOW), screened(two.post_id, 1, VERDICT_REJECT))
    assert await bench.listed() == [one.post_id]
    published = await bench.public(one.post_id)
    assert published is not None
    assert not published.reasons
    assert [change.change for change in await bench.payloads(PostChanged)] == [
        events_pb2.POST_CHANGE_HELD,
        events_pb2.POST_CHANGE_HELD,
        events_pb2.POST_CHANGE_PUBLISHED,
        events_pb2.POST_CHANGE_REJECTED,
    ]


async def test_its_author_is_told_why_once_for_each_reason_and_nothing_of_the_rules(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann)
    finding = Finding(
        category=moderation_pb2.CATEGORY_HATE_THREATENING,
        rule="secret-rule",
        message="It threatens people.",
        verdict=VERDICT_REJECT,
    )
    minor = Finding(category=moderation_pb2.CATEGORY_SPAM, rule="soft", message="Perhaps.", verdict=VERDICT_ALLOW)
    bare = Finding(category=moderation_pb2.CATEGORY_PROMPT_INJECTION, verdict=VERDICT_HOLD)
    await bench.screen(
        screened(
            post.post_id, 1, VERDICT_REJECT, findings=[finding, finding, minor, bare], public_reason="Not here, please."
        )
    )
    rejected = await bench.seen(ann, post.post_id)
    assert rejected is not None
    reasons = [(reason.category, reason.message) for reason in rejected.reasons]
    assert reasons[:2] == [("", "Not here, please."), ("hate/threatening", "It threatens people.")]
    assert reasons[2][0] == "prompt_injection"
    assert len(reasons) == 3
    assert "secret-rule" not in str(rejected)


async def test_a_verdict_without_findings_still_gives_a_reason(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann)
    await bench.screen(screened(post.post_id, 1, VERDICT_REJECT))
    rejected = await bench.seen(ann, post.post_id)
    assert rejected is not None
    assert len(rejected.reasons) == 1


async def test_a_verdict_that_is_none_fails_loudly_and_changes_nothing(bench: Bench) -> None:
    post = await bench.create(person())
    with pytest.raises(ValueError, match="expected ALLOW, HOLD or REJECT"):
        await bench.screen(screened(post.post_id, 1, moderation_pb2.VERDICT_UNSPECIFIED))
    assert await bench.public(post.post_id) is None


async def test_stale_and_repeated_verdicts_change_nothing(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann)
    await bench.store.update(ann, post.post_id, "", Edit(body="Another"))
    before = len(await bench.log())
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))  # of the text before
    await bench.screen(screened(post.post_id, 3, VERDICT_ALLOW))  # of one that is not there
    await bench.screen(screened(uuid7(), 1, VERDICT_ALLOW))
    assert await bench.public(post.post_id) is None
    assert len(await bench.log()) == before
    await bench.screen(screened(post.post_id, 2, VERDICT_ALLOW))
    await bench.screen(screened(post.post_id, 2, VERDICT_ALLOW), screened(post.post_id, 2, VERDICT_REJECT))
    shown = await bench.public(post.post_id)
    assert shown is not None
    assert shown.body == "Another"
    assert len(await bench.log()) == before + 2


async def test_one_batch_may_hold_several_verdicts_about_a_post(bench: Bench) -> None:
    ann = person("Ann")
    one, two = await bench.create(ann), await bench.create(ann)
    await bench.screen(
        screened(one.post_id, 1, VERDICT_HOLD),
        screened(two.post_id, 1, VERDICT_ALLOW),
        screened(one.post_id, 1, VERDICT_HOLD),
        screened(one.post_id, 1, VERDICT_ALLOW),
    )
    assert set(await bench.listed()) == {one.post_id, two.post_id}
    held, published = [
        change.change for change in await bench.payloads(PostChanged) if change.latest.post_id == one.post_id
    ]
    assert (held, published) == (events_pb2.POST_CHANGE_HELD, events_pb2.POST_CHANGE_PUBLISHED)


async def test_while_an_edit_waits_or_was_rejected_everyone_sees_what_was_published(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann, "Old", "old", "both")
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    await bench.attach(finished(post.post_id, 1))
    first = await bench.public(post.post_id)
    edited = await bench.store.update(ann, post.post_id, "", Edit(title="New", tags=("new", "both")))
    assert (edited.state, edited.revision, edited.published_revision) == (posts_pb2.POST_STATE_PENDING, 2, 1)
    assert await bench.public(post.post_id) == first
    await bench.screen(screened(post.post_id, 2, VERDICT_REJECT))
    assert await bench.public(post.post_id) == first
    assert await bench.listed(tag="old") == [post.post_id]
    assert await bench.listed(tag="new") == []
    assert await bench.listed(ann, author_id=ann.user_id, tag="new") == [post.post_id]
    await bench.store.update(ann, post.post_id, "", Edit(title="Newer"))
    await bench.screen(screened(post.post_id, 3, VERDICT_ALLOW))
    shown = await bench.public(post.post_id)
    assert first is not None
    assert shown is not None
    assert (shown.title, shown.revision) == ("Newer", 3)
    assert shown.publish_time == first.publish_time
    assert shown.example == posts_pb2.Example(state=posts_pb2.EXAMPLE_STATE_WRITING)
    assert await bench.listed(tag="old") == []
    assert await bench.listed(tag="new") == await bench.listed(tag="both") == [post.post_id]


async def test_an_edit_says_to_moderation_what_to_screen_and_to_watchers_what_is_new(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann, "Old", "a")
    edited = await bench.store.update(ann, post.post_id, post.etag, Edit(body="New body"))
    submitted = (await bench.payloads(PostSubmitted))[-1]
    assert submitted == PostSubmitted(
        post_id=post.post_id,
        revision=2,
        author_id=ann.user_id,
        author_name="Ann",
        title="Old",
        body="New body",
        tags=["a"],
    )
    [changed] = await bench.payloads(PostChanged)
    assert changed == PostChanged(change=events_pb2.POST_CHANGE_SUBMITTED, latest=edited)


async def test_an_edit_that_changes_nothing_makes_no_revision(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann, "T", "a")
    same = await bench.store.update(ann, post.post_id, post.etag, Edit(title="T", body=post.body, tags=("a",)))
    assert same == post
    assert len(await bench.log()) == 1


async def test_etags_change_with_content_and_state_and_refuse_stale_edits(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann)
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    error = await refused(bench.store.update(ann, post.post_id, post.etag, Edit(title="X")))
    assert error.reason == "ETAG_MISMATCH"
    assert (await refused(bench.store.delete(ann, post.post_id, post.etag))).reason == "ETAG_MISMATCH"
    assert (await refused(bench.store.delete(ann, post.post_id, "nonsense"))).reason == "ETAG_MISMATCH"
    present = await bench.seen(ann, post.post_id)
    assert present is not None
    # An example that arrives is nothing that the author wrote over.
    await bench.attach(finished(post.post_id, 1))
    edited = await bench.store.update(ann, post.post_id, present.etag, Edit(title="X"))
    assert edited.etag not in (post.etag, present.etag)
    assert (await refused(bench.store.update(ann, post.post_id, present.etag, Edit(title="Y")))).reason == (
        "ETAG_MISMATCH"
    )


async def test_anothers_post_is_not_theirs_to_change(bench: Bench) -> None:
    ann, bob, mo = person("Ann"), person("Bob"), person("Mo", access_pb2.ROLE_MODERATOR)
    post = await bench.create(ann)
    for change in (
        lambda who: bench.store.update(who, post.post_id, "", Edit(title="X")),
        lambda who: bench.store.delete(who, post.post_id, ""),
    ):
        assert (await refused(change(bob))).reason == "POST_NOT_FOUND"
        assert (await refused(change(mo))).reason == "NOT_OWNER"
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    assert (await refused(bench.store.delete(bob, post.post_id, ""))).reason == "NOT_OWNER"
    assert (await refused(bench.store.update(ann, uuid7(), "", Edit(title="X")))).reason == "POST_NOT_FOUND"


async def test_deleted_all_its_content_is_gone_at_once_and_nothing_brings_it_back(bench: Bench) -> None:
    ann, bob = person("Ann"), person("Bob")
    post = await bench.create(ann, "Secret title", "tag", body="Secret body")
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    await bench.store.like(bob, post.post_id)
    await bench.store.delete(ann, post.post_id, "")
    assert await bench.seen(ann, post.post_id) is None
    assert await bench.listed() == await bench.listed(tag="tag") == await bench.listed(ann, author_id=ann.user_id) == []
    assert (await refused(bench.store.delete(ann, post.post_id, ""))).reason == "POST_NOT_FOUND"
    assert (await refused(bench.store.update(ann, post.post_id, "", Edit(title="X")))).reason == "POST_NOT_FOUND"
    assert (await refused(bench.store.like(bob, post.post_id))).reason == "POST_NOT_FOUND"
    before = await bench.log()
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    await bench.attach(finished(post.post_id, 1))
    assert len(await bench.log()) == len(before)
    assert before[-1].payload == PostDeleted(
        post_id=post.post_id, author_id=ann.user_id, published_tags=["tag"], published_revision=1
    )
    assert before[-1].aggregate_version == 3
    async with bench.database.connection() as conn:
        for table in ("post_revisions", "published_tags", "likes"):
            assert await conn.fetchval(f"SELECT count(*) FROM {table}") == 0
        left = str(dict(await conn.fetchrow("SELECT * FROM posts") or {}))
    assert "Secret" not in left
    assert "Ann" not in left


async def test_examples_are_attached_to_the_published_revision_alone(bench: Bench) -> None:
    ann = person("Ann")
    post = await bench.create(ann)
    await bench.attach(finished(post.post_id, 1, "Too early."))
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    await bench.attach(finished(post.post_id, 2, "Of no revision."))
    shown = await bench.public(post.post_id)
    assert shown is not None
    assert shown.example.state == posts_pb2.EXAMPLE_STATE_WRITING
    await bench.attach(finished(post.post_id, 1, "Right."), finished(post.post_id, 1, "Twice."))
    shown = await bench.public(post.post_id)
    assert shown is not None
    example = shown.example
    assert (example.state, example.text, example.model) == (posts_pb2.EXAMPLE_STATE_READY, "Right.", "demo")
    assert (example.input_tokens, example.output_tokens, example.cost_nanos) == (3, 4, 5)
    assert example.HasField("create_time")
    changed = (await bench.payloads(PostChanged))[-1]
    assert changed.change == events_pb2.POST_CHANGE_EXAMPLE
    assert changed.published == shown
    assert len(await bench.payloads(PostChanged)) == 2


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (EXAMPLE_OUTCOME_FAILED, posts_pb2.EXAMPLE_STATE_FAILED),
        (EXAMPLE_OUTCOME_WITHHELD, posts_pb2.EXAMPLE_STATE_WITHHELD),
    ],
)
async def test_text_of_an_example_that_is_not_ready_is_never_kept(bench: Bench, outcome: int, state: int) -> None:
    post = await bench.create(person())
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    await bench.attach(finished(post.post_id, 1, "Unscreened.", outcome=outcome))  # type: ignore[arg-type]
    shown = await bench.public(post.post_id)
    assert shown is not None
    assert (shown.example.state, shown.example.text) == (state, "")


async def test_likes_count_each_person_once(bench: Bench) -> None:
    ann, bob = person("Ann"), person("Bob")
    post = await bench.create(ann)
    assert (await refused(bench.store.like(ann, post.post_id))).reason == "POST_NOT_FOUND"
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    for who in (ann, bob, bob):
        await bench.store.like(who, post.post_id)
    seen = await bench.seen(bob, post.post_id)
    assert seen is not None
    assert (seen.like_count, seen.liked) == (2, True)
    public = await bench.public(post.post_id)
    assert public is not None
    assert (public.like_count, public.liked) == (2, False)
    await bench.store.unlike(bob, post.post_id)
    await bench.store.unlike(bob, post.post_id)
    seen = await bench.seen(bob, post.post_id)
    assert seen is not None
    assert (seen.like_count, seen.liked) == (1, False)
    assert await bench.store.liked(ann, post.post_id)
    assert not await bench.store.liked(bob, post.post_id)


async def test_the_same_request_id_answers_the_same_post(bench: Bench) -> None:
    ann, bob = person("Ann"), person("Bob")
    request_id, content = uuid7(), Content("T", "B", ("a",))
    post = await bench.store.create(ann, content, request_id)
    assert await bench.store.create(ann, content, request_id.upper()) == post
    assert (await bench.store.create(bob, content, request_id)).post_id != post.post_id
    error = await refused(bench.store.create(ann, Content("T", "B", ()), request_id))
    assert error.reason == "REQUEST_ID_REUSED"
    assert len(await bench.payloads(PostSubmitted)) == 2
    # A retry that comes late answers the post as it is by then, and none if it was deleted meanwhile.
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    again = await bench.store.create(ann, content, request_id)
    assert (again.post_id, again.state) == (post.post_id, posts_pb2.POST_STATE_PUBLISHED)
    await bench.store.delete(ann, post.post_id, "")
    assert (await refused(bench.store.create(ann, content, request_id))).reason == "POST_NOT_FOUND"
    assert await bench.listed(ann, author_id=ann.user_id) == []
