"""At which use of its CPU the 99th percentile of a service turns: `python -m bench.turn`, for thresholds.

Each service is asked at rates that keep its one loop busy for growing shares of the time. Requests leave when they are
due, answered or not (bench.load). As root, the service has a core to itself as far as this machine gives it one: the
rest of the mesh runs on the others, and with --first all of it before whatever else is here. It has turned where the
percentile is more than TURNED times the least that was seen.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from bench.harness import EDGE_WIDE_OPEN, Load, percentile, row
from bench.load import Job
from services.local.testing import LocalMesh, local_mesh

TURNED = 3.0
SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
CALIBRATE_S, STEP_S, PAUSE_S = 2.0, 4.0, 1.0
CHAT = {"model": "mock", "messages": [{"role": "user", "content": "Write a haiku about winter."}]}
TEXT = "You are a patient teacher of chemistry. Explain why iron rusts and gold does not. " * 6


@dataclass(frozen=True)
class Work:
    """What a service is asked, and how often while its cost is found out."""

    service: str
    method: str
    path: str
    body: object
    calibrate_per_s: float


WORK = (
    Work("inference", "POST", "/v1/chat/completions", CHAT, 200),
    Work("prompts", "GET", "/api/v1/posts?pageSize=20", None, 50),
    Work("moderation", "POST", "/api/v1/moderation:screen", {"text": TEXT}, 100),
    Work("auth", "GET", "/api/v1/users/me", None, 100),
)
MODELS = """
providers:
  - {{name: mock, kind: openai, base_url: {url}}}
models:
  - {{name: mock, provider: mock, upstream_model: mock, context_tokens: 8192, max_output_tokens: 256,
      price: {{input_per_million_usd: "0.15", output_per_million_usd: "0.60"}}, default: true}}
limits:
  key: {{requests_per_minute: 100000000, tokens_per_minute: 1000000000, concurrent_requests: 1000}}
  org: {{usd_per_day: 100000}}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.turn", description=__doc__)
    parser.add_argument("services", nargs="*", default=[one.service for one in WORK])
    parser.add_argument("--first", action="store_true", help="before all else on this machine (root; real time)")
    given = parser.parse_args(arguments)
    environment = {"PROMPTMESH_LOG_LEVEL": "warning"}
    with (
        mock() as url,
        local_mesh(models_yaml=MODELS.format(url=url), edge=EDGE_WIDE_OPEN, environment=environment) as mesh,
    ):
        _, token = mesh.register("bench")
        for number in range(40):
            mesh.call("POST", "/api/v1/posts", {"title": f"Post {number}", "body": TEXT}, token=token)
        key = mesh.api_key(token, "inference:invoke", "moderation:screen", "posts:read")
        for work in WORK:
            if work.service in given.services:
                measure(mesh, work, token if work.service == "auth" else key, first=given.first)
    return 0


@contextmanager
def mock() -> Iterator[str]:
    """A provider that costs next to nothing; its base URL."""
    process = subprocess.Popen([sys.executable, "-m", "bench.mock"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait(10)


def measure(mesh: LocalMesh, work: Work, credential: str, *, first: bool) -> None:
    """Prints a row for each step, and where it turned."""
    process = psutil.Process(int(mesh.processes()[f"{work.service}-0"]["pid"]))
    alone(mesh, process, first=first)
    for _ in range(2):  # the first warms up
        cpu, _ = step(mesh, work, credential, process, work.calibrate_per_s, CALIBRATE_S)
    cost_s = cpu / work.calibrate_per_s
    row(f"{work.service}: {work.method} {work.path}", f"{cost_s * 1e3:.2f} ms", "CPU of a call at a light load")
    light_s, turned = math.inf, 0.0
    for share in SHARES:
        time.sleep(PAUSE_S)
        rate = share / cost_s  # a call is cheaper, the more there are at once
        cpu, latencies = step(mesh, work, credential, process, rate, STEP_S)
        p50, p99 = percentile(latencies, 0.5), percentile(latencies, 0.99)
        light_s, cost_s = min(light_s, p99), min(cost_s, cpu / rate)
        if not turned and p99 > TURNED * light_s:
            turned = cpu
        row(f"  {rate:8.0f}/s", f"{cpu * 100:.0f} % CPU", f"p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms")
    row("  turned at", f"{turned * 100:.0f} % CPU" if turned else "not", f"p99 more than {TURNED:g} times the least")


def step(
    mesh: LocalMesh, work: Work, credential: str, process: psutil.Process, rate: float, seconds: float
) -> tuple[float, list[float]]:
    """(share of a core that the process used, latencies in seconds) at a rate."""
    count = max(1, int(rate * seconds))
    bodies = [] if work.body is None else [json.dumps(work.body)] * count
    headers = {"authorization": f"Bearer {credential}"}
    before = process.cpu_times()
    load = Load(Job(mesh.edge_port, work.method, work.path, headers, rate, count, bodies))
    result = load.result()
    after = process.cpu_times()
    failed = sum(result.statuses.values()) - len(result.latencies_s)
    if failed == count:
        raise RuntimeError(f"{work.service}: {result.first_error}")
    used_s = after.user + after.system - before.user - before.system
    # What failed was not answered in any time.
    return used_s / result.elapsed_s, [*result.latencies_s, *[math.inf] * failed]


def alone(mesh: LocalMesh, process: psutil.Process, *, first: bool) -> None:
    """The last core to the process, the others to the rest of the mesh and to this. Where it may not be: as it is."""
    cores = list(range(os.cpu_count() or 1))
    if os.geteuid() != 0 or len(cores) < 2:
        return
    every = [psutil.Process(int(one["pid"])) for one in mesh.processes().values()]
    every += [child for one in every for child in one.children(recursive=True)]
    for one in [psutil.Process(), *psutil.Process().children(recursive=True), *every]:
        for thread in one.threads():  # each has its own
            os.sched_setaffinity(thread.id, cores[-1:] if one.pid == process.pid else cores[:-1])
            if first:
                os.sched_setscheduler(thread.id, os.SCHED_RR, os.sched_param(1))


if __name__ == "__main__":
    sys.exit(main())
