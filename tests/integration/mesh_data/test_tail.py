"""The tail: gapless, in order, from now or from a place in the past, bounded."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from itertools import islice

import pytest

from services.local.ports import free_ports
from services.mesh.errors import MeshError
from services.mesh.events import Tail, TailOptions, connect_streams
from tests.integration.mesh_data.world import World, until

FAST = TailOptions(page=7, poll_interval_s=0.01, queue_events=1000, max_subscribers=40)


@contextlib.asynccontextmanager
async def tailing(world: World, options: TailOptions = FAST, *, relay_too: bool = True) -> AsyncIterator[Tail]:
    """A tail that runs, fed by a relay without a Redis to its name."""
    tail = Tail(world.producer, options)
    relay = world.relay()
    relay.on_sequenced(tail.sequenced)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(tail.run())]
        if relay_too:
            tasks.append(group.create_task(relay.run()))
        yield tail
        for task in tasks:
            task.cancel()


async def read(tail: Tail, after: int | None, until_position: int, pause_s: float = 0.0) -> list[int]:
    positions: list[int] = []
    async with asyncio.timeout(60), tail.subscribe(after) as events:
        async for event in events:
            positions.append(event.position)
            if pause_s:
                await asyncio.sleep(random.uniform(0, pause_s))
            if event.position >= until_position:
                break
    return positions


async def numbered(world: World, *numbers: int) -> None:
    await world.write(*numbers)
    assert await world.relay().sequence()


async def test_from_the_beginning_then_live(world: World) -> None:
    await numbered(world, *range(30))
    async with tailing(world) as tail:
        reading = asyncio.create_task(read(tail, 0, 60))
        for number in range(30, 60):
            await world.write(number)
        assert await reading == list(range(1, 61))
    assert tail.head == 60


async def test_from_now_on_nothing_old_comes(world: World) -> None:
    await numbered(world, *range(10))
    async with tailing(world) as tail, tail.subscribe() as events:
        await world.write(10)
        event = await asyncio.wait_for(anext(events), 30)
    assert (event.position, event.payload.title) == (11, "10")


@pytest.mark.parametrize("seed", range(4))
async def test_hand_over_under_concurrent_writes_has_no_gap_and_no_duplicate(world: World, seed: int) -> None:
    rng = random.Random(seed)
    total = 400
    numbers = iter(range(total))
    async with tailing(world) as tail:

        async def write() -> None:
            while batch := list(islice(numbers, rng.randint(1, 6))):
                await world.write(*batch)
                await asyncio.sleep(rng.uniform(0, 0.004))

        async def watch() -> None:
            await asyncio.sleep(rng.uniform(0, 0.5))
            after = min(total - 1, rng.choice([0, tail.head, rng.randint(0, tail.head)]))
            positions = await read(tail, after, total, rng.choice([0, 0.002]))
            assert positions == list(range(after + 1, total + 1))

        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(write())
            for _ in range(12):
                group.create_task(watch())


async def test_subscribers_come_and_go(world: World) -> None:
    async with tailing(world) as tail:
        for start in range(0, 60, 20):
            readers = [asyncio.create_task(read(tail, start, start + 20)) for _ in range(3)]
            await world.write(*range(start, start + 20))
            for reader in readers:
                assert await reader == list(range(start + 1, start + 21))


async def test_without_redis_watchers_go_on(world: World) -> None:
    away = connect_streams(f"redis://127.0.0.1:{free_ports(1)[0]}")
    async with tailing(replace(world, streams=away)) as tail:
        reading = asyncio.create_task(read(tail, 0, 20))
        await world.write(*range(20))
        assert await reading == list(range(1, 21))
    await away.aclose()


async def test_a_slow_reader_is_cut_and_can_resume_while_others_read_on(world: World) -> None:
    options = TailOptions(page=7, poll_interval_s=0.01, queue_events=10)
    async with tailing(world, options) as tail, tail.subscribe(0) as slow, tail.subscribe(0) as slower:
        await world.write(0)
        assert (await anext(slow)).position == 1
        assert (await anext(slower)).position == 1
        quick = asyncio.create_task(read(tail, 1, 60))
        for number in range(1, 60):
            await world.write(number)
            await until(partial(_reaches, tail, number + 1))
        assert await quick == list(range(2, 61))
        with pytest.raises(MeshError, match="WATCHER_TOO_SLOW"):
            async for _ in slow:
                pass
        assert await read(tail, 1, 60) == list(range(2, 61))


async def test_a_reader_of_the_past_is_not_cut_for_being_slow(world: World) -> None:
    await numbered(world, *range(200))
    options = TailOptions(page=7, poll_interval_s=0.01, queue_events=10)
    async with tailing(world, options) as tail:
        assert await read(tail, 0, 200, 0.001) == list(range(1, 201))


async def test_expired_and_impossible_cursors(world: World) -> None:
    await numbered(world, *range(10))
    async with world.producer.connection() as connection:
        await connection.execute("DELETE FROM outbox WHERE position <= 4")
        await connection.execute("UPDATE outbox_head SET dropped = 4")
    async with tailing(world) as tail:
        for after in (0, 3, 11):
            with pytest.raises(MeshError, match="CURSOR_EXPIRED") as caught:
                await read(tail, after, 10)
            assert caught.value.metadata == {"after": str(after), "oldest": "4", "head": "10"}
        assert await read(tail, 4, 10) == list(range(5, 11))


async def test_no_more_subscribers_than_allowed(world: World) -> None:
    async with tailing(world, TailOptions(max_subscribers=1)) as tail:
        async with tail.subscribe(0):
            with pytest.raises(MeshError, match="WATCH_LIMIT"):
                await read(tail, 0, 1)
        async with tail.subscribe(0):
            pass


async def test_sessions_of_postgresql_are_cut_while_watching(world: World) -> None:
    async with tailing(world, relay_too=False) as tail, tail.subscribe(0) as events:
        await numbered(world, 0)
        assert (await asyncio.wait_for(anext(events), 30)).position == 1
        await world.kill_connections()

        async def written() -> bool:
            try:
                await numbered(world, 1)
            except MeshError:
                return False
            return True

        await until(written)
        assert (await asyncio.wait_for(anext(events), 30)).position == 2


async def _reaches(tail: Tail, position: int) -> bool:
    return tail.head >= position
