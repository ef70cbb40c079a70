"""The service as an operator starts it: `python -m services.prompts`."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc
from promptmesh.prompts.v1 import posts_pb2
from promptmesh.prompts.v1.posts_pb2 import ListPostsRequest, WatchFeedRequest
from promptmesh.prompts.v1.posts_pb2_grpc import PostServiceStub

from tests.integration.support.service_process import (
    MeshSecrets,
    run_service_command,
    running_service,
    service_environment,
)

AWAY = "127.0.0.1:1"  # nobody listens there


async def test_without_the_other_services_it_serves_what_needs_none_and_drains(
    prompts_url: str, redis_url: str, tmp_path: Path
) -> None:
    environment = service_environment(
        database_url=prompts_url,
        redis_url=redis_url,
        secrets=MeshSecrets.make(),
        AUTH_TARGET=AWAY,
        MODERATION_TARGET=AWAY,
        INFERENCE_TARGET=AWAY,
    )
    with running_service("prompts", environment, tmp_path, wait_ready=False) as process:
        async with grpc.aio.insecure_channel(process.target) as channel:
            stub = PostServiceStub(channel)
            assert (await stub.ListPosts(ListPostsRequest())).next_page_token == ""
            watch = stub.WatchFeed(WatchFeedRequest())
            first = await watch.read()
            assert first.WhichOneof("event") == "heartbeat"
            process.process.send_signal(signal.SIGTERM)
            last = await watch.read()
            assert last.done.reason == posts_pb2.WATCH_END_DRAINING
        assert await asyncio.to_thread(process.process.wait, 30) == 0  # a second signal would cut it short


def test_settings_that_are_missing_or_wrong_are_all_named() -> None:
    ended = run_service_command("prompts", {"PROMPTMESH_WATCH_STREAMS_MAX": "0"})
    assert ended.returncode == 78
    for name in ("WORKER", "DATABASE_URL", "REDIS_URL", "MESH_SECRET", "KEY_PEPPER", "WATCH_STREAMS_MAX"):
        assert f"PROMPTMESH_{name}" in ended.stderr
