"""Who waits on Redis can be ended at any moment: a lost cancellation would keep a process from stopping."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from services.mesh.events.streams import connect_streams, run_command
from services.mesh.redis import open_blocking

STEPS = 8  # of the event loop, in which a command is begun, sent and waited for


@pytest.mark.parametrize("opened", [connect_streams, open_blocking])
async def test_a_cancellation_is_never_lost(redis_url: str, opened: type[Redis]) -> None:
    client: Redis = opened(redis_url)
    await run_command(client, "PING")

    async def work() -> None:
        for _ in range(3):
            await run_command(client, "BLPOP", "nothing", 0.05)

    for step in range(STEPS):
        task = asyncio.create_task(work())
        for _ in range(step):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled(), f"lost at step {step}"
        # What was asked for is not taken for the answer to the next.
        assert await run_command(client, "ECHO", "mine") == b"mine"
    await client.aclose()
