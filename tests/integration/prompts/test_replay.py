"""The step from a feed's past to what happens now: nothing older is shown after what was looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from promptmesh.moderation.v1.moderation_pb2 import VERDICT_ALLOW
from promptmesh.prompts.v1 import posts_pb2

from services.mesh.call import ANONYMOUS
from services.mesh.events import Event, Tail
from services.prompts.content import Edit
from services.prompts.example_buffer import ExampleBuffer
from services.prompts.feed_view import FeedView
from services.prompts.replay import BEHIND_MAX, Replay
from tests.integration.prompts.support import Bench, finished, person, screened

SECRET = "the secret that got out"


async def log(bench: Bench) -> Sequence[Event]:
    """The log, numbered."""
    return [replace(event, position=number) for number, event in enumerate(await bench.log(), start=1)]


def replay(bench: Bench, head: int) -> tuple[Tail, Replay]:
    """Of nobody in particular, from the beginning of a log that ends at `head`."""
    tail = Tail(bench.database)
    tail.sequenced(head)
    buffer = ExampleBuffer(posts_max=10, bytes_max=1000, age_s=60)
    return tail, Replay(FeedView(ANONYMOUS, "", buffer, 0), bench.store, tail, 0)


async def kinds(one: Replay, events: Sequence[Event]) -> list[str]:
    """What it tells of events: kinds of messages."""
    told = [message for _, message in await one.messages(events) if message is not None]
    assert SECRET not in str(told)
    return [str(message.WhichOneof("event")) for message in told]


async def test_events_of_now_show_nothing_older_than_what_was_looked_up(bench: Bench) -> None:
    ann = person()
    post = await bench.create(ann, body=SECRET)
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    past = await log(bench)
    _, one = replay(bench, len(past))
    # While the watcher catches up, there is more to come, and then the post is deleted.
    await bench.attach(finished(post.post_id, 1, SECRET))
    await bench.store.delete(ann, post.post_id, "")
    now = (await log(bench))[len(past) :]
    assert await kinds(one, past) == ["gone"]
    assert await kinds(one, now) == ["gone", "gone"]
    assert one._shown == {}


async def test_who_has_caught_up_is_told_from_events_alone(bench: Bench) -> None:
    ann = person()
    post = await bench.create(ann)
    await bench.screen(screened(post.post_id, 1, VERDICT_ALLOW))
    past = await log(bench)
    _, one = replay(bench, len(past))
    assert await kinds(one, past) == ["post"]
    await bench.store.update(ann, post.post_id, "", Edit(title=None, body="Another", tags=None))
    await bench.screen(screened(post.post_id, 2, VERDICT_ALLOW))
    now = (await log(bench))[len(past) :]
    await bench.database.close()
    bodies = [message.post.body for _, message in await one.messages(now) if message is not None]
    assert bodies == ["Another"]
    assert one._shown == {}


async def test_for_who_reads_slowly_what_happens_meanwhile_is_past_as_well(bench: Bench) -> None:
    ann = person()
    first = await bench.create(ann)
    await bench.screen(screened(first.post_id, 1, VERDICT_ALLOW))
    past = await log(bench)
    tail, one = replay(bench, len(past))
    second = await bench.create(ann, body=SECRET)
    await bench.screen(screened(second.post_id, 1, VERDICT_ALLOW))
    await bench.store.delete(ann, second.post_id, "")
    tail.sequenced(len(past) + BEHIND_MAX + 1)
    assert await kinds(one, past) == ["post"]
    assert await kinds(one, (await log(bench))[len(past) :]) == ["gone", "gone"]


async def test_a_page_of_events_is_one_read(bench: Bench) -> None:
    ann = person()
    posts: list[posts_pb2.Post] = [await bench.create(ann) for _ in range(20)]
    await bench.screen(*(screened(post.post_id, 1, VERDICT_ALLOW) for post in posts))
    events = await log(bench)
    tail, one = replay(bench, len(events))
    reads = 0
    acquire = tail.past_reads.acquire

    async def counted() -> bool:
        nonlocal reads
        reads += 1
        return await acquire()

    tail.past_reads.acquire = counted  # type: ignore[method-assign,assignment]
    assert await kinds(one, events) == ["post"] * 20
    assert reads == 1
