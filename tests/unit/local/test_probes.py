"""Probes against real servers, and against what is not the server they are for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from services.local.ports import free_ports
from services.local.probes import GrpcReady, HttpReady, RedisReady, http_status


@asynccontextmanager
async def grpc_server(status: str | None) -> AsyncIterator[int]:
    server = grpc.aio.server()
    if status is not None:
        servicer = health.aio.HealthServicer()
        await servicer.set("", health_pb2.HealthCheckResponse.ServingStatus.Value(status))
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


@asynccontextmanager
async def saying(answer: bytes) -> AsyncIterator[int]:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("status", "ready"), [("SERVING", True), ("NOT_SERVING", False), ("SERVICE_UNKNOWN", False), (None, False)]
)
async def test_grpc_is_ready_when_its_health_service_says_serving(status: str | None, ready: bool) -> None:
    async with grpc_server(status) as port:
        assert await GrpcReady(port).is_ready(1) is ready


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"+OK\r\n", b"\x00" * 9, b"\xff" * 40])
async def test_what_speaks_something_else_is_not_ready(answer: bytes) -> None:
    async with saying(answer) as port:
        assert await GrpcReady(port).is_ready(1) is False
        assert await RedisReady(port, "secret").is_ready(1) is False


async def test_nobody_there_is_not_ready() -> None:
    (port,) = free_ports(1)
    for probe in (GrpcReady(port), RedisReady(port, "x"), HttpReady(port, "/")):
        assert await probe.is_ready(1) is False
    assert await http_status("GET", port, "/") == 0


@pytest.mark.parametrize(("line", "ready"), [(b"200 OK", True), (b"503 Unavailable", False)])
async def test_http_is_ready_at_200(line: bytes, ready: bool) -> None:
    async with saying(b"HTTP/1.1 " + line + b"\r\ncontent-length: 0\r\n\r\n") as port:
        assert await HttpReady(port, "/ready").is_ready(1) is ready
