"""What is looked at every ten seconds: memory, descriptors, connections, threads; databases and folders."""

from __future__ import annotations

import asyncio
import contextlib
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import asyncpg
import orjson
import psutil
from redis.asyncio import Redis

from services.local.testing import LocalMesh

INTERVAL_S = 10.0
POSTGRES = "postgres"
INFERENCE = "inference-0"
_URL_TIMEOUT_S = 5.0

#: Of a relation with its indexes and what is stored beside it; partitions under their own names.
_TABLES = """
SELECT relnamespace::regnamespace::text || '.' || relname AS name, pg_total_relation_size(oid) AS size
  FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)'
 ORDER BY 2 DESC LIMIT 12
"""


class GoneError(Exception):
    """A process that was looked at is no longer there: the mesh started it anew."""


class Sampler:
    """Looks at a mesh, and writes each sample as a line of JSON."""

    def __init__(self, mesh: LocalMesh, beside: Mapping[str, int], raw: TextIO) -> None:
        """beside: pids of what is looked at too and is not of the mesh, by name."""
        status = mesh.status()
        self.roots = {one["name"]: psutil.Process(one["pid"]) for one in status["processes"]}
        self.roots["supervisor"] = psutil.Process(status["pid"])
        self.roots |= {name: psutil.Process(pid) for name, pid in beside.items()}
        environments = {name: self.roots[name].environ() for name in self.roots if name.endswith("-0")}
        self._metrics = {
            name: environment["PROMPTMESH_METRICS_LISTEN"]
            for name, environment in environments.items()
            if "PROMPTMESH_METRICS_LISTEN" in environment
        }
        here = environments[INFERENCE]
        self._redis = {
            "redis-state": Redis.from_url(here["PROMPTMESH_REDIS_URL"]),
            "redis-cache": Redis.from_url(here["PROMPTMESH_REDIS_CACHE_URL"]),
        }
        self._database_url = mesh.database_url()
        self._connection: asyncpg.Connection | None = None
        self._journal = mesh.data / "workers"
        self._raw = raw
        self._began = time.monotonic()
        self.samples: list[dict[str, Any]] = []

    async def run(self) -> None:
        """A sample every INTERVAL_S, until cancelled. Raises GoneError."""
        next_time = time.monotonic()
        while True:
            await self.take()
            next_time += INTERVAL_S
            await asyncio.sleep(max(0.0, next_time - time.monotonic()))

    async def take(self) -> None:
        """One sample."""
        processes = await asyncio.to_thread(self._processes)
        sample = {
            "time_s": round(time.monotonic() - self._began, 3),
            "processes": processes,
            "stores": {name: await _redis(client) for name, client in self._redis.items()},
            "tables": await self._tables(),
            "journal_bytes": await asyncio.to_thread(_folder_bytes, self._journal),
            "series": await asyncio.to_thread(self._series),
        }
        self.samples.append(sample)
        self._raw.write(orjson.dumps(sample).decode() + "\n")
        self._raw.flush()

    async def close(self) -> None:
        """Ends its own connections."""
        if self._connection is not None:
            await self._connection.close()
        for client in self._redis.values():
            await client.aclose()

    def _processes(self) -> dict[str, dict[str, int]]:
        found = {}
        for name, root in self.roots.items():
            if not root.is_running() or root.status() == psutil.STATUS_ZOMBIE:
                raise GoneError(f"{name} (process {root.pid}) has ended")
            found[name] = _taken([root, *root.children(recursive=True)] if name == POSTGRES else [root])
        return found

    async def _tables(self) -> dict[str, int]:
        if self._connection is None:
            self._connection = await asyncpg.connect(self._database_url)
        rows = await self._connection.fetch(_TABLES)
        whole = await self._connection.fetchval("SELECT pg_database_size(current_database())")
        return {"(whole database)": whole, **{row["name"]: row["size"] for row in rows}}

    def _series(self) -> dict[str, int]:
        """Series that each service tells Prometheus: those of labels that callers choose would rise."""
        found = {}
        for name, listen in self._metrics.items():
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://{listen}/metrics", None, _URL_TIMEOUT_S) as told,
            ):
                found[name] = sum(not line.startswith(b"#") for line in told)
        return found


def _taken(family: list[psutil.Process]) -> dict[str, int]:
    sums = {"pss": 0, "uss": 0, "rss": 0, "fds": 0, "connections": 0, "threads": 0, "processes": 0}
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):  # a backend that ended meanwhile
            memory = one.memory_full_info()
            sums["pss"] += memory.pss
            sums["uss"] += memory.uss
            sums["rss"] += memory.rss
            sums["fds"] += one.num_fds()
            sums["connections"] += sum(one.status == psutil.CONN_ESTABLISHED for one in one.net_connections("tcp"))
            sums["threads"] += one.num_threads()
            sums["processes"] += 1
    return sums


async def _redis(client: Redis) -> dict[str, Any]:
    memory = await client.info("memory")
    streams = {}
    async for key in client.scan_iter("events:*", count=1000, _type="stream"):
        streams[key.decode()] = await client.xlen(key)
    return {
        "keys": await client.dbsize(),
        "used_bytes": memory["used_memory"],
        "max_bytes": memory["maxmemory"],
        "streams": streams,
    }


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # stored, and removed
            total += path.stat().st_size if path.is_file() else 0
    return total
