"""A thousand posts while everything dies: none lost, none published twice, none seen unmoderated."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from promptmesh.events.v1 import events_pb2
from promptmesh.inference.v1 import events_pb2 as inference_events
from promptmesh.moderation.v1 import moderation_pb2
from promptmesh.prompts.v1 import events_pb2 as prompts_events
from promptmesh.prompts.v1 import posts_pb2

from services.local.testing import LocalMesh, local_mesh
from tests.chaos.breaker import Breaker, failpoints
from tests.chaos.traffic import Kind, Traffic
from tests.support.provider import Behaviour, running_provider

POSTS = 1000
SEED = 20261121
POSTERS = 4
RANDOM_KILLS = 14
SETTLE_TIMEOUT_S = 120.0
PARTS = ("auth-0", "prompts-0", "moderation-0", "inference-0", "redis-state", "postgres", "edge")

EDGE = {"rate_per_second": 10_000, "rate_burst": 20_000, "credential_rate_per_second": 1_000}

#: Examples have a price and a cap, so that money is reserved for them; the provider takes its time, so that some are
#: under way whenever something dies.
MODELS = """
providers:
  - name: provider
    kind: openai
    base_url: {url}
models:
  - name: model
    provider: provider
    upstream_model: model
    price: {{input_per_million_usd: 1, output_per_million_usd: 1}}
examples:
  model: model
  daily_cap_usd: 1000
"""

#: Claimed are the examples of a process that died: one must, for this point to be hit.
AFTER_CLAIM = "inference:examples.after_claim"
# On no way but that of a process that takes over what one before it left.
BEFORE_REMOVAL = "inference:ledger.before_removal"

pytestmark = [pytest.mark.chaos, pytest.mark.paired, pytest.mark.timeout(900)]


async def test_nothing_is_lost_doubled_or_seen_unmoderated(tmp_path: Path) -> None:
    armed = tmp_path / "failpoints"
    armed.mkdir()
    environment = {"PROMPTMESH_FAILPOINTS_DIR": str(armed), "PROMPTMESH_LOG_LEVEL": "warning"}
    async with running_provider() as provider:
        provider.default = Behaviour(latency_s=0.3, pace_s=0.01)
        with local_mesh(environment=environment, edge=EDGE, models_yaml=MODELS.format(url=provider.base_url)) as mesh:
            await _publish_and_break(mesh, armed)


async def _publish_and_break(mesh: LocalMesh, armed: Path) -> None:
    _, token = mesh.register("ada")
    rng = random.Random(SEED)
    traffic = Traffic(mesh, mesh.api_key(token, "posts:read", "posts:write"), rng)
    breaker = Breaker(mesh, armed, random.Random(SEED + 1))
    wanted = failpoints()
    assert wanted, "no failpoint is declared"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        readers = [
            asyncio.create_task(traffic.list_forever(session)),
            asyncio.create_task(traffic.watch_forever(session)),
        ]
        breaking = asyncio.create_task(_break_everything(mesh, breaker, wanted))
        try:
            await _post_while(traffic, session, breaking)
            missed = await breaking
            await _settle(mesh, len(traffic.accepted))
            await traffic.list_once(session)
        finally:
            for task in (breaking, *readers):
                task.cancel()
            await asyncio.gather(breaking, *readers, return_exceptions=True)
    await _judge(mesh, traffic, breaker, wanted, missed)


async def _post_while(traffic: Traffic, session: aiohttp.ClientSession, breaking: asyncio.Task[list[str]]) -> None:
    """Posts until there are a thousand and nothing is left to break: failpoints need traffic to be hit."""
    numbers = iter(range(10**6))

    async def poster() -> None:
        while len(traffic.accepted) < POSTS or not breaking.done():
            await traffic.post(session, next(numbers))
            # Spread over the time that breaking takes, so that every kill falls among posts.
            await asyncio.sleep(0.02 if len(traffic.accepted) < POSTS else 0.2)

    await asyncio.gather(*(poster() for _ in range(POSTERS)))


async def _break_everything(mesh: LocalMesh, breaker: Breaker, wanted: list[str]) -> list[str]:
    """Kills every part at random and at each failpoint; answers the failpoints that nothing hit."""
    acts = [("kill", part) for part in PARTS * (RANDOM_KILLS // len(PARTS))] + [("arm", name) for name in wanted]
    breaker.rng.shuffle(acts)
    missed = []
    for act, name in acts:
        if act == "kill":
            await breaker.kill(name)
            continue
        others = []
        if name.startswith("auth:"):  # the flow of posts does not pass auth: somebody must register meanwhile
            others.append(asyncio.create_task(_register(mesh, f"person{len(breaker.hit)}")))
        if name in (AFTER_CLAIM, BEFORE_REMOVAL):
            others.append(asyncio.create_task(asyncio.to_thread(mesh.kill, "inference-0")))
        if not await breaker.arm(name):
            missed.append(name)
        await asyncio.gather(*others)
    return missed


async def _register(mesh: LocalMesh, name: str) -> None:
    for attempt in range(20):
        try:
            await asyncio.to_thread(mesh.register, f"{name}x{attempt}")
        except (OSError, RuntimeError):
            await asyncio.sleep(0.5)
        else:
            return
    raise AssertionError("nobody could register")


async def _settle(mesh: LocalMesh, accepted: int) -> None:
    """Waits until no post waits for moderation and none that is published waits for its example."""
    conn = await asyncpg.connect(mesh.database_url())
    try:
        async with asyncio.timeout(SETTLE_TIMEOUT_S):
            while True:
                waiting = await conn.fetchval(
                    "SELECT count(*) FROM prompts.posts WHERE state = $1", posts_pb2.POST_STATE_PENDING
                )
                published, finished = await _published(conn), await _examples(conn)
                if waiting == 0 and not set(published) - finished:
                    return
                await asyncio.sleep(0.5)
    finally:
        await conn.close()


async def _events(conn: asyncpg.Connection[asyncpg.Record], schema: str, kind: type) -> list[object]:
    rows = await conn.fetch(f"SELECT envelope FROM {schema}.outbox WHERE type = $1", kind.DESCRIPTOR.full_name)
    return [kind.FromString(events_pb2.Envelope.FromString(row["envelope"]).payload) for row in rows]


async def _published(conn: asyncpg.Connection[asyncpg.Record]) -> Counter[tuple[str, int]]:
    """How often each revision was published."""
    changes = await _events(conn, "prompts", prompts_events.PostChanged)
    return Counter(
        (one.published.post_id, one.published.revision)
        for one in changes
        if one.change == prompts_events.POST_CHANGE_PUBLISHED
    )


async def _examples(conn: asyncpg.Connection[asyncpg.Record]) -> set[tuple[str, int]]:
    finished = await _events(conn, "inference", inference_events.ExampleFinished)
    return {(one.post_id, one.revision) for one in finished}


async def _judge(mesh: LocalMesh, traffic: Traffic, breaker: Breaker, wanted: list[str], missed: list[str]) -> None:
    conn = await asyncpg.connect(mesh.database_url())
    try:
        rows = await conn.fetch("SELECT post_id::text, state FROM prompts.posts")
        states = {row["post_id"]: posts_pb2.PostState.Name(row["state"]).removeprefix("POST_STATE_") for row in rows}
        published = await _published(conn)
        changes = await _events(conn, "prompts", prompts_events.PostChanged)
        attached = len({one.latest.post_id for one in changes if one.change == prompts_events.POST_CHANGE_EXAMPLE})
        allowed = {
            (row["post_id"], row["revision"])
            for row in await conn.fetch(
                "SELECT post_id::text, revision FROM moderation.screenings WHERE verdict = $1",
                moderation_pb2.VERDICT_ALLOW,
            )
        }
        letters = {
            schema: await conn.fetchval(f"SELECT count(*) FROM {schema}.dead_letters")
            for schema in ("prompts", "moderation", "inference")
        }
    finally:
        await conn.close()
    became = Counter(states.get(one.post_id, "LOST") for one in traffic.accepted)
    ids = {one.post_id for one in traffic.accepted}
    lost = [one for one in traffic.accepted if states.get(one.post_id) != one.kind.value]
    strangers = set(states) - ids
    twice = [key for key, times in published.items() if times > 1]
    unmoderated = (traffic.seen - allowed) | (set(published) - allowed)
    table = {
        "posts accepted": len(ids),
        "  published": became["PUBLISHED"],
        "  held": became["HELD"],
        "  rejected": became["REJECTED"],
        "lost": len(lost),
        "twice": len(twice) + len(strangers) + len(traffic.accepted) - len(ids),
        "seen unmoderated": len(unmoderated) + len(traffic.leaked),
        "examples attached": attached,
        "refused and retried": dict(sorted(traffic.refused.items())),
        "killed": dict(sorted(breaker.kills.items())),
        "failpoints hit": f"{len(breaker.hit)} of {len(wanted)}",
        "slowest recovery": f"{max(breaker.recoveries_s):.1f} s",
    }
    print("\n" + "\n".join(f"{name:22}{value}" for name, value in table.items()))
    assert not lost
    assert not twice
    assert not strangers, "posts that nobody was told of: a retry made a second one"
    assert len(ids) == len(traffic.accepted)
    assert not unmoderated
    assert not traffic.leaked
    assert not missed, f"failpoints that no run hit: {missed}"
    assert {one.kind for one in traffic.accepted} == set(Kind)
    assert letters == {"prompts": 0, "moderation": 0, "inference": 0}
