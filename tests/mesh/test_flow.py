"""From a post to its example, through the whole mesh: publishing, holding, rejecting, editing and deleting."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from tests.mesh.client import Client, Json, eventually
from tests.mesh.conftest import NewPerson
from tests.mesh.people import CLEAN, DOUBTFUL, FORBIDDEN, Person, cases_of
from tests.mesh.upstreams import WRITER, example_call, given_up, unique_words
from tests.support.provider import Behaviour, MisbehavingProvider

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

STORY = " ".join(f"The keeper counts ship number {n} and writes it down." for n in range(1, 61))


async def test_a_post_is_moderated_published_and_gets_its_example(
    new_person: NewPerson, examples: MisbehavingProvider
) -> None:
    author = await new_person()
    examples.default = Behaviour(text=STORY, pace_s=0.002)

    # The feed is watched before there is a post, so that nothing of it can be missed.
    async with author.watch("/api/v1/feed:watch") as feed:
        assert "heartbeat" in await feed.first()
        post = await author.post(tags=["sea"])
        seen = [one for one in await feed.until(_ready(post["postId"])) if _about(one, post["postId"])]

    states = [one["post"]["state"] for one in seen if "post" in one]
    assert states == ["POST_STATE_PENDING", "POST_STATE_PUBLISHED", "POST_STATE_PUBLISHED"]
    deltas = [one["exampleDelta"] for one in seen if "exampleDelta" in one]
    assert len(deltas) > 1, "the example came whole instead of as it was written"
    shown = ""
    for delta in deltas:
        assert (delta["offset"], delta["revision"]) == (len(shown), 1)
        shown += delta["text"]
    assert STORY.startswith(shown)
    example = seen[-1]["post"]["example"]
    assert (example["text"], example["model"], example["costNanos"]) == (STORY, WRITER, "0")
    assert example["outputTokens"] == len(STORY.split())
    assert not example["usageEstimated"]


async def test_a_watcher_of_the_post_sees_the_same(new_person: NewPerson, examples: MisbehavingProvider) -> None:
    author = await new_person()
    examples.default = Behaviour(text=STORY, pace_s=0.002)
    post = await author.post()
    assert (post["state"], post["revision"], post["publishedRevision"]) == ("POST_STATE_PENDING", 1, 0)

    async with author.watch(f"/api/v1/posts/{post['postId']}:watch") as watch:
        seen = await watch.until(_ready(post["postId"]))

    order = ["POST_STATE_PENDING", "POST_STATE_PUBLISHED"]
    states = [order.index(one["post"]["state"]) for one in seen if "post" in one]
    assert states == sorted(states)
    assert STORY.startswith("".join(one["exampleDelta"]["text"] for one in seen if "exampleDelta" in one))
    assert seen[-1]["post"]["example"]["text"] == STORY
    assert [int(one["cursor"]) for one in seen] == sorted(int(one["cursor"]) for one in seen)


async def test_everyone_finds_what_is_published(someone: Person, client: Client) -> None:
    tag = f"t{uuid.uuid4().hex[:12]}"
    first = await someone.post(tags=[tag])
    await someone.settled(first["postId"], "PUBLISHED")
    second = await someone.post(tags=[tag, "other"])
    await someone.settled(second["postId"], "PUBLISHED")

    listed = (await client.ask("GET", f"/api/v1/posts?tag={tag}")).ok()["posts"]
    page = (await client.ask("GET", f"/api/v1/posts?tag={tag}&pageSize=1")).ok()
    rest = (await client.ask("GET", f"/api/v1/posts?tag={tag}&pageSize=1&pageToken={page['nextPageToken']}")).ok()
    by_author = (await client.ask("GET", f"/api/v1/posts?authorId={someone.user_id}&tag=other")).ok()["posts"]

    assert [post["postId"] for post in listed] == [second["postId"], first["postId"]]
    assert [post["postId"] for post in page["posts"] + rest["posts"]] == [second["postId"], first["postId"]]
    assert rest["nextPageToken"] == ""
    assert [post["postId"] for post in by_author if tag in post["tags"]] == [second["postId"]]


async def test_a_held_post_is_published_once_a_moderator_allows_it(
    someone: Person, stranger: Person, moderator: Person
) -> None:
    post_id = (await someone.post(DOUBTFUL))["postId"]
    held = await someone.settled(post_id, "HELD")

    assert held["reasons"][0]["category"] == "prompt_injection"
    assert held["publishedRevision"] == 0
    assert (await stranger.read(post_id)).status == 404
    assert (await moderator.read(post_id)).ok()["state"] == "POST_STATE_HELD"
    (case,) = await cases_of(moderator, post_id)
    assert (case["body"], case["authorId"], case["state"]) == (DOUBTFUL, someone.user_id, "CASE_STATE_OPEN")

    async with someone.watch(f"/api/v1/posts/{post_id}:watch") as watch:
        resolved = await moderator.ask(
            "POST", f"/api/v1/moderation/cases/{case['caseId']}:resolve", {"decision": "VERDICT_ALLOW", "note": "Fine."}
        )
        seen = await watch.until(lambda one: one.get("post", {}).get("state") == "POST_STATE_PUBLISHED")

    assert resolved.ok()["resolverId"] == moderator.user_id
    assert seen[-1]["post"]["reasons"] == []
    assert (await stranger.read(post_id)).ok()["state"] == "POST_STATE_PUBLISHED"
    assert (await someone.with_example(post_id))["example"]["model"] == WRITER
    assert not await cases_of(moderator, post_id)


async def test_a_held_post_that_a_moderator_rejects_tells_its_author_why(
    someone: Person, stranger: Person, moderator: Person
) -> None:
    post_id = (await someone.post(DOUBTFUL))["postId"]
    await someone.settled(post_id, "HELD")
    (case,) = await cases_of(moderator, post_id)
    resolve = f"/api/v1/moderation/cases/{case['caseId']}:resolve"
    decision = {"decision": "VERDICT_REJECT", "note": "Seen before.", "publicReason": "Please do not do this."}

    (await moderator.ask("POST", resolve, decision)).ok()
    rejected = await someone.settled(post_id, "REJECTED")

    assert rejected["reasons"][0]["message"] == "Please do not do this."
    assert "Seen before." not in str(rejected)
    assert (await stranger.read(post_id)).status == 404
    # The same decision again changes nothing, another one is refused.
    assert (await moderator.ask("POST", resolve, decision)).ok()["decision"] == "VERDICT_REJECT"
    other = await moderator.ask("POST", resolve, {"decision": "VERDICT_ALLOW"})
    assert (other.status, other.json["details"][0]["reason"]) == (400, "CASE_RESOLVED")


async def test_who_is_no_moderator_has_no_cases(someone: Person) -> None:
    answer = await someone.ask("GET", "/api/v1/moderation/cases")

    assert (answer.status, answer.json["details"][0]["reason"]) == (403, "ROLE_MISSING")


async def test_a_rejected_post_says_why_to_its_author_and_is_not_there_for_others(
    someone: Person, stranger: Person, client: Client
) -> None:
    post_id = (await someone.post(FORBIDDEN))["postId"]

    rejected = await someone.settled(post_id, "REJECTED")

    assert rejected["reasons"][0]["category"] == "illicit/violent"
    assert rejected["reasons"][0]["message"]
    for other in (await stranger.read(post_id), await client.ask("GET", f"/api/v1/posts/{post_id}")):
        assert (other.status, other.json["details"][0]["reason"]) == (404, "POST_NOT_FOUND")
    own = (await someone.ask("GET", f"/api/v1/posts?authorId={someone.user_id}")).ok()["posts"]
    theirs = (await stranger.ask("GET", f"/api/v1/posts?authorId={someone.user_id}")).ok()["posts"]
    assert post_id in {post["postId"] for post in own}
    assert post_id not in {post["postId"] for post in theirs}
    assert (await stranger.ask("POST", f"/api/v1/posts/{post_id}:like", {})).status == 404


async def test_an_edit_is_not_seen_before_it_is_allowed(someone: Person, stranger: Person, moderator: Person) -> None:
    post_id = (await someone.post())["postId"]
    before = await someone.settled(post_id, "PUBLISHED")

    edited = (await someone.edit(post_id, body=DOUBTFUL, etag=before["etag"])).ok()
    held = await someone.settled(post_id, "HELD", 2)

    assert (edited["revision"], edited["publishedRevision"], edited["state"]) == (2, 1, "POST_STATE_PENDING")
    assert held["body"] == DOUBTFUL
    shown = (await stranger.read(post_id)).ok()
    assert (shown["body"], shown["revision"], shown["state"]) == (CLEAN, 1, "POST_STATE_PUBLISHED")
    assert shown["reasons"] == []

    (case,) = await cases_of(moderator, post_id)
    await moderator.ask("POST", f"/api/v1/moderation/cases/{case['caseId']}:resolve", {"decision": "VERDICT_ALLOW"})
    await someone.settled(post_id, "PUBLISHED", 2)
    shown = (await stranger.read(post_id)).ok()
    assert (shown["body"], shown["revision"], shown["publishedRevision"]) == (DOUBTFUL, 2, 2)


async def test_a_rejected_edit_leaves_the_old_revision_up(someone: Person, stranger: Person) -> None:
    post_id = (await someone.post())["postId"]
    await someone.with_example(post_id)

    (await someone.edit(post_id, body=FORBIDDEN)).ok()
    rejected = await someone.settled(post_id, "REJECTED", 2)

    assert rejected["publishedRevision"] == 1
    shown = (await stranger.read(post_id)).ok()
    assert (shown["body"], shown["revision"], shown["state"]) == (CLEAN, 1, "POST_STATE_PUBLISHED")
    assert shown["example"]["state"] == "EXAMPLE_STATE_READY"
    # A third revision, clean again, replaces both.
    (await someone.edit(post_id, body=f"{CLEAN} Again.")).ok()
    await someone.settled(post_id, "PUBLISHED", 3)
    assert (await stranger.read(post_id)).ok()["body"] == f"{CLEAN} Again."


async def test_an_edit_makes_a_held_revisions_case_obsolete(someone: Person, moderator: Person) -> None:
    post_id = (await someone.post(DOUBTFUL))["postId"]
    await someone.settled(post_id, "HELD")
    (case,) = await cases_of(moderator, post_id)

    (await someone.edit(post_id, body=CLEAN)).ok()
    await someone.settled(post_id, "PUBLISHED", 2)

    late = await moderator.ask(
        "POST", f"/api/v1/moderation/cases/{case['caseId']}:resolve", {"decision": "VERDICT_REJECT"}
    )
    assert (late.status, late.json["details"][0]["reason"]) == (400, "CASE_RESOLVED")
    assert (await someone.read(post_id)).ok()["state"] == "POST_STATE_PUBLISHED"


async def test_an_edit_while_the_example_is_written_gets_an_example_of_its_own(
    someone: Person, examples: MisbehavingProvider
) -> None:
    examples.default = Behaviour(text=STORY, pace_s=0.05)
    first, second = unique_words(), unique_words()
    post_id = (await someone.post(first))["postId"]
    writing = await example_call(examples, first)

    examples.default = Behaviour(text="A second example.")
    (await someone.edit(post_id, body=second)).ok()
    done = await someone.with_example(post_id, 2)

    assert (done["body"], done["example"]["text"]) == (second, "A second example.")
    await given_up(writing)


async def test_deleting_at_once_is_safe(someone: Person, stranger: Person) -> None:
    post_id = (await someone.post())["postId"]

    async with someone.watch(f"/api/v1/posts/{post_id}:watch") as watch:
        assert (await someone.ask("DELETE", f"/api/v1/posts/{post_id}")).ok() == {}
        (done,) = (await watch.rest())[-1:]

    assert done["done"]["reason"] == "WATCH_END_DELETED"
    for who in (someone, stranger):
        assert (await who.read(post_id)).status == 404
    assert (await someone.ask("DELETE", f"/api/v1/posts/{post_id}")).status == 404
    assert (await someone.edit(post_id, title="Still there?")).status == 404


async def test_deleting_what_is_held_closes_its_case(someone: Person, moderator: Person) -> None:
    post_id = (await someone.post(DOUBTFUL))["postId"]
    await someone.settled(post_id, "HELD")
    (case,) = await cases_of(moderator, post_id)

    (await someone.ask("DELETE", f"/api/v1/posts/{post_id}")).ok()

    async def closed() -> Json | None:
        found: Json = (await moderator.ask("GET", f"/api/v1/moderation/cases/{case['caseId']}")).ok()
        return found if found["state"] == "CASE_STATE_OBSOLETE" else None

    obsolete = await eventually("the case is obsolete", closed)
    assert DOUBTFUL not in str(obsolete), "what was deleted is still kept"
    late = await moderator.ask(
        "POST", f"/api/v1/moderation/cases/{case['caseId']}:resolve", {"decision": "VERDICT_ALLOW"}
    )
    assert late.json["details"][0]["reason"] == "CASE_RESOLVED"
    assert (await someone.read(post_id)).status == 404


async def test_deleting_while_the_example_streams_stops_the_work_up_to_the_provider(
    someone: Person, stranger: Person, examples: MisbehavingProvider
) -> None:
    examples.default = Behaviour(text=STORY, pace_s=0.05)
    words = unique_words()
    post_id = (await someone.post(words))["postId"]

    async with stranger.watch("/api/v1/feed:watch") as feed, someone.watch(f"/api/v1/posts/{post_id}:watch") as watch:
        await watch.until(lambda one: "exampleDelta" in one)
        call = await example_call(examples, words)
        (await someone.ask("DELETE", f"/api/v1/posts/{post_id}")).ok()
        last = (await watch.rest())[-1]
        await feed.until(lambda one: one.get("gone", {}).get("postId") == post_id)

    assert last["done"]["reason"] == "WATCH_END_DELETED"
    await given_up(call)
    assert (await stranger.read(post_id)).status == 404


async def test_likes_are_counted_once_a_person(someone: Person, stranger: Person, client: Client) -> None:
    post_id = (await someone.post())["postId"]
    await someone.settled(post_id, "PUBLISHED")
    like, unlike = f"/api/v1/posts/{post_id}:like", f"/api/v1/posts/{post_id}:unlike"

    assert (await stranger.ask("POST", unlike, {})).ok()["likeCount"] == "0"
    for _ in range(2):
        liked = (await stranger.ask("POST", like, {})).ok()
        assert (liked["likeCount"], liked["liked"]) == ("1", True)
    assert (await someone.ask("POST", like, {})).ok()["likeCount"] == "2"
    anyone = (await client.ask("GET", f"/api/v1/posts/{post_id}")).ok()
    assert (anyone["likeCount"], anyone["liked"]) == ("2", False)
    for _ in range(2):
        unliked = (await stranger.ask("POST", unlike, {})).ok()
        assert (unliked["likeCount"], unliked["liked"]) == ("1", False)
    assert (await client.ask("POST", like, {})).status == 401


async def test_an_example_that_moderation_refuses_is_withheld(someone: Person, examples: MisbehavingProvider) -> None:
    examples.default = Behaviour(text=f"{STORY[:200]} {FORBIDDEN} {STORY[:200]}", pace_s=0.001)
    post_id = (await someone.post())["postId"]

    async with someone.watch(f"/api/v1/posts/{post_id}:watch") as watch:
        seen = await watch.until(
            lambda one: one.get("post", {}).get("example", {}).get("state") == "EXAMPLE_STATE_WITHHELD"
        )

    assert "pipe" not in str(seen), "a refused text was shown"
    assert seen[-1]["post"]["example"]["failure"]
    assert seen[-1]["post"]["state"] == "POST_STATE_PUBLISHED"


async def test_an_example_is_tried_again_when_the_provider_failed(
    someone: Person, examples: MisbehavingProvider
) -> None:
    words = unique_words()
    examples.default = Behaviour(status=503)
    post_id = (await someone.post(words))["postId"]
    await example_call(examples, words)

    examples.default = Behaviour(text="At last.")

    assert (await someone.with_example(post_id))["example"]["text"] == "At last."


def _about(message: Json, post_id: str) -> bool:
    return post_id in (message.get("post", {}).get("postId"), message.get("exampleDelta", {}).get("postId"))


def _ready(post_id: str) -> Callable[[Json], bool]:
    def ready(message: Json) -> bool:
        post = message.get("post", {})
        return post.get("postId") == post_id and post.get("example", {}).get("state") == "EXAMPLE_STATE_READY"

    return ready
