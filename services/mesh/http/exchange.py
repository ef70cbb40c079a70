"""One request and its answer. To the pipeline and to handlers it is the context of a call, as grpc.aio's is.

An answer of one message leaves with its length, in one write; one of several, and every event stream, in chunks, each
as it is written. The headers of an answer travel in the content type of its first message, as they do to the edge's
transcoder (docs/decisions/0010), and become headers here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Protocol

from google.api.httpbody_pb2 import HttpBody

STATUS_KEY = "x-promptmesh-http-status"  # initial metadata: the status of an answer, 200 if not said
_STREAM_TYPE = "text/event-stream"
_PHRASES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n" for status in HTTPStatus}
_PARAMETER = '; promptmesh="'
_END = b"0\r\n\r\n"
_UNIT_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Wire(Protocol):
    """Where an answer is written."""

    def send(self, data: bytes) -> Awaitable[None] | None:
        """Writes; an awaitable if the other side does not read as fast."""

    @property
    def closing(self) -> bool:
        """Whether this answer is the last of its connection."""

    @property
    def peer(self) -> str:
        """The other side: "ipv4:10.0.0.1:5000"."""


class Exchange:
    """`metadata`: the request's headers, names in lower case. `time`: the event loop's clock, in seconds."""

    __slots__ = ("_chunked", "_deadline", "_head", "_held", "_kind", "_lines", "_metadata", "_time", "_wire", "begun")

    def __init__(self, wire: Wire, metadata: dict[str, str], time: Callable[[], float]) -> None:
        self._wire, self._metadata, self._time = wire, metadata, time
        self._head = _PHRASES[200]
        self._lines: list[str] = []
        self._kind = ""
        self._held: bytes | None = None  # the first message, until it is known whether another comes
        self._chunked = False
        self.begun = False  # whether anything was written
        left_s = timeout_s(metadata.get("grpc-timeout", ""))
        self._deadline = None if left_s is None else time() + left_s

    @property
    def deadline(self) -> float | None:
        """When the caller waits no more, by `time`; None: they did not say."""
        return self._deadline

    # What the pipeline uses of a context

    def invocation_metadata(self) -> dict[str, str]:
        """The request's headers."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """Seconds until the deadline; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - self._time())

    def peer(self) -> str:
        """The connection's other side, as gRPC tells it."""
        return self._wire.peer

    def set_trailing_metadata(self, metadata: Iterable[tuple[str, str]]) -> None:
        """An answer has its request id at its head: there are no trailers here."""
        self._lines += [f"{name}: {value}\r\n" for name, value in metadata]

    async def send_initial_metadata(self, metadata: Iterable[tuple[str, str]]) -> None:
        """Status and headers of the answer; nothing is sent before the first message."""
        lines: list[str] = []
        for name, value in metadata:
            if name == STATUS_KEY:
                if value[:1] in ("4", "5"):  # as at the edge
                    self._head = _PHRASES.get(int(value), f"HTTP/1.1 {value} \r\n")
                    if value == "401":
                        lines.append("www-authenticate: Bearer\r\n")
            else:
                lines.append(_line(name, value))
        self._lines = lines

    async def write(self, message: HttpBody) -> None:
        """A part of the answer."""
        data = message.data
        if self._chunked:
            waits = self._wire.send(_chunk(data)) if data else None
        elif self._held is not None:
            self._chunked = self.begun = True
            first, self._held = self._held, None
            waits = self._wire.send(self._headers(None) + _chunk(first) + _chunk(data))
        else:
            self._take_headers(message.content_type)
            if self._kind.startswith(_STREAM_TYPE):
                self._chunked = self.begun = True
                waits = self._wire.send(self._headers(None) + _chunk(data))
            else:
                self._held, waits = data, None
        if waits is not None:
            await waits

    def code(self) -> None:
        """gRPC's status, of which there is none."""

    # What the connection uses

    def end(self) -> None:
        """The handler has written all. Nobody waits until it is read: the next request may be here before."""
        if self._chunked:
            self._wire.send(_END)
        else:
            data = self._held or b""
            self.begun = True
            self._wire.send(self._headers(len(data)) + data)

    # The head

    def _take_headers(self, content_type: str) -> None:
        kind, parameter, said = content_type.partition(_PARAMETER)
        self._kind = kind if kind.isprintable() else _printable(kind)
        if parameter:
            for pair in said.rstrip('"').split("|"):
                name, _, value = pair.partition("=")
                if name.isascii() and name.replace("-", "").isalnum():  # as at the edge
                    self._lines.append(_line(name, value))

    def _headers(self, length: int | None) -> bytes:
        body = "transfer-encoding: chunked\r\n" if length is None else f"content-length: {length}\r\n"
        close = "connection: close\r\n" if self._wire.closing else ""
        kind = f"content-type: {self._kind}\r\n" if self._kind else ""
        return f"{self._head}{kind}{''.join(self._lines)}{body}{close}\r\n".encode("latin-1", "replace")


def timeout_s(said: str) -> float | None:
    """Seconds of a `grpc-timeout` header ("250m"); None if it is none."""
    number, unit = said[:-1], said[-1:]
    if unit not in _UNIT_S or not unit or len(number) > 8 or not number.isascii() or not number.isdigit():
        return None
    return int(number) * _UNIT_S[unit]


def whole_answer(message: HttpBody, metadata: Iterable[tuple[str, str]], *, close: bool) -> bytes:
    """An error as the method's own clients read it, where no handler was asked. metadata: its status and headers."""
    head, lines = _PHRASES[500], [f"content-type: {message.content_type}\r\n"]
    for name, value in metadata:
        if name == STATUS_KEY:
            head = _PHRASES.get(int(value), f"HTTP/1.1 {value} \r\n")
        else:
            lines.append(_line(name, value))
    end = "connection: close\r\n\r\n" if close else "\r\n"
    text = f"{head}{''.join(lines)}content-length: {len(message.data)}\r\n{end}"
    data: bytes = message.data
    return text.encode("latin-1", "replace") + data


def plain_answer(status: HTTPStatus, text: str, *, close: bool) -> bytes:
    """An answer to what is no call: a probe, or a request that cannot be read."""
    body = text.encode()
    end = "connection: close\r\n\r\n" if close else "\r\n"
    head = f"{_PHRASES[status]}content-type: text/plain; charset=utf-8\r\ncontent-length: {len(body)}\r\n{end}"
    return head.encode() + body


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def _line(name: str, value: str) -> str:
    # A value may come from a provider: a line break in it would be a header of theirs.
    return f"{name}: {value}\r\n" if value.isprintable() else f"{name}: {_printable(value)}\r\n"


def _printable(value: str) -> str:
    return "".join(one for one in value if one.isprintable())
