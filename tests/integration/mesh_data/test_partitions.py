"""Partitions by day: made ahead, dropped in the end, with a net for what fits nowhere."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.mesh.database.partitions import maintain, maintain_once
from tests.integration.mesh_data.world import Effects, World, until


def uuid_at(moment: datetime, number: int = 0) -> str:
    return str(UUID(int=(int(moment.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | number))


async def days(world: World, table: str = "outbox") -> list[str]:
    rows = await world.fetch(
        world.producer,
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::text::regclass ORDER BY 1",
        table,
    )
    return [row[0].removeprefix(f"{table}_") for row in rows]


def day(moment: datetime) -> str:
    return moment.strftime("%Y%m%d")


async def put(world: World, event_id: str, position: int | None = None) -> None:
    async with world.producer.connection() as connection:
        await connection.execute(
            "INSERT INTO outbox (id, org_id, aggregate_id, partition, type, envelope, position) "
            "VALUES ($1, 'o', 'a', 0, 't', '', $2)",
            event_id,
            position,
        )


async def where(world: World, event_id: str) -> str:
    rows = await world.fetch(world.producer, "SELECT tableoid::regclass::text FROM outbox WHERE id = $1", event_id)
    return str(rows[0][0])


async def test_a_new_table_has_yesterday_to_a_week_ahead_and_a_net(world: World) -> None:
    now = datetime.now(UTC)
    assert await days(world) == [day(now + timedelta(days=ahead)) for ahead in range(-1, 8)] + ["default"]


async def test_bounds_are_the_days_of_the_ids(world: World) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    before, after = uuid_at(midnight - timedelta(milliseconds=1)), uuid_at(midnight)
    await put(world, before)
    await put(world, after)
    assert await where(world, before) == f"outbox_{day(midnight - timedelta(days=1))}"
    assert await where(world, after) == f"outbox_{day(midnight)}"


async def test_days_ahead_are_made_and_what_came_before_them_moves_in(world: World) -> None:
    now = datetime.now(UTC)
    early = uuid_at(now + timedelta(days=9))
    await put(world, early, 1)
    assert await where(world, early) == "outbox_default"
    later = now + timedelta(days=3)
    assert await maintain_once(world.producer, later) == (6, 0)  # three days of two tables
    assert await where(world, early) == f"outbox_{day(now + timedelta(days=9))}"
    assert await maintain_once(world.producer, later) == (0, 0)


async def test_days_past_their_retention_are_dropped_and_the_log_knows(world: World) -> None:
    effects = Effects()
    async with world.running(world.relay(), world.new_consumer(effects)):
        await world.write(*range(5))
        await world.assert_each_once(5)

        async def cursor_is_there() -> bool:
            return bool(await world.fetch(world.producer, "SELECT FROM relay_cursor WHERE published = 5"))

        await until(cursor_is_there)
    now = datetime.now(UTC)
    done = await maintain_once(world.producer, now + timedelta(days=8))
    assert done is not None
    assert done[1] > 0
    assert day(now) not in await days(world)
    assert day(now) in await days(world, "inbox"), "the inbox remembers longer than any outbox can replay"
    rows = await world.fetch(world.producer, "SELECT position, dropped FROM outbox_head")
    assert tuple(rows[0]) == (5, 5)
    assert await world.fetch(world.producer, "SELECT FROM outbox") == []


async def test_a_day_with_unpublished_events_is_kept(world: World) -> None:
    await world.write(1)
    now = datetime.now(UTC)
    await maintain_once(world.producer, now + timedelta(days=30))
    assert len(await world.fetch(world.producer, "SELECT FROM outbox")) == 1
    relay = world.relay()
    assert await relay.sequence()
    assert await relay.publish()
    await maintain_once(world.producer, now + timedelta(days=30))
    assert await world.fetch(world.producer, "SELECT FROM outbox") == []


async def test_rows_of_clocks_far_behind_go_when_they_are_published(world: World) -> None:
    now = datetime.now(UTC)
    stray = uuid_at(now - timedelta(days=300))
    await put(world, stray)
    await maintain_once(world.producer, now)
    assert await where(world, stray) == "outbox_default"
    relay = world.relay()
    assert await relay.sequence()
    assert await relay.publish()
    await maintain_once(world.producer, now)
    assert await world.fetch(world.producer, "SELECT FROM outbox") == []
    rows = await world.fetch(world.producer, "SELECT dropped FROM outbox_head")
    assert rows[0][0] == 1


async def test_one_process_at_a_time_maintains_and_writers_go_on(world: World) -> None:
    now = datetime.now(UTC)
    async with world.producer.transaction() as connection:
        assert await connection.fetchrow("SELECT made FROM mesh_maintain_partitions($1)", now) is not None
        assert await maintain_once(world.producer, now) is None
        await world.write(1)


async def test_the_job_runs_at_once_and_ends_when_it_is_cancelled(world: World) -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    job = asyncio.create_task(maintain(world.producer, now=lambda: later))

    async def made() -> bool:
        return day(later + timedelta(days=7)) in await days(world)

    await until(made)
    job.cancel()
    await asyncio.wait([job])
    assert job.cancelled()


async def test_a_table_of_a_service_with_generated_columns(world: World) -> None:
    early = uuid_at(datetime.now(UTC) + timedelta(days=8))
    async with world.producer.connection() as connection:
        await connection.execute(
            "CREATE TABLE requests (id uuid PRIMARY KEY, tokens int NOT NULL, doubled int GENERATED ALWAYS AS "
            "(tokens * 2) STORED) PARTITION BY RANGE (id); SELECT mesh_partition_by_day('requests', NULL)"
        )
        await connection.execute("INSERT INTO requests VALUES ($1, 21)", early)
        await connection.execute("INSERT INTO requests VALUES ($1, 1)", uuid_at(datetime.now(UTC)))
    await maintain_once(world.producer, datetime.now(UTC) + timedelta(days=40))
    rows = await world.fetch(world.producer, "SELECT doubled FROM requests ORDER BY id")
    assert [row[0] for row in rows] == [2, 42]


async def test_a_lock_not_had_is_left_to_the_next_run(world: World) -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    async with world.producer.transaction() as connection:
        await connection.execute("LOCK TABLE outbox_default IN ACCESS SHARE MODE")
        job = asyncio.create_task(maintain(world.producer, interval_s=0.01, now=lambda: later))
        done, _ = await asyncio.wait([job], timeout=2.5)
        assert not done
        assert day(later + timedelta(days=7)) not in await days(world)

    async def made() -> bool:
        return day(later + timedelta(days=7)) in await days(world)

    await until(made)
    job.cancel()
    await asyncio.wait([job])
