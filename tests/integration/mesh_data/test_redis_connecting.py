"""A connection that takes longer than a call may wait comes up nevertheless."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from services.mesh import redis as mesh_redis
from services.mesh.redis import RedisUnavailable

OP_TIMEOUT_S = 0.05
LATE_S = 0.04  # each answer: connecting takes several


@contextlib.asynccontextmanager
async def late_redis(redis_url: str) -> AsyncIterator[tuple[str, list[int]]]:
    """The Redis behind a wire that brings answers late at first; (its URL, connections so far)."""
    parts = urlsplit(redis_url)
    connections: list[int] = []
    tasks: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: bool) -> None:
        answers = 0
        while data := await reader.read(65536):
            answers += 1
            if late and answers <= 2:
                await asyncio.sleep(LATE_S)
            writer.write(data)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        there, back = await asyncio.open_connection(parts.hostname, parts.port)
        writers.extend((writer, back))
        tasks.append(asyncio.create_task(pump(there, writer, late=True)))
        tasks.append(asyncio.create_task(pump(reader, back, late=False)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield parts._replace(netloc=f":{parts.password}@127.0.0.1:{port}").geturl(), connections
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for one in writers:
            one.close()
            with contextlib.suppress(OSError):
                await one.wait_closed()


async def test_a_slow_connection_is_there_for_a_later_call(redis_url: str) -> None:
    async with late_redis(redis_url) as (url, connections):
        client = mesh_redis.open(url, OP_TIMEOUT_S)
        with pytest.raises(RedisUnavailable):
            await client.get("a")
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(RedisUnavailable):
                    assert await client.get("a") is None
                    break
        assert len(connections) == 1, "each call began a connection of its own"
        await client.aclose()


async def test_a_client_that_is_closed_while_it_connects_leaves_nothing(redis_url: str) -> None:
    async with late_redis(redis_url) as (url, connections):
        client = mesh_redis.open(url, 5.0)
        call = asyncio.ensure_future(client.get("a"))
        async with asyncio.timeout(10):
            while not connections:
                await asyncio.sleep(0)
        await client.connection_pool.disconnect()

        with pytest.raises(RedisUnavailable):
            await call
        await client.aclose()
