"""What is looked at every ten seconds: memory, descriptors, connections, threads; databases and folders."""

from __future__ import annotations

import asyncio
import contextlib
import os
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
_ESTABLISHED = "01"  # of /proc/net/tcp

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
        sample: dict[str, Any] = {
            "load": round(os.getloadavg()[0], 1),
            "busy_cpu_s": _busy_s(),
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
        established = _established()
        for name, root in self.roots.items():
            if not root.is_running() or root.status() == psutil.STATUS_ZOMBIE:
                raise GoneError(f"{name} (process {root.pid}) has ended")
            found[name] = _taken([root, *root.children(recursive=True)] if name == POSTGRES else [root], established)
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


def _taken(family: list[psutil.Process], established: frozenset[str]) -> dict[str, int]:
    sums = dict.fromkeys(("pss", "anonymous", "uss", "rss", "fds", "connections", "threads", "processes", "cpu_ms"), 0)
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess, OSError):  # a backend that ended meanwhile
            threads = one.num_threads()
            sockets = _descriptors(one.pid)
            for name, taken in _memory(one.pid).items():
                sums[name] += taken
            sums["fds"] += len(sockets)
            sums["connections"] += sum(socket in established for socket in sockets)
            times = one.cpu_times()
            sums["threads"] += threads
            sums["cpu_ms"] += round((times.user + times.system) * 1000)
            sums["processes"] += 1
    return sums


def _busy_s() -> float:
    """Seconds that all cores worked, for whomever."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _memory(pid: int) -> dict[str, int]:
    """Bytes by what they are: proportional set, of that what is no file and no shared memory, private, resident."""
    kib: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value = line.split(":")
        kib[name] = int(value.split()[0])
    found = {
        "pss": kib["Pss"],
        "anonymous": kib["Pss_Anon"],
        "uss": kib["Private_Clean"] + kib["Private_Dirty"],
        "rss": kib["Rss"],
    }
    return {name: value * 1024 for name, value in found.items()}


def _descriptors(pid: int) -> list[str]:
    """What each open descriptor is, as the kernel names it: `socket:[inode]`, a path."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


def _established() -> frozenset[str]:
    """Sockets of all TCP connections that are up, read once for all processes: with thousands it is not cheap."""
    found = set()
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/net/{table}") as lines:
            for line in lines:
                fields = line.split()
                if fields[3] == _ESTABLISHED:
                    found.add(f"socket:[{fields[9]}]")
    return frozenset(found)


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
