"""The mesh's Redis commands against a real Redis Cluster: which keep to one slot, so that a cluster takes them.

What they find (docs/scaling.md says what follows): every Lua script and every command is of one slot, but for the first
read of each consumer, which asks for all partitions at once and so learns that it must not.
"""

from __future__ import annotations

import asyncio
import secrets
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from services.inference.cache import shared
from services.inference.limits.script import TEXT, meter_key, org_key
from services.local.testing import LocalMesh, local_mesh, wait_until
from services.mesh.events.group import Group
from services.mesh.events.streams import Script, StreamNames, connect_streams, run_script
from tests.integration.redis_cluster.cluster import Cluster
from tests.integration.redis_cluster.router import Router, routing

PARTITIONS = 4  # the default of PROMPTMESH_EVENT_PARTITIONS
PATIENCE_S = 60.0
POST = {"title": "A haiku", "body": "Write a haiku about the sea."}
CHAT = {"model": "chat", "messages": [{"role": "user", "content": "Say something."}], "temperature": 0}
# With limits and a cache, so that their scripts run.
MODELS = """
providers:
- {name: demo, kind: demo}
models:
- {name: demo, provider: demo, upstream_model: demo, context_tokens: 8192}
routes:
- {name: chat, targets: [{model: demo}], cache: {ttl_s: 300}, default: true}
limits:
  user: {requests_per_minute: 600, concurrent_requests: 8}
  org: {requests_per_minute: 6000, tokens_per_minute: 1000000}
"""
CACHE = (shared._CLAIM, shared._FINISH)


def digest(text: str) -> str:
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


async def published(client: Redis, producer: str, partition: int, *envelopes: str) -> Any:
    """As a relay publishes to a partition."""
    names = StreamNames(producer)
    keys = (names.stream(partition), names.meta(partition))
    added = [item for position, envelope in enumerate(envelopes, start=1) for item in (position, envelope)]
    (answer,) = await run_script(client, Script("publish"), [(keys, (0, 0, secrets.token_hex(8), *added))])
    return answer


async def test_every_partition_s_keys_are_of_one_slot_and_partitions_are_spread(cluster: Cluster) -> None:
    slots = set()
    for producer in ("auth", "prompts", "moderation", "inference"):
        for partition in range(PARTITIONS):
            names = StreamNames(producer)
            both = {key_slot(key.encode()) for key in (names.stream(partition), names.meta(partition))}
            assert len(both) == 1
            slots |= both
    assert len({cluster.port_of(slot) for slot in slots}) == 3, "all nodes carry events"


async def test_every_script_of_events_runs_on_a_cluster(cluster: Cluster) -> None:
    async with routing(cluster) as router:
        client = connect_streams(router.url)
        blocking = connect_streams(router.url)
        try:
            for partition in range(PARTITIONS):
                answer = await published(client, "prompts", partition, "one", "two")
                assert not isinstance(answer, Exception), answer
            group = Group(client, blocking, "prompts", "tests", "worker-0", PARTITIONS)
            await group.create()
            assert len(await group.progress()) == PARTITIONS
            await group.forget_departed(0.001)
            names = StreamNames("prompts")
            calls = [((names.stream(0), names.meta(0)), (10, secrets.token_hex(8)))]
            (trimmed,) = await run_script(client, Script("trim"), calls)
            assert not isinstance(trimmed, Exception), trimmed
        finally:
            await client.aclose()
            await blocking.aclose()
        assert router.refused == []
        assert router.scripts == {Script(name).digest for name in ("publish", "progress", "forget", "trim")}
        assert len(router.nodes) > 1


async def test_limits_of_an_organisation_are_one_script_on_one_node(cluster: Cluster) -> None:
    """By their keys here, and below by what a whole mesh sends."""
    org = secrets.token_hex(8)
    keys = [org_key(org), *(meter_key(org, kind, "subject", "rpm") for kind in range(4))]
    assert len({key_slot(key.encode()) for key in keys}) == 1
    assert len({key_slot(org_key(secrets.token_hex(8)).encode()) for _ in range(50)}) > 40


@pytest.mark.timeout(300)
async def test_a_whole_mesh_runs_on_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """Accounts, a post through moderation to its example, calls of a model within limits: nothing is refused."""
    async with routing(cluster) as router:
        await asyncio.to_thread(journey, router, tmp_path / "data")
        # Each consumer asks for all partitions at once, once: so it learns that this is a cluster.
        assert {(command[0], answer[:10]) for command, answer in router.refused} == {(b"XREADGROUP", b"-CROSSSLOT")}
        assert router.scripts >= {Script("publish").digest, Script("progress").digest, digest(TEXT)}
        assert router.scripts >= {digest(text) for text in CACHE}
        assert router.commands["XREADGROUP"] > 0
        assert router.commands["XACK"] > 0
        assert len(router.nodes) == 3


def journey(router: Router, data: Path) -> None:
    environment = {
        "PROMPTMESH_REDIS_URL": router.url,
        "PROMPTMESH_REDIS_CACHE_URL": router.url,
        # Through a router in Python, on a machine that does other things too.
        "PROMPTMESH_REDIS_TIMEOUT_MS": "2000",
    }
    with local_mesh(data, models_yaml=MODELS, environment=environment) as mesh:
        _, token = mesh.register("ada")
        key = mesh.api_key(token, "inference:invoke")
        post = made(mesh, "/api/v1/posts", POST, token)
        name = str(post["postId"])

        def has_its_example() -> bool:
            found = mesh.call("GET", f"/api/v1/posts/{name}", token=token)
            return found.status == 200 and "EXAMPLE_STATE_READY" in str(found.body)

        wait_until("a post with its example", has_its_example, PATIENCE_S)
        for _ in range(2):
            made(mesh, "/v1/chat/completions", CHAT, key)


def made(mesh: LocalMesh, path: str, body: object, token: str) -> dict[str, Any]:
    answer = mesh.call("POST", path, body, token=token)
    assert answer.status == 200, answer.body
    return dict(answer.body)
