"""Writers of examples on a real PostgreSQL and Redis: several processes' worth of parts in one test."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from promptmesh.events.v1.events_pb2 import Envelope
from promptmesh.inference.v1.events_pb2 import ExampleFinished, ExamplePiece, ExampleProgress
from promptmesh.prompts.v1.events_pb2 import ExampleRequested, PostDeleted

from services.inference.catalog import Offers
from services.inference.config import parse
from services.inference.examples.budget import Budget
from services.inference.examples.finisher import Finisher
from services.inference.examples.progress import Progress
from services.inference.examples.requests import ExampleRequests
from services.inference.examples.runner import ExampleRunner, RunnerOptions
from services.inference.examples.screener import Screener
from services.inference.examples.table import ExampleTable
from services.inference.examples.writer import Writer
from services.inference.providers.http import Client, Timeouts
from services.mesh import redis as mesh_redis
from services.mesh.database import Database
from services.mesh.events import Event, Outbox
from services.mesh.ids import uuid7
from services.mesh.live import LiveStream
from tests.integration.inference.moderation import ToyModeration
from tests.integration.inference.running_parts import running_parts

ORG = "0190aaaa-0000-7000-8000-000000000001"
MODELS = """
providers: [{{name: mock, kind: openai, base_url: "{base_url}"}}]
models:
  - name: house
    provider: mock
    upstream_model: mock-small
    price: {{input_per_million_usd: {price}, output_per_million_usd: {price}}}
examples: {{model: house, daily_cap_usd: {cap}}}
"""
_positions = itertools.count(1)


def models(base_url: str, price: str = "0", cap: str = "0") -> str:
    return MODELS.format(base_url=base_url, price=price, cap=cap)


async def until(condition: Callable[[], Awaitable[object]], timeout_s: float = 20.0) -> None:
    """Waits for a state that only asking can tell."""
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.01)


def event_of(payload: ExampleRequested | PostDeleted) -> Event:
    name, now = payload.DESCRIPTOR.full_name, datetime.now(UTC)
    return Event(uuid7(), name, ORG, payload.post_id, 1, now, "", next(_positions), 0, payload)


def requested(post_id: str, revision: int = 1, body: str = "Write a haiku.") -> ExampleRequested:
    return ExampleRequested(post_id=post_id, revision=revision, title="A title", body=body)


@dataclass
class Process:
    """What one process of the service has, as main wires it."""

    database: Database
    table: ExampleTable
    runner: ExampleRunner
    handler: ExampleRequests
    offers: Offers
    sweeping: asyncio.Task[None] | None = None

    async def handle(self, *payloads: ExampleRequested | PostDeleted) -> None:
        """As the consumer does it: in a transaction, then `committed`."""
        events: Sequence[Event] = [event_of(payload) for payload in payloads]
        async with self.database.transaction() as conn:
            await self.handler(conn, events)
        self.handler.committed(events)

    async def start(self, sweep: bool = True) -> None:
        await self.table.enter()
        await self.runner.sweep()
        if sweep:
            self.sweeping = asyncio.create_task(self.runner.sweep_forever())

    async def kill(self) -> None:
        """Dies without a word: nothing is given back."""
        if self.sweeping is not None:
            self.sweeping.cancel()
            await asyncio.wait([self.sweeping])
        self.runner._stopped = True
        self.runner._cancel_all()
        if self.runner._tasks:
            await asyncio.wait(self.runner._tasks)


@dataclass
class World:
    """The database, what watchers see, and processes."""

    database: Database
    outbox: Outbox
    redis: mesh_redis.Redis
    client: Client
    moderation: ToyModeration
    folder: Path
    exits: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    pieces: list[ExamplePiece] = field(default_factory=list)
    processes: list[Process] = field(default_factory=list)

    async def process(
        self,
        yaml: str,
        worker: str = "inference-0",
        *,
        start: bool = True,
        sweep: bool = True,
        lease_s: float = 10.0,
        **options: Any,
    ) -> Process:
        offers = Offers(self.client, {}, Timeouts(connect_s=2, first_token_s=2, idle_s=2, total_s=20), 0)
        offers.configure(1, parse(yaml))
        table = ExampleTable(self.database, worker, lease_s=lease_s)
        progress = Progress(LiveStream(self.redis, "examples"), flush_s=0.001)
        screener = Screener(self.moderation.stub, batch_s=0.001)
        settings = {"retry_first_s": 0.01, "retry_most_s": 0.05, "sweep_s": 0.02, **options}
        parts = await self.exits.enter_async_context(
            running_parts(offers, self.database, self.redis, self.folder / uuid7())
        )
        engine = parts.engine
        runner = ExampleRunner(
            table,
            offers,
            Writer(engine, screener, progress, timeout_s=20),
            Finisher(self.database, self.outbox, table.incarnation, batch_s=0.001),
            Budget(self.database),
            RunnerOptions(**settings),
        )
        process = Process(self.database, table, runner, ExampleRequests(runner), offers)
        self.processes.append(process)
        if start:
            await process.start(sweep)
        return process

    async def finished(self) -> list[ExampleFinished]:
        """Every ExampleFinished in the outbox, in the order it was written."""
        async with self.database.connection() as conn:
            rows = await conn.fetch("SELECT envelope FROM outbox ORDER BY id")
        return [ExampleFinished.FromString(Envelope.FromString(row[0]).payload) for row in rows]

    async def until_finished(self, count: int) -> list[ExampleFinished]:
        async def reached() -> bool:
            return len(await self.finished()) >= count

        await until(reached)
        return await self.finished()

    async def state_of(self, post_id: str) -> int:
        async with self.database.connection() as conn:
            return int(await conn.fetchval("SELECT state FROM examples WHERE post_id = $1", post_id))

    async def spent_nanos(self) -> int:
        async with self.database.connection() as conn:
            return int(await conn.fetchval("SELECT coalesce(sum(nanos), 0) FROM example_spend"))

    def shown(self, post_id: str) -> str:
        """What a watcher of the post has on the screen."""
        text = ""
        for piece in self.pieces:
            if piece.post_id == post_id:
                text = text[: piece.offset] + piece.text
        return text


@contextlib.asynccontextmanager
async def running_world(
    database: Database, outbox: Outbox, redis_url: str, client: Client, moderation: ToyModeration, folder: Path
) -> AsyncIterator[World]:
    redis = mesh_redis.open(redis_url, 2.0)
    world = World(database, outbox, redis, client, moderation, folder)
    following = asyncio.Event()

    async def watch() -> None:
        live = LiveStream(redis, "examples").follow(block_s=0.2)
        following.set()
        async for payload in live:
            world.pieces.extend(ExampleProgress.FromString(payload).pieces)

    watcher = asyncio.create_task(watch())
    await following.wait()
    try:
        yield world
    finally:
        for process in world.processes:
            await process.kill()
            await process.runner.stop()
        await world.exits.aclose()
        watcher.cancel()
        await asyncio.wait([watcher])
        await redis.aclose()
