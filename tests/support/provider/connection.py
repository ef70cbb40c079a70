"""HTTP/1.1 of a server that may break any rule of it: requests are parsed, answers are bytes."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, unquote

import httptools

from tests.support.provider.record import Outcome, Record, SeenCall

REQUEST_BODY_BYTES_MAX = 64 * 1024 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of no time: a close sends RST


@dataclass(slots=True)
class HttpRequest:
    """A whole request. Names of headers as they were sent, repeated ones joined by commas."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    keep_alive: bool
    reused: bool


class Exchange:
    """One request and what goes out for it. `serve` of the connection sets `seen`, and `record` where it counts."""

    __slots__ = ("closes", "connection", "record", "request", "seen", "task")

    def __init__(self, connection: Connection, request: HttpRequest) -> None:
        self.connection = connection
        self.request = request
        self.closes = not request.keep_alive  # the connection, after the answer
        self.seen = SeenCall(
            {},
            request.headers,
            connection.peer,
            method=request.method,
            path=request.path,
            connection=connection.number,
            reused=request.reused,
        )
        self.record: Record | None = None
        self.task: asyncio.Task[None] | None = None

    def send(self, data: bytes) -> None:
        """Bytes as they are."""
        self.seen.bytes_sent += len(data)
        self.connection.transport.write(data)

    async def flush(self) -> None:
        """Until the operating system has taken all that was sent."""
        await self.connection.writable()

    def begun(self) -> None:
        """Something of the body is out."""
        if self.seen.begin_time is None:
            self.seen.begin_time = time.monotonic()
            self.seen.began.set()
            self.changed()

    def changed(self) -> None:
        """Tells those who wait on the record."""
        if self.record is not None:
            self.record.changed()

    def end(self, outcome: Outcome) -> None:
        """Writes the outcome down; the first one stands."""
        seen = self.seen
        if seen.outcome:
            return
        seen.outcome = outcome
        seen.end_time = time.monotonic()
        if outcome == "aborted":
            seen.abort_time = seen.end_time
            seen.aborted.set()
        if self.record is not None:
            self.record.has_ended(seen)
        seen.ended.set()

    async def finish(self) -> None:
        """The answer is whole; the connection takes the next request."""
        await self.flush()
        self.end("whole")
        self.connection.answered(self)

    async def cut(self, *, reset: bool = False) -> None:
        """Breaks the connection off after what was sent so far."""
        await self.flush()
        self.end("cut")
        self.connection.drop(reset=reset)

    def client_left(self) -> None:
        """The connection is gone."""
        self.end("aborted")
        if self.task is not None:
            self.task.cancel()


class Connection(asyncio.Protocol):
    """One client's connection; requests on it are answered in order.

    `serve` is called with each request at once and returns the coroutine that answers it.
    """

    def __init__(
        self, number: int, serve: Callable[[Exchange], Coroutine[Any, Any, None]], open_ones: set[Connection]
    ) -> None:
        self.number = number
        self.peer: object = None
        self.transport: asyncio.Transport
        self.exchange: Exchange | None = None
        self._serve = serve
        self._open_ones = open_ones
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[HttpRequest] = deque()
        self._requests = 0
        self._url = b""
        self._headers: dict[str, str] = {}
        self._parts: list[bytes] = []
        self._body_bytes = 0
        self._writable: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are not of its type
        # No byte may wait above the operating system unseen: what is whole or cut is said of what was handed over.
        self.transport.set_write_buffer_limits(0)
        self.peer = transport.get_extra_info("peername")
        self._open_ones.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            self.transport.close()

    def eof_received(self) -> None:
        if self.exchange is not None:  # a client that half-closes has left, as for most servers
            self.transport.abort()
            self.exchange.client_left()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open_ones.discard(self)
        self._waiting.clear()
        if self._writable is not None and not self._writable.done():
            self._writable.cancel()
        if self.exchange is not None:
            self.exchange.client_left()

    def pause_writing(self) -> None:
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        waiting, self._writable = self._writable, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    async def writable(self) -> None:
        """Until nothing waits to be taken by the operating system."""
        while self._writable is not None:
            await self._writable

    # What httptools calls.

    def on_message_begin(self) -> None:
        self._url, self._headers, self._parts, self._body_bytes = b"", {}, [], 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key, said = name.decode("latin-1"), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {said}" if key in self._headers else said

    def on_headers_complete(self) -> None:
        expected = next((self._headers[name] for name in self._headers if name.lower() == "expect"), "")
        if expected.lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > REQUEST_BODY_BYTES_MAX:
            raise ValueError(f"the body of the request is longer than {REQUEST_BODY_BYTES_MAX:,} bytes")
        self._parts.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        request = HttpRequest(
            self._parser.get_method().decode("latin-1"),
            unquote(path) if "%" in path else path,
            dict(parse_qsl(query)) if query else {},
            self._headers,
            self._parts[0] if len(self._parts) == 1 else b"".join(self._parts),
            self._parser.should_keep_alive(),
            self._requests > 0,
        )
        self._requests += 1
        if self.exchange is None:
            self._start(request)
        else:
            self._waiting.append(request)

    def _start(self, request: HttpRequest) -> None:
        self.exchange = exchange = Exchange(self, request)
        exchange.task = self._loop.create_task(self._serve(exchange))

    # What exchanges call.

    def answered(self, exchange: Exchange) -> None:
        """The exchange is over."""
        if self.exchange is not exchange:
            return
        self.exchange = None
        if exchange.closes:
            self.transport.close()
        elif self._waiting:
            self._start(self._waiting.popleft())

    def drop(self, *, reset: bool) -> None:
        """Closes the connection, with FIN or RST."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None and not exchange.seen.outcome:  # not by its own doing
            exchange.end("cut")
            if exchange.task is not None:
                exchange.task.cancel()
        if reset:
            with contextlib.suppress(OSError):  # it may be gone already
                made: socket.socket | None = self.transport.get_extra_info("socket")
                if made is not None:
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()
        else:
            self.transport.close()

    def stop(self) -> None:
        """The server goes."""
        self.transport.abort()
