"""A worker that dies at any point leaves nothing undone and nothing done twice."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.integration.mesh_data.world import CONSUMER, PRODUCER, World, until, url_of

FAILPOINTS = [
    "relay.after_sequence",
    "relay.after_publish",
    "consumer.before_commit",
    "consumer.after_commit",
    "consumer.after_ack",
]
REPO = Path(__file__).parents[3]


@asynccontextmanager
async def worker(world: World, failpoints: Path, deadly: str = "") -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker process; killed at the end of the block, if it is not dead by then."""
    job = {
        "prompts": url_of(world.database_url, PRODUCER),
        "moderation": url_of(world.database_url, CONSUMER),
        "redis": world.redis_url,
        "failpoints": str(failpoints),
        "deadly": deadly,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.mesh_data.worker",
        json.dumps(job),
        cwd=REPO,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        # Let the transport of the pipe close before the loop does.
        await process.communicate()


@pytest.mark.parametrize("failpoint", FAILPOINTS)
async def test_a_worker_killed_at_a_failpoint(world: World, tmp_path: Path, failpoint: str) -> None:
    armed = tmp_path / f"{PRODUCER}:{failpoint}"
    armed.touch()
    async with worker(world, tmp_path) as process:
        await world.write(*range(20))
        assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
    assert not armed.exists()
    await world.write(*range(20, 40))
    async with worker(world, tmp_path):
        await world.assert_each_once(40)


async def test_a_worker_that_never_comes_back_is_taken_over(world: World, tmp_path: Path) -> None:
    (tmp_path / f"{PRODUCER}:consumer.before_commit").touch()
    async with worker(world, tmp_path) as process:
        await world.write(*range(20))
        assert await asyncio.wait_for(process.wait(), 30) == -signal.SIGKILL
    from tests.integration.mesh_data.world import Effects

    async with world.running(world.relay(), world.new_consumer(Effects(), worker="moderation-1")):
        await world.assert_each_once(20)


@pytest.mark.timeout(300)  # up to 15 processes are started, one after the other
@pytest.mark.parametrize("brought_by", ["stream", "replay"])
async def test_an_event_that_kills_its_worker_is_given_up(world: World, tmp_path: Path, brought_by: str) -> None:
    await world.write(*range(10))
    if brought_by == "replay":
        relay = world.relay()
        assert await relay.sequence()
        assert await relay.publish()
        await world.streams.flushall()

    async def given_up() -> bool:
        return bool(await world.fetch(world.consumer, "SELECT FROM dead_letters WHERE reason = 'CRASH'"))

    deaths = 0
    while not await given_up():
        async with worker(world, tmp_path, deadly="4") as process:
            dead = asyncio.create_task(process.wait())

            async def dead_or_given_up(dead: asyncio.Task[int] = dead) -> bool:
                return dead.done() or await given_up()

            await until(dead_or_given_up)
            deaths += dead.done()
            if not dead.done():
                await world.until_done(9)
        assert deaths < 15

    async def nothing_suspected() -> bool:
        return not await world.fetch(world.consumer, "SELECT FROM suspects")

    async with worker(world, tmp_path, deadly="4"):
        await world.until_done(9)
        await until(nothing_suspected)
    labels = sorted(map(int, await world.effects()))
    assert labels == [0, 1, 2, 3, 5, 6, 7, 8, 9]
