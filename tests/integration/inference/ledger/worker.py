"""A process with a ledger, for tests that kill it: `python worker.py <database url> <worker dir> <mode> <failpoints>`.

It says on stdout what is on record, line by line, as soon as it is: `b <id>` begun, `f <id>` ended.

modes: `begin`: begins ten calls and waits. `finish`: ends ten too, which are not flushed. `storm`: begins and ends
calls without pause, flushing all the while.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import deque
from dataclasses import replace
from pathlib import Path

import structlog

from services.inference.ledger.ledger import Ledger
from services.inference.ledger.record import CallRecord
from services.mesh import failpoints
from services.mesh.database import Database
from tests.integration.inference.ledger.world import OPTIONS
from tests.unit.inference.ledger.records import begun, ended

NEVER_MS = 3_600_000


def say(kind: str, record: CallRecord) -> None:
    os.write(1, f"{kind} {record.record_id}\n".encode())


async def main(url: str, worker_dir: Path, mode: str) -> None:
    database = await Database.open(url, schema="inference")
    options = replace(OPTIONS, segment_bytes=8192)
    if mode != "storm":
        options = replace(options, flush_ms=NEVER_MS, batch_max=1000)
    ledger = Ledger(database, options, worker_dir)
    await ledger.start()
    under_way: deque[CallRecord] = deque()
    while True:
        for _ in range(10):
            record = begun(tags={"team": "a"})
            ledger.begin(record)
            say("b", record)
            under_way.append(record)
        for _ in range(10):
            if mode == "begin" or (mode == "storm" and len(under_way) < 20):
                break
            record = ended(under_way.popleft())
            ledger.finish(record)
            say("f", record)
        if mode != "storm":
            os.write(1, b"waiting\n")
            await asyncio.Event().wait()
        await asyncio.sleep(0.001)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    failpoints.configure("inference", Path(sys.argv[4]))
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
