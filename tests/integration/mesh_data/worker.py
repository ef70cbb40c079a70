"""A worker process for tests that kill one: relay and consumer over a world's schemas, with failpoints.

python -m tests.integration.mesh_data.worker '{"prompts": "postgresql://…", "moderation": "…", "redis": "…",
                                               "failpoints": "folder", "deadly": "label or empty"}'
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from services.mesh import failpoints
from services.mesh.database import Connection, Database
from services.mesh.events import BLOCKING_TIMEOUT_S, Event, Outbox, connect_streams
from tests.integration.mesh_data.world import FAST_RELAY, PARTITIONS, PRODUCER, Effects, World


class DeadlyEffects(Effects):
    """Kills its process at the event of one label."""

    def __init__(self, deadly: str) -> None:
        super().__init__()
        self._deadly = deadly

    async def __call__(self, conn: Connection, events: Sequence[Event]) -> None:
        if any(event.payload.title == self._deadly for event in events):
            os.kill(os.getpid(), signal.SIGKILL)
        await super().__call__(conn, events)


async def main(job: dict[str, str]) -> None:
    failpoints.configure(PRODUCER, Path(job["failpoints"]))
    producer = await Database.open(job["prompts"], schema="prompts")
    consumer = await Database.open(job["moderation"], schema="moderation")
    streams = connect_streams(job["redis"])
    blocking = connect_streams(job["redis"], command_timeout_s=BLOCKING_TIMEOUT_S)
    world = World("", job["redis"], producer, consumer, streams, blocking, Outbox(PRODUCER, PARTITIONS))
    print("ready", flush=True)  # before anything runs: the first event may be the deadly one
    async with world.running(world.relay(FAST_RELAY), world.new_consumer(DeadlyEffects(job["deadly"]))):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
