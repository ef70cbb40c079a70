"""HTTP to providers: a client of our own, because a general one costs four times as much CPU (DESIGN.md).

It does what calls of models need and nothing else: POST, HTTP/1.1 kept alive, answers whole or as they come, timeouts
that name what took too long, and aborts that are prompt. No redirects, no cookies, no compression. Where the
environment names a proxy, `open_client` gives one that goes by it (proxied.py).
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Protocol

import aiohttp

from services.inference.providers import faults
from services.inference.providers.base import AnswerRecord
from services.inference.providers.connection import READ_BUFFER_BYTES, Connection, StaleConnectionError
from services.inference.providers.endpoint import Endpoint, Timeouts
from services.inference.providers.parsing import MAX_ERROR_BYTES
from services.inference.providers.pool import Pool

__all__ = ["Answer", "Client", "HttpClient", "Timeouts", "open_session"]


class Answer(Protocol):
    """An answer: `body` is there where it was asked for whole, and where `status` is not 200; else `read` it."""

    status: int
    body: bytes

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in lower case; only those that say what to do with an answer."""
        ...

    @property
    def content_type(self) -> str:
        """Without parameters, lower case."""
        ...

    async def read(self) -> bytes:
        """What came since the last read; empty at the end. MeshError."""
        ...

    def begun(self) -> None:
        """A token has come: until then the time to the first token is limited, whatever else was read."""
        ...

    def finish(self) -> None:
        """The caller has what it needs, though the body has not ended: its end is waited for elsewhere."""
        ...

    def close(self) -> None:
        """To be called in any case. An answer that was neither read to its end nor finished is aborted at once."""
        ...


class Client(Protocol):
    """What sends requests to providers."""

    async def post(
        self,
        endpoint: Endpoint,
        key: str,
        body: bytes,
        timeouts: Timeouts,
        record: AnswerRecord,
        *,
        whole: bool,
    ) -> Answer:
        """Sends a request and waits for its answer: all of it, or where not `whole` its first bytes. MeshError.

        `key`: sent as bearer where not empty. `record.sent` is set once the request has left.
        """
        ...

    async def close(self) -> None:
        """Aborts what runs."""
        ...


class HttpClient:
    """The client of a process. At most `connections_max` connections at a time, over all providers.

    `tls`: whom to trust; None: whom the system trusts.
    """

    def __init__(self, *, connections_max: int = 1024, tls: ssl.SSLContext | None = None) -> None:
        self.pool = Pool(connections_max, tls)

    async def post(
        self,
        endpoint: Endpoint,
        key: str,
        body: bytes,
        timeouts: Timeouts,
        record: AnswerRecord,
        *,
        whole: bool,
    ) -> DirectAnswer:
        """See Client."""
        begin_time = asyncio.get_running_loop().time()
        credential = b"Authorization: Bearer %b\r\n" % key.encode("ascii") if key else b""
        head = b"%b%bContent-Length: %d\r\n\r\n" % (endpoint.head, credential, len(body))
        connection = self.pool.take(endpoint.origin, begin_time)
        if connection is None:
            connection = await self._open(endpoint, timeouts, begin_time, whole)
        retry_stale = True
        while True:
            try:
                connection.send(
                    head, body, endpoint.provider, timeouts, begin_time, whole=whole, retry_stale=retry_stale
                )
                record.sent = True
                await connection.answered()
                break
            except StaleConnectionError:
                # It closed a connection that it had kept alive, just as we used it: it has not seen the request.
                record.sent = retry_stale = False
                connection = await self._open(endpoint, timeouts, begin_time, whole)
            except BaseException:
                connection.abort()
                raise
        answer = DirectAnswer(connection)
        if whole or answer.status != 200:
            answer.body = connection.take()
            answer.finish()
            if answer.status != 200:
                answer.body = answer.body[:MAX_ERROR_BYTES] if b"content-encoding" not in connection.headers else b""
        return answer

    async def close(self) -> None:
        """See Client."""
        await self.pool.close()

    async def _open(self, endpoint: Endpoint, timeouts: Timeouts, begin_time: float, whole: bool) -> Connection:
        wait_s = timeouts.total_s if whole else min(timeouts.first_token_s, timeouts.total_s)
        return await self.pool.open(endpoint.origin, endpoint.provider, timeouts.connect_s, begin_time + wait_s)


class DirectAnswer:
    """See Answer."""

    __slots__ = ("_connection", "_headers", "body", "status")

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self._headers = connection.headers
        self.status = connection.status
        self.body = b""

    @property
    def headers(self) -> Mapping[str, str]:
        """See Answer."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self._headers.items()}

    @property
    def content_type(self) -> str:
        """See Answer."""
        value = self._headers.get(b"content-type", b"")
        return value.partition(b";")[0].strip().lower().decode("latin-1")

    async def read(self) -> bytes:
        """See Answer."""
        return b"" if self._connection is None else await self._connection.read()

    def begun(self) -> None:
        """See Answer."""
        if self._connection is not None:
            self._connection.begun()

    def finish(self) -> None:
        """See Answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish()

    def close(self) -> None:
        """See Answer."""
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.complete:
                connection.finish()
            else:
                connection.abort()


def open_session(connections: int, *, trust_env: bool = False) -> aiohttp.ClientSession:
    """A session of a general client, for what is asked rarely: lists of models, and calls by way of a proxy.

    `trust_env`: takes proxies from the environment, which is looked through for each call: only where one is set.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, ttl_dns_cache=60, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None),
        headers={"Accept-Encoding": "identity", "User-Agent": "promptmesh"},
        auto_decompress=True,
        trust_env=trust_env,
        read_bufsize=READ_BUFFER_BYTES,
    )


def refusal(endpoint: Endpoint, answer: Answer, *, model: str, key: str) -> Exception:
    """The error for an answer whose status is not 200."""
    if 200 < answer.status < 300:
        return faults.broken(endpoint.provider, f"its status is {answer.status} instead of 200")
    return faults.answer_error(endpoint.provider, answer.status, answer.headers, answer.body, model=model, key=key)
