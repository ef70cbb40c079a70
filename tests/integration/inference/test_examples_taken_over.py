"""Examples whose process dies, stops or loses its name, and those that PostgreSQL was away for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from promptmesh.events.v1.events_pb2 import Envelope
from promptmesh.inference.v1 import events_pb2

from services.inference.providers.http import Client
from services.local.embedded.postgres import PostgresCluster
from services.mesh.call import Call, enter
from services.mesh.database import Database
from services.mesh.events import Outbox
from services.mesh.ids import uuid7
from tests.integration.inference.examples_world import World, models, requested, running_world, until
from tests.integration.inference.moderation import ToyModeration
from tests.support.provider import Behaviour, Fault, MisbehavingProvider

READY = events_pb2.EXAMPLE_OUTCOME_READY
QUEUED, RUNNING = 1, 2
TRACE = f"00-{'c' * 32}-{'d' * 16}-01"


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


async def test_a_process_that_starts_anew_takes_its_own_leftovers_at_once(
    world: World, upstream: MisbehavingProvider
) -> None:
    upstream.then(Behaviour(fault=Fault.STALL))
    first = await world.process(models(upstream.base_url))
    post = uuid7()
    await first.handle(requested(post))
    await (await upstream.call(0)).began.wait()
    await first.kill()
    assert await world.state_of(post) == RUNNING
    other = await world.process(models(upstream.base_url), "inference-1", sweep=False)
    await other.runner.sweep()
    assert other.runner.running == 0  # the lease of the first still runs
    await world.process(models(upstream.base_url))
    (finished,) = await world.until_finished(1)
    assert finished.outcome == READY


async def test_another_process_takes_over_when_the_lease_ends(world: World, upstream: MisbehavingProvider) -> None:
    upstream.then(Behaviour(fault=Fault.STALL))
    first = await world.process(models(upstream.base_url), lease_s=0.3)
    await first.handle(requested(uuid7()))
    await (await upstream.call(0)).began.wait()
    await first.kill()
    await world.process(models(upstream.base_url), "inference-1")
    (finished,) = await world.until_finished(1)
    assert finished.outcome == READY


@pytest.mark.parametrize("stops", [True, False])
async def test_whoever_takes_an_example_over_writes_it_in_its_request_s_trace(
    world: World, upstream: MisbehavingProvider, stops: bool
) -> None:
    """Given back by one that stops, or left by one that dies."""
    upstream.then(Behaviour(fault=Fault.STALL))
    first = await world.process(models(upstream.base_url), lease_s=0.3)
    enter(Call(uuid7(), "/events/inference", traceparent=TRACE))
    post = uuid7()
    await first.handle(requested(post))
    enter(Call(uuid7(), "/tests"))
    await (await upstream.call(0)).began.wait()
    await (first.runner.stop() if stops else first.kill())
    await world.process(models(upstream.base_url), "inference-1")
    await world.until_finished(1)
    async with world.database.connection() as conn:
        (envelope,) = await conn.fetchrow("SELECT envelope FROM outbox")
        (left,) = await conn.fetchrow("SELECT traceparent FROM examples WHERE post_id = $1", post)
    assert Envelope.FromString(envelope).traceparent == TRACE
    assert left == ""


async def test_a_process_that_stops_gives_back_what_it_holds(world: World, upstream: MisbehavingProvider) -> None:
    upstream.then(Behaviour(fault=Fault.STALL))
    first = await world.process(models(upstream.base_url))
    post = uuid7()
    await first.handle(requested(post))
    seen = await upstream.call(0)
    await first.runner.stop()
    await seen.aborted.wait()
    assert await world.state_of(post) == QUEUED
    await world.process(models(upstream.base_url), "inference-1")
    (finished,) = await world.until_finished(1)
    assert finished.outcome == READY


async def test_a_process_whose_name_was_taken_finishes_nothing(world: World, upstream: MisbehavingProvider) -> None:
    upstream.default = Behaviour(latency_s=0.2)
    first = await world.process(models(upstream.base_url), sweep=False)
    post = uuid7()
    await first.handle(requested(post))
    await upstream.call(0)
    second = await world.process(models(upstream.base_url), sweep=False)
    await upstream.call(1)
    (finished,) = await world.until_finished(1)
    await until(lambda: _is(first.runner.running == second.runner.running == 0))
    assert await world.finished() == [finished]


async def test_a_commit_whose_answer_was_lost_is_found_by_the_sweep(
    world: World, upstream: MisbehavingProvider
) -> None:
    process = await world.process(models(upstream.base_url))
    async with world.database.connection() as conn:
        await conn.execute(
            "INSERT INTO examples (post_id, org_id, revision, state, holder, title, body) "
            "VALUES ($1, $2, 1, 2, $3, 't', 'b')",
            uuid7(),
            uuid7(),
            process.table.incarnation,
        )
    (finished,) = await world.until_finished(1)
    assert finished.outcome == READY


async def test_postgresql_away_while_an_example_is_written(
    world: World, upstream: MisbehavingProvider, postgres: PostgresCluster
) -> None:
    upstream.default = Behaviour(latency_s=0.2)
    process = await world.process(models(upstream.base_url))
    async with world.database.connection() as conn:
        name = await conn.fetchval("SELECT current_database()")
    post = uuid7()
    await process.handle(requested(post))
    await upstream.call(0)
    postgres.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    postgres.run_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    try:
        await upstream.calls[0].ended.wait()
        await until(lambda: _is(world.shown(post) == upstream.default.text))
    finally:
        postgres.run_sql(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    (finished,) = await world.until_finished(1)
    assert finished.text == upstream.default.text
    assert len(upstream.calls) == 1


async def _is(condition: bool) -> bool:
    return condition
