"""A client that shows what truly went over the wire: no retries, no pool, no kindness."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httptools
import orjson

from tests.support.provider import MisbehavingProvider

PATIENCE_S = 20.0
QUIET_S = 0.15  # what hangs is looked at for so long; too short only makes a test miss a fault, never find one
MODEL = "mock-small"
READ_BYTES = 256 * 1024


def chat(stream: bool = False, words: str = "Say hello.", **more: Any) -> dict[str, Any]:
    """A request for a completion; a streamed one asks for usage."""
    body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": words}], **more}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


@dataclass
class Answer:
    """What came. `end`: "complete" as HTTP has it, "eof", "reset", "garbage" (not HTTP), or "hangs"."""

    raw: bytes = b""
    head: bytes = b""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    end: str = ""

    @property
    def json(self) -> Any:
        """The body, which must be JSON."""
        return orjson.loads(self.body)

    @property
    def events(self) -> list[bytes]:
        """What stands after `data:`, `[DONE]` too."""
        lines = self.body.replace(b"\r\n", b"\n").split(b"\n\n")
        return [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]

    @property
    def chunks(self) -> list[Any]:
        """The events that are JSON objects."""
        found = []
        for event in self.events:
            with contextlib.suppress(orjson.JSONDecodeError):
                found.append(orjson.loads(event))
        return [one for one in found if isinstance(one, dict)]

    @property
    def text(self) -> str:
        """What the first choice said."""
        return "".join(
            choice["delta"].get("content") or ""
            for chunk in self.chunks
            for choice in chunk.get("choices", ())
            if choice["index"] == 0
        )

    @property
    def finish_reasons(self) -> list[str]:
        """Those that came."""
        choices = [choice for chunk in self.chunks for choice in chunk.get("choices", ())]
        return [choice["finish_reason"] for choice in choices if choice["finish_reason"]]


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, body: Any, url: str) -> None:
        """Sends a POST."""
        self.send_raw(orjson.dumps(body), url)

    def send_raw(self, raw: bytes, url: str, method: str = "POST") -> None:
        """Sends a request with a body of any bytes."""
        path = "/" + url.split("/", 3)[3]
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: test\r\nAccept-Encoding: identity\r\nContent-Length: {len(raw)}\r\n\r\n"
        )
        self.writer.write(head.encode() + raw)

    async def receive(self, *, hangs: bool = False) -> Answer:
        """The answer to its end, whatever the end is. `hangs`: looks for QUIET_S only, and it must not end."""
        answer = Answer()
        parts = _Parts(answer)
        parser = parts.parser = httptools.HttpResponseParser(parts)
        try:
            async with asyncio.timeout(QUIET_S if hangs else PATIENCE_S):
                while not answer.end:
                    data = await self.reader.read(READ_BYTES)
                    answer.raw += data
                    if not data:
                        answer.end = "eof"
                    else:
                        parser.feed_data(data)
        except ConnectionResetError:
            answer.end = "reset"
        except httptools.HttpParserError:
            answer.end = "garbage"
        except TimeoutError:
            assert hangs, f"no end came after {answer.raw[-200:]!r}"
            answer.end = "hangs"
        return answer

    async def ended(self) -> bytes:
        """What came until the server closed."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.read(-1)

    async def leave(self) -> None:
        """Closes this end."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


@contextlib.asynccontextmanager
async def connected(provider: MisbehavingProvider) -> AsyncIterator[Wire]:
    """A connection to the provider's server."""
    wire = Wire(*await asyncio.open_connection("127.0.0.1", provider.port, limit=READ_BYTES))
    try:
        yield wire
    finally:
        await wire.leave()


async def ask(provider: MisbehavingProvider, body: Any, endpoint: str = "/chat/completions") -> Answer:
    """One request on a connection of its own."""
    async with connected(provider) as wire:
        wire.send(body, provider.base_url + endpoint)
        return await wire.receive()


class _Parts:
    parser: httptools.HttpResponseParser

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._answer.end:  # what comes after it is no part of it
            return
        self._answer.headers[name.decode().lower()] = value.decode()

    def on_status(self, status: bytes) -> None:
        if not self._answer.end:
            self._answer.headers.clear()  # of an interim answer

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if not self._answer.end and status >= 200:
            self._answer.status = status
            self._answer.head = self._answer.raw.split(b"\r\n\r\n")[0]

    def on_body(self, body: bytes) -> None:
        if not self._answer.end:
            self._answer.body += body

    def on_message_complete(self) -> None:
        if self._answer.status:
            self._answer.end = "complete"
