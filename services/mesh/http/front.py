"""The listener of plain HTTP: methods of raw bodies, served to the edge without gRPC's framing and its costs.

grpc.aio takes some 300 µs of a call that streams one message, and the edge's transcoder another 100; a request parsed
by httptools takes far less (docs/decisions/0011). Everything before and around a handler is the same pipeline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from services.mesh.http.connection import Connection
from services.mesh.http.routes import RawMethods, Render
from services.mesh.telemetry.logs import get_logger

SWEEP_S = 5.0
CANCELLED_S = 1.0  # for calls that were cut off at the end of a drain, to end
BACKLOG = 1024  # connections that wait to be accepted; an edge opens one for each call under way

log = get_logger()


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How a front listens, and what it takes."""

    listen: str = "127.0.0.1:0"
    body_bytes_max: int = 4 * 1024 * 1024
    held_bytes_max: int = 64 * 1024 * 1024  # of all bodies that are not here whole: nobody has shown who they are yet
    head_bytes_max: int = 64 * 1024
    receive_s: float = 30.0  # until a request that has begun is here whole
    idle_s: float = 300.0  # without a request; the edge lets go of its connections sooner


class HttpFront:
    """`start` listens; `drain` takes no more connections and lets calls under way end.

    serving: whether the process may be sent calls; GET /healthz tells it.
    """

    def __init__(
        self,
        methods: RawMethods,
        options: HttpOptions,
        serving: Callable[[], bool],
        renders: Mapping[str, Render] | None = None,
    ) -> None:
        """renders: by path, how a method's clients read an error; without one it is plain text."""
        self.methods, self.renders = methods, renders or {}
        self.body_bytes_max, self.head_bytes_max = options.body_bytes_max, options.head_bytes_max
        # The largest body is taken while it is the only one.
        self.held_bytes_max = max(options.held_bytes_max, options.body_bytes_max)
        self.held_bytes = 0
        self.draining = False
        self.port = 0
        self._options, self._serving = options, serving
        self.tasks: set[asyncio.Task[None]] = set()  # calls under way
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._empty: asyncio.Event | None = None

    @property
    def serving(self) -> bool:
        """Whether health says so."""
        return self._serving()

    async def start(self) -> int:
        """Listens; returns the port. Raises OSError if the address is taken."""
        loop = asyncio.get_running_loop()
        host, _, port = self._options.listen.rpartition(":")
        try:
            self._server = await loop.create_server(
                partial(Connection, self, loop.time), host.strip("[]"), int(port), backlog=BACKLOG
            )
        except OSError as error:
            raise OSError(
                f"PROMPTMESH_HTTP_LISTEN={self._options.listen} cannot be listened on ({error.strerror}). "
                "Is another process there?"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)
        log.info("listening for HTTP", address=f"{host}:{self.port}", paths=list(self.methods))
        return self.port

    async def drain(self, within_s: float) -> None:
        """Takes no more connections, lets calls under way end within the time, then cancels them and closes."""
        if self._server is None:
            return
        self.draining = True
        self._server.close()
        self._server = None
        for connection in list(self._connections):
            if not connection.busy and not connection.receiving:
                connection.close()
        self._empty = asyncio.Event()
        if self._connections:
            try:
                async with asyncio.timeout(within_s):
                    await self._empty.wait()
            except TimeoutError:
                log.warning("calls were cut off at the end of the drain", calls=len(self._connections))
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._connections):
            connection.abort()
        # Whoever was cut off puts in order what they hold before the process takes it from them.
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=CANCELLED_S)

    # What connections use

    def opened(self, connection: Connection) -> None:
        """A connection was made."""
        self._connections.add(connection)
        if self.draining:
            connection.close()

    def closed(self, connection: Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        if self._empty is not None and not self._connections:
            self._empty.set()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        now, options = loop.time(), self._options
        for connection in list(self._connections):
            waited_s = now - connection.since
            if connection.receiving:
                if waited_s > options.receive_s:
                    connection.close()
            elif not connection.busy and waited_s > options.idle_s:
                connection.close()
        self._sweeper = loop.call_later(min(SWEEP_S, options.receive_s), self._sweep)
