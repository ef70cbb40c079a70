"""A server on a real socket that answers with the bytes it is told to, and sees who comes and leaves."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

WHOLE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"up","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"Hi"},"finish_reason":"stop"}]}'
)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FINISH = b'data: {"model":"up","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def whole(*headers: bytes, body: bytes = WHOLE) -> bytes:
    """An answer in one piece."""
    lines = (b"HTTP/1.1 200 OK", b"Content-Type: application/json", *headers, b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def framed(data: bytes) -> bytes:
    """A chunk of HTTP."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(text: str) -> bytes:
    """A chunk of a stream of a model."""
    return b'data: {"model":"up","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()


@dataclass
class Visit:
    """A request: its connection's number, the writer to answer with, and whether the client has left since."""

    connection: int
    number: int  # on its connection, from 0
    head: bytes
    body: bytes
    writer: asyncio.StreamWriter
    left: asyncio.Event

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        self.writer.transport.abort()


Answering = Callable[[Visit], Awaitable[None]]


@dataclass
class RawServer:
    port: int = 0
    visits: list[Visit] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    closed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}/v1"

    async def until_open(self, count: int) -> None:
        async with self.closed:
            await self.closed.wait_for(lambda: self.open <= count)


@contextlib.asynccontextmanager
async def raw_server(answering: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """`answering` is awaited once a request; it may keep the connection, close or reset it."""
    server = RawServer()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        number = server.connections
        server.connections += 1
        server.open += 1
        count = 0
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                visit = Visit(number, count, head, await reader.readexactly(length), writer, asyncio.Event())
                count += 1
                server.visits.append(visit)
                watch = asyncio.create_task(_watch(reader, visit))
                try:
                    await answering(visit)
                finally:
                    watch.cancel()
                    await asyncio.wait([watch])
                if writer.is_closing():
                    break
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()
        server.open -= 1
        async with server.closed:
            server.closed.notify_all()
        tasks.discard(task)

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks))
        await listening.wait_closed()


async def _watch(reader: asyncio.StreamReader, visit: Visit) -> None:
    """A client of HTTP/1.1 that sends nothing more and whose end comes has left."""
    with contextlib.suppress(OSError):
        if not await reader.read(1):
            visit.left.set()
            return
    visit.left.set()
