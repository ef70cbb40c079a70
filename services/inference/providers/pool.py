"""Connections to providers: kept alive, bounded in number over all providers, opened when none is idle."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque

import aiohappyeyeballs

from services.inference.providers import faults
from services.inference.providers.connection import Connection
from services.inference.providers.endpoint import Origin

# RFC 8305: how long an address is waited for before the next one is tried beside it.
HAPPY_EYEBALLS_S = 0.25
IDLE_SWEEP_S = 5.0


class Pool:
    """At most `connections_max` connections, those being opened and idle ones included; further calls wait in line."""

    def __init__(self, connections_max: int, tls: ssl.SSLContext | None = None) -> None:
        self._max = connections_max
        self._open: set[Connection] = set()
        self._idle: dict[Origin, list[Connection]] = {}
        # Who waits is given a connection to its origin, or the place for one.
        self._waiting: deque[tuple[Origin, asyncio.Future[Connection | None]]] = deque()
        self._promised = 0  # places given to those who waited and did not take them yet
        self._sweep: asyncio.TimerHandle | None = None
        self._tls = tls
        self._closed = False

    @property
    def connections(self) -> int:
        """Open now, idle ones included."""
        return len(self._open)

    @property
    def idle(self) -> int:
        """Open and carrying no call."""
        return sum(len(stack) for stack in self._idle.values())

    def take(self, origin: Origin, now: float) -> Connection | None:
        """An idle connection: the one that was used last, which is the least likely to have been closed."""
        stack = self._idle.get(origin)
        while stack:
            connection = stack.pop()
            if connection.expiry_time > now and not connection.closed:
                return connection
            connection.abort()
        return None

    async def open(self, origin: Origin, provider: str, connect_s: float, limit_time: float) -> Connection:
        """A new connection, or an idle one if it becomes free while we wait for a place until `limit_time`."""
        while len(self._open) + self._promised >= self._max:
            handed = await self._wait(origin, provider, limit_time)
            if handed is None:
                break
            if not handed.closed:
                return handed
        if self._closed:
            raise faults.unavailable(provider, "this process is stopping")
        connection = Connection(origin, self._freed, self._gone)
        self._open.add(connection)
        try:
            async with asyncio.timeout(connect_s):
                await self._dial(origin, connection)
        except TimeoutError:
            connection.abort()
            raise faults.unavailable(provider, f"no connection within {connect_s:g} s") from None
        except OSError as error:  # ssl.SSLError and socket.gaierror are of them
            connection.abort()
            raise faults.unavailable(provider, _explain(error)) from None
        except BaseException:
            connection.abort()
            raise
        if connection.closed:
            connection.abort()
            raise faults.unavailable(provider, "it closed the connection before it answered")
        return connection

    async def close(self) -> None:
        """Aborts everything."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in list(self._open):
            connection.abort()
        while self._waiting:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                self._promised += 1  # of what it finds closed
                waiter.set_result(None)
        await asyncio.sleep(0)  # transports close their sockets in the next turn of the loop

    async def _wait(self, origin: Origin, provider: str, limit_time: float) -> Connection | None:
        if self._drop_idle():
            return None
        waiter: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((origin, waiter))
        try:
            async with asyncio.timeout_at(limit_time):
                handed = await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                # It was our turn just as we gave up.
                handed = waiter.result()
                if handed is None:
                    self._promised -= 1
                    self._hand_on()
                else:
                    self._freed(handed)
            if isinstance(error, TimeoutError):
                raise faults.timeout(provider, f"all {self._max} connections stayed in use") from None
            raise
        if handed is None:
            self._promised -= 1
        return handed

    def _drop_idle(self) -> bool:
        """Makes room by closing the connection that has been idle longest, whatever its origin."""
        oldest = min(
            (stack[0] for stack in self._idle.values() if stack), key=lambda one: one.expiry_time, default=None
        )
        if oldest is None:
            return False
        oldest.abort()
        return len(self._open) + self._promised < self._max

    def _freed(self, connection: Connection) -> None:
        if self._closed or connection.closed:
            connection.abort()
            return
        while self._waiting:
            origin, waiter = self._waiting[0]
            if waiter.done():
                self._waiting.popleft()
            elif origin == connection.origin:
                self._waiting.popleft()
                waiter.set_result(connection)
                return
            else:
                connection.abort()  # its place goes to who waits
                return
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_SWEEP_S, self._sweep_idle)

    def _gone(self, connection: Connection) -> None:
        self._open.discard(connection)
        stack = self._idle.get(connection.origin)
        if stack and connection in stack:
            stack.remove(connection)
        self._hand_on()

    def _hand_on(self) -> None:
        while self._waiting and len(self._open) + self._promised < self._max:
            _, waiter = self._waiting.popleft()
            if not waiter.done():
                self._promised += 1
                waiter.set_result(None)

    def _sweep_idle(self) -> None:
        self._sweep = None
        now = asyncio.get_running_loop().time()
        for origin, stack in list(self._idle.items()):
            for connection in [one for one in stack if one.expiry_time <= now]:
                connection.abort()
            if not stack:
                del self._idle[origin]
        if self._idle:
            self._sweep = asyncio.get_running_loop().call_later(IDLE_SWEEP_S, self._sweep_idle)

    async def _dial(self, origin: Origin, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        addresses = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        # uvloop's create_connection tries one address after another, so the race is run here.
        made = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_S, interleave=1, loop=loop
        )
        try:
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if origin.tls:
                await loop.create_connection(
                    lambda: connection, sock=made, ssl=self._tls_context(), server_hostname=origin.host
                )
            else:
                await loop.create_connection(lambda: connection, sock=made)
        except BaseException:
            made.close()
            raise

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _explain(error: OSError) -> str:
    """What went wrong with a connection, without addresses of an operator's network."""
    match error:
        case socket.gaierror():
            return "its name does not resolve"
        case ssl.SSLError():
            return "its TLS certificate or handshake failed"
        case ConnectionResetError() | BrokenPipeError():
            return "it closed the connection before it answered"
        case _:
            return "the connection was refused or has no route"
