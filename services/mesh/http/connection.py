"""A connection of the front: requests one after the other, each a task, which ends when the other side leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any, Protocol, cast

import httptools
from google.api.httpbody_pb2 import HttpBody

from services.mesh.errors import MeshError
from services.mesh.http.exchange import Exchange, plain_answer, whole_answer
from services.mesh.http.routes import RawMethods, Render
from services.mesh.telemetry.logs import get_logger

RETRY_S = 1.0  # until there is room for a body again: most requests are here whole at once
HEALTH_PATH = "/healthz"

log = get_logger()


class Host(Protocol):
    """What a connection needs of its front."""

    methods: RawMethods
    body_bytes_max: int
    head_bytes_max: int
    renders: Mapping[str, Render]
    held_bytes_max: int
    held_bytes: int
    draining: bool

    @property
    def serving(self) -> bool: ...

    @property
    def tasks(self) -> set[asyncio.Task[None]]: ...

    def opened(self, connection: Connection) -> None: ...

    def closed(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """httptools calls the `on_` methods while it parses what `data_received` is given."""

    def __init__(self, host: Host, time: Callable[[], float]) -> None:
        self._host, self._time = host, time
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._task: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._expired = self._cancelled = False
        self._room: asyncio.Future[None] | None = None  # the other side has yet to read
        self._refused = False
        self._last = False  # the caller wants no more of this connection
        self._held_bytes = 0  # this connection's part of the host's
        self.since = time()  # of the last request's beginning, or the last answer's end
        self._forget()

    def _forget(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._head_bytes = self._body_bytes = self._raw_bytes = 0
        self._head_done = False
        self.receiving = False  # a request that is not here whole

    @property
    def busy(self) -> bool:
        """Whether a call is under way."""
        return self._task is not None

    @property
    def closing(self) -> bool:
        """See Wire."""
        return self._last or self._host.draining

    @property
    def peer(self) -> str:
        """See Wire."""
        assert self._transport is not None
        host, port, *_ = self._transport.get_extra_info("peername") or ("", 0)
        return f"ipv6:[{host}]:{port}" if ":" in host else f"ipv4:{host}:{port}"

    # The transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._host.opened(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._refused:
            return
        try:
            self._parser.feed_data(data)
            if self.receiving and not self._head_done:
                # The parser tells of a header when it has it whole; what has no end is counted here.
                self._raw_bytes += len(data)
                if self._raw_bytes > self._host.head_bytes_max:
                    self._head_too_large()
        except httptools.HttpParserUpgrade:
            self._refuse(HTTPStatus.BAD_REQUEST, "No other protocol is spoken here.")
        except httptools.HttpParserError as error:
            if not self._refused:
                self._refuse(HTTPStatus.BAD_REQUEST, f"This is no HTTP/1.1 request: {error}.")

    def eof_received(self) -> bool:
        """See asyncio.Protocol."""
        return False  # who has closed their side is not answered any more

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._host.closed(self)
        self._refused = True
        self._let_go()
        self.resume_writing()
        self._cancel()
        self._parser = None  # it holds this object

    def pause_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        if self._room is None:
            self._room = self._loop.create_future()

    def resume_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    def send(self, data: bytes) -> Awaitable[None] | None:
        """See Wire."""
        assert self._transport is not None
        self._transport.write(data)
        return self._room

    def close(self) -> None:
        """Ends the connection once what was written has left; a call under way is cancelled."""
        self._cancel()
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection at once, whatever the other side has not read."""
        self._cancel()
        if self._transport is not None:
            self._transport.abort()

    def _cancel(self) -> None:
        # Once: a second one would cut short what the first began to put in order.
        if self._task is not None and not self._cancelled:
            self._cancelled = True
            self._task.cancel()

    # The parser

    def on_message_begin(self) -> None:
        """See httptools."""
        if self._task is not None:
            # Who asks before they were answered gets nothing more, and the call under way ends.
            self._refused = True
            self.close()
            return
        self._forget()
        self.receiving = True
        self.since = self._time()

    def on_url(self, url: bytes) -> None:
        """See httptools. It may come in pieces."""
        self._url += url
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        if not self._head_done:  # what follows a body in chunks is no header of the request
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")
        self._count_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._head_done = True
        length = self._headers.get("content-length", "")
        if length.isdigit() and int(length) > self._host.body_bytes_max:
            self._too_large()
        elif length.isdigit() and self._host.held_bytes + int(length) > self._host.held_bytes_max:
            self._too_many()
        elif self._headers.get("expect", "").lower() == "100-continue" and not self._refused:
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body_bytes += len(body)
        if self._body_bytes > self._host.body_bytes_max:
            self._too_large()
        elif self._host.held_bytes + len(body) > self._host.held_bytes_max:
            self._too_many()
        elif not self._refused:
            self._host.held_bytes += len(body)
            self._held_bytes += len(body)
            self._body.append(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if self._refused:
            return
        self.receiving = False
        self._let_go()  # from here on the limit of calls holds, and the credential is looked at first
        path = self._path
        self._last = not self._parser.should_keep_alive()
        if path == HEALTH_PATH and self._parser.get_method() == b"GET":
            up = self._host.serving
            status = HTTPStatus.OK if up else HTTPStatus.SERVICE_UNAVAILABLE
            self.send(plain_answer(status, "SERVING\n" if up else "NOT_SERVING\n", close=self.closing))
            if self.closing:
                self.close()
            return
        serve = self._host.methods.get(path)
        if serve is None or self._parser.get_method() != b"POST":
            served = ", ".join(f"POST {one}" for one in self._host.methods)
            self._refuse(HTTPStatus.NOT_FOUND, f"No method is served at this verb and path. Served are {served}.")
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        message = HttpBody(content_type=self._headers.get("content-type", ""), data=body)
        exchange = Exchange(self, self._headers, self._time)
        self._body = []
        self._expired = self._cancelled = False
        self._task = self._loop.create_task(self._answer(serve, message, exchange))
        self._host.tasks.add(self._task)
        self._task.add_done_callback(self._host.tasks.discard)
        if exchange.deadline is not None:
            self._deadline = self._loop.call_later(exchange.deadline - self._time(), self._deadline_passed)

    # A call

    async def _answer(self, serve: Callable[[Any, Any], Any], message: HttpBody, exchange: Exchange) -> None:
        whole = False
        try:
            await serve(message, exchange)
            exchange.end()
            whole = True
        except asyncio.CancelledError:
            if self._expired and not exchange.begun and not self._refused:
                late = MeshError("DEADLINE_TOO_SHORT", "The call's deadline has passed. Allow it more time.")
                self.send(self._rendered(HTTPStatus.GATEWAY_TIMEOUT, late))
            raise
        except Exception as error:
            log.error("an answer could not be written", exc_info=error)
        finally:
            self._task = None
            self.since = self._time()
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            # An answer that is not whole must not look like one: its connection ends before its last chunk.
            if not whole or self.closing:
                self.close()

    def _deadline_passed(self) -> None:
        self._deadline = None
        if self._task is not None and not self._cancelled:
            self._expired = True
            self._cancel()

    # What is refused

    def _count_head(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > self._host.head_bytes_max:
            self._head_too_large()

    def _head_too_large(self) -> None:
        if not self._refused:
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                f"The request's head has more than {self._host.head_bytes_max} bytes.",
            )

    @property
    def _path(self) -> str:
        return self._url.partition(b"?")[0].decode("latin-1")

    def _let_go(self) -> None:
        """The body is held here no more."""
        self._host.held_bytes -= self._held_bytes
        self._held_bytes = 0

    def _too_large(self) -> None:
        text = f"The request's body has more than {self._host.body_bytes_max} bytes, the most that is taken."
        self._refuse_call(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, MeshError("REQUEST_TOO_LARGE", text))

    def _too_many(self) -> None:
        """The body does not fit beside those of others."""
        text = (
            f"Requests that are still being received hold {self._host.held_bytes_max} bytes, the most that is taken "
            f"at once. Try again in {RETRY_S:.0f} s."
        )
        self._refuse_call(HTTPStatus.SERVICE_UNAVAILABLE, MeshError("OVERLOADED", text, retry_after_s=RETRY_S))

    def _refuse_call(self, status: HTTPStatus, error: MeshError) -> None:
        if not self._refused:
            self._end_with(self._rendered(status, error))

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        self._end_with(plain_answer(status, text + "\n", close=True))

    def _end_with(self, answer: bytes) -> None:
        self._refused = True
        self._body = []
        self._let_go()
        if self._task is None:
            self.send(answer)
        self.close()

    def _rendered(self, status: HTTPStatus, error: MeshError) -> bytes:
        """The last answer of the connection, in the shape that clients of the path read."""
        render = self._host.renders.get(self._path)
        if render is None:
            return plain_answer(status, error.message + "\n", close=True)
        return whole_answer(*render(error, self._headers), close=True)
