"""From every release to today's under load, one process at a time, with both versions serving: nobody notices."""

from __future__ import annotations

import asyncio
import compileall
import json
import os
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from promptmesh.events.v1 import events_pb2
from promptmesh.inference.v1 import events_pb2 as inference_events
from promptmesh.moderation.v1 import moderation_pb2
from promptmesh.prompts.v1 import events_pb2 as prompts_events
from promptmesh.prompts.v1 import posts_pb2

from services.local.settings import SERVICES
from tests.chaos.rollout import Rollout
from tests.chaos.steady import Account, Steady
from tests.chaos.traffic import Kind
from tests.support.provider import Behaviour, running_provider
from tools.release_code import CODE, unpack

FIXTURES = Path(__file__).parents[1] / "fixtures"
RELEASES = sorted(path.parent.name for path in FIXTURES.glob(f"*/{CODE}"))
SEED = 20261122
SETTLE_TIMEOUT_S = 60.0
#: A phase ends only after as many more posts: both versions get their share of them.
POSTS_OF_A_PHASE = 10
EDGE = {
    "rate_per_second": 10_000,
    "rate_burst": 20_000,
    "credential_rate_per_second": 10_000,
    "credential_rate_burst": 20_000,
}
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
    default: true
examples:
  model: model
  daily_cap_usd: 1000
"""

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def test_there_is_a_release_to_come_from() -> None:
    assert RELEASES


@pytest.mark.parametrize("release", RELEASES)
async def test_nobody_notices_an_upgrade(release: str, tmp_path: Path) -> None:
    code, data = tmp_path / "code", tmp_path / "data"
    data.mkdir()
    unpack(FIXTURES / release / CODE, code)
    # Once, instead of by each of the processes that start at once.
    assert await asyncio.to_thread(compileall.compile_dir, code, quiet=2, workers=1)
    async with running_provider() as provider, aiohttp.ClientSession() as session:
        provider.default = Behaviour(pace_s=0.01)
        (data / "models.yaml").write_text(MODELS.format(url=provider.base_url))
        (data / "edge.json").write_text(json.dumps(EDGE))
        environment = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        rollout = Rollout(code, data, environment | {"PROMPTMESH_LOG_LEVEL": "info"}, release)
        try:
            await rollout.start_release()
            steady = Steady(session, [rollout.url], random.Random(SEED))
            steady.old_edge = rollout.url if release == "v0.1.0" else ""
            await _upgrade(rollout, steady)
            await _judge(rollout, steady)
        finally:
            await rollout.close()


async def _upgrade(rollout: Rollout, steady: Steady) -> None:
    author, keeper = await asyncio.gather(steady.register("ada"), steady.register("grace"))
    moderator = await steady.log_in(rollout.admin["email"], rollout.admin["password"])
    key = await steady.make_key(author, "posts:read", "posts:write", "inference:invoke")
    await steady.told_of_all()
    load = _begin(steady, key, keeper, moderator)
    watch = asyncio.create_task(steady.watch())
    try:
        await _some_more(steady, [*load, watch])
        _say(rollout, steady, await rollout.migrate())
        await _some_more(steady, [*load, watch])
        for service in SERVICES:
            await rollout.start(f"{service}-1")
            await _some_more(steady, [*load, watch])
            _say(rollout, steady, f"{service}-1 serves")
            await rollout.restart(f"{service}-0")  # as one that dies: beside the new one, on the new schema
            _say(rollout, steady, f"{service}-0 was restarted")
        await rollout.start_new_edge()  # last: it asks for what only new services have
        steady.urls = [rollout.url, rollout.new_url]
        await _some_more(steady, [*load, watch])
        for service in SERVICES:
            await rollout.end(f"{service}-0")
            _say(rollout, steady, f"{service}-0 ended")
            await _some_more(steady, [*load, watch])
        await rollout.start("inference-0")  # which has a folder of its own, and takes over what was left there
        steady.urls = [rollout.new_url]
        await rollout.end("old-edge")
        await _some_more(steady, [*load, watch])
    finally:
        steady.over.set()
        watch.cancel()
        await asyncio.gather(watch, *load, return_exceptions=True)
    # What the old release gave still is what it was.
    await steady.refresh(keeper)
    await steady.read()
    await steady.call_a_model(key)


def _say(rollout: Rollout, steady: Steady, what: str) -> None:
    calls, failed = sum(steady.calls.values()), len(steady.failed)
    print(f"{time.monotonic() - rollout.begun:6.1f} s, {calls} calls, {failed} failed: {what}", flush=True)


def _begin(steady: Steady, key: str, keeper: Account, moderator: Account) -> list[asyncio.Task[None]]:
    return [
        steady.again_and_again(lambda: steady.post(key), 0.1),
        steady.again_and_again(lambda: steady.edit(key), 0.3),
        steady.again_and_again(steady.come_and_go, 0.5),
        steady.again_and_again(lambda: steady.refresh(keeper), 0.7),
        steady.again_and_again(lambda: steady.call_a_model(key), 0.1),
        steady.again_and_again(lambda: steady.moderate(moderator), 1.0),
        steady.again_and_again(steady.read, 0.2),
    ]


async def _some_more(steady: Steady, load: list[asyncio.Task[None]]) -> None:
    """Returns after so many more posts; raises what ended one of the people."""
    wanted = steady.calls["post"] + POSTS_OF_A_PHASE
    while steady.calls["post"] < wanted:
        for task in load:
            if task.done():
                task.result()
        await asyncio.sleep(0.05)


async def _judge(rollout: Rollout, steady: Steady) -> None:
    conn = await asyncpg.connect(rollout.database_url())
    try:
        await _settle(conn, steady)
        found = await _findings(conn, steady)
    finally:
        await conn.close()
    counted = rollout.count()
    print(f"\ncalls                 {sum(steady.calls.values())} {dict(sorted(steady.calls.items()))}")
    print(f"tried once more       {sum(steady.again.values())} {dict(steady.again)}")
    print(f"failed                {len(steady.failed)}")
    for (service, version), calls in sorted(counted.items()):
        print(f"{service:22}{version:8}{calls}")
    print(
        "\n".join(f"{name:22}{value if not isinstance(value, list) else len(value)}" for name, value in found.items())
    )
    assert not steady.failed, "\n".join(steady.failed[:20])
    assert not steady.leaked
    assert all(not value for value in found.values() if isinstance(value, list)), found
    assert {kind for kind, _ in steady.posts.values()} == set(Kind)
    assert steady.resolved
    assert steady.edited
    assert steady.liked
    assert steady.records
    for service in SERVICES:
        assert counted[service, rollout.release] > 0
        assert counted[service, rollout.today] > 0
    assert {one.version for one in rollout.processes.values()} == {rollout.today}


async def _settle(conn: asyncpg.Connection[asyncpg.Record], steady: Steady) -> None:
    async with asyncio.timeout(SETTLE_TIMEOUT_S):
        while True:
            pending = await conn.fetchval(
                "SELECT count(*) FROM prompts.posts WHERE state = $1", posts_pb2.POST_STATE_PENDING
            )
            published, finished = await _published(conn), await _examples(conn)
            newest = {post: max(rev for one, rev in published if one == post) for post, _ in published}
            recorded = await conn.fetchval("SELECT count(*) FROM inference.requests WHERE id = ANY($1)", steady.records)
            if not pending and not set(newest.items()) - finished and recorded == len(set(steady.records)):
                return
            await asyncio.sleep(0.5)


async def _findings(conn: asyncpg.Connection[asyncpg.Record], steady: Steady) -> dict[str, Any]:
    """What was counted; lists have to be empty."""
    rows = await conn.fetch("SELECT post_id::text, state, revision FROM prompts.posts")
    states = {row["post_id"]: posts_pb2.PostState.Name(row["state"]).removeprefix("POST_STATE_") for row in rows}
    published = await _published(conn)
    wrong = []
    for post_id, (kind, _) in steady.posts.items():
        decision = steady.resolved.get(post_id, "")
        wanted = {"VERDICT_ALLOW": "PUBLISHED", "VERDICT_REJECT": "REJECTED"}.get(decision, kind.value)
        if states.get(post_id, "LOST") != wanted:
            wrong.append(f"{post_id}: {states.get(post_id, 'LOST')}, not {wanted}")
    allowed = {
        (row["post_id"], row["revision"])
        for row in await conn.fetch(
            "SELECT post_id::text, revision FROM moderation.screenings WHERE verdict = $1 UNION ALL "
            "SELECT post_id::text, revision FROM moderation.cases WHERE decision = $1",
            moderation_pb2.VERDICT_ALLOW,
        )
    }
    revisions = {row["post_id"]: row["revision"] for row in rows}
    likes = {tuple(row) for row in await conn.fetch("SELECT post_id::text, user_id::text FROM prompts.likes")}
    letters = []
    for schema in SERVICES:
        found = await conn.fetch(f"SELECT * FROM {schema}.dead_letters")
        letters += [f"{schema}: {dict(row)}" for row in found]
    return {
        "posts": len(steady.posts),
        "became": dict(Counter(states.values())),
        "receipts": len(steady.records),
        "streams cut": steady.streams_cut,
        "lost or wrong": wrong,
        "edits lost": [post for post, revision in steady.edited.items() if revisions.get(post, 0) < revision],
        "likes lost": sorted(steady.liked - likes),
        "made twice": sorted(set(states) - set(steady.posts)),
        "published twice": [key for key, times in published.items() if times > 1],
        "unmoderated": sorted((steady.seen | set(published)) - allowed),
        "dead letters": letters,
    }


async def _events(conn: asyncpg.Connection[asyncpg.Record], schema: str, kind: type) -> list[Any]:
    rows = await conn.fetch(f"SELECT envelope FROM {schema}.outbox WHERE type = $1", kind.DESCRIPTOR.full_name)
    return [kind.FromString(events_pb2.Envelope.FromString(row["envelope"]).payload) for row in rows]


async def _published(conn: asyncpg.Connection[asyncpg.Record]) -> Counter[tuple[str, int]]:
    changes = await _events(conn, "prompts", prompts_events.PostChanged)
    return Counter(
        (one.published.post_id, one.published.revision)
        for one in changes
        if one.change == prompts_events.POST_CHANGE_PUBLISHED
    )


async def _examples(conn: asyncpg.Connection[asyncpg.Record]) -> set[tuple[str, int]]:
    return {(one.post_id, one.revision) for one in await _events(conn, "inference", inference_events.ExampleFinished)}
