"""Bounded Redis and live streams, against a Redis that is there, silent, gone, and back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.local.embedded.redis import running_redis, temporary_redis
from services.mesh import redis as mesh_redis
from services.mesh.live import LiveStream
from services.mesh.redis import Redis, RedisUnavailable

WAIT_S = 10.0


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    client = mesh_redis.open(redis_url, 5.0)
    yield client
    await client.aclose()


async def silent_server() -> tuple[asyncio.Server, int]:
    """Accepts, and never says anything."""

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_commands_pipelines_and_scripts(redis: Redis) -> None:
    await redis.set("a", "1")
    pipeline = redis.pipeline(transaction=False)
    pipeline.incr("a")
    pipeline.get("a")
    assert await pipeline.execute() == [2, b"2"]
    script = redis.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    assert await script(keys=["a"], args=[5]) == 7
    assert redis.available


async def test_a_redis_that_says_nothing_is_given_up() -> None:
    server, port = await silent_server()
    client = mesh_redis.open(f"redis://127.0.0.1:{port}/0", 0.05)
    for _ in range(20):
        with pytest.raises(RedisUnavailable) as caught:
            await client.get("a")
        assert caught.value.reason == "DEPENDENCY_UNAVAILABLE"
        with pytest.raises(RedisUnavailable):
            await client.pipeline().set("a", 1).execute()
    assert not client.available
    await client.aclose()
    server.close()


async def test_live_messages_reach_those_who_listen(redis: Redis) -> None:
    stream = LiveStream(redis, "examples")
    assert await stream.publish(b"before")
    following = stream.follow(block_s=0.2)
    first = asyncio.ensure_future(anext(following))
    async with asyncio.timeout(WAIT_S):
        while not first.done():
            await stream.publish(b"now")
            await asyncio.sleep(0.01)
        assert await first == b"now"
        await stream.publish(b"end")
        async for payload in following:
            if payload == b"end":
                break
    await following.aclose()


async def test_live_streams_outlive_redis(tmp_path: Path) -> None:
    server = temporary_redis(tmp_path)
    client = mesh_redis.open(server.url(), 1.0)
    stream = LiveStream(client, "examples")
    heard: list[bytes] = []

    async def listen() -> None:
        async for payload in stream.follow(block_s=0.1):
            heard.append(payload)

    async def heard_one(payload: bytes) -> None:
        async with asyncio.timeout(WAIT_S):
            while payload not in heard:
                await stream.publish(payload)
                await asyncio.sleep(0.01)

    with running_redis(server):
        listening = asyncio.create_task(listen())
        await heard_one(b"first")
    assert not await stream.publish(b"nobody takes this")
    with running_redis(server):
        await heard_one(b"second")
        listening.cancel()
        await asyncio.wait([listening])
        await client.aclose()
