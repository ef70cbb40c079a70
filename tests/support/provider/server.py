"""An OpenAI-compatible server on a real socket that does, on command, what providers do wrong.

    async with running_provider() as provider:
        provider.default = Behaviour(pace_s=0.01)
        provider.then(Behaviour(status=429, headers={"Retry-After": "7"}))     # the next request only
        provider.fail("unavailable", times=None)                               # until told otherwise
        ... provider.base_url ...
        await provider.calls[0].aborted.wait()                                  # the client left
        await provider.until(lambda record: record.running == 0)

    async with running_server() as server:                                      # several, each with its own script
        first, second = server.provider("first"), server.provider("second")

It remembers every request, and whether its client left before the answer was whole. Other processes tell it over HTTP:
see `control`.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from tests.support.provider.answering import answer
from tests.support.provider.behaviour import Behaviour
from tests.support.provider.connection import Connection, Exchange
from tests.support.provider.control import control
from tests.support.provider.provider import MisbehavingProvider
from tests.support.provider.record import KEPT_CALLS_MAX

ROOT = "default"  # the provider at /v1, which is also at /p/default/v1
BACKLOG = 1024
_NAMES = re.compile(r"[\w.-]{1,64}")
_CHAT, _EMBEDDINGS, _MODELS = "/v1/chat/completions", "/v1/embeddings", "/v1/models"


class ProviderServer:
    """One listening socket, many providers; make it with `running_server`."""

    def __init__(self, default: Behaviour | None = None, keep: int = KEPT_CALLS_MAX) -> None:
        self.default = default or Behaviour()  # of providers that are made from here on
        self.keep = keep
        self.port = 0
        self.providers: dict[str, MisbehavingProvider] = {}
        self.connections: set[Connection] = set()  # open now
        self.connections_ever = 0
        self.errors: list[BaseException] = []  # faults of this server's own, raised when it closes
        self._server: asyncio.Server | None = None

    @property
    def root(self) -> MisbehavingProvider:
        """The provider at `/v1`."""
        return self.provider(ROOT)

    @property
    def url(self) -> str:
        """Of the server, without a path."""
        return f"http://127.0.0.1:{self.port}"

    def provider(self, name: str) -> MisbehavingProvider:
        """The provider at `/p/<name>/v1`, made when it is first named, here or by a request."""
        found = self.providers.get(name)
        if found is None:
            if not _NAMES.fullmatch(name):
                raise ValueError(f"{name!r}: a provider's name has up to 64 letters, digits, `_`, `.` and `-`.")
            path = "/v1" if name == ROOT else f"/p/{name}/v1"
            found = self.providers[name] = MisbehavingProvider(
                name, lambda: self.url + path, default=dataclasses.replace(self.default), keep=self.keep
            )
        return found

    async def listen(self, port: int = 0) -> None:
        """Takes connections, on the port that it had before if it had one."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, "127.0.0.1", port or self.port, backlog=BACKLOG)
        self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self, *, drop: bool = True) -> None:
        """Closes the listening socket: connections are refused until `listen`. `drop`: resets those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        if drop:
            for connection in list(self.connections):
                connection.drop(reset=True)

    async def close(self) -> None:
        """Ends everything. Raises what went wrong in this server itself."""
        if self._server is not None:
            self._server.close()
        tasks = []
        for connection in list(self.connections):
            exchange = connection.exchange
            if exchange is not None and exchange.task is not None:
                exchange.task.cancel()
                tasks.append(exchange.task)
            connection.transport.abort()
        if tasks:
            await asyncio.wait(tasks)
        if self.errors:
            raise ExceptionGroup(
                "the provider itself failed", [error for error in self.errors if isinstance(error, Exception)]
            )

    def _connection(self) -> Connection:
        self.connections_ever += 1
        return Connection(self.connections_ever, self._serve, self.connections)

    def _serve(self, exchange: Exchange) -> Coroutine[Any, Any, None]:
        """Writes the request down, at once; returns what answers it."""
        path, method = exchange.request.path, exchange.request.method
        if path.startswith("/_control"):
            return self._watched(exchange, control(self, exchange))
        name = ROOT
        if path.startswith("/p/"):
            name, _, path = path[3:].partition("/")
            path = "/" + path
        if not _NAMES.fullmatch(name):
            return self._watched(exchange, _refuse(exchange, f"No provider has the name {name!r}."))
        provider = self.provider(name)
        if method == "POST" and path in {_CHAT, _EMBEDDINGS}:
            do, endpoint = provider.arrived(exchange, "chat" if path == _CHAT else "embeddings")
            return self._watched(exchange, answer(exchange, do, endpoint))
        provider.record.arrived_beside(exchange.seen)
        if method == "GET" and (path == _MODELS or path.startswith(_MODELS + "/")):
            return self._watched(exchange, provider.list_models(exchange, path[len(_MODELS) + 1 :]))
        return self._watched(exchange, _refuse(exchange, f"Unknown request URL: {method} {exchange.request.path}."))

    async def _watched(self, exchange: Exchange, answering: Coroutine[Any, Any, None]) -> None:
        try:
            await answering
        except Exception as error:
            self.errors.append(error)
            exchange.end("cut")
            exchange.connection.drop(reset=True)


async def _refuse(exchange: Exchange, message: str) -> None:
    await answer(exchange, Behaviour(status=404, error_message=message, error_code="unknown_url"), "none")


@contextlib.asynccontextmanager
async def running_server(
    port: int = 0, *, default: Behaviour | None = None, keep: int = KEPT_CALLS_MAX
) -> AsyncIterator[ProviderServer]:
    """Serves several providers on 127.0.0.1; a free port by default.

    `default`: of each provider, until it gets its own. `keep`: calls that each record holds; 0: counters only.
    """
    server = ProviderServer(default, keep)
    await server.listen(port)
    try:
        yield server
    finally:
        await server.close()


@contextlib.asynccontextmanager
async def running_provider(port: int = 0) -> AsyncIterator[MisbehavingProvider]:
    """Serves one provider on 127.0.0.1; a free port by default."""
    async with running_server(port) as server:
        yield server.root
