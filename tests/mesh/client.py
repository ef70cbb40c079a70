"""Asks the edge over HTTP, as any client does: answers read whole, and streams of server-sent events."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

#: For anything that the mesh should do by itself. A deadline of tests, not a promise: the machine may be busy.
PATIENCE_S = 60.0
POLL_S = 0.02
_LINE_BYTES_MAX = 4 * 1024 * 1024

Json = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """Status, headers (case is ignored) and body of an answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def ok(self) -> Any:
        """The JSON of an answer that must be 200."""
        assert self.status == 200, f"{self.status}: {self.body[:2000]!r}"
        return self.json


class NoStreamError(AssertionError):
    """What was to be watched was refused."""


class Messages:
    """A stream under way."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def next(self) -> Json | None:
        """The next message, heartbeats included; None at the end."""
        while line := await self._response.content.readline():
            if line.startswith(b"data:"):
                message: Json = json.loads(line[5:])
                return message
        return None

    async def first(self) -> Json:
        """The next message, which must come."""
        async with asyncio.timeout(PATIENCE_S):
            message = await self.next()
        assert message is not None, "the stream ended before its first message"
        return message

    async def until(self, wanted: Callable[[Json], object]) -> list[Json]:
        """All messages up to the first that is wanted, which must come; heartbeats are left out."""
        seen, found = await self._read(wanted)
        if not found:
            raise AssertionError(f"the stream ended before what was waited for; it said {seen}")
        return seen

    async def rest(self) -> list[Json]:
        """All messages to the end, which must come; heartbeats left out."""
        return (await self._read(lambda message: False))[0]

    async def remains(self) -> list[Json]:
        """All messages to the end of a stream that is cut, which over HTTP/1.1 may look clean."""
        seen: list[Json] = []
        with contextlib.suppress(aiohttp.ClientPayloadError):
            async with asyncio.timeout(PATIENCE_S):
                while (message := await self.next()) is not None:
                    seen.append(message)
        return seen

    async def _read(self, wanted: Callable[[Json], object]) -> tuple[list[Json], bool]:
        seen: list[Json] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while (message := await self.next()) is not None:
                    if "heartbeat" not in message:
                        seen.append(message)
                        if wanted(message):
                            return seen, True
        except TimeoutError:
            raise AssertionError(f"after {PATIENCE_S:.0f} s the stream had said no more than {seen}") from None
        return seen, False


class Client:
    """Somebody without a credential; `token` is sent as bearer where it is given."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self.http = http
        self.url = url

    async def ask(
        self,
        verb: str,
        path: str,
        body: object = None,
        *,
        token: str = "",
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. `body` is sent as JSON, `data` as it is; so is `path`."""
        if body is not None:
            data = json.dumps(body).encode()
        async with self.http.request(
            verb, URL(self.url + path, encoded=True), data=_payload(data), headers=_headers(token, headers)
        ) as response:
            return Answer(response.status, response.headers, await response.read())

    @contextlib.asynccontextmanager
    async def watch(
        self, path: str, *, verb: str = "GET", body: object = None, token: str = ""
    ) -> AsyncIterator[Messages]:
        """A stream; whoever leaves the block leaves the stream, and its connection with it."""
        async with self.http.request(
            verb,
            URL(self.url + path, encoded=True),
            data=_payload(None if body is None else json.dumps(body).encode()),
            headers=_headers(token, None),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as response:
            if response.status != 200:
                raise NoStreamError(f"{path} answered {response.status}: {await response.text()}")
            try:
                yield Messages(response)
            finally:
                response.close()


@contextlib.asynccontextmanager
async def open_client(url: str) -> AsyncIterator[Client]:
    """A client without a pool's limit."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=_LINE_BYTES_MAX) as http:
        yield Client(http, url)


async def eventually(what: str, condition: Callable[[], Awaitable[object]], timeout_s: float = PATIENCE_S) -> Any:
    """Asks again and again until the answer is true, and returns it; names what was waited for if it never is."""
    try:
        async with asyncio.timeout(timeout_s):
            while not (answer := await condition()):
                await asyncio.sleep(POLL_S)
            return answer
    except TimeoutError:
        raise AssertionError(f"after {timeout_s:.0f} s still not: {what}") from None


def _payload(data: bytes | None) -> io.BytesIO | None:
    # Sent in pieces: a large body at once would keep the loop from everything else.
    return None if data is None else io.BytesIO(data)


def _headers(token: str, more: Mapping[str, str] | None) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    return headers | dict(more or {})
