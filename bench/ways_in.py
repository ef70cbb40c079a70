"""What the way in and out of a process costs, without a handler: `python -m bench.ways_in`.

The same body in and the same body out (500 bytes each), as one message of a streaming gRPC method on HttpBody, through
aiohttp's server, and through the kit's front (docs/decisions/0011). Each server is a process of its own under 32
callers; what is told is its CPU time a call, best of several rounds, since other processes disturb all of them.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import psutil
import uvloop
from aiohttp import web
from google.api.httpbody_pb2 import HttpBody

from services.mesh.http import HttpFront, HttpOptions
from services.mesh.telemetry import logs

CALLERS = 32
WARM_UP_CALLS = 2_000
CALLS = 10_000
ROUNDS = 3
BODY = b"x" * 500
PATH = "/v1/x"
KIND = "application/json"
METHOD = "/bench.Bench/Call"


_held: list[Any] = []  # servers end when nobody refers to them


async def _serve_grpc() -> int:
    async def call(request: HttpBody, context: Any) -> AsyncIterator[HttpBody]:
        yield HttpBody(content_type=KIND, data=request.data)

    server = grpc.aio.server()
    handler = grpc.unary_stream_rpc_method_handler(call, HttpBody.FromString, HttpBody.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Bench", {"Call": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _held.append(server)
    return port


async def _serve_aiohttp() -> int:
    async def call(request: web.Request) -> web.Response:
        return web.Response(body=await request.read(), content_type=KIND)

    app = web.Application()
    app.router.add_post(PATH, call)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    _held.append(runner)
    port: int = runner.addresses[0][1]
    return port


async def _serve_front() -> int:
    async def call(message: HttpBody, exchange: Any) -> None:
        await exchange.write(HttpBody(content_type=KIND, data=message.data))

    front = HttpFront({PATH: call}, HttpOptions(), lambda: True)
    _held.append(front)
    return await front.start()


SERVERS: dict[str, Callable[[], Awaitable[int]]] = {
    "grpc.aio": _serve_grpc,
    "aiohttp": _serve_aiohttp,
    "front": _serve_front,
}


async def _serve(name: str) -> None:
    logs.configure("bench", "bench-0", "error", "text")
    print(await SERVERS[name](), flush=True)
    await asyncio.Event().wait()


async def _load_grpc(port: int, calls: int) -> None:
    # As the edge does: few connections, many calls on each.
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream(METHOD, HttpBody.SerializeToString, HttpBody.FromString)
        request = HttpBody(content_type=KIND, data=BODY)

        async def caller() -> None:
            for _ in range(calls // CALLERS):
                async for answer in call(request):
                    assert answer.data == BODY

        await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def _load_http(port: int, calls: int) -> None:
    head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-type: {KIND}\r\ncontent-length: {len(BODY)}\r\n\r\n".encode()

    async def caller() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(calls // CALLERS):
            writer.write(head + BODY)
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(BODY)) == BODY
        writer.close()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


def _measure(name: str) -> float:
    """Microseconds of the server's CPU a call."""
    command = [sys.executable, "-m", "bench.ways_in", name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline())
            load = _load_grpc if name == "grpc.aio" else _load_http
            uvloop.run(load(port, WARM_UP_CALLS))
            process = psutil.Process(server.pid)
            before = process.cpu_times()
            uvloop.run(load(port, CALLS))
            after = process.cpu_times()
        finally:
            server.kill()
    return (after.user + after.system - before.user - before.system) / CALLS * 1e6


def main() -> None:
    began = time.monotonic()
    best = {name: min(_measure(name) for _ in range(ROUNDS)) for name in SERVERS}
    for name, micros in best.items():
        print(f"{name:10} {micros:6.0f} µs of CPU a call")
    print(f"({time.monotonic() - began:.0f} s)")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(_serve(sys.argv[1]))
    else:
        main()
