"""What a post costs each part: CPU, rows, log and stream bytes. `python -m bench.sizing`, for docs/scaling.md.

A mesh of one worker a service takes posts at a steady rate, each moderated, published and given its example by the demo
model; then nothing happens until all have theirs. What the idle mesh uses in as long a time is taken off.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import psutil

from services.local.data_folder import DataFolder
from services.local.embedded.binaries import postgres_program
from services.local.secrets import load_or_make_secrets
from services.local.testing import LocalMesh, local_mesh, wait_until

EDGE = {"rate_per_second": 10_000, "rate_burst": 20_000, "credential_rate_per_second": 10_000}
EDGE |= {"credential_rate_burst": 20_000}
SCHEMAS = ("auth", "prompts", "moderation", "inference")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.sizing", description=__doc__)
    parser.add_argument("--posts", type=int, default=2000)
    parser.add_argument("--per-s", type=float, default=100.0)
    given = parser.parse_args(arguments)
    with local_mesh(edge=EDGE) as mesh:
        print(json.dumps(measure(mesh, given.posts, given.per_s), indent=2))
    return 0


def measure(mesh: LocalMesh, posts: int, per_s: float) -> dict[str, object]:
    """Of one post: microseconds of CPU by process, bytes of each schema and of the log, bytes in Redis."""
    token = mesh.register("ada")[1]
    post(mesh, token, 50, per_s)  # what is done once is not of a post
    _wait_for(mesh, 50)
    idle_s = max(5.0, posts / per_s)
    before = cpu_s(mesh)
    time.sleep(idle_s)
    idle = {name: (used - before[name]) / idle_s for name, used in cpu_s(mesh).items()}
    began, cpu, stored, redis = time.monotonic(), cpu_s(mesh), sizes(mesh), redis_bytes(mesh)
    post(mesh, token, posts, per_s)
    posted_s = time.monotonic() - began
    _wait_for(mesh, posts + 50)
    took_s = time.monotonic() - began
    used = {name: now - cpu[name] - idle[name] * took_s for name, now in cpu_s(mesh).items()}
    grown = {name: now - stored[name] for name, now in sizes(mesh).items()}
    return {
        "posts": posts,
        "posts_per_s": round(posts / posted_s, 1),
        "cpu_us_a_post": {name: round(s * 1e6 / posts) for name, s in sorted(used.items())},
        "bytes_a_post": {name: round(size / posts) for name, size in grown.items()},
        "redis_bytes_a_post": round((redis_bytes(mesh) - redis) / posts),
    }


def post(mesh: LocalMesh, token: str, count: int, per_s: float) -> None:
    """Posts at a rate. Raises RuntimeError for one that is not taken."""
    body = {"title": "A haiku", "body": "Write a haiku about {{season}}, in three lines. " * 4, "tags": ["poetry"]}

    def one(number: int) -> None:
        answer = mesh.call("POST", "/api/v1/posts", {**body, "title": f"A haiku, {number}"}, token=token)
        if answer.status != 200:
            raise RuntimeError(f"a post answered {answer.status}: {answer.body}")

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        waiting = []
        for number in range(count):
            time.sleep(max(0.0, began + number / per_s - time.monotonic()))
            waiting.append(pool.submit(one, number))
        for each in waiting:
            each.result()


def cpu_s(mesh: LocalMesh) -> dict[str, float]:
    """Seconds of CPU that each process, with its children, has used."""
    found = {}
    for name, process in mesh.processes().items():
        top = psutil.Process(int(process["pid"]))
        every = [top, *top.children(recursive=True)]
        found[name] = sum(sum(one.cpu_times()[:4]) for one in every)
    return found


def sizes(mesh: LocalMesh) -> Mapping[str, int]:
    """Bytes of each schema with its indexes, and of the log written so far."""
    rows = sql(
        mesh,
        "SELECT nspname, sum(pg_total_relation_size(c.oid)) "
        "FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace "
        f"WHERE relkind = 'r' AND nspname IN {SCHEMAS} GROUP BY 1 "
        "UNION ALL SELECT 'log', pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')",
    )
    return {name: int(size) for name, size in (row.split("|") for row in rows)}


def redis_bytes(mesh: LocalMesh) -> int:
    """Memory of what the state's Redis holds."""
    import redis

    folder = DataFolder(mesh.data)
    port, password = mesh.processes()["redis-state"]["port"], load_or_make_secrets(folder).redis_password
    with redis.Redis(port=port, password=password) as client:
        return int(client.info("memory")["used_memory_dataset"])


def sql(mesh: LocalMesh, statement: str) -> list[str]:
    done = subprocess.run(
        [str(postgres_program("psql")), "-XqAt", "-c", statement, mesh.database_url()],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()


def _wait_for(mesh: LocalMesh, posts: int) -> None:
    """Until so many posts have their example."""
    wait_until(
        "examples of all posts",
        lambda: int(sql(mesh, "SELECT count(*) FROM prompts.posts WHERE example_state = 2")[0]) >= posts,
        300.0,
        0.5,
    )


if __name__ == "__main__":
    sys.exit(main())
