"""A watched post on a terminal."""

from __future__ import annotations

import io

from promptmesh.prompts.v1 import posts_pb2

from services.local.post_view import PostView


def post(state: int, example: posts_pb2.Example | None = None, **fields: object) -> posts_pb2.WatchPostResponse:
    published = 1 if state == posts_pb2.POST_STATE_PUBLISHED else 0
    value = posts_pb2.Post(state=state, revision=1, published_revision=published, example=example, **fields)
    return posts_pb2.WatchPostResponse(post=value)


def delta(offset: int, text: str) -> posts_pb2.WatchPostResponse:
    return posts_pb2.WatchPostResponse(example_delta=posts_pb2.ExampleDelta(offset=offset, text=text))


def ready(text: str) -> posts_pb2.WatchPostResponse:
    return post(
        posts_pb2.POST_STATE_PUBLISHED,
        posts_pb2.Example(
            state=posts_pb2.EXAMPLE_STATE_READY, text=text, model="demo", input_tokens=3, output_tokens=5
        ),
    )


def shown(*messages: posts_pb2.WatchPostResponse) -> tuple[str, bool]:
    output = io.StringIO()
    view = PostView(output)
    for message in messages:
        view.show(message)
    return output.getvalue(), view.settled


END = "(example by demo; 3 tokens in, 5 out)\n"


def test_a_post_from_moderation_to_its_example() -> None:
    assert shown(
        post(posts_pb2.POST_STATE_PENDING),
        post(posts_pb2.POST_STATE_PENDING),
        post(posts_pb2.POST_STATE_PUBLISHED, posts_pb2.Example(state=posts_pb2.EXAMPLE_STATE_WRITING)),
        delta(0, "Hello "),
        delta(6, "world"),
        ready("Hello world"),
    ) == ("Revision 1 is being moderated.\nRevision 1 is published.\nHello world\n" + END, True)


def test_what_was_missed_is_shown_from_the_whole_example() -> None:
    text, _ = shown(delta(0, "Hel"), ready("Hello"))
    assert text == "HelRevision 1 is published.\nlo\n".replace("HelR", "Hel\nR") + END


def test_a_piece_that_came_twice_is_shown_once() -> None:
    assert shown(delta(0, "Hello"), delta(3, "lo w"))[0] == "Hello w"


def test_an_example_begun_afresh_starts_on_a_new_line() -> None:
    assert shown(delta(0, "Wrong"), delta(0, "Right"))[0] == "Wrong\nRight"


def test_a_rejected_post_says_why_and_is_settled() -> None:
    reasons = [posts_pb2.StateReason(category="spam", message="Looks like an advertisement.")]
    assert shown(post(posts_pb2.POST_STATE_REJECTED, reasons=reasons)) == (
        "Revision 1 is rejected (spam): Looks like an advertisement.\n",
        True,
    )


def test_a_held_post_says_each_reason_once_and_who_decides() -> None:
    said = "This reads as an insult."
    view = PostView(output := io.StringIO())
    reasons = [posts_pb2.StateReason(message=said), posts_pb2.StateReason(category="insult", message=said)]
    view.show(post(posts_pb2.POST_STATE_HELD, reasons=reasons))
    assert output.getvalue() == f"Revision 1 is held for a moderator (insult): {said}\n"
    assert view.held
    assert view.settled
    two = [*reasons, posts_pb2.StateReason(message="And this is loud.")]
    view.show(post(posts_pb2.POST_STATE_HELD, reasons=two))
    assert output.getvalue().endswith(
        f"\nRevision 1 is held for a moderator.\n  {said} (insult)\n  And this is loud.\n"
    )


def test_a_published_post_whose_example_is_under_way_is_not_settled() -> None:
    message = post(posts_pb2.POST_STATE_PUBLISHED, posts_pb2.Example(state=posts_pb2.EXAMPLE_STATE_WRITING))
    assert not shown(message)[1]
    assert not shown(post(posts_pb2.POST_STATE_PUBLISHED))[1]
