"""Events that cannot be done: tried again, set aside, listed, done again, discarded."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from promptmesh.events.v1.events_pb2 import Envelope

from services.mesh.errors import MeshError
from services.mesh.events import Event
from services.mesh.events.dead_letters import discard, list_dead_letters, request_retry
from tests.integration.mesh_data.world import GROUP, ORG, Effects, World, until


class Picky(Effects):
    """Fails at some labels, as long as told to."""

    def __init__(self, error: Exception, *labels: str) -> None:
        super().__init__()
        self.error = error
        self.bad = set(labels)
        self.tries = 0

        async def refuse(events: Sequence[Event]) -> None:
            if self.bad & {event.payload.title for event in events}:
                self.tries += 1
                raise self.error

        self.before = refuse


async def test_poison_is_set_aside_and_the_rest_of_its_batch_is_done(world: World) -> None:
    handler = Picky(ValueError("no such\x00 post"), "7")
    await world.write(*range(20))
    async with world.running(world.relay(), world.new_consumer(handler)):
        await world.until_done(19)
        await until(lambda: _letters(world, 1))
    assert "7" not in await world.effects()
    # Once in its batch, then as often as the options say; the stream and the first replay may both bring it.
    assert handler.tries >= 1 + 3
    async with world.consumer.connection() as connection:
        (letter,) = await list_dead_letters(connection, GROUP)
    assert (letter.consumer, letter.producer, letter.aggregate_id, letter.org_id) == (GROUP, "prompts", "post-7", ORG)
    assert (letter.reason, letter.attempts) == ("ERROR", 3)
    assert letter.error == "ValueError: no such post"
    assert letter.position == 8
    assert Envelope.FromString(letter.envelope).id == letter.event_id


async def test_a_dead_letter_that_is_asked_for_again_is_done_once(world: World) -> None:
    handler = Picky(ValueError("not yet"), "1")
    await world.write(0, 1, 2)
    async with world.running(world.relay(), world.new_consumer(handler)):
        await until(lambda: _letters(world, 1))
        handler.bad.clear()
        async with world.consumer.connection() as connection:
            assert await request_retry(connection) == 1
        await world.assert_each_once(3)
        await until(lambda: _letters(world, 0))
    assert sorted(event.payload.title for event in handler.told) == ["0", "1", "2"]


async def test_a_retry_that_fails_again_stays_with_its_new_error(world: World) -> None:
    handler = Picky(ValueError("first"), "0")
    await world.write(0)
    async with world.running(world.relay(), world.new_consumer(handler)):
        await until(lambda: _letters(world, 1))
        handler.error = KeyError("second")
        async with world.consumer.connection() as connection:
            (letter,) = await list_dead_letters(connection)
            assert await request_retry(connection, [letter.event_id], GROUP) == 1

        async def failed_again() -> bool:
            async with world.consumer.connection() as connection:
                (again,) = await list_dead_letters(connection)
            return again.retry_requested is None and again.attempts == 4 and "second" in again.error

        await until(failed_again)


async def test_a_discarded_letter_does_not_come_back(world: World) -> None:
    handler = Picky(ValueError("never"), "0")
    await world.write(0, 1)
    async with world.running(world.relay(), world.new_consumer(handler)):
        await until(lambda: _letters(world, 1))
        async with world.consumer.connection() as connection:
            (letter,) = await list_dead_letters(connection)
            assert await discard(connection, [letter.event_id]) == 1
        await world.streams.flushall()  # a replay brings the event again
        handler.bad.clear()
        await world.write(2)
        await world.until_done(2)
    assert sorted(await world.effects()) == ["1", "2"]


async def test_a_part_that_is_away_is_waited_for_and_poisons_nothing(world: World) -> None:
    refusals = 0

    class Upstream(Effects):
        async def __call__(self, conn, events) -> None:  # type: ignore[no-untyped-def]
            nonlocal refusals
            if refusals < 12:
                refusals += 1
                raise (
                    MeshError("DEPENDENCY_UNAVAILABLE", "away"),
                    grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata()),
                    ConnectionRefusedError("away"),
                )[refusals % 3]
            await super().__call__(conn, events)

    await world.write(*range(5))
    async with world.running(world.relay(), world.new_consumer(Upstream())):
        await world.assert_each_once(5)
    assert refusals == 12
    assert await _letters(world, 0)


async def test_bytes_that_cannot_be_read_are_set_aside(world: World) -> None:
    await world.write(0, 1)
    async with world.producer.connection() as connection:
        await connection.execute(r"UPDATE outbox SET envelope = '\xff00ff' WHERE aggregate_id = 'post-0'")
    async with world.running(world.relay(), world.new_consumer(Effects())):
        await world.until_done(1)
        await until(lambda: _letters(world, 1))
    async with world.consumer.connection() as connection:
        (letter,) = await list_dead_letters(connection)
    assert (letter.reason, letter.position, letter.envelope) == ("DECODE", 1, b"\xff\x00\xff")


async def _letters(world: World, count: int) -> bool:
    async with world.consumer.connection() as connection:
        return len(await list_dead_letters(connection)) == count
