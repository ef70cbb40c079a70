"""The flow as it goes when nothing fails: append, number, publish, consume, acknowledge."""

from __future__ import annotations

import asyncio

from promptmesh.prompts.v1.events_pb2 import PostDeleted

from services.mesh.events import NewEvent
from services.mesh.events.streams import StreamNames
from tests.integration.mesh_data.world import GROUP, ORG, PARTITIONS, PRODUCER, Effects, World, until


async def test_each_event_is_done_once_and_told_of_after_its_commit(world: World) -> None:
    effects = Effects()
    async with world.running(world.relay(), world.new_consumer(effects)):
        for number in range(0, 300, 3):
            await world.write(number, number + 1, number + 2)
        await world.assert_each_once(300)
        await until(lambda: _done(len(effects.told) == 300))


async def test_events_of_a_batch_come_in_order_of_position(world: World) -> None:
    effects = Effects()
    await world.write(*range(400))
    async with world.running(world.relay(), world.new_consumer(effects)):
        await world.assert_each_once(400)
    of_aggregate: dict[str, list[int]] = {}
    for event in effects.told:
        of_aggregate.setdefault(event.aggregate_id, []).append(event.position)
    assert all(positions == sorted(positions) for positions in of_aggregate.values())


async def test_positions_are_dense_from_one(world: World) -> None:
    relay = world.relay()
    await world.write(*range(7))
    await world.write(7, 8)
    assert await relay.sequence()
    rows = await world.fetch(world.producer, "SELECT position FROM outbox ORDER BY position")
    assert [row[0] for row in rows] == list(range(1, 10))


async def test_a_rolled_back_event_is_never_seen(world: World) -> None:
    async with world.producer.transaction() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await world.outbox.append(connection, [NewEvent(ORG, "post-x", 1, PostDeleted(post_id="x"))])
        await transaction.rollback()
    relay = world.relay()
    assert await relay.sequence()
    assert relay.head == 0


async def test_a_late_commit_is_numbered_later_and_never_skipped(world: World) -> None:
    relay = world.relay()
    effects = Effects()
    async with world.producer.transaction() as slow:
        await world.outbox.append(slow, [_labelled("late")])
        await world.write(0)
        await relay.sequence()
        await relay.publish()
        assert relay.head == 1
    await world.write(1)
    async with world.running(relay, world.new_consumer(effects)):
        await world.until_done(3)
    rows = await world.fetch(world.producer, "SELECT position FROM outbox ORDER BY id")
    assert rows[0][0] > 1, "the row with the lowest id committed after another was numbered"
    assert sorted(await world.effects()) == ["0", "1", "late"]


async def test_types_that_are_not_wanted_are_passed_over(world: World) -> None:
    async with world.producer.transaction() as connection:
        await world.outbox.append(connection, [NewEvent(ORG, "post-1", 1, PostDeleted(post_id="1"))])
    await world.write(0)
    async with world.running(world.relay(), world.new_consumer(Effects())):
        await world.assert_each_once(1)
        await until(lambda: _all_acknowledged(world))


async def test_two_relays_and_three_consumers_do_each_event_once(world: World) -> None:
    handlers = [Effects() for _ in range(3)]
    consumers = [world.new_consumer(one, worker=f"moderation-{index}") for index, one in enumerate(handlers)]
    async with world.running(world.relay(), world.relay(), *consumers):
        await asyncio.gather(*(world.write(number, number + 1) for number in range(0, 600, 2)))
        await world.assert_each_once(600)


async def test_groups_do_not_take_from_one_another(world: World) -> None:
    one, two = Effects(), Effects()
    consumers = [world.new_consumer(one, group="moderation.one"), world.new_consumer(two, group="moderation.two")]
    async with world.running(world.relay(), *consumers):
        await world.write(*range(50))
        await world.until_done(100)
    assert len(one.told) == len(two.told) == 50


async def test_the_checkpoint_follows_what_is_done(world: World) -> None:
    async with world.running(world.relay(), world.new_consumer(Effects())):
        await world.write(*range(100))
        await world.assert_each_once(100)

        async def caught_up() -> bool:
            rows = await world.fetch(world.consumer, "SELECT partition, position, epoch FROM checkpoints")
            last = await world.fetch(world.producer, "SELECT partition, max(position) FROM outbox GROUP BY partition")
            stored = {row[0]: row[1] for row in rows if row[2]}
            return all(stored.get(partition, 0) >= position for partition, position in last)

        await until(caught_up)


async def test_trimming_removes_what_every_group_has_done_and_nothing_else(world: World) -> None:
    relay = world.relay()
    async with world.running(relay, world.new_consumer(Effects())):
        await world.write(*range(1000))
        await world.assert_each_once(1000)
        await until(lambda: _all_acknowledged(world))
    await world.streams.execute_command("XGROUP", "CREATE", StreamNames(PRODUCER).stream(0), "left.behind", "0")
    before = await world.streams.xlen(StreamNames(PRODUCER).stream(0))
    assert await relay.trim() > 0
    assert await world.streams.xlen(StreamNames(PRODUCER).stream(0)) == before
    assert await world.streams.xlen(StreamNames(PRODUCER).stream(1)) < 150


async def _all_acknowledged(world: World) -> bool:
    for partition in range(PARTITIONS):
        pending = await world.streams.execute_command("XPENDING", StreamNames(PRODUCER).stream(partition), GROUP)
        if pending[0]:
            return False
    return True


async def _done(condition: bool) -> bool:
    return condition


def _labelled(label: str) -> NewEvent:
    from promptmesh.prompts.v1.events_pb2 import PostSubmitted

    return NewEvent(ORG, label, 1, PostSubmitted(post_id=label, title=label))
