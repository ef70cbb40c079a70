"""Calls of providers by way of the proxies that the environment names, through aiohttp."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping

import aiohttp

from services.inference.providers import faults
from services.inference.providers.base import AnswerRecord
from services.inference.providers.connection import END_GRACE_S, ERROR_BODY_S
from services.inference.providers.endpoint import Endpoint, Timeouts
from services.inference.providers.http import Client, HttpClient, open_session
from services.inference.providers.parsing import MAX_ANSWER_BYTES, MAX_ERROR_BYTES, MAX_STREAM_BYTES

PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy")


def open_client(connections_max: int, environment: Mapping[str, str]) -> Client:
    """Our own client, or where the environment names a proxy, one that goes by it."""
    if any(environment.get(variable) for variable in PROXY_VARIABLES):
        return ProxiedClient(connections_max=connections_max)
    return HttpClient(connections_max=connections_max)


class ProxiedClient:
    """See Client. Takes proxies, and what goes around them (NO_PROXY), from the environment."""

    def __init__(self, *, connections_max: int) -> None:
        self._session = open_session(connections_max, trust_env=True)
        self._tails: set[asyncio.Task[None]] = set()

    async def post(
        self,
        endpoint: Endpoint,
        key: str,
        body: bytes,
        timeouts: Timeouts,
        record: AnswerRecord,
        *,
        whole: bool,
    ) -> ProxiedAnswer:
        """See Client."""
        begin_time = asyncio.get_running_loop().time()
        wait_s = timeouts.total_s if whole else min(timeouts.first_token_s, timeouts.total_s)
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        record.sent = True
        try:
            async with asyncio.timeout_at(begin_time + wait_s):
                response = await self._session.post(
                    endpoint.url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_s),
                )
        except aiohttp.ConnectionTimeoutError:
            raise faults.unavailable(endpoint.provider, f"no connection within {timeouts.connect_s:g} s") from None
        except TimeoutError:
            raise faults.timeout(endpoint.provider, f"it did not begin to answer within {wait_s:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise faults.unavailable(endpoint.provider, _explain(error)) from None
        answer = ProxiedAnswer(endpoint.provider, response, timeouts, begin_time, self._tails, whole=whole)
        try:
            await answer.begin()
        except BaseException:
            answer.close()
            raise
        return answer

    async def close(self) -> None:
        """See Client."""
        for task in list(self._tails):
            task.cancel()
        await self._session.close()


class ProxiedAnswer:
    """See Answer."""

    def __init__(
        self,
        provider: str,
        response: aiohttp.ClientResponse,
        timeouts: Timeouts,
        begin_time: float,
        tails: set[asyncio.Task[None]],
        *,
        whole: bool,
    ) -> None:
        self.status = response.status
        self.body = b""
        self._provider = provider
        self._response = response
        self._timeouts = timeouts
        self._whole = whole
        self._tails = tails
        self._loop = asyncio.get_running_loop()
        self._end_time = begin_time + timeouts.total_s
        self._limit_time = self._end_time if whole else begin_time + timeouts.first_token_s
        self._what = "no token of the answer came in time"
        self._received = 0
        self._finished = self._begun = False
        # Holds while nobody reads, too.
        self._timer = self._loop.call_at(self._end_time, response.close)

    @property
    def headers(self) -> Mapping[str, str]:
        """See Answer."""
        return {name.lower(): value for name, value in self._response.headers.items()}

    @property
    def content_type(self) -> str:
        """See Answer."""
        return self._response.content_type if "Content-Type" in self._response.headers else ""

    async def begin(self) -> None:
        """Reads what `post` promises to have read."""
        if self.status != 200:
            with contextlib.suppress(TimeoutError, aiohttp.ClientError, ConnectionError):  # the status says enough
                async with asyncio.timeout(min(self._timeouts.idle_s, ERROR_BODY_S)):
                    while len(self.body) < MAX_ERROR_BYTES and (part := await self._response.content.readany()):
                        self.body += part
            self.body = self.body[:MAX_ERROR_BYTES]
            self.close()
        elif self._whole:
            parts = []
            while part := await self.read():
                parts.append(part)
            self.body = b"".join(parts)
            self.close()

    async def read(self) -> bytes:
        """See Answer."""
        what, limit_time = self._what, self._limit_time
        if limit_time > self._end_time:
            limit_time, what = self._end_time, f"the answer took more than {self._timeouts.total_s:g} s in all"
        try:
            async with asyncio.timeout_at(limit_time):
                data = await self._response.content.readany()
        except TimeoutError:
            raise faults.timeout(self._provider, what) from None
        except (aiohttp.ClientError, ConnectionError) as error:
            if self._loop.time() >= self._end_time:
                raise faults.timeout(
                    self._provider, f"the answer took more than {self._timeouts.total_s:g} s in all"
                ) from None
            how = type(error).__name__
            raise faults.broken(self._provider, f"the connection was lost in the middle ({how})") from None
        self._received += len(data)
        if self._received > (most := MAX_ANSWER_BYTES if self._whole else MAX_STREAM_BYTES):
            raise faults.broken(self._provider, f"it is longer than {most:,} bytes")
        if self._whole:
            self.begun()
        if self._begun:
            self._limit_time = self._loop.time() + self._timeouts.idle_s
        return data

    def begun(self) -> None:
        """See Answer."""
        if not self._begun:
            self._begun = True
            self._limit_time = self._loop.time() + self._timeouts.idle_s
            self._what = f"nothing came for {self._timeouts.idle_s:g} s in the middle of the answer"

    def finish(self) -> None:
        """See Answer."""
        self._timer.cancel()
        self._finished = True
        task = asyncio.create_task(self._read_tail())
        self._tails.add(task)
        task.add_done_callback(self._tails.discard)

    def close(self) -> None:
        """See Answer."""
        self._timer.cancel()
        if not self._finished:
            # Read to its end, the connection went back to the pool by itself and this does nothing to it.
            self._response.close()

    async def _read_tail(self) -> None:
        try:
            async with asyncio.timeout(END_GRACE_S):
                while await self._response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError, ConnectionError):
            pass
        finally:
            self._response.close()


def _explain(error: Exception) -> str:
    """What went wrong with a connection, without addresses of an operator's network."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "its name does not resolve"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return "its TLS certificate or handshake failed"
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return "the proxy that the environment names did not let us through"
        case aiohttp.ClientConnectorError():
            return "the connection was refused or has no route"
        case aiohttp.ServerDisconnectedError() | ConnectionResetError() | aiohttp.ClientOSError():
            return "it closed the connection before it answered"
        case aiohttp.InvalidURL():
            return "its base_url is no usable URL"
        case _:
            return f"the connection failed ({type(error).__name__})"
