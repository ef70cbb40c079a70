"""A producer (`prompts`) and a consumer's side (`moderation`) on a real PostgreSQL and Redis, for tests of events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from promptmesh.events.v1.events_pb2 import ReplayRequest, ReplayResponse
from promptmesh.prompts.v1.events_pb2 import PostSubmitted
from redis.asyncio import Redis

from services.mesh.database import Database, DatabaseOptions
from services.mesh.database.migrate import migrate, read_migrations
from services.mesh.database.provision import provision, role_of
from services.mesh.database.queries import package_folder
from services.mesh.events import (
    BLOCKING_TIMEOUT_S,
    Consumer,
    ConsumerOptions,
    Event,
    EventSource,
    Handler,
    NewEvent,
    Outbox,
    Relay,
    RelayOptions,
    connect_streams,
)
from services.mesh.events.processing import Attempts

PRODUCER, CONSUMER = "prompts", "moderation"
GROUP = "moderation.screen"
PARTITIONS = 4
ORG = "0190aaaa-0000-7000-8000-000000000001"
PASSWORD = "secret"

KIT = read_migrations("mesh", package_folder("services.mesh.database") / "migrations")

FAST_RELAY = RelayOptions(
    linger_s=0.001,
    interval_s=0.002,
    poll_interval_s=0.02,
    audit_interval_s=0.05,
    contended_pause_s=0.002,
    trim_interval_s=3600,
)
FAST_CONSUMER = ConsumerOptions(
    linger_s=0.001,
    interval_s=0.002,
    block_s=0.2,
    keep_interval_s=0.05,
    recheck_interval_s=0.05,
    reclaim_interval_s=0.1,
    reclaim_idle_s=1.0,
    attempts=Attempts(failures=3, timeouts=5, starts=2),
)


def url_of(database_url: str, service: str) -> str:
    """The DSN of a service's own role."""
    parts = urlsplit(database_url)
    return urlunsplit(parts._replace(netloc=f"{role_of(service)}:{PASSWORD}@{parts.hostname}:{parts.port}"))


async def make_schema(database_url: str, service: str) -> str:
    """Role, schema and the kit's migrations of a service; returns its DSN."""
    admin = await asyncpg.connect(database_url)
    try:
        await provision(admin, service, PASSWORD)
    finally:
        await admin.close()
    url = url_of(database_url, service)
    own = await asyncpg.connect(url)
    try:
        await migrate(own, KIT)
    finally:
        await own.close()
    return url


async def until(condition: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    """Waits for a state that only asking can tell; fails with a TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.01)


def submitted(number: int) -> NewEvent:
    """An event about post `post-<number>`."""
    return NewEvent(ORG, f"post-{number}", 1, PostSubmitted(post_id=f"post-{number}", revision=1, title=str(number)))


class Effects:
    """A handler whose effect is a row for each event done: twice done would be two rows."""

    def __init__(self) -> None:
        self.told: list[Event] = []
        self.before: Callable[[Sequence[Event]], Awaitable[None]] | None = None

    async def __call__(self, conn: asyncpg.Connection, events: Sequence[Event]) -> None:
        if self.before is not None:
            await self.before(events)
        await conn.executemany(
            "INSERT INTO effects (label, position) VALUES ($1, $2)",
            [(event.payload.title, event.position) for event in events],
        )

    def committed(self, events: Sequence[Event]) -> None:
        self.told += events


@dataclass
class World:
    database_url: str
    redis_url: str
    producer: Database
    consumer: Database
    streams: Redis
    blocking: Redis
    outbox: Outbox
    relay_options: RelayOptions = FAST_RELAY
    replays: list[ReplayRequest] = field(default_factory=list)
    producer_away: bool = False

    async def write(self, *numbers: int) -> None:
        """One transaction with an event for each number."""
        async with self.producer.transaction() as connection:
            await self.outbox.append(connection, [submitted(number) for number in numbers])

    def relay(self, options: RelayOptions | None = None) -> Relay:
        return Relay(self.producer, self.outbox, self.streams, options or self.relay_options)

    def new_consumer(
        self,
        handle: Handler,
        *,
        worker: str = "moderation-0",
        group: str = GROUP,
        options: ConsumerOptions = FAST_CONSUMER,
        **changes: object,
    ) -> Consumer:
        return Consumer(
            self.consumer,
            self.streams,
            self.blocking,
            producer=PRODUCER,
            group=group,
            worker=worker,
            partitions=PARTITIONS,
            types=[PostSubmitted],
            handle=handle,
            replay=self.replay,
            options=replace(options, **changes),  # type: ignore[arg-type]
        )

    async def replay(self, request: ReplayRequest) -> AsyncIterator[ReplayResponse]:
        """The producer's EventSourceService, without a network."""
        if self.producer_away:
            raise ConnectionRefusedError("the producer is away")
        self.replays.append(request)
        async for answer in EventSource(self.producer).Replay(request, None):
            yield answer

    async def kill_connections(self) -> None:
        """Ends every session of the two services' roles, as a PostgreSQL that restarts does."""
        admin = await asyncpg.connect(self.database_url)
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        await admin.close()

    @contextlib.asynccontextmanager
    async def running(self, *parts: Relay | Consumer) -> AsyncIterator[None]:
        """Runs parts in the background; what they raise fails the test."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part.run()) for part in parts]
            yield
            for task in tasks:
                task.cancel()

    async def fetch(self, database: Database, sql: str, *arguments: object) -> list[asyncpg.Record]:
        async with database.connection() as connection:
            return await connection.fetch(sql, *arguments)

    async def effects(self) -> list[str]:
        """Labels of all events done, in the order they were done."""
        return [row[0] for row in await self.fetch(self.consumer, "SELECT label FROM effects ORDER BY id")]

    async def until_done(self, count: int, timeout_s: float = 30.0) -> None:
        """Waits until there are as many effects."""

        async def reached() -> bool:
            found = await self.fetch(self.consumer, "SELECT count(*) FROM effects")
            return bool(found[0][0] >= count)

        await until(reached, timeout_s)

    async def assert_each_once(self, count: int) -> None:
        """Exactly the events 0 … count - 1 were done, each once."""
        await self.until_done(count)
        assert sorted(map(int, await self.effects())) == list(range(count))


@contextlib.asynccontextmanager
async def open_world(database_url: str, redis_url: str) -> AsyncIterator[World]:
    """A world; everything in it is closed at the end."""
    options = DatabaseOptions(acquire_timeout_s=1.0, start_timeout_s=10.0)
    async with contextlib.AsyncExitStack() as stack:
        databases = []
        for service in (PRODUCER, CONSUMER):
            url = await make_schema(database_url, service)
            database = await Database.open(url, schema=service, options=options)
            stack.push_async_callback(database.close)
            databases.append(database)
        async with databases[1].connection() as connection:
            await connection.execute(
                "CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY, label text, position bigint)"
            )
        streams = connect_streams(redis_url, max_connections=32)
        blocking = connect_streams(redis_url, command_timeout_s=BLOCKING_TIMEOUT_S)
        stack.push_async_callback(streams.aclose)
        stack.push_async_callback(blocking.aclose)
        yield World(
            database_url, redis_url, databases[0], databases[1], streams, blocking, Outbox(PRODUCER, PARTITIONS)
        )
