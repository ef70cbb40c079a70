"""What an event costs: append → number → publish → consume → commit, on this machine, all in one process.

    python -m bench.events [--rate 1500] [--seconds 10] [--batch 20]

Prints events/s, Python's CPU an event (producer's append, relay and consumer together), and how long an event takes
from its append to the commit of its handler. PostgreSQL and Redis are the embedded ones, durable as in `promptmesh up`.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop
from promptmesh.prompts.v1.events_pb2 import PostSubmitted

from services.local.embedded.postgres import running_postgres, temporary_cluster
from services.local.embedded.redis import running_redis, temporary_redis
from services.mesh.database import Connection, Database
from services.mesh.database.migrate import migrate, read_migrations
from services.mesh.database.provision import provision, role_of
from services.mesh.database.queries import package_folder
from services.mesh.events import (
    BLOCKING_TIMEOUT_S,
    Consumer,
    Event,
    EventSource,
    NewEvent,
    Outbox,
    Relay,
    connect_streams,
)

PARTITIONS = 4
PASSWORD = "bench"
BODY = "Explain how a heap differs from a binary search tree, with one example each. " * 5


class Handler:
    """One statement a batch, as a service that writes what it was told."""

    def __init__(self) -> None:
        self.done = 0
        self.delays_s: list[float] = []
        self._more = asyncio.Event()

    async def until(self, count: int) -> None:
        """Waits for the commit of so many events."""
        while self.done < count:
            self._more.clear()
            await self._more.wait()

    async def __call__(self, conn: Connection, events: Sequence[Event]) -> None:
        await conn.execute(
            "INSERT INTO screened SELECT * FROM unnest($1::uuid[], $2::text[])",
            [event.id for event in events],
            [event.aggregate_id for event in events],
        )

    def committed(self, events: Sequence[Event]) -> None:
        now = time.time()
        self.done += len(events)
        self._more.set()
        self.delays_s += [now - event.create_time.timestamp() for event in events]


async def make(admin_url: str, url_of: dict[str, str]) -> None:
    import asyncpg

    admin = await asyncpg.connect(admin_url)
    kit = read_migrations("mesh", package_folder("services.mesh.database") / "migrations")
    for service, url in url_of.items():
        await provision(admin, service, PASSWORD)
        own = await asyncpg.connect(url)
        await migrate(own, kit)
        await own.execute("CREATE TABLE screened (id uuid PRIMARY KEY, post text)")
        await own.close()
    await admin.close()


async def measure(
    admin_url: str, url_of: dict[str, str], redis_url: str, rate: float, seconds: float, batch: int
) -> None:
    await make(admin_url, url_of)
    producer = await Database.open(url_of["prompts"], schema="prompts")
    consumer = await Database.open(url_of["moderation"], schema="moderation")
    streams, blocking = connect_streams(redis_url), connect_streams(redis_url, command_timeout_s=BLOCKING_TIMEOUT_S)
    outbox = Outbox("prompts", PARTITIONS)
    relay = Relay(producer, outbox, streams)
    handler = Handler()
    reader = Consumer(
        consumer,
        streams,
        blocking,
        producer="prompts",
        group="moderation.screen",
        worker="moderation-0",
        partitions=PARTITIONS,
        types=[PostSubmitted],
        handle=handler,
        replay=lambda request: EventSource(producer).Replay(request, None),
    )
    tasks = [asyncio.create_task(relay.run()), asyncio.create_task(reader.run())]
    await asyncio.sleep(2.5)  # connections, groups and the first replay are not what is measured
    idle = cpu()
    await asyncio.sleep(2.0)
    idle_share = (cpu() - idle) / 2.0
    started, cpu_started = time.perf_counter(), cpu()
    written = 0
    appends: set[asyncio.Task[None]] = set()

    async def append(first: int) -> None:
        async with producer.transaction() as connection:
            await outbox.append(connection, [event(first + i) for i in range(batch)])

    while (passed := time.perf_counter() - started) < seconds:
        due = int(passed * rate) if rate else written + batch
        while written + batch <= due and len(appends) < 8:
            task = asyncio.create_task(append(written))
            appends.add(task)
            task.add_done_callback(appends.discard)
            written += batch
        await asyncio.sleep(0.001)
    await asyncio.gather(*appends)
    await handler.until(written)
    took, used = time.perf_counter() - started, cpu() - cpu_started
    delays_ms = sorted(1000 * one for one in handler.delays_s)
    print(f"events               {written} in transactions of {batch}, {written / took:.0f}/s")
    print(f"CPU, Python          {1e6 * used / written:.0f} µs an event, {100 * used / took:.0f} % of a core")
    print(f"CPU, Python, idle    {100 * idle_share:.1f} % of a core")
    p50, p99 = statistics.median(delays_ms), delays_ms[int(len(delays_ms) * 0.99)]
    print(f"append to commit     p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for part in (producer, consumer):
        await part.close()
    await streams.aclose()
    await blocking.aclose()


def event(number: int) -> NewEvent:
    post_id = f"0190aaaa-0000-7000-8000-{number:012d}"
    payload = PostSubmitted(post_id=post_id, revision=1, author_id=post_id, title="A title", body=BODY, tags=["a", "b"])
    return NewEvent("0190aaaa-0000-7000-8000-000000000001", post_id, 1, payload)


def cpu() -> float:
    """CPU seconds of this process."""
    times = os.times()
    return times.user + times.system


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1500.0, help="events/s; 0: as fast as it goes")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--batch", type=int, default=5, help="events a transaction of the producer")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cluster = dataclasses.replace(temporary_cluster(Path(folder) / "postgres"), durable=True)
        server = temporary_redis(Path(folder) / "redis")
        with running_postgres(cluster), running_redis(server):
            urls = {
                service: cluster.url(user=role_of(service), password=PASSWORD) for service in ("prompts", "moderation")
            }
            uvloop.run(measure(cluster.url(), urls, server.url(), arguments.rate, arguments.seconds, arguments.batch))


if __name__ == "__main__":
    main()
