"""How the head and the body of an answer go out: framed as HTTP/1.1 wants it, or as a behaviour breaks it."""

from __future__ import annotations

import asyncio
import email.utils
import http
import time
import zlib

from tests.support.provider.behaviour import Behaviour, Fault
from tests.support.provider.connection import Exchange

GZIP_WBITS = 31  # zlib's way to say gzip
HUGE_HEADER_BYTES = 256 * 1024
WITHOUT_BODY = frozenset({204, 304})
EXTRA = b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nnobody asked"  # a second answer to one request


def head(status: int, headers: dict[str, str]) -> bytes:
    """A status line and headers."""
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} {phrase}\r\n{lines}\r\n".encode("latin-1")


def told_headers(do: Behaviour) -> dict[str, str]:
    """The behaviour's own headers, and those that it makes."""
    headers = dict(do.headers)
    if do.fault is Fault.HUGE_HEADERS:
        headers["X-Huge"] = "x" * HUGE_HEADER_BYTES
    if do.retry_after_s is not None:
        match do.retry_after_as:
            case "ms":
                headers["retry-after-ms"] = f"{do.retry_after_s * 1000:g}"
            case "date":
                headers["Retry-After"] = email.utils.formatdate(time.time() + do.retry_after_s, usegmt=True)
            case _:
                headers["Retry-After"] = f"{do.retry_after_s:g}"
    return headers


class Body:
    """The body of one answer."""

    def __init__(self, exchange: Exchange, do: Behaviour) -> None:
        self._exchange = exchange
        self._do = do
        self._zip = zlib.compressobj(wbits=GZIP_WBITS) if do.fault is Fault.GZIP else None
        self._chunked = False
        self._empty = False

    def head(self, status: int, content_type: str, payload: bytes | None = None) -> bytes:
        """Sends the head; `payload`: the whole body, where it is known already. Returns it as it is to be written."""
        do, exchange = self._do, self._exchange
        exchange.seen.status = status
        headers = {"Content-Type": content_type, **told_headers(do)}
        self._empty = status in WITHOUT_BODY
        if self._empty:
            payload = b""
        elif do.fault is Fault.CLOSE_DELIMITED:
            headers["Connection"] = "close"
            exchange.closes = True
        elif payload is None or do.fault in {Fault.CHUNK_EXTENSIONS, Fault.BAD_FRAMING}:
            headers["Transfer-Encoding"] = "chunked"
            self._chunked = True
        if self._zip is not None:
            headers["Content-Encoding"] = "gzip"
            if payload is not None:
                payload, self._zip = self._zip.compress(payload) + self._zip.flush(), None
        if payload is not None and not self._empty and not self._chunked and do.fault is not Fault.CLOSE_DELIMITED:
            headers["Content-Length"] = str(len(payload))
        if exchange.closes:
            headers.setdefault("Connection", "close")
        exchange.send(head(status, headers))
        return payload or b""

    async def write(self, data: bytes) -> None:
        """Some of the body, as soon as the client takes it."""
        if self._zip is not None:
            data = self._zip.compress(data) + self._zip.flush(zlib.Z_SYNC_FLUSH)
        if not data or self._empty:
            return
        await self._send(self._framed(data))
        self._exchange.begun()

    async def end(self) -> None:
        """The end of the body, and of the exchange."""
        fault, exchange = self._do.fault, self._exchange
        if self._zip is not None:
            await self._send(self._framed(self._zip.flush()))
        if fault is Fault.NEVER_ENDS:
            await exchange.flush()
            exchange.end("whole")
            await asyncio.Event().wait()
        if self._chunked:
            await self._send(b"0\r\nX-Trailer: late\r\n\r\n" if fault is Fault.CHUNK_EXTENSIONS else b"0\r\n\r\n")
        if fault is Fault.EXTRA_BYTES:
            exchange.send(EXTRA)
        if fault is Fault.CLOSE_AFTER:
            exchange.closes = True  # and the head did not say so
        await exchange.finish()

    async def break_off(self) -> None:
        """What CUT, CUT_RESET, BAD_FRAMING and STALL do in the middle."""
        fault, exchange = self._do.fault, self._exchange
        if fault is Fault.BAD_FRAMING:
            exchange.send(b"this is no length\r\nand this no chunk\r\n")
        if fault in {Fault.STALL, Fault.SLOW_FIRST_TOKEN}:
            await exchange.flush()
            exchange.begun()
            await asyncio.Event().wait()
        await exchange.cut(reset=fault is Fault.CUT_RESET)

    def _framed(self, data: bytes) -> bytes:
        if not self._chunked:
            return data
        extension = b";of=provider" if self._do.fault is Fault.CHUNK_EXTENSIONS else b""
        return b"%x%s\r\n%s\r\n" % (len(data), extension, data)

    async def _send(self, data: bytes) -> None:
        drop = self._do.drip_bytes
        if not drop:
            self._exchange.send(data)
            await self._exchange.flush()
            return
        for at in range(0, len(data), drop):
            self._exchange.send(data[at : at + drop])
            await self._exchange.flush()
            await asyncio.sleep(self._do.pace_s)
