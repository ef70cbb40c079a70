"""What a watcher of the feed is shown, decided from events alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from promptmesh.access.v1 import access_pb2
from promptmesh.inference.v1.events_pb2 import ExamplePiece
from promptmesh.prompts.v1 import events_pb2
from promptmesh.prompts.v1.events_pb2 import PostChanged, PostDeleted, PostSubmitted
from promptmesh.prompts.v1.posts_pb2 import Post

from services.mesh.call import ANONYMOUS, Caller, CallerKind
from services.mesh.events import Event
from services.prompts.example_buffer import ExampleBuffer
from services.prompts.feed_view import FeedView
from services.prompts.follower import follow

ANN = Caller(CallerKind.SESSION, user_id="ann", org_id="org")
ANN_ELSEWHERE = Caller(CallerKind.SESSION, user_id="ann", org_id="another")
MODERATOR = Caller(CallerKind.SESSION, user_id="mo", roles=frozenset({access_pb2.ROLE_MODERATOR}))


def event(position: int, payload: Any) -> Event:
    return Event("e", "t", "org", "p", 1, datetime(2026, 1, 1, tzinfo=UTC), "", position, 0, payload)


def post(revision: int = 1, *tags: str) -> Post:
    return Post(post_id="p", org_id="org", author_id="ann", revision=revision, tags=tags)


def changed(change: Any, latest: Post, published: Post | None = None) -> PostChanged:
    return PostChanged(change=change, latest=latest, published=published)


def buffer() -> ExampleBuffer:
    return ExampleBuffer(posts_max=10, bytes_max=1000, age_s=60)


def shows(caller: Caller, payload: Any, tag: str = "") -> str | None:
    message = FeedView(caller, tag, buffer(), 0).event(event(1, payload))
    return None if message is None else message.WhichOneof("event")


def test_what_is_between_an_author_and_moderation_is_shown_to_the_author_alone() -> None:
    submitted = PostSubmitted(post_id="p", revision=1, author_id="ann")
    waiting = changed(events_pb2.POST_CHANGE_SUBMITTED, post(2), post(1))
    held = changed(events_pb2.POST_CHANGE_HELD, post())
    rejected = changed(events_pb2.POST_CHANGE_REJECTED, post(2), post(1))
    for payload in (submitted, waiting, held, rejected):
        assert shows(ANN, payload) == "post"
        assert shows(ANONYMOUS, payload) is None
        assert shows(MODERATOR, payload) is None
        assert shows(ANN_ELSEWHERE, payload) is None, "she acts for another organisation"


def test_nobody_in_particular_is_no_author() -> None:
    assert shows(ANONYMOUS, PostSubmitted(post_id="p", revision=1, author_id="")) is None


def test_of_a_later_revision_its_author_is_told_once() -> None:
    assert shows(ANN, PostSubmitted(post_id="p", revision=2, author_id="ann")) is None


def test_others_are_shown_the_published_revision_while_another_waits() -> None:
    view = FeedView(ANONYMOUS, "", buffer(), 0)
    message = view.event(event(1, changed(events_pb2.POST_CHANGE_EXAMPLE, post(2), post(1))))
    assert message is not None
    assert message.post.revision == 1


def test_a_deletion_is_told_to_who_could_see_the_post() -> None:
    unseen = PostDeleted(post_id="p", author_id="ann")
    seen = PostDeleted(post_id="p", author_id="ann", published_revision=1, published_tags=["a"])
    assert shows(ANONYMOUS, unseen) is None
    assert shows(ANN, unseen) == "gone"
    assert shows(ANN_ELSEWHERE, unseen) is None
    assert shows(ANONYMOUS, seen) == "gone"
    assert shows(ANONYMOUS, seen, tag="a") == "gone"
    assert shows(ANONYMOUS, seen, tag="b") is None


def test_what_loses_a_tag_goes_from_the_feed_of_that_tag() -> None:
    published = changed(events_pb2.POST_CHANGE_PUBLISHED, post(2, "b"), post(2, "b"))
    assert shows(ANONYMOUS, published, tag="a") == "gone"
    assert shows(ANONYMOUS, published, tag="b") == "post"
    first = changed(events_pb2.POST_CHANGE_PUBLISHED, post(1, "b"), post(1, "b"))
    assert shows(ANONYMOUS, first, tag="a") is None


def test_pieces_wait_until_this_watcher_has_passed_the_publishing() -> None:
    """The process's follower may be ahead of one watcher."""
    examples = buffer()
    view = FeedView(ANONYMOUS, "", examples, 4)
    published = event(5, changed(events_pb2.POST_CHANGE_PUBLISHED, post(), post()))
    examples.add(ExamplePiece(post_id="p", revision=1, offset=0, text="Once"))
    more = {"p"}
    assert list(view.deltas(more)) == []
    follow(examples, published)
    more = {"p"}
    assert list(view.deltas(more)) == []
    assert more == {"p"}
    view.event(published)
    [message] = view.deltas(more)
    assert (message.example_delta.text, message.cursor) == ("Once", 5)
    assert more == set()


def test_after_the_end_of_an_example_its_pieces_are_over_though_the_follower_is_behind() -> None:
    examples = buffer()
    view = FeedView(ANONYMOUS, "", examples, 0)
    published = event(1, changed(events_pb2.POST_CHANGE_PUBLISHED, post(), post()))
    follow(examples, published)
    view.event(published)
    examples.add(ExamplePiece(post_id="p", revision=1, offset=0, text="Once"))
    for ending in (
        changed(events_pb2.POST_CHANGE_EXAMPLE, post(), post()),
        PostDeleted(post_id="p", author_id="ann", published_revision=1),
    ):
        view.event(event(2, ending))
        examples.add(ExamplePiece(post_id="p", revision=1, offset=4, text=" upon"))
        assert list(view.deltas({"p"})) == []


def test_what_it_remembers_is_bounded_by_what_is_under_way() -> None:
    examples = buffer()
    view = FeedView(ANONYMOUS, "", examples, 10**6)
    for number in range(1000):
        name = f"p{number}"
        examples.published(name, 1, number, frozenset())
        examples.add(ExamplePiece(post_id=name, revision=1, offset=0, text="x"))
        assert len(list(view.deltas({name}))) == 1
    assert len(view._shown) < 200
