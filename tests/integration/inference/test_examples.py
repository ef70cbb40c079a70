"""Examples of posts: written, screened before they are shown, superseded, cancelled, tried again, within a budget."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from promptmesh.inference.v1 import events_pb2
from promptmesh.prompts.v1.events_pb2 import PostDeleted

from services.inference.providers.http import Client
from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from tests.integration.inference.examples_world import World, models, requested, running_world, until
from tests.integration.inference.moderation import ACCENT, ToyModeration
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

READY, FAILED, WITHHELD = (
    events_pb2.EXAMPLE_OUTCOME_READY,
    events_pb2.EXAMPLE_OUTCOME_FAILED,
    events_pb2.EXAMPLE_OUTCOME_WITHHELD,
)
OVER, CANCELLED = 3, 4
DEMO = "{}"
LONG = " ".join(f"word{i}" for i in range(300))


@pytest.fixture
async def world(
    database: Database,
    outbox: Outbox,
    redis_url: str,
    upstreams: Client,
    moderation: ToyModeration,
    tmp_path: Path,
) -> AsyncIterator[World]:
    async with running_world(database, outbox, redis_url, upstreams, moderation, tmp_path) as running:
        yield running


async def test_an_example_by_the_demo(world: World) -> None:
    process = await world.process(DEMO)
    post = uuid7()
    await process.handle(requested(post))
    (finished,) = await world.until_finished(1)
    assert (finished.post_id, finished.revision, finished.outcome, finished.model) == (post, 1, READY, "demo")
    assert "demo" in finished.text
    assert finished.usage.cost_nanos == 0
    assert finished.usage.HasField("cost_nanos")
    await until(lambda: _is(world.shown(post) == finished.text))
    assert await world.state_of(post) == OVER
    async with world.database.connection() as conn:
        assert await conn.fetchrow("SELECT title, body FROM examples") == ("", "")


async def test_a_stream_is_screened_in_windows_and_shown_as_it_clears(
    world: World, upstream: MisbehavingProvider
) -> None:
    upstream.default = Behaviour(text=LONG, pace_s=0.001)
    process = await world.process(models(upstream.base_url))
    post = uuid7()
    await process.handle(requested(post, body="The body."))
    (finished,) = await world.until_finished(1)
    assert finished.text == LONG
    await until(lambda: _is(world.shown(post) == LONG))
    assert len(world.pieces) > 1
    assert len(world.moderation.batches) > 1
    body = upstream.calls[0].body
    assert body["messages"][1] == {"role": "user", "content": "The body."}
    assert body["max_tokens"] == 256


@pytest.mark.parametrize("word", ["forbidden", "dubious"])
async def test_what_moderation_does_not_allow_is_withheld(
    world: World, upstream: MisbehavingProvider, word: str
) -> None:
    upstream.default = Behaviour(text=f"{LONG} {word} {LONG * 50}", pace_s=0.001)
    process = await world.process(models(upstream.base_url))
    post = uuid7()
    await process.handle(requested(post))
    (finished,) = await world.until_finished(1)
    assert (finished.outcome, finished.text) == (WITHHELD, "")
    assert finished.failure
    assert finished.usage.output_tokens > 0
    # What was shown before is void, and the model writes no further.
    await until(lambda: _is(bool(world.pieces) and world.pieces[-1].offset == 0 and world.pieces[-1].text == ""))
    assert world.shown(post) == ""
    assert all(word not in piece.text for piece in world.pieces)
    await upstream.calls[0].aborted.wait()


@pytest.mark.parametrize("pad", [ACCENT * 400, "\u3164" * 400])
async def test_a_phrase_padded_beyond_a_window_is_not_shown(
    world: World, upstream: MisbehavingProvider, pad: str
) -> None:
    upstream.default = Behaviour(text=f"{LONG} forb{pad}idden {LONG}")
    process = await world.process(models(upstream.base_url))
    post = uuid7()
    await process.handle(requested(post))
    (finished,) = await world.until_finished(1)
    assert (finished.outcome, finished.text) == (WITHHELD, "")
    await until(lambda: _is(bool(world.pieces) and world.shown(post) == ""))
    assert all("forb" not in piece.text for piece in world.pieces)


async def test_with_moderation_away_examples_wait_unseen_and_the_model_is_not_asked_twice(
    world: World, upstream: MisbehavingProvider
) -> None:
    world.moderation.away = True
    upstream.default = Behaviour(text=LONG)
    process = await world.process(models(upstream.base_url))
    posts = [uuid7() for _ in range(3)]
    await process.handle(*(requested(post) for post in posts))
    await world.moderation.asked.wait()
    for number in range(3):
        await (await upstream.call(number)).ended.wait()
    assert await world.finished() == []
    assert world.pieces == []
    world.moderation.away = False
    finished = await world.until_finished(3)
    assert {one.text for one in finished} == {LONG}
    assert len(upstream.calls) == 3


async def test_texts_of_many_examples_are_screened_together(world: World, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(latency_s=0.05)
    process = await world.process(models(upstream.base_url))
    await process.handle(*(requested(uuid7()) for _ in range(100)))
    await world.until_finished(100)
    assert sum(len(batch) for batch in world.moderation.batches) == 100
    assert len(world.moderation.batches) < 50
    assert max(len(batch) for batch in world.moderation.batches) <= 64


async def test_a_newer_revision_cancels_the_older(world: World, upstream: MisbehavingProvider) -> None:
    upstream.then(Behaviour(fault=Fault.STALL))
    process = await world.process(models(upstream.base_url))
    post = uuid7()
    await process.handle(requested(post, 1))
    seen = await upstream.call(0)
    await process.handle(requested(post, 3), requested(post, 2))
    await seen.aborted.wait()
    (finished,) = await world.until_finished(1)
    assert (finished.revision, finished.outcome) == (3, READY)
    await process.handle(requested(post, 2), requested(post, 3))  # late, and once more
    await process.runner.sweep()
    assert len(upstream.calls) == 2


async def test_deleting_a_post_aborts_upstream_and_nothing_comes_of_it(
    world: World, upstream: MisbehavingProvider
) -> None:
    upstream.default = Behaviour(fault=Fault.STALL)
    process = await world.process(models(upstream.base_url))
    post, other = uuid7(), uuid7()
    await process.handle(requested(post))
    seen = await upstream.call(0)
    await process.handle(PostDeleted(post_id=post), PostDeleted(post_id=other))
    await seen.aborted.wait()
    await process.handle(requested(other), requested(post, 2))  # behind its deletion
    assert await world.state_of(post) == await world.state_of(other) == CANCELLED
    assert await world.finished() == []
    assert len(upstream.calls) == 1


async def test_a_deletion_that_another_process_hears_of(world: World, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(fault=Fault.STALL)
    first = await world.process(models(upstream.base_url), "inference-0")
    second = await world.process(models(upstream.base_url), "inference-1")
    post = uuid7()
    await first.handle(requested(post))
    seen = await upstream.call(0)
    await second.handle(PostDeleted(post_id=post))
    await seen.aborted.wait()
    assert await world.finished() == []


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.RESET_BEFORE_HEADERS, Fault.BROKEN_CHUNK])
async def test_a_provider_that_fails_is_tried_again(world: World, upstream: MisbehavingProvider, fault: Fault) -> None:
    upstream.then(Behaviour(text=LONG, fault=fault, after_chunks=250), Behaviour(status=503))
    process = await world.process(models(upstream.base_url))
    post = uuid7()
    await process.handle(requested(post))
    (finished,) = await world.until_finished(1)
    assert (finished.outcome, finished.text) == (READY, upstream.default.text)
    assert len(upstream.calls) == 3
    await until(lambda: _is(world.shown(post) == upstream.default.text))


@pytest.mark.parametrize(
    ("behaviour", "attempts"),
    [(Behaviour(status=500), 3), (Behaviour(status=400), 1), (Behaviour(status=401), 1), (Behaviour(text=" "), 1)],
)
async def test_after_the_last_attempt_it_failed(
    world: World, upstream: MisbehavingProvider, behaviour: Behaviour, attempts: int
) -> None:
    behaviour.error_message = "Our account org-12345 is in trouble"
    upstream.default = behaviour
    process = await world.process(models(upstream.base_url))
    await process.handle(requested(uuid7()))
    (finished,) = await world.until_finished(1)
    assert finished.outcome == FAILED
    assert finished.failure
    assert "org-12345" not in finished.failure  # everyone who sees the post may read it
    assert len(upstream.calls) == attempts


async def test_while_calls_cannot_be_recorded_examples_wait_and_no_attempt_is_spent(
    world: World, upstream: MisbehavingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.then(Behaviour(status=503), Behaviour(status=503))  # the third and last attempt goes well
    process = await world.process(models(upstream.base_url), start=False)
    write, refused = process.runner._writer.write, 0

    async def full(*arguments: Any) -> events_pb2.ExampleFinished:
        nonlocal refused
        if refused < 5:
            refused += 1
            raise MeshError("DEPENDENCY_UNAVAILABLE", "Calls cannot be recorded right now.", retry_after_s=0.02)
        return await write(*arguments)

    monkeypatch.setattr(process.runner._writer, "write", full)
    await process.start()
    await process.handle(requested(uuid7()))
    (finished,) = await world.until_finished(1)
    assert (finished.outcome, refused, len(upstream.calls)) == (READY, 5, 3)


LEFT_ALONE = """
providers: [{{name: mock, kind: openai, base_url: "{base_url}"}}]
models:
  - name: house
    provider: mock
    upstream_model: mock-small
    price: {{input_per_million_usd: 0, output_per_million_usd: 0}}
routes: [{{name: careful, targets: [{{model: house}}], breaker: {{failures: 1, open_s: 60}}}}]
examples: {{model: careful, daily_cap_usd: 0}}
"""


@pytest.mark.parametrize(("status", "waits"), [(503, True), (401, False)])
async def test_while_a_breaker_is_open_nothing_is_asked_and_no_attempt_is_spent(
    world: World, upstream: MisbehavingProvider, monkeypatch: pytest.MonkeyPatch, status: int, waits: bool
) -> None:
    """What only people can mend, a credential, is told to whoever waits."""
    upstream.default = Behaviour(status=status)
    process = await world.process(LEFT_ALONE.format(base_url=upstream.base_url), start=False)
    write, refusals = process.runner._writer.write, 0

    async def counted(*arguments: Any) -> events_pb2.ExampleFinished:
        nonlocal refusals
        try:
            return await write(*arguments)
        except MeshError as error:
            refusals += error.metadata.get("attempts") == "0"
            raise

    monkeypatch.setattr(process.runner._writer, "write", counted)
    await process.start()
    post = uuid7()
    await process.handle(requested(post))
    if waits:
        await until(lambda: _is(refusals >= 5))
        async with world.database.connection() as conn:
            assert await conn.fetchval("SELECT attempts FROM examples WHERE post_id = $1", post) == 1
        assert await world.finished() == []
    else:
        await world.until_finished(1)
        await process.handle(requested(uuid7()))
        assert {one.outcome for one in await world.until_finished(2)} == {FAILED}
        assert refusals == 3
    assert len(upstream.calls) == 1


async def test_more_than_fit_wait_and_are_run_in_turn(world: World, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(latency_s=0.02)
    process = await world.process(models(upstream.base_url), streams_max=3)
    await process.handle(*(requested(uuid7()) for _ in range(20)))
    assert process.runner.running <= 3
    finished = await world.until_finished(20)
    assert len({one.post_id for one in finished}) == 20
    assert len(upstream.calls) == 20


# Money


async def test_a_paid_call_is_reserved_and_settled(world: World, upstream: MisbehavingProvider) -> None:
    process = await world.process(models(upstream.base_url, price="1000", cap="100"))
    await process.handle(requested(uuid7()))
    (finished,) = await world.until_finished(1)
    assert finished.usage.cost_nanos > 0
    assert await world.spent_nanos() == finished.usage.cost_nanos
    async with world.database.connection() as conn:
        assert await conn.fetchval("SELECT count(*) FROM example_reservations") == 0


async def test_the_cap_is_not_passed_however_many_run_at_once(world: World, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(latency_s=0.05)
    # The largest cost of one call is about $0.75; three fit in at once.
    processes = [
        await world.process(models(upstream.base_url, price="1000", cap="2.5"), f"inference-{i}") for i in range(3)
    ]
    await asyncio.gather(*(process.handle(*(requested(uuid7()) for _ in range(10))) for process in processes))
    finished = await world.until_finished(30)
    ready = [one for one in finished if one.outcome == READY]
    assert 1 <= len(ready) == len(upstream.calls) < 30
    assert await world.spent_nanos() == sum(one.usage.cost_nanos for one in ready) <= 2_500_000_000
    assert all("daily cap" in one.failure for one in finished if one.outcome == FAILED)


async def test_a_cap_of_nothing_spends_nothing(world: World, upstream: MisbehavingProvider) -> None:
    process = await world.process(models(upstream.base_url, price="1000", cap="0"))
    await process.handle(requested(uuid7()))
    (finished,) = await world.until_finished(1)
    assert finished.outcome == FAILED
    assert upstream.calls == []


async def test_what_a_cancelled_call_cost_is_settled(world: World, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(fault=Fault.STALL)
    process = await world.process(models(upstream.base_url, price="1000", cap="100"))
    post = uuid7()
    await process.handle(requested(post))
    await (await upstream.call(0)).began.wait()
    reserved = await world.spent_nanos()
    await process.handle(PostDeleted(post_id=post))

    async def settled() -> bool:
        return 0 < await world.spent_nanos() < reserved

    await until(settled)


async def test_old_rows_are_removed(world: World) -> None:
    process = await world.process(DEMO)
    old, new = uuid7(), uuid7()
    await process.handle(requested(old), requested(new))
    await world.until_finished(2)
    async with world.database.connection() as conn:
        await conn.execute("UPDATE examples SET update_time = now() - interval '31 days' WHERE post_id = $1", old)
    await process.table.purge()
    async with world.database.connection() as conn:
        assert [row[0] for row in await conn.fetch("SELECT post_id FROM examples")] == [new]


async def _is(condition: bool) -> bool:
    return condition
