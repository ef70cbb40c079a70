"""Events of several partitions on a real Redis Cluster: in order, each once, whoever dies and wherever a slot goes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from promptmesh.prompts.v1.events_pb2 import PostSubmitted
from redis.crc import key_slot

from services.mesh.events import NewEvent
from services.mesh.events.streams import StreamNames
from tests.integration.mesh_data.test_crashes import worker
from tests.integration.mesh_data.world import ORG, PARTITIONS, PRODUCER, Effects, World, open_world, until
from tests.integration.redis_cluster.cluster import Cluster
from tests.integration.redis_cluster.router import Router, routing

PATIENCE_S = 90.0
KEYS, EACH = 16, 20


@pytest.fixture(autouse=True)
def _in_one_day(one_day: None) -> None:
    """The outbox has partitions of days."""


@pytest.fixture
async def router(cluster: Cluster) -> AsyncIterator[Router]:
    async with routing(cluster) as opened:
        yield opened


@pytest.fixture
async def world(database_url: str, router: Router) -> AsyncIterator[World]:
    async with open_world(database_url, router.url) as opened:
        await opened.streams.flushall()
        yield opened


async def _reached(state: bool) -> bool:
    return state


def revision(key: int, number: int) -> NewEvent:
    payload = PostSubmitted(post_id=f"post-{key}", revision=number, title=f"{key}:{number}")
    return NewEvent(ORG, f"post-{key}", number, payload)


async def write_revisions(world: World) -> None:
    """EACH revisions of KEYS posts, a transaction for each number."""
    for number in range(1, EACH + 1):
        async with world.producer.transaction() as connection:
            await world.outbox.append(connection, [revision(key, number) for key in range(KEYS)])


async def assert_in_order(world: World) -> None:
    """Every revision was done once, and those of a post in their order."""
    await world.until_done(KEYS * EACH, PATIENCE_S)
    done = defaultdict(list)
    for label in await world.effects():
        key, number = label.split(":")
        done[int(key)].append(int(number))
    assert done == {key: list(range(1, EACH + 1)) for key in range(KEYS)}


async def test_events_of_a_key_stay_in_order_over_all_partitions(world: World, router: Router) -> None:
    effects = Effects()
    async with world.running(world.relay(), world.new_consumer(effects)):
        await write_revisions(world)
        await assert_in_order(world)
    assert {event.partition for event in effects.told} == set(range(PARTITIONS))
    # One question for all partitions, and what a cluster says to that.
    ((command, answer),) = router.refused
    assert (command[0], answer[:10]) == (b"XREADGROUP", b"-CROSSSLOT")


async def test_a_group_that_is_lost_is_made_again(world: World) -> None:
    async with world.running(world.relay(), world.new_consumer(Effects())):
        await world.write(*range(20))
        await world.until_done(20, PATIENCE_S)
        await world.streams.flushall()
        await world.write(*range(20, 40))
        await world.until_done(40, PATIENCE_S)
        assert sorted(map(int, await world.effects())) == list(range(40))


@pytest.mark.parametrize("failpoint", ["consumer.before_commit", "consumer.after_commit"])
async def test_a_worker_that_was_killed_goes_on(world: World, tmp_path: Path, failpoint: str) -> None:
    (tmp_path / f"{PRODUCER}:{failpoint}").write_text("kill")
    await world.write(*range(40))
    async with worker(world, tmp_path) as process:
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()
    async with worker(world, tmp_path):
        await world.until_done(40, PATIENCE_S)
        assert sorted(map(int, await world.effects())) == list(range(40))


async def test_what_a_departed_worker_had_in_hand_is_claimed(world: World, tmp_path: Path, router: Router) -> None:
    (tmp_path / f"{PRODUCER}:consumer.before_commit").write_text("kill")
    await world.write(*range(40))
    async with worker(world, tmp_path) as process:
        async with asyncio.timeout(PATIENCE_S):
            await process.wait()
    async with world.running(world.relay(), world.new_consumer(Effects(), worker="moderation-1")):
        await world.until_done(40, PATIENCE_S)
        # By a replay too, which may come first.
        await until(lambda: _reached(router.commands["XCLAIM"] > 0), PATIENCE_S)
        assert sorted(map(int, await world.effects())) == list(range(40))


async def test_a_slot_that_moves_to_another_node_takes_its_events_along(
    world: World, cluster: Cluster, router: Router
) -> None:
    async with world.running(world.relay(), world.new_consumer(Effects())):
        writing = asyncio.create_task(write_revisions(world))
        await world.until_done(KEYS, PATIENCE_S)
        await asyncio.to_thread(cluster.move_slot, key_slot(StreamNames(PRODUCER).stream(0).encode()))
        await writing
        await assert_in_order(world)
    assert router.moved
