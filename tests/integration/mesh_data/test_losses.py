"""Redis forgets, PostgreSQL cuts, the producer is away: nothing is lost, nothing is done twice."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.local.embedded.redis import running_redis, temporary_redis
from services.mesh.events.group import Entry, Group
from services.mesh.events.streams import StreamNames
from tests.integration.mesh_data.world import (
    FAST_RELAY,
    GROUP,
    PARTITIONS,
    PRODUCER,
    Effects,
    World,
    open_world,
    until,
)

NAMES = StreamNames(PRODUCER)


async def epochs(world: World) -> set[bytes]:
    return {await world.streams.hget(NAMES.meta(partition), "epoch") for partition in range(PARTITIONS)} - {None}


async def test_redis_is_emptied_in_the_middle(world: World) -> None:
    async with world.running(world.relay(), world.new_consumer(Effects())):
        for start in range(0, 400, 10):
            await world.write(*range(start, start + 10))
            if start in (100, 250):
                await world.streams.flushall()
        await world.assert_each_once(400)


async def test_redis_is_emptied_while_nothing_is_consumed(world: World) -> None:
    relay = world.relay()
    await world.write(*range(50))
    assert await relay.sequence()
    assert await relay.publish()
    await world.streams.flushall()
    async with world.running(relay, world.new_consumer(Effects())):
        await world.write(*range(50, 60))
        await world.assert_each_once(60)


async def test_redis_starts_again_empty(database_url: str, tmp_path: Path) -> None:
    server = temporary_redis(tmp_path / "redis")
    async with open_world(database_url, server.url()) as world:
        relay, consumer = world.relay(), world.new_consumer(Effects())
        with running_redis(server):
            async with world.running(relay, consumer):
                await world.write(*range(100))
                await world.until_done(40)
        async with world.running(relay, consumer):
            # Redis is away: writers do not notice, the log goes on.
            await world.write(*range(100, 200))
            await until(lambda: _reached(relay.head == 200))
            with running_redis(server):
                await world.assert_each_once(200)


async def test_redis_goes_back_to_an_older_state(world: World) -> None:
    keys = [key for one in range(PARTITIONS) for key in (NAMES.stream(one), NAMES.meta(one))]
    relay = world.relay()
    async with world.running(relay, world.new_consumer(Effects())):
        await world.write(*range(100))
        await world.assert_each_once(100)
    older = [await world.streams.dump(key) for key in keys]
    await world.write(*range(100, 200))
    assert await relay.sequence()
    assert await relay.publish()
    await world.streams.flushall()
    for key, state in zip(keys, older, strict=True):
        await world.streams.restore(key, 0, state)
    async with world.running(relay, world.new_consumer(Effects())):
        await world.write(*range(200, 220))
        await world.assert_each_once(220)


async def test_sessions_of_postgresql_are_cut_in_the_middle(world: World) -> None:
    async with world.running(world.relay(), world.new_consumer(Effects()), world.new_consumer(Effects(), worker="m-1")):
        for start in range(0, 200, 10):
            await _write_until_it_is_there(world, *range(start, start + 10))
            if start % 50 == 0:
                await world.kill_connections()
        await world.assert_each_once(200)


async def test_while_the_producer_is_away_live_events_go_on_and_the_checkpoint_stays(world: World) -> None:
    relay = world.relay()
    effects = Effects()
    await world.write(*range(50))
    assert await relay.sequence()
    assert await relay.publish()
    await world.streams.flushall()
    world.producer_away = True
    async with world.running(relay, world.new_consumer(effects)):
        await until(lambda: _has(epochs(world)))
        await world.write(*range(50, 100))
        await world.until_done(50)
        assert {int(one) for one in await world.effects()} == set(range(50, 100))
        stored = await world.fetch(world.consumer, "SELECT position, epoch FROM checkpoints")
        assert {tuple(row) for row in stored} == {(0, "")}
        world.producer_away = False
        await world.assert_each_once(100)


async def test_a_replay_that_is_cut_is_asked_for_again_after_what_it_brought(world: World) -> None:
    whole = world.replay
    cuts = 0

    async def cut(request):  # type: ignore[no-untyped-def]
        nonlocal cuts
        async for answer in whole(request):
            if answer.WhichOneof("event") == "done" and cuts < 2:
                cuts += 1
                return
            yield answer

    world.replay = cut  # type: ignore[method-assign]
    relay = world.relay()
    await world.write(*range(30))
    assert await relay.sequence()
    assert await relay.publish()
    await world.streams.flushall()
    async with world.running(relay, world.new_consumer(Effects())):
        await world.assert_each_once(30)
        await until(lambda: _reached(len(world.replays) >= 3))
    assert cuts == 2
    assert all(one.position == 30 for one in world.replays[2].after)


async def test_an_entry_deleted_while_it_was_in_hand_comes_by_replay(world: World) -> None:
    relay = world.relay()
    async with world.running(relay, world.new_consumer(Effects())):
        await world.write(0)
        await world.assert_each_once(1)
    await world.write(*range(1, 5))
    assert await relay.sequence()
    assert await relay.publish()
    # A worker that takes them and dies; then an operator's hand slips.
    streams = [NAMES.stream(one) for one in range(PARTITIONS)]
    taken = await world.streams.execute_command(
        "XREADGROUP", "GROUP", GROUP, "departed", "STREAMS", *streams, *(">" for _ in streams)
    )
    for stream, entries in taken:
        for entry_id, _ in entries:
            await world.streams.xdel(stream, entry_id)
    async with world.running(relay, world.new_consumer(Effects())):
        await world.assert_each_once(5)


async def test_a_stream_cut_at_its_cap_is_made_good_by_a_replay(world: World) -> None:
    from dataclasses import replace

    relay = world.relay(replace(FAST_RELAY, stream_max_entries=10))
    async with world.running(relay, world.new_consumer(Effects())):
        await world.write(*range(10))
        await world.assert_each_once(10)
    await world.write(*range(10, 300))
    assert await relay.sequence()
    assert await relay.publish()
    before = await epochs(world)
    assert await relay.trim() > 200
    assert not before & await epochs(world)
    async with world.running(relay, world.new_consumer(Effects())):
        await world.assert_each_once(300)


async def test_a_log_put_back_to_an_older_state_is_read_anew(world: World) -> None:
    relay = world.relay()
    async with world.running(relay, world.new_consumer(Effects())):
        await world.write(*range(100))
        await world.assert_each_once(100)

        async def checkpointed() -> bool:
            rows = await world.fetch(world.consumer, "SELECT min(position) FROM checkpoints")
            return bool(rows[0][0] > 0)

        await until(checkpointed)
    async with world.producer.transaction() as connection:
        await connection.execute("TRUNCATE outbox")
        await connection.execute("UPDATE outbox_head SET position = 0")
        await connection.execute("UPDATE relay_cursor SET published = 0, heads = '{}'")
    async with world.running(world.relay(), world.new_consumer(Effects())):
        await world.write(*range(100, 120))
        await world.assert_each_once(120)


async def test_publishing_twice_adds_nothing(world: World) -> None:
    relay = world.relay()
    await world.write(*range(40))
    assert await relay.sequence()
    assert await relay.publish()
    lengths = [await world.streams.xlen(NAMES.stream(one)) for one in range(PARTITIONS)]
    async with world.producer.connection() as connection:
        await connection.execute("UPDATE relay_cursor SET published = 7, heads = '{}'")
    assert await relay.publish()
    assert lengths == [await world.streams.xlen(NAMES.stream(one)) for one in range(PARTITIONS)]
    assert sum(lengths) == 40


async def test_what_was_read_is_done_although_the_next_read_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Group.read
    failures = 0

    async def fail_at_times(self: Group, count: int, block_s: float | None) -> list[Entry]:
        nonlocal failures
        if block_s is None:
            failures += 1
            raise ConnectionError("cut")
        return await whole(self, count, block_s)

    monkeypatch.setattr(Group, "read", fail_at_times)
    # No reclaim within the test: what is lost from hand would stay undone.
    consumer = world.new_consumer(Effects(), reclaim_idle_s=3600.0)
    async with world.running(world.relay(), consumer):
        for number in range(20):
            await world.write(number)
        await world.assert_each_once(20)
    assert failures


@pytest.mark.parametrize("lost", ["meta", "stream"])
async def test_half_of_a_partition_is_lost(world: World, lost: str) -> None:
    relay = world.relay()
    async with world.running(relay, world.new_consumer(Effects())):
        await world.write(*range(40))
        await world.until_done(20)
        for partition in range(PARTITIONS):
            await world.streams.delete(NAMES.meta(partition) if lost == "meta" else NAMES.stream(partition))
        await world.write(*range(40, 80))
        await world.assert_each_once(80)


async def _write_until_it_is_there(world: World, *numbers: int) -> None:
    """Writes, and writes again if the session was cut: only the tests' own events, so a look at the outbox will do."""
    from services.mesh.errors import MeshError

    async with asyncio.timeout(30):
        while True:
            try:
                return await world.write(*numbers)
            except MeshError:
                wanted = [f"post-{number}" for number in numbers]
                rows = []
                while not rows:
                    try:
                        rows = await world.fetch(
                            world.producer, "SELECT count(*) FROM outbox WHERE aggregate_id = ANY ($1)", wanted
                        )
                    except MeshError:
                        await asyncio.sleep(0.02)
                if rows[0][0]:
                    return None


async def _reached(condition: bool) -> bool:
    return condition


async def _has(found) -> bool:  # type: ignore[no-untyped-def]
    return bool(await found)
