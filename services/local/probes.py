"""Whether a process serves: asked on its own port, in its own protocol, without a client library.

The supervisor forks, and gRPC must not be imported where one forks (DESIGN.md), so the health call is spoken here in a
few HTTP/2 frames. It also keeps the supervisor small: it lives as long as the mesh.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from services.local.ports import LOOPBACK

PROBE_TIMEOUT_S = 2.0
SMTP_IDENT = "promptmesh-mail"  # in the greeting of our catcher of mails

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _GOAWAY = 0x0, 0x1, 0x3, 0x4, 0x7
_END_STREAM, _END_HEADERS = 0x1, 0x4
_FRAME_HEADER_BYTES = 9
_HEALTH_PATH = b"/grpc.health.v1.Health/Check"
_EMPTY_MESSAGE = b"\x00" + (0).to_bytes(4, "big")  # HealthCheckRequest of the whole server
_SERVING = b"\x00" + (2).to_bytes(4, "big") + b"\x08\x01"  # HealthCheckResponse{status: SERVING}


class Probe(Protocol):
    """Asks a process whether it serves."""

    @property
    def kind(self) -> str:
        """One word for the state file."""
        ...

    async def is_ready(self, pid: int) -> bool:
        """True once the process with this pid serves; never raises for one that does not yet."""
        ...


@dataclass(frozen=True)
class PostgresReady:
    """PostgreSQL says so in its pid file: no connection is spent on asking."""

    folder: Path
    kind: str = "postgres"

    async def is_ready(self, pid: int) -> bool:
        """See `Probe`."""
        return postmaster_is_ready(self.folder, pid)


def postmaster_is_ready(folder: Path, pid: int) -> bool:
    """Whether the PostgreSQL server of this folder runs as `pid` and accepts connections."""
    try:
        lines = (folder / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"


@dataclass(frozen=True)
class RedisReady:
    """Redis answers PING to one who knows its password; another server on its port does not."""

    port: int
    password: str = field(repr=False)
    kind: str = "redis"

    async def is_ready(self, pid: int) -> bool:
        """See `Probe`."""
        secret = self.password.encode()
        asked = b"*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n*1\r\n$4\r\nPING\r\n" % (len(secret), secret)

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            writer.write(asked)
            return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"

        return await _connected(self.port, ask)


@dataclass(frozen=True)
class SmtpReady:
    """The catcher of mails greets; another server on its port says another name."""

    port: int
    kind: str = "smtp"

    async def is_ready(self, pid: int) -> bool:
        """See `Probe`."""

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            greeting = await reader.readline()
            writer.write(b"QUIT\r\n")
            return greeting.startswith(b"220 ") and SMTP_IDENT.encode() in greeting

        return await _connected(self.port, ask)


@dataclass(frozen=True)
class GrpcReady:
    """`grpc.health.v1.Health/Check` of the whole server answers SERVING."""

    port: int
    kind: str = "grpc"

    async def is_ready(self, pid: int) -> bool:
        """See `Probe`."""

        async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            headers = _health_headers(f"{LOOPBACK}:{self.port}".encode())
            writer.write(
                _PREFACE
                + _frame(_SETTINGS, 0, 0, b"")
                + _frame(_HEADERS, _END_HEADERS, 1, headers)
                + _frame(_DATA, _END_STREAM, 1, _EMPTY_MESSAGE)
            )
            return await _health_answer(reader) == _SERVING

        return await _connected(self.port, ask)


@dataclass(frozen=True)
class HttpReady:
    """A GET answers 200."""

    port: int
    path: str
    kind: str = "http"

    async def is_ready(self, pid: int) -> bool:
        """See `Probe`."""
        return await http_status("GET", self.port, self.path) == 200


async def http_status(method: str, port: int, path: str) -> int:
    """Status of a request without a body to this machine; 0 when nobody answers."""
    status = 0

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        nonlocal status
        head = f"{method} {path} HTTP/1.1\r\nhost: {LOOPBACK}:{port}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        writer.write(head.encode())
        words = (await reader.readline()).split()
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        return True

    await _connected(port, ask)
    return status


async def _connected(port: int, ask: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]) -> bool:
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                return await ask(reader, writer)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError):
        return False


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def _health_headers(authority: bytes) -> bytes:
    """The request's headers in HPACK (RFC 7541): indexed where the static table has them, literal elsewhere."""

    def literal(name: bytes, value: bytes) -> bytes:
        return name + bytes([len(value)]) + value

    return b"".join(
        [
            b"\x83",  # :method POST
            b"\x86",  # :scheme http
            literal(b"\x04", _HEALTH_PATH),  # :path
            literal(b"\x01", authority),  # :authority
            literal(b"\x0f\x10", b"application/grpc"),  # content-type
            literal(b"\x00\x02te", b"trailers"),
        ]
    )


async def _health_answer(reader: asyncio.StreamReader) -> bytes:
    """The bytes of the answer's message; empty when the call ended without one."""
    message = b""
    while True:
        header = await reader.readexactly(_FRAME_HEADER_BYTES)
        kind, flags, stream = header[3], header[4], int.from_bytes(header[5:9], "big")
        payload = await reader.readexactly(int.from_bytes(header[:3], "big"))
        if kind == _GOAWAY:
            return message
        if stream != 1:
            continue
        if kind == _DATA:
            message += payload
            if len(message) >= len(_SERVING):
                return message
        if kind == _RST_STREAM or flags & _END_STREAM:
            return message
