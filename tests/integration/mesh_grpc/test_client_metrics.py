"""What a service measures of its calls of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc

from services.mesh import client
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.call import Call, enter
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from services.mesh.telemetry import metrics
from tests.integration.mesh_grpc.conftest import SECRET

METHOD = "promptmesh.prompts.v1.PostService/"


@pytest.fixture
async def stub(service: Any) -> AsyncIterator[Any]:
    """Of the service, as another service calls it."""
    channel = client.channel(f"127.0.0.1:{service.port}", ServiceTokens("moderation", SECRET))
    yield posts_pb2_grpc.PostServiceStub(channel)
    await channel.close()


def counted(method: str, code: str) -> float:
    labels = {"rpc_system_name": "grpc", "rpc_method": METHOD + method, "rpc_response_status_code": code}
    return REGISTRY.get_sample_value("rpc_client_call_duration_seconds_count", labels) or 0.0


async def grown(method: str, code: str, before: float) -> None:
    async with asyncio.timeout(10):
        while counted(method, code) == before:
            await asyncio.sleep(0.01)
    assert counted(method, code) == before + 1


async def test_a_call_is_counted_by_its_status(service: Any, stub: Any) -> None:
    before = counted("GetPost", "OK")
    await stub.GetPost(posts_pb2.GetPostRequest(post_id=uuid7()))
    await grown("GetPost", "OK", before)

    async def gone(request: Any, context: Any) -> Any:
        raise MeshError("POST_NOT_FOUND", "There is no such post.")

    service.posts.on_get = gone
    before = counted("GetPost", "NOT_FOUND")
    with pytest.raises(grpc.RpcError):
        await stub.GetPost(posts_pb2.GetPostRequest(post_id=uuid7()))
    await grown("GetPost", "NOT_FOUND", before)


async def test_a_service_that_is_away_and_a_caller_that_leaves(service: Any, stub: Any) -> None:
    reached = asyncio.Event()

    async def hangs(request: Any, context: Any) -> Any:
        reached.set()
        await asyncio.Event().wait()

    service.posts.on_get = hangs
    before = counted("GetPost", "CANCELLED")
    call = stub.GetPost(posts_pb2.GetPostRequest(post_id=uuid7()))
    await reached.wait()
    call.cancel()
    await grown("GetPost", "CANCELLED", before)

    away = client.channel("127.0.0.1:1", ServiceTokens("moderation", SECRET))
    before = counted("GetPost", "UNAVAILABLE")
    with pytest.raises(grpc.RpcError):
        await posts_pb2_grpc.PostServiceStub(away).GetPost(posts_pb2.GetPostRequest(post_id=uuid7()))
    await away.close()
    await grown("GetPost", "UNAVAILABLE", before)


async def test_a_stream_is_counted_at_its_end(service: Any, stub: Any) -> None:
    async def two(request: Any, context: Any) -> AsyncIterator[Any]:
        for _ in range(2):
            yield posts_pb2.WatchFeedResponse()

    service.posts.on_watch = two
    before = counted("WatchFeed", "OK")
    stream = stub.WatchFeed(posts_pb2.WatchFeedRequest())
    await anext(aiter(stream))
    assert counted("WatchFeed", "OK") == before
    assert len([one async for one in stream]) == 1
    await grown("WatchFeed", "OK", before)


async def test_a_call_for_a_recorded_one_leads_to_its_trace(
    service: Any, stub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []

    class Series:
        def labels(self, *_names: str) -> Any:
            return self

        def observe(self, _duration_s: float, exemplar: Any) -> None:
            found.append(exemplar)

    monkeypatch.setattr(metrics, "RPC_CLIENT_DURATION", Series())
    trace = f"00-{'a' * 32}-{'b' * 16}-01"

    async def asked(span: object) -> None:
        enter(Call("request", "/x", traceparent=trace, span=span))
        await stub.GetPost(posts_pb2.GetPostRequest(post_id=uuid7()))

    for span in (None, object()):
        await asyncio.create_task(asked(span))
    async with asyncio.timeout(10):
        while len(found) < 2:
            await asyncio.sleep(0.01)
    assert found == [None, {"trace_id": "a" * 32, "span_id": "b" * 16}]
