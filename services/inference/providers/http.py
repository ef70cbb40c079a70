"""HTTP to providers: one session a process, timeouts that name what took too long, and aborts that are prompt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from yarl import URL

from services.inference.providers import faults

# A timer of ours that fires may only show that our own loop stood still: what arrived meanwhile is looked at first.
STALL_GRACE_S = 0.05
# After `[DONE]` a provider closes its answer at once; one that does not loses the connection, not our patience.
END_GRACE_S = 0.25
MAX_ERROR_BYTES = 64 * 1024
MAX_ANSWER_BYTES = 32 * 1024 * 1024
READ_BUFFER_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a provider may take, in seconds: to connect, to send its first byte of an answer, between two reads of
    it, and for all of it."""

    connect_s: float = 5.0
    first_token_s: float = 60.0
    idle_s: float = 60.0
    total_s: float = 600.0


def open_session(connections: int, *, trust_env: bool = False) -> aiohttp.ClientSession:
    """The session that all providers share; at most `connections` are open at a time, further calls wait for one.

    `trust_env`: takes proxies from the environment, which is looked through for each call: only where one is set.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, ttl_dns_cache=60, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        # Compression costs both sides time and holds streams back; answers are small.
        headers={"Accept-Encoding": "identity", "User-Agent": "promptmesh"},
        auto_decompress=True,
        trust_env=trust_env,
        read_bufsize=READ_BUFFER_BYTES,
    )


class Answer:
    """An answer with status 200 whose body has not been read yet."""

    def __init__(
        self,
        provider: str,
        response: aiohttp.ClientResponse,
        timeouts: Timeouts,
        first_token_time: float,
        end_time: float,
    ) -> None:
        self._provider = provider
        self._response = response
        self._timeouts = timeouts
        self._first_token_time = first_token_time
        self._end_time = end_time
        self._loop = asyncio.get_running_loop()

    @property
    def content_type(self) -> str:
        """Without parameters, lower case."""
        return self._response.content_type

    async def read_all(self) -> bytes:
        """The whole body, at most MAX_ANSWER_BYTES."""
        parts: list[bytes] = []
        size = 0
        async for part in self.reads():
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise faults.broken(self._provider, f"it is longer than {MAX_ANSWER_BYTES:,} bytes")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def reads(self) -> AsyncGenerator[bytes, None]:
        """The body as it arrives: each item is what one read found."""
        content = self._response.content
        # Until the first byte of the body the first-token limit holds, which began with the request.
        limit_time, what = self._first_token_time, "no token of the answer came in time"
        while True:
            if limit_time > self._end_time:
                limit_time, what = self._end_time, f"the answer took more than {self._timeouts.total_s:g} s in all"
            try:
                data = await self._read(content, limit_time)
            except TimeoutError:
                raise faults.timeout(self._provider, what) from None
            except (aiohttp.ClientError, ConnectionError) as error:
                raise faults.broken(self._provider, f"the connection was lost in the middle ({_name(error)})") from None
            if not data:
                return
            yield data
            limit_time = self._loop.time() + self._timeouts.idle_s
            what = f"nothing came for {self._timeouts.idle_s:g} s in the middle of the answer"

    async def finish(self) -> None:
        """Reads what a provider sends after the end of its answer, so that the connection can be used again."""
        try:
            async with asyncio.timeout(END_GRACE_S):
                while await self._response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, ConnectionError):
            self._response.close()

    async def _read(self, content: aiohttp.StreamReader, limit_time: float) -> bytes:
        try:
            async with asyncio.timeout_at(limit_time):
                return await content.readany()
        except TimeoutError:
            async with asyncio.timeout(STALL_GRACE_S):
                return await content.readany()


@asynccontextmanager
async def post(
    session: aiohttp.ClientSession,
    provider: str,
    url: URL,
    body: bytes,
    headers: Mapping[str, str],
    timeouts: Timeouts,
    *,
    model: str,
    key: str,
) -> AsyncGenerator[Answer, None]:
    """Sends a request and waits for the head of the answer; MeshError unless it is 200.

    On leaving, an answer that was not read to its end is aborted: the connection is closed at once, which is what
    tells a provider to stop.
    """
    begin = asyncio.get_running_loop().time()
    first_token_time, end_time = begin + timeouts.first_token_s, begin + timeouts.total_s
    try:
        async with asyncio.timeout_at(min(first_token_time, end_time)):
            response = await session.post(
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_s),
            )
    except aiohttp.ConnectionTimeoutError:
        raise faults.unavailable(provider, f"no connection within {timeouts.connect_s:g} s") from None
    except TimeoutError:
        waited = min(timeouts.first_token_s, timeouts.total_s)
        raise faults.timeout(provider, f"it did not begin to answer within {waited:g} s") from None
    except (aiohttp.ClientError, ConnectionError, OSError, ValueError) as error:
        raise faults.unavailable(provider, _explain(error)) from None
    try:
        if response.status != 200:
            raise await _refusal(provider, response, timeouts, model, key)
        yield Answer(provider, response, timeouts, first_token_time, end_time)
    finally:
        # Read to its end, the connection went back to the pool by itself and this does nothing to it.
        response.close()


async def _refusal(
    provider: str, response: aiohttp.ClientResponse, timeouts: Timeouts, model: str, key: str
) -> Exception:
    body = b""
    try:
        async with asyncio.timeout(min(timeouts.idle_s, 5.0)):
            while len(body) < MAX_ERROR_BYTES and (part := await response.content.readany()):
                body += part
    except (TimeoutError, aiohttp.ClientError, ConnectionError):
        pass  # the status says enough
    if 200 < response.status < 300:
        return faults.broken(provider, f"its status is {response.status} instead of 200")
    return faults.answer_error(
        provider, response.status, response.headers, body[:MAX_ERROR_BYTES], model=model, key=key
    )


def _name(error: BaseException) -> str:
    return type(error).__name__


def _explain(error: Exception) -> str:
    """What went wrong with a connection, without addresses of an operator's network."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "its name does not resolve"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "its TLS certificate or handshake failed"
        case aiohttp.ClientConnectorError():
            return "the connection was refused or has no route"
        case aiohttp.ServerDisconnectedError() | ConnectionResetError() | aiohttp.ClientOSError():
            return "it closed the connection before it answered"
        case aiohttp.InvalidURL():
            return "its base_url is no usable URL"
        case _:
            return f"the connection failed ({_name(error)})"
