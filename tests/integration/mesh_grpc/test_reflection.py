"""What tools learn by reflection beside the services."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.mesh.reflection import add_reflection


@pytest.mark.parametrize("kind", ["ErrorInfo", "BadRequest", "RetryInfo", "QuotaFailure", "RequestInfo"])
async def test_the_types_of_an_errors_details_are_known(kind: str) -> None:
    async def asked() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
        yield reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"google.rpc.{kind}")

    server = grpc.aio.server()
    add_reflection(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            (answer,) = [each async for each in stub.ServerReflectionInfo(asked())]
    finally:
        await server.stop(None)

    assert answer.file_descriptor_response.file_descriptor_proto
