"""Streams: every one has an end, and says so where it lacks it; watches go on."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import grpc
import pytest
from conftest import LETTING_GO_S, SyncUser, User
from mesh import FakeMesh, Sessions, answer, broken, fail, stream
from promptmesh import (
    AsyncPromptmesh,
    CancelledError,
    DeadlineExceededError,
    NotFoundError,
    Promptmesh,
    RateLimitedError,
    Retries,
    StreamCutError,
    UnavailableError,
    _methods,
    types,
)
from promptmesh._course import Act, Watching
from promptmesh._retries import Budget

C = grpc.StatusCode
R = types.GenerateResponse
STARTED = R(started=types.GenerateStarted(request_id="call-1", model="mock"))
USAGE = R(usage=types.Usage(input_tokens=3, output_tokens=2, cost_nanos=7))
DONE = R(done=types.GenerateDone(finish_reason=types.FINISH_REASON_STOP, record_id="record-1"))
CALL = [STARTED, R(delta=types.GenerateDelta(text="Good ")), R(delta=types.GenerateDelta(text="day")), USAGE, DONE]


def generate(client: Any) -> Any:
    return client.inference.generate(model="mock", messages=[types.Message(role=types.MESSAGE_ROLE_USER, content="Hi")])


def test_a_whole_answer(mesh: FakeMesh, user: User) -> None:
    mesh.will("Generate", stream(*CALL))
    assert user.gather(generate) == CALL
    assert mesh.asked[0].request.messages[0].content == "Hi"


@pytest.mark.parametrize("end", [stream(*CALL[:3]), broken(*CALL[:3]), broken(*CALL[:3], code=C.INTERNAL)])
def test_an_answer_without_its_end_was_cut(mesh: FakeMesh, user: User, end: Any) -> None:
    mesh.will("Generate", end)
    got: list[Any] = []
    with pytest.raises(StreamCutError) as raised:
        user.gather(generate, got)
    assert got == CALL[:3]
    assert raised.value.request_id == "call-1"
    assert mesh.count("Generate") == 1, "half an answer is not asked for again: it costs"


def test_an_empty_stream_was_cut(mesh: FakeMesh, user: User) -> None:
    mesh.will("Generate", stream())
    with pytest.raises(StreamCutError):
        user.gather(generate)


def test_an_error_within_is_raised_as_such(mesh: FakeMesh, user: User) -> None:
    error = types.GenerateError(code=8, reason="BUDGET_EXHAUSTED", message="No money is left.")
    mesh.will("Generate", stream(*CALL[:2], R(error=error)))
    got: list[Any] = []
    with pytest.raises(RateLimitedError) as raised:
        user.gather(generate, got)
    assert (raised.value.reason, raised.value.message) == ("BUDGET_EXHAUSTED", "No money is left.")
    assert raised.value.request_id == "call-1"
    assert got == CALL[:2]


def test_what_the_mesh_says_in_the_middle_stays_what_it_is(mesh: FakeMesh, user: User) -> None:
    mesh.will("Generate", broken(*CALL[:2], reason="DRAINING"))
    with pytest.raises(UnavailableError) as raised:
        user.gather(generate)
    assert raised.value.reason == "DRAINING"


def test_a_refused_answer_is_not_asked_for_again(mesh: FakeMesh, user: User) -> None:
    mesh.will("Generate", fail(C.UNAVAILABLE, "PROVIDER_UNAVAILABLE"))
    with pytest.raises(UnavailableError):
        user.gather(generate)
    assert mesh.count("Generate") == 1


def test_a_refused_token_is_exchanged_before_an_answer(mesh: FakeMesh, sessions: Sessions, person: User) -> None:
    mesh.will("Generate", sessions.guarded(stream(*CALL)))
    person.gather(generate)
    sessions.end()
    assert person.gather(generate) == CALL
    assert [asked.token for asked in mesh.of("Generate")] == ["access-1", "access-1", "access-2"]


def test_letting_go_cancels(mesh: FakeMesh, user: User) -> None:
    mesh.will("Generate", mesh.hang(*CALL[:2]))
    assert user.take(generate, 2, until=mesh.cancelled) == CALL[:2]


def test_closing_a_stream_cancels_and_ends_it(mesh: FakeMesh) -> None:
    mesh.will("Generate", mesh.hang(*CALL[:2]))
    with Promptmesh(mesh.url) as client, generate(client) as events:
        assert next(events) == STARTED
        threading.Timer(0.05, events.close).start()
        assert list(events) in ([], CALL[1:2]), "it ends without an error: it was the caller's wish"
        assert mesh.cancelled.wait(LETTING_GO_S)


async def test_closing_an_async_stream_cancels_and_ends_it(mesh: FakeMesh) -> None:
    mesh.will("Generate", mesh.hang(*CALL[:2]))
    async with AsyncPromptmesh(mesh.url) as client, generate(client) as events:
        assert await anext(events) == STARTED
        assert await anext(events) == CALL[1]
        asyncio.get_running_loop().call_later(0.05, events.close)
        assert [event async for event in events] == []
        assert await asyncio.to_thread(mesh.cancelled.wait, LETTING_GO_S)


async def test_cancelling_the_task_cancels_the_call(mesh: FakeMesh) -> None:
    mesh.will("Generate", mesh.hang(*CALL[:2]))
    async with AsyncPromptmesh(mesh.url) as client:
        begun = asyncio.Event()

        async def read() -> None:
            async for _event in generate(client):
                begun.set()

        task = asyncio.create_task(read())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(mesh.cancelled.wait, LETTING_GO_S)


def test_closing_the_client_ends_its_streams(mesh: FakeMesh) -> None:
    mesh.will("WatchFeed", mesh.hang(feed(1)))
    client = Promptmesh(mesh.url)
    events = client.posts.watch_feed()
    next(events)
    threading.Timer(0.05, client.close).start()
    with pytest.raises(CancelledError, match="the client was closed"):
        next(events)


async def test_closing_the_async_client_ends_its_streams(mesh: FakeMesh) -> None:
    mesh.will("WatchFeed", mesh.hang(feed(1)))
    client = AsyncPromptmesh(mesh.url)
    events = client.posts.watch_feed()
    await anext(events)
    asyncio.get_running_loop().call_later(0.05, lambda: asyncio.ensure_future(client.close()))
    with pytest.raises(CancelledError, match="the client was closed"):
        await anext(events)


def test_a_text(mesh: FakeMesh, user: User) -> None:
    mesh.will("Generate", stream(*CALL))
    text = user.call(lambda client: client.inference.generate_text("Hi", system="Be kind.", model="mock"))
    assert (text.text, str(text), text.model, text.record_id) == ("Good day", "Good day", "mock", "record-1")
    assert (text.finish_reason, text.usage.cost_nanos) == (types.FINISH_REASON_STOP, 7)
    system, asked = mesh.asked[0].request.messages
    assert (system.role, system.content) == (types.MESSAGE_ROLE_SYSTEM, "Be kind.")
    assert (asked.role, asked.content) == (types.MESSAGE_ROLE_USER, "Hi")


def test_a_text_that_began_anew_leaves_out_what_is_void(mesh: FakeMesh, user: User) -> None:
    anew = R(started=types.GenerateStarted(model="other", restarted=True))
    mesh.will("Generate", stream(*CALL[:2], anew, *CALL[2:]))
    text = user.call(lambda client: client.inference.generate_text("Hi"))
    assert (text.text, text.model) == ("day", "other")


def test_half_a_text_is_none(mesh: FakeMesh, user: User) -> None:
    mesh.will("Generate", stream(*CALL[:3]))
    with pytest.raises(StreamCutError):
        user.call(lambda client: client.inference.generate_text("Hi"))


def test_an_export_ends_with_its_status(mesh: FakeMesh, user: User) -> None:
    from google.api.httpbody_pb2 import HttpBody

    mesh.will("ExportRequests", stream(HttpBody(data=b"a\n"), HttpBody(data=b"b\n")))
    assert b"".join(part.data for part in user.gather(lambda client: client.usage.export_requests())) == b"a\nb\n"
    mesh.will("ExportRequests", broken(HttpBody(data=b"a\n")))
    with pytest.raises(StreamCutError):
        user.gather(lambda client: client.usage.export_requests())


# Watches -------------------------------------------------------------------------------------------------------------


def feed(cursor: int) -> types.WatchFeedResponse:
    return types.WatchFeedResponse(cursor=cursor, post=types.Post(post_id=str(cursor)))


def beat(cursor: int) -> types.WatchFeedResponse:
    return types.WatchFeedResponse(cursor=cursor, heartbeat=types.Heartbeat())


def done(reason: types.WatchEnd.ValueType, cursor: int = 0) -> types.WatchFeedResponse:
    return types.WatchFeedResponse(cursor=cursor, done=types.WatchDone(reason=reason))


def after(mesh: FakeMesh) -> list[int | None]:
    """Where each stream began."""
    return [asked.request.after if asked.request.HasField("after") else None for asked in mesh.of("WatchFeed")]


def watch(client: Any) -> Any:
    return client.posts.watch_feed(tag="short-story")


END = done(types.WATCH_END_DELETED)  # what lets a test end


@pytest.mark.parametrize(
    "end",
    [
        stream(feed(1), beat(5)),
        broken(feed(1), beat(5)),
        broken(feed(1), beat(5), reason="DRAINING"),
        broken(feed(1), beat(5), code=C.ABORTED, reason="WATCHER_TOO_SLOW"),
        stream(feed(1), beat(5), done(types.WATCH_END_DRAINING)),
    ],
    ids=["cut", "broken", "draining", "too-slow", "done-draining"],
)
def test_a_watch_goes_on_where_it_was(mesh: FakeMesh, user: User, end: Any) -> None:
    mesh.will("WatchFeed", end, stream(feed(6), END))
    assert user.gather(watch) == [feed(1), feed(6), END], "heartbeats are not for the caller"
    assert after(mesh) == [None, 5]
    assert all(asked.request.tag == "short-story" for asked in mesh.asked)


def test_a_watch_bears_a_mesh_that_is_away(mesh: FakeMesh, user: User) -> None:
    away = fail(C.UNAVAILABLE)
    mesh.will("WatchFeed", stream(feed(1)), *[away] * 6, stream(feed(2), END))
    assert user.gather(watch) == [feed(1), feed(2), END]
    assert after(mesh) == [None, *[1] * 7]


def test_a_watch_that_is_ended_at_once_is_not_opened_without_pause() -> None:
    retries = Retries(first_wait_s=0.1, longest_wait_s=5.0, random=lambda: 0.0)
    course = Watching(_methods.POSTS_WATCH_FEED, types.WatchFeedRequest(), retries, Budget(None))
    waits = []
    for _ in range(3):
        assert course.message(done(types.WATCH_END_DRAINING)) is Act.REOPEN
        waits.append(course.reopen_s())
    course.message(beat(1))
    assert [*waits, course.reopen_s()] == pytest.approx([0.1, 0.2, 0.4, 0.1])


def test_a_watch_that_never_began_gives_up(mesh: FakeMesh, user: User) -> None:
    mesh.will("WatchFeed", fail(C.UNAVAILABLE))
    with pytest.raises(UnavailableError):
        user.gather(watch)
    assert mesh.count("WatchFeed") == 3


def test_a_refusal_ends_a_watch(mesh: FakeMesh, user: User) -> None:
    mesh.will("WatchPost", fail(C.NOT_FOUND, "POST_NOT_FOUND"))
    with pytest.raises(NotFoundError):
        user.gather(lambda client: client.posts.watch_post(post_id="p"))
    assert mesh.count("WatchPost") == 1


def test_a_watch_has_the_deadline_that_it_is_given(mesh: FakeMesh, user: User) -> None:
    mesh.will("WatchFeed", mesh.hang(feed(1)))
    with pytest.raises(DeadlineExceededError):
        user.gather(lambda client: client.posts.watch_feed(timeout_s=0.2))
    assert mesh.count("WatchFeed") == 1


def test_a_watch_outlives_the_token(mesh: FakeMesh, sessions: Sessions, person: User) -> None:
    ended = stream(feed(1), done(types.WATCH_END_CREDENTIAL_ENDED))
    mesh.will("WatchFeed", ended, stream(feed(2), END))
    assert person.gather(watch) == [feed(1), feed(2), END]
    assert [asked.token for asked in mesh.of("WatchFeed")] == ["access-1", "access-2"]


def test_a_key_that_ended_ends_the_watch(mesh: FakeMesh, user: User) -> None:
    last = done(types.WATCH_END_CREDENTIAL_ENDED)
    mesh.will("WatchFeed", stream(feed(1), last))
    assert user.gather(watch) == [feed(1), last]


def test_the_request_of_a_watch_stays_the_callers(mesh: FakeMesh, user: User) -> None:
    mesh.will("WatchFeed", stream(feed(1)), stream(END))
    request = types.WatchFeedRequest(tag="short-story")
    user.gather(lambda client: client.posts.watch_feed(request))
    assert not request.HasField("after")


def test_calls_go_beside_a_stream(mesh: FakeMesh, user: User) -> None:
    if not isinstance(user, SyncUser):
        pytest.skip("coroutines of one loop, by nature")
    mesh.will("WatchFeed", mesh.hang(feed(1)))
    mesh.will("GetPost", answer(types.Post(post_id="p")))
    with user.client.posts.watch_feed() as events:
        next(events)
        assert user.call(lambda client: client.posts.get(post_id="p")).post_id == "p"
