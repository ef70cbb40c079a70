"""Long streams: alive, ended with the caller's credential, ended cleanly when the process drains.

    async for item in guard(call, source, mesh=mesh):
        match item:
            case Item(value): yield …
            case Signal.HEARTBEAT: yield …
            case Signal.CREDENTIAL_ENDED | Signal.DRAINING: yield the stream's own last message

The source is read by a task of its own into a small buffer, so that a heartbeat never cancels a read half done.
"""

from __future__ import annotations

import asyncio
import enum
import random
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from services.mesh.access.control import AccessControl
from services.mesh.call import Call
from services.mesh.errors import MeshError
from services.mesh.snapshots import close_source

T = TypeVar("T")
# Items read ahead of the caller; what reads too slowly beyond that holds the source back.
BUFFER_ITEMS = 16


class Signal(enum.Enum):
    """What a guarded stream says besides its items."""

    HEARTBEAT = "heartbeat"  # nothing was sent for a while
    CREDENTIAL_ENDED = "credential_ended"  # the last: `Guard.ended_by` is the error to tell
    DRAINING = "draining"  # the last: the caller connects anew, elsewhere, and resumes


HEARTBEAT = Signal.HEARTBEAT
CREDENTIAL_ENDED = Signal.CREDENTIAL_ENDED
DRAINING = Signal.DRAINING


@dataclass(frozen=True, slots=True)
class Item(Generic[T]):
    """An item of the source."""

    value: T


class DrainEvent(asyncio.Event):
    """An event that calls back: a task that waits, for each of thousands of streams, would be dear."""

    def __init__(self) -> None:
        super().__init__()
        self._callbacks: set[Callable[[], None]] = set()

    def set(self) -> None:
        super().set()
        for callback in list(self._callbacks):
            callback()

    def on_set(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back once it is set, at once if it is. Returns what takes that back."""
        self._callbacks.add(callback)
        if self.is_set():
            callback()
        return lambda: self._callbacks.discard(callback)


class GuardHost(Protocol):
    """What a guard needs of the process; `Mesh` is one."""

    @property
    def draining(self) -> DrainEvent: ...

    @property
    def access(self) -> AccessControl | None: ...

    @property
    def heartbeat_s(self) -> float: ...

    @property
    def stream_age_s(self) -> float: ...


def guard(call: Call, source: AsyncIterable[T], *, mesh: GuardHost, heartbeat_s: float | None = None) -> Guard[T]:
    """Guards a stream. heartbeat_s: of silence before a heartbeat; the settings' if not given.

    It ends when the source ends; raises what the source raises; after CREDENTIAL_ENDED or DRAINING it ends. The source
    is closed when the call is over, however that comes about.
    """
    guarded = Guard(call, source, mesh, mesh.heartbeat_s if heartbeat_s is None else heartbeat_s)
    call.closers.append(guarded.aclose)
    return guarded


class Guard(AsyncIterator[Item[T] | Signal]):
    """A guarded stream; `guard` makes it."""

    def __init__(self, call: Call, source: AsyncIterable[T], mesh: GuardHost, heartbeat_s: float) -> None:
        self.ended_by: MeshError | None = None  # with CREDENTIAL_ENDED: what ended the credential
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._buffer: deque[T] = deque()
        self._waiting: asyncio.Future[None] | None = None  # the caller waits for something
        self._room: asyncio.Future[None] | None = None  # the source waits for room
        self._last: Signal | None = None
        self._beat = False
        self._over = False
        self._heartbeat_s = heartbeat_s
        self._said = self._loop.time()
        self._timer = self._loop.call_later(heartbeat_s, self._look_at_silence)
        # Streams that began together do not all come again together.
        age_s = mesh.stream_age_s * random.uniform(0.8, 1.0)
        self._age_timer = self._loop.call_later(age_s, self._drain)
        self._pump = self._loop.create_task(self._read(), name="guarded stream")
        self._off_drain = mesh.draining.on_set(self._drain)
        self._off_end = mesh.access.on_end(call.caller, self._credential_ended) if mesh.access else _nothing

    def __aiter__(self) -> Guard[T]:
        return self

    async def __anext__(self) -> Item[T] | Signal:
        while True:
            if self._over:
                raise StopAsyncIteration
            if self._buffer:
                value = self._buffer.popleft()
                self._said = self._loop.time()
                if self._room is not None and not self._room.done():
                    self._room.set_result(None)
                return Item(value)
            if self._last is not None:
                return await self._end_with(self._last)
            if self._pump.done():
                failed = None if self._pump.cancelled() else self._pump.exception()
                await self.aclose()
                if failed is not None:
                    raise failed
                raise StopAsyncIteration
            if self._beat:
                self._beat = False
                self._said = self._loop.time()
                return HEARTBEAT
            self._waiting = self._loop.create_future()
            await self._waiting

    async def aclose(self) -> None:
        """Ends reading and closes the source; more than once is fine."""
        if self._over:
            return
        self._over = True
        self._timer.cancel()
        self._age_timer.cancel()
        self._off_drain()
        self._off_end()
        self._pump.cancel()
        await asyncio.wait([self._pump])
        if not self._pump.cancelled():
            self._pump.exception()  # seen
        await close_source(self._source)

    async def _end_with(self, signal: Signal) -> Signal:
        await self.aclose()
        return signal

    async def _read(self) -> None:
        try:
            async for value in self._source:
                self._buffer.append(value)
                self._wake()
                while len(self._buffer) >= BUFFER_ITEMS:
                    self._room = self._loop.create_future()
                    await self._room
        finally:
            # Once this task is done, so that the caller finds it done.
            self._loop.call_soon(self._wake)

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _look_at_silence(self) -> None:
        left_s = self._said + self._heartbeat_s - self._loop.time()
        if left_s <= 0.001:
            self._beat = True
            self._wake()
            left_s = self._heartbeat_s
        self._timer = self._loop.call_later(left_s, self._look_at_silence)

    def _drain(self) -> None:
        self._stop(DRAINING)

    def _credential_ended(self, error: MeshError) -> None:
        self.ended_by = error
        self._stop(CREDENTIAL_ENDED)

    def _stop(self, signal: Signal) -> None:
        # Nothing more is read. What was read before is still sent, so that a cursor told at the end skips nothing.
        if self._last is not CREDENTIAL_ENDED:
            self._last = signal
        self._pump.cancel()
        self._wake()


def _nothing() -> None:
    """Nothing to take back."""
