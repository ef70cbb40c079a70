"""The server itself: what it refuses to start with, health, reflection, clients of the kit, other shapes of errors."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import aiohttp
import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from promptmesh.events.v1 import events_pb2, events_pb2_grpc
from promptmesh.inference.v1 import openai_pb2_grpc
from promptmesh.prompts.v1 import posts_pb2, posts_pb2_grpc

from services.inference.openai import errors as openai_errors
from services.mesh import client
from services.mesh.access.policies import PolicyError
from services.mesh.access.service_tokens import ServiceTokens
from services.mesh.call import Call, enter
from services.mesh.errors import MeshError, error_of
from services.mesh.http import HttpOptions
from services.mesh.ids import uuid7
from services.mesh.pipeline import Rendered
from services.mesh.reflection import all_services
from services.mesh.server import LIVENESS, Server, ServerOptions

WAIT_S = 10.0
SECRET = b"s" * 32


def unguarded_service() -> str:
    """A service of two methods, neither of which says who may call it."""
    name = "unguarded"
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(f"{name}.proto")
    except KeyError:
        file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package=name, syntax="proto3")
        file.message_type.add(name="Empty")
        service = file.service.add(name="Service")
        for method in ("One", "Two"):
            service.method.add(name=method, input_type=f".{name}.Empty", output_type=f".{name}.Empty")
        pool.Add(file)  # type: ignore[attr-defined]
    message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{name}.Empty"))
    return f"{name}.Service"


async def test_methods_without_an_access_option_refuse_the_start(service: Any) -> None:
    name = unguarded_service()

    def register(_servicer: Any, server: Any) -> None:
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {}),))

    server = Server(service.access)
    server.add(register, object())
    with pytest.raises(PolicyError, match=r"unguarded\.Service/One, unguarded\.Service/Two"):
        await server.start()


async def test_an_address_that_is_taken(service: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OSError, match=f"PROMPTMESH_LISTEN={address}"):
            await Server(service.access, options=ServerOptions(listen=address)).start()


async def test_health_serves_only_when_ready_and_not_while_draining(service: Any) -> None:
    ready = asyncio.Event()
    server = Server(service.access, ready={"something": ready.wait}, options=ServerOptions(ready_within_s=0.01))
    server.add(posts_pb2_grpc.add_PostServiceServicer_to_server, service.posts)
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""))
        async with asyncio.timeout(WAIT_S):
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            check = health_pb2_grpc.HealthStub(channel).Check
            alive = await check(health_pb2.HealthCheckRequest(service=LIVENESS))
            assert alive.status == health_pb2.HealthCheckResponse.SERVING
            ready.set()
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
            named = await check(health_pb2.HealthCheckRequest(service="promptmesh.prompts.v1.PostService"))
            assert named.status == health_pb2.HealthCheckResponse.SERVING
            stopping = asyncio.create_task(server.stop())
            assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
            watch.cancel()
            await stopping


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_and_describes_all_services(service: Any, version: str) -> None:
    method = service.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = "promptmesh.inference.v1.InferenceService"
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=asked),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="grpc.health.v1.Health"),
    ]
    async with asyncio.timeout(WAIT_S):
        answers = [answer async for answer in method(iter(requests))]
    listed = {one.name for one in answers[0].list_services_response.service}
    assert set(all_services()) < listed
    areas = {name.split(".")[1] for name in listed if name.startswith("promptmesh.")}
    assert areas == {"auth", "prompts", "moderation", "inference", "events"}
    assert all(one.file_descriptor_response.file_descriptor_proto for one in answers[1:])


async def test_errors_in_another_shape(service: Any) -> None:
    def render(error: MeshError, request_id: str, *, started: bool) -> Rendered:
        title = f"{error.reason} {started}"
        return Rendered(posts_pb2.Post(post_id=request_id, title=title), (("x-promptmesh-http-status", "401"),))

    async def fails(request: Any, context: Any) -> None:
        raise MeshError("POST_NOT_FOUND", "No.")

    service.posts.on_get = fails
    server = Server(service.access)
    server.add(posts_pb2_grpc.add_PostServiceServicer_to_server, service.posts, render_error=render)
    port = await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = posts_pb2_grpc.PostServiceStub(channel)
        call = stub.GetPost(posts_pb2.GetPostRequest(post_id=uuid7()), metadata=(("x-request-id", "r-1"),))
        answer = await call
        assert (answer.post_id, answer.title) == ("r-1", "POST_NOT_FOUND False")
        assert dict(await call.initial_metadata())["x-promptmesh-http-status"] == "401"
        refused = await stub.CreatePost(posts_pb2.CreatePostRequest())
        assert refused.title == "CREDENTIAL_MISSING False"
    await server.stop()


async def test_what_plain_http_refuses_has_the_shape_of_its_method(service: Any) -> None:
    server = Server(service.access, options=ServerOptions(http=HttpOptions(body_bytes_max=100, held_bytes_max=100)))
    register = openai_pb2_grpc.add_OpenAiServiceServicer_to_server
    servicer: Any = openai_pb2_grpc.OpenAiServiceServicer
    server.add(register, servicer(), render_error=openai_errors.render)
    await server.start()
    path = f"http://127.0.0.1:{server.http_port}/v1/chat/completions"
    async with aiohttp.ClientSession() as session:
        async with session.post(path, data=b"x" * 101, headers={"x-request-id": "r-1"}) as answer:
            assert (answer.status, answer.headers["x-request-id"]) == (413, "r-1")
            assert (await answer.json())["error"]["code"] == "request_too_large"
        _, held = await asyncio.open_connection("127.0.0.1", server.http_port)
        held.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: 100\r\n\r\n" + b"x" * 60)
        async with asyncio.timeout(WAIT_S):
            status = 0
            while status != 503:  # until the front has read what is held
                async with session.post(path, data=b"x" * 50) as answer:
                    status, said = answer.status, await answer.json()
        assert answer.headers["retry-after"] == "1"
        assert said["error"]["code"] == "overloaded"
        held.close()
    await server.stop()


class Source(events_pb2_grpc.EventSourceServiceServicer):
    """A producer that says who asked."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.remaining: list[float | None] = []

    async def Replay(self, request: Any, context: Any) -> Any:
        self.seen.append(dict(context.invocation_metadata()))
        self.remaining.append(context.time_remaining())
        yield events_pb2.ReplayResponse(done=events_pb2.ReplayDone(head=3))


async def test_the_kits_client_speaks_for_its_service(service: Any) -> None:
    source = Source()
    server = Server(service.access)
    server.add(events_pb2_grpc.add_EventSourceServiceServicer_to_server, source)
    port = await server.start()
    request = events_pb2.ReplayRequest(consumer="test", after=[events_pb2.PartitionPosition()])
    async with client.channel(f"ipv4:127.0.0.1:{port}", ServiceTokens("moderation", SECRET)) as channel:
        stub: Any = events_pb2_grpc.EventSourceServiceStub(channel)
        assert [answer.done.head async for answer in stub.Replay(request)] == [3]
        # Within a call: its request id, trace and deadline go on.
        trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
        deadline = asyncio.get_running_loop().time() + 30.0
        enter(Call("req-1", "/a/b", deadline=deadline, traceparent=trace))
        assert [answer.done.head async for answer in stub.Replay(request)] == [3]
        enter(Call("req-2", "/a/b", deadline=asyncio.get_running_loop().time()))
        with pytest.raises(MeshError) as caught:
            stub.Replay(request)
        assert caught.value.reason == "DEADLINE_TOO_SHORT"
    first, second = source.seen
    assert first["x-request-id"]
    assert (second["x-request-id"], second["traceparent"]) == ("req-1", trace)
    assert source.remaining[0] is None
    assert source.remaining[1] is not None
    assert source.remaining[1] < 31.0
    await server.stop()


async def test_a_service_that_is_away_answers_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with client.channel(f"127.0.0.1:{port}", ServiceTokens("moderation", SECRET)) as channel:
        stub: Any = posts_pb2_grpc.PostServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.GetPost(posts_pb2.GetPostRequest(post_id=uuid7()))
    assert error_of(caught.value).reason == "DEPENDENCY_UNAVAILABLE"


async def test_reads_are_retried_and_writes_are_not(service: Any) -> None:
    tries = {"GetPost": 0, "CreatePost": 0}

    async def away(request: Any, context: Any) -> Any:
        tries["GetPost"] += 1
        if tries["GetPost"] < 3:
            raise ConnectionRefusedError
        return posts_pb2.Post(post_id="1")

    service.posts.on_get = away
    async with client.channel(f"127.0.0.1:{service.server.port}", ServiceTokens("moderation", SECRET)) as channel:
        stub: Any = posts_pb2_grpc.PostServiceStub(channel)
        assert (await stub.GetPost(posts_pb2.GetPostRequest(post_id=uuid7()))).post_id == "1"
    config = client.service_config()
    assert "GetPost" in config
    assert "CreatePost" not in config
    assert "ResolveCase" not in config
    assert "ResolveApiKey" in config
