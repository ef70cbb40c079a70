"""EventSourceService over the outbox, and what it says about what is gone."""

from __future__ import annotations

import logging

import pytest
from promptmesh.events.v1.events_pb2 import PartitionPosition, ReplayRequest, ReplayResponse

from services.mesh.database.queries import misused_queries
from services.mesh.events import EventSource
from tests.integration.mesh_data.world import PARTITIONS, World


async def ask(world: World, after: dict[int, int]) -> list[ReplayResponse]:
    positions = [PartitionPosition(partition=one, position=position) for one, position in after.items()]
    source = EventSource(world.producer)
    return [answer async for answer in source.Replay(ReplayRequest(consumer="test", after=positions), None)]


def positions(answers: list[ReplayResponse]) -> list[int]:
    return [one.position for answer in answers for one in answer.batch.events]


async def test_everything_in_order_then_the_end(world: World) -> None:
    await world.write(*range(1200))
    assert await world.relay().sequence()
    answers = await ask(world, dict.fromkeys(range(PARTITIONS), 0))
    assert positions(answers) == list(range(1, 1201))
    assert [answer.WhichOneof("event") for answer in answers] == ["batch", "batch", "batch", "done"]
    assert answers[-1].done.head == 1200


async def test_only_the_partitions_asked_for_each_after_its_position(world: World) -> None:
    await world.write(*range(100))
    assert await world.relay().sequence()
    rows = await world.fetch(world.producer, "SELECT position, partition FROM outbox ORDER BY position")
    wanted = {1: 50, 3: 10}
    expected = [row[0] for row in rows if row[1] in wanted and row[0] > wanted[row[1]]]
    assert positions(await ask(world, wanted)) == expected


async def test_nothing_to_tell(world: World) -> None:
    (answer,) = await ask(world, {0: 0})
    assert answer.done.head == 0


async def test_what_was_dropped_is_said_loudly_and_the_rest_is_sent(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.write(*range(10))
    assert await world.relay().sequence()
    async with world.producer.connection() as connection:
        await connection.execute("DELETE FROM outbox WHERE position <= 4")
        await connection.execute("UPDATE outbox_head SET dropped = 4")
    with caplog.at_level(logging.ERROR):
        answers = await ask(world, dict.fromkeys(range(PARTITIONS), 2))
    assert positions(answers) == list(range(5, 11))
    assert "up to 4 were dropped" in caplog.text


def test_every_statement_is_used() -> None:
    assert misused_queries("services.mesh.events", "sql") == (set(), set())
