"""How many posts a second become PUBLISHED, and how long each step takes.

Through Envoy, open loop, from a process of its own, with an HTTP mock as provider that takes 0.5 s an example: the
whole flow runs, database, events and examples included. `published` counts rows that became PUBLISHED in the steady
part of a run.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import asyncpg
import orjson
from promptmesh.prompts.v1 import posts_pb2

from bench.harness import EDGE_WIDE_OPEN, Load, models_yaml, percentile, provider, row
from bench.load import Job, Result
from services.local.testing import LocalMesh, local_mesh

PROVIDER_LATENCY_S = 0.5
PROVIDER_TOKENS = 50
WARM_UP_S = 5.0
SETTLE_TIMEOUT_S = 60.0
#: Before and after the window that is counted: the load begins, and ends, outside of it.
RAMP_S = 3.0
BODY = "Write a short story about a lighthouse keeper who counts ships. " * 5


@dataclass
class Measured:
    """One run at one rate."""

    load: Result
    published_per_second: float
    published: int
    to_published_s: list[float]
    to_example_s: list[float]


def job(mesh: LocalMesh, key: str, rate: float, seconds: float) -> Job:
    """Posts of some 300 characters with two tags, each different."""
    count = int(rate * seconds)
    bodies = [
        orjson.dumps({"title": f"Story {n}", "body": f"{BODY}{n}", "tags": ["bench", f"n{n % 10}"]}).decode()
        for n in range(count)
    ]
    return Job(mesh.edge_port, "POST", "/api/v1/posts", {"authorization": f"Bearer {key}"}, rate, count, bodies)


def measure(mesh: LocalMesh, key: str, rate: float, seconds: float) -> Measured:
    """Loads the mesh and asks its database what became of it; counts within `seconds` of steady load."""
    return asyncio.run(_measure(mesh, key, rate, seconds))


async def _measure(mesh: LocalMesh, key: str, rate: float, seconds: float) -> Measured:
    conn = await asyncpg.connect(mesh.database_url())
    try:
        begun = await conn.fetchval("SELECT clock_timestamp()")
        load = Load(job(mesh, key, rate, RAMP_S + seconds + RAMP_S))
        result = await asyncio.to_thread(load.result)
        in_window = await conn.fetchval(
            "SELECT count(*) FROM prompts.posts WHERE publish_time >= $1::timestamptz + make_interval(secs => $2)"
            " AND publish_time < $1::timestamptz + make_interval(secs => $3)",
            begun,
            RAMP_S,
            RAMP_S + seconds,
        )
        rows = await _settled(conn, begun)
    finally:
        await conn.close()
    published = [one for one in rows if one["publish_time"]]
    return Measured(
        load=result,
        published_per_second=in_window / seconds,
        published=len(published),
        to_published_s=[(one["publish_time"] - one["create_time"]).total_seconds() for one in published],
        to_example_s=[
            (example.create_time.ToDatetime(UTC) - one["publish_time"]).total_seconds()
            for one in published
            if (example := posts_pb2.Example.FromString(one["example"] or b"")).state == posts_pb2.EXAMPLE_STATE_READY
        ],
    )


async def _settled(conn: Any, begun: Any) -> list[Any]:
    """The run's posts, once nothing of it is under way."""
    end = time.monotonic() + SETTLE_TIMEOUT_S
    while True:
        rows: list[Any] = await conn.fetch(
            "SELECT create_time, publish_time, example, example_state, state"
            " FROM prompts.posts WHERE create_time >= $1",
            begun,
        )
        waiting = sum(
            one["state"] == posts_pb2.POST_STATE_PENDING or one["example_state"] == posts_pb2.EXAMPLE_STATE_WRITING
            for one in rows
        )
        if not waiting or time.monotonic() > end:
            return rows
        await asyncio.sleep(0.5)


def report(measured: Measured, rate: float) -> None:
    """Prints a run."""
    load = measured.load
    row(f"at {rate:.0f} posts/s offered: published", f"{measured.published_per_second:.0f}/s", f"{load.statuses}")
    row("  accepted p50", f"{percentile(load.latencies_s, 0.5) * 1e3:.0f} ms")
    row("  accepted p99", f"{percentile(load.latencies_s, 0.99) * 1e3:.0f} ms")
    row("  to published p50", f"{percentile(measured.to_published_s, 0.5) * 1e3:.0f} ms")
    row("  to published p99", f"{percentile(measured.to_published_s, 0.99) * 1e3:.0f} ms")
    row("  example attached after publishing p50", f"{percentile(measured.to_example_s, 0.5) * 1e3:.0f} ms")
    row("  example attached after publishing p99", f"{percentile(measured.to_example_s, 0.99) * 1e3:.0f} ms")
    row("  examples attached", f"{len(measured.to_example_s)}", f"of {measured.published} published")
    if load.first_error:
        row("  first error", "", load.first_error)


def reads(mesh: LocalMesh, rate: float, seconds: float) -> None:
    """Reads of the feed's first page, by strangers."""
    result = Load(Job(mesh.edge_port, "GET", "/api/v1/posts?pageSize=20", {}, rate, int(rate * seconds))).result()
    achieved = result.statuses.get("200", 0) / result.elapsed_s
    row(f"feed reads at {rate:.0f}/s offered", f"{achieved:.0f}/s", f"{result.statuses}")
    row("  p50", f"{percentile(result.latencies_s, 0.5) * 1e3:.0f} ms")
    row("  p95", f"{percentile(result.latencies_s, 0.95) * 1e3:.0f} ms")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.publishing", description=__doc__)
    parser.add_argument("--rate", type=float, default=320.0, help="posts/s offered; 300 must become published")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--latency-rate", type=float, default=200.0, help="posts/s at which latencies are taken")
    parser.add_argument("--rounds", type=int, default=3, help="of the latency run; the median of each p99 is told")
    parser.add_argument("--read-rate", type=float, default=200.0)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(arguments)
    with (
        provider(PROVIDER_LATENCY_S, PROVIDER_TOKENS) as base_url,
        local_mesh(
            workers=options.workers,
            models_yaml=models_yaml(base_url),
            edge=EDGE_WIDE_OPEN,
            environment={"PROMPTMESH_LOG_LEVEL": "warning"},
        ) as mesh,
    ):
        _, token = mesh.register("bench")
        key = mesh.api_key(token, "posts:read", "posts:write")
        measure(mesh, key, 50, WARM_UP_S)
        report(measure(mesh, key, options.rate, options.seconds), options.rate)
        rounds = [measure(mesh, key, options.latency_rate, 20.0) for _ in range(options.rounds)]
        for one in rounds:
            report(one, options.latency_rate)
        for name, pick in (("to published", "to_published_s"), ("example attached", "to_example_s")):
            worst = statistics.median(percentile(getattr(one, pick), 0.99) for one in rounds)
            row(f"{name} p99, median of {options.rounds} rounds", f"{worst * 1e3:.0f} ms")
        reads(mesh, options.read_rate, 15.0)


if __name__ == "__main__":
    main()
