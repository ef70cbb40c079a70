"""A rolling restart of everything under load: nobody with one retry loses a call, and no stream is cut."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from promptmesh.prompts.v1 import posts_pb2

from services.local.testing import LocalMesh, local_mesh
from tests.chaos.rolling_load import Counts, Load
from tests.clients.python.fresh import install
from tests.mesh.client import eventually
from tests.mesh.conftest import EDGE_WIDE_OPEN
from tests.support.provider import Behaviour, ProviderServer, running_server

OURS = ("edge", "auth-0", "prompts-0", "moderation-0", "inference-0")
WORDS = {"fast": 12, "slow": 60}
PACE_S = {"fast": 0.0, "slow": 0.08}  # between two words: a slow answer takes five seconds
#: A slow answer on a machine that does much else; what it costs where it is not set is its default, 8.
DRAIN_S = "40"
PUBLISHED = posts_pb2.POST_STATE_PUBLISHED
LEDGER = """
SELECT count(*) FILTER (WHERE attempts <> '[]'), coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0)
FROM inference.requests WHERE model = ANY($1) -- not those of the demo's examples
"""
CLIENT = Path(__file__).with_name("rolling_client.py")

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def text_of(model: str) -> str:
    """What the provider of a model says."""
    return " ".join(f"{model}{number}" for number in range(WORDS[model]))


def models_of(server: ProviderServer) -> str:
    lines = ["providers:"]
    for model in WORDS:
        provider = server.provider(model)
        provider.default = Behaviour(text=text_of(model), pace_s=PACE_S[model])
        lines += [f"  - name: {model}", "    kind: openai", f"    base_url: {provider.base_url}"]
    lines += ["models:"]
    for model in WORDS:
        lines += [f"  - name: {model}", f"    provider: {model}", "    upstream_model: mock-small"]
        lines += ['    price: {input_per_million_usd: "1", output_per_million_usd: "1"}']
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Moment:
    """When a process was told to go, in seconds of time.monotonic()."""

    process: str
    at_s: float


async def restart(mesh: LocalMesh, *names: str) -> list[Moment]:
    """`promptmesh restart`; answers when each old process was told to go."""
    command = [sys.executable, "-m", "services.local", "restart", "--data", str(mesh.data), *names]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr is not None
    assert process.stdout is not None
    moments, said = [], ""
    async for raw in process.stderr:
        line = raw.decode()
        said += line
        done = re.match(r"  (\S+): process \d+ serves", line)
        if done:
            drained = re.search(r"drained in ([0-9.]+) s", line)
            moments.append(Moment(done[1], time.monotonic() - (float(drained[1]) if drained else 0)))
    said += (await process.stdout.read()).decode()
    print(said)
    assert await process.wait() == 0, said
    return moments


@asynccontextmanager
async def python_client(mesh: LocalMesh, key: str, folder: Path) -> AsyncIterator[dict[str, Any]]:
    """The Python client's program, as long as the block; afterwards what it printed."""
    installed = await asyncio.to_thread(install, folder)
    environment = {"PATH": os.environ["PATH"], "PROMPTMESH_URL": mesh.url, "PROMPTMESH_API_KEY": key}
    process = await asyncio.create_subprocess_exec(
        *(str(installed.python), "-W", "error", str(CLIENT)),
        env=environment | {"TEXT": text_of("fast")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    found: dict[str, Any] = {}
    try:
        assert await process.stdout.readline() == b"ready\n"
        yield found
        process.stdin.close()
        said = await process.stdout.readline()
        assert said, f"the client's program ended with {await process.wait()}; its stderr says why"
        found |= json.loads(said)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_nobody_loses_a_call_and_no_stream_is_cut(tmp_path: Path) -> None:
    environment = {"PROMPTMESH_DRAIN_S": DRAIN_S, "PROMPTMESH_LOG_LEVEL": "warning"}
    async with running_server() as server:
        with local_mesh(environment=environment, edge=EDGE_WIDE_OPEN, models_yaml=models_of(server)) as mesh:
            before = mesh.processes()
            _, token = mesh.register("ada")
            key = mesh.api_key(token, "posts:read", "posts:write", "inference:invoke")
            load = Load(mesh, key, token, {model: text_of(model) for model in WORDS})
            async with python_client(mesh, key, tmp_path) as client, load.running() as counts:
                moments = await restart(mesh)
                # And back again, on the ports that they had.
                moments += await restart(mesh, "edge", "inference")
            after = mesh.processes()
            print_table(counts, moments, client)
            assert not counts.failed
            assert not counts.cut
            assert not client["failed"]
            for name in OURS:
                assert after[name]["pid"] != before[name]["pid"], name
                assert after[name]["restarts"] == 0, name
                assert lived_through(counts, moments, name), f"no long stream was under way when {name} went"
            assert counts.resumed >= len(counts.seen), "no watcher was told to resume"
            await every_post_is_published(mesh, counts.posted | set(client["posts"]))
            await ledger_and_providers_agree(mesh, server)


def lived_through(counts: Counts, moments: list[Moment], process: str) -> int:
    """How many streams began before the process was told to go, and ended whole after."""
    times = [moment.at_s for moment in moments if moment.process == process]
    return sum(one.begun_s < at_s < one.ended_s for one in counts.streams for at_s in times)


def print_table(counts: Counts, moments: list[Moment], client: dict[str, Any]) -> None:
    streams = Counter(one.kind for one in counts.streams)
    print("\ncalls by kind:")
    for kind, number in sorted(counts.calls.items()):
        retried = {one: times for one, times in counts.retried.items() if one.startswith(f"{kind}: ")}
        print(f"  {kind:24}{number:6}  retried once {sum(retried.values()):4}  {retried or ''}")
    print(f"  {'Python client':24}{client['calls']:6}  and {client['streams']} streams; failed {client['failed']}")
    print(f"failed {len(counts.failed)}: {counts.failed[:5]}\ncut {len(counts.cut)}: {counts.cut[:5]}")
    print(f"streams whole: {dict(streams)}; watchers resumed {counts.resumed} times, posts {len(counts.posted)}")
    for name in OURS:
        print(f"  {name:16}restarted with {lived_through(counts, moments, name)} streams under way that ended whole")


async def every_post_is_published(mesh: LocalMesh, posted: set[str]) -> None:
    conn = await asyncpg.connect(mesh.database_url())
    try:

        async def pending() -> bool:
            rows = await conn.fetch("SELECT post_id::text, state FROM prompts.posts")
            states = {row["post_id"]: row["state"] for row in rows}
            assert posted <= set(states), "a post that was acknowledged is gone"
            return all(states[one] == PUBLISHED for one in posted)

        await eventually("every post is published", pending)
    finally:
        await conn.close()


async def ledger_and_providers_agree(mesh: LocalMesh, server: ProviderServer) -> None:
    """Calls and tokens, whatever was asked of providers."""
    conn = await asyncpg.connect(mesh.database_url())
    try:

        async def same() -> bool:
            row = await conn.fetchrow(LEDGER, list(WORDS))
            assert row is not None
            said.append(tuple(int(value) for value in row))
            counted = [server.provider(model).record.reported_whole.total for model in WORDS]
            calls = sum(one.answers for one in counted)
            tokens = (sum(one.prompt_tokens for one in counted), sum(one.completion_tokens for one in counted))
            said.append((calls, *tokens))
            return said[-1] == said[-2]

        said: list[tuple[int, ...]] = []
        try:
            await eventually("the ledger says what the providers counted", same)
        finally:
            print("ledger and providers (calls, input, output tokens):", *said[-2:])
    finally:
        await conn.close()
