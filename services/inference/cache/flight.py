"""One call of a provider that several callers follow.

The call runs in a task of its own, so that it belongs to none of them: whoever leaves does not end it while others
follow, and when the last has left, `on_orphan` is told (and cancels it, unless another replica follows). Parts stand
in one buffer that each follower reads at its own pace; who comes late reads it from the beginning.

    door open    everything is kept, because it may be stored and others may join
    door shut    the answer grew too large for that: what all have read is dropped, and the flight waits for the
                 slowest once it is `ahead_bytes` ahead of it
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from types import TracebackType
from typing import Any

from services.inference.cache import metrics
from services.inference.cache.entries import PART_OVERHEAD_BYTES, part_of
from services.inference.engine.call import AnswerInfo
from services.inference.providers.base import Part
from services.mesh.errors import MeshError


class FlightMemory:
    """What the buffers of all flights of a process hold."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.held_bytes = 0
        # Read when somebody looks: it changes with each part.
        metrics.FLIGHT_BYTES.set_function(lambda: self.held_bytes)

    @property
    def full(self) -> bool:
        """Whether flights are to hold as little as they can."""
        return self.held_bytes > self._bytes_max

    def count(self, size: int) -> None:
        """Takes, or gives back."""
        self.held_bytes += size


class Flight:
    """See the module. Not for threads."""

    def __init__(
        self,
        *,
        decision: int,
        streamed: bool,
        entry_bytes_max: int,
        ahead_bytes: int,
        ttl_s: float,
        memory: FlightMemory,
        on_orphan: Callable[[Flight], None],
        on_shut: Callable[[Flight], None],
    ) -> None:
        self.decision = decision  # of the caller that began it
        self.streamed = streamed
        self.ttl_s = ttl_s  # for which every caller so far lets the answer be stored
        self.info = AnswerInfo()
        self.task: asyncio.Task[None] | None = None
        self.callers = 0
        self.answer_bytes = 0
        self.open = True  # the door
        self.ended = False
        self.error: Exception | None = None
        self.again_at: int | None = None  # the part with which the answer began anew
        self.remote: tuple[str, str] | None = None  # model and provider, where the answer comes from elsewhere
        self._entry_bytes_max = entry_bytes_max
        self.ahead_bytes = ahead_bytes
        self._memory = memory
        self._on_orphan, self._on_shut = on_orphan, on_shut
        # A part whose chunks somebody has had is kept as its bytes: parsed, it takes ten times the memory.
        self._parts: list[Part | bytes] = []
        self._dropped = 0  # parts before those in the buffer
        self._held_bytes = 0
        self._readers: set[Follower] = set()
        self._waiting: list[asyncio.Future[None]] = []
        self._room: asyncio.Future[None] | None = None

    @property
    def model(self) -> str:
        """That answers; "" until it is known."""
        if self.remote is not None:
            return self.remote[0]
        return self.info.target.name if self.info.target is not None else ""

    @property
    def provider(self) -> str:
        """Of that model."""
        if self.remote is not None:
            return self.remote[1]
        return self.info.target.provider.name if self.info.target is not None else ""

    @property
    def count(self) -> int:
        """Parts so far."""
        return self._dropped + len(self._parts)

    @property
    def whole(self) -> tuple[bytes, ...]:
        """The answer, while the door is open."""
        return tuple(part if isinstance(part, bytes) else part.data for part in self._parts)

    def join(self, ttl_s: float) -> Follower:
        """One more caller. Only while the door is open."""
        self.ttl_s = min(self.ttl_s, ttl_s)
        self.callers += 1
        return self._reader(Follower(self, caller=True))

    def observe(self) -> Follower:
        """A reader whose leaving ends nothing."""
        return self._reader(Follower(self, caller=False))

    def add(self, part: Part) -> None:
        """The next part. Then await `room` if `ahead`."""
        if self.info.restarted and self.again_at is None:
            self.again_at = self.count
        size = len(part.data)
        self.answer_bytes += size
        self._parts.append(part)
        self._hold(size + PART_OVERHEAD_BYTES)
        if self.open and (self.answer_bytes > self._entry_bytes_max or self._memory.full):
            self._shut()
        if not self.open:
            self._trim()
        self._wake()

    @property
    def ahead(self) -> bool:
        """Whether the flight has to wait for its slowest follower."""
        return not self.open and self._held_bytes > 0 and (self._held_bytes > self.ahead_bytes or self._memory.full)

    async def room(self) -> None:
        """Waits until the flight may go on."""
        while self.ahead:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def end(self, error: Exception | None = None) -> None:
        """Nothing more comes; only the first end counts."""
        if self.ended:
            return
        self.ended, self.error = True, error
        self.open = False
        self._wake()
        if not self._readers:
            self._release()

    def cancel(self) -> None:
        """Ends the call of the provider."""
        if self.task is None or self.ended:
            return
        self._shut()  # whoever comes from now on begins anew
        self.task.cancel()

    # For followers

    def read(self, at: int, *, strip: bool) -> Part | None:
        """Part number `at`; None: it is not there yet."""
        place = at - self._dropped
        if place >= len(self._parts):
            return None
        found = self._parts[place]
        if isinstance(found, bytes):
            return part_of(found, self.streamed)
        if strip:
            self._parts[place] = found.data
        return found

    async def news(self) -> None:
        """Waits until something has come, or the end."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def went_on(self) -> None:
        """A follower has read."""
        if not self.open and not self.ended:
            self._trim()

    def left(self, reader: Follower) -> None:
        """A follower has gone."""
        self._readers.discard(reader)
        if self.ended:
            if not self._readers:
                self._release()
            return
        if reader.caller:
            self.callers -= 1
            # A whole answer that is there is finished and stored, though its only caller has taken it and gone.
            if self.callers == 0 and (self.streamed or self.count == 0):
                self._on_orphan(self)
        if not self.open:
            self._trim()

    def _reader(self, reader: Follower) -> Follower:
        self._readers.add(reader)
        return reader

    def _shut(self) -> None:
        if self.open:
            self.open = False
            self._on_shut(self)

    def _hold(self, size: int) -> None:
        self._held_bytes += size
        self._memory.count(size)

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _trim(self) -> None:
        """Drops what all have read."""
        lowest = min((reader.at for reader in self._readers), default=self.count)
        drop = lowest - self._dropped
        if drop > 0:
            size = sum(len(part if isinstance(part, bytes) else part.data) for part in self._parts[:drop])
            del self._parts[:drop]
            self._dropped = lowest
            self._hold(-size - PART_OVERHEAD_BYTES * drop)
        if self._room is not None and not self._room.done() and not self.ahead:
            self._room.set_result(None)

    def _release(self) -> None:
        self._hold(-self._held_bytes)
        self._dropped = self.count
        self._parts.clear()


class Follower(AsyncGenerator[Part, None]):
    """The parts of a flight for one caller. It leaves when it is closed, cancelled, or at the end.

    Not a generator of Python's: one that was never begun runs no `finally` when it is closed, and would not leave.
    `info`, if set, is completed at the end. `restarted`: the parts before the last one read are void.
    """

    __slots__ = ("_flight", "_left", "at", "caller", "info", "restarted")

    def __init__(self, flight: Flight, *, caller: bool) -> None:
        self._flight = flight
        self._left = False
        self.caller = caller
        self.info: AnswerInfo | None = None
        self.restarted = False
        self.at = 0

    async def first(self) -> None:
        """Waits until there is something to read; raises the flight's error if it ended before."""
        flight = self._flight
        try:
            while flight.count == 0 and not flight.ended:
                await flight.news()
            if flight.count == 0 and flight.error is not None:
                raise _again(flight.error)
        except BaseException:
            self.leave()
            raise

    async def __anext__(self) -> Part:
        flight = self._flight
        try:
            while not self._left:
                part = flight.read(self.at, strip=self.caller)
                if part is not None:
                    if self.at == flight.again_at:
                        self.restarted = True
                    self.at += 1
                    flight.went_on()
                    return part
                if flight.ended:
                    if self.info is not None:
                        self.info.target, self.info.record = flight.info.target, flight.info.record
                    if flight.error is not None:
                        raise _again(flight.error)
                    break
                await flight.news()
        except BaseException:
            self.leave()
            raise
        self.leave()
        raise StopAsyncIteration

    def take(self) -> list[tuple[bytes, bool]]:
        """What is there now; with each part whether the answer begins anew with it."""
        taken: list[tuple[bytes, bool]] = []
        while (part := self._flight.read(self.at, strip=False)) is not None:
            taken.append((part.data, self.at == self._flight.again_at))
            self.at += 1
        self._flight.went_on()
        return taken

    def leave(self) -> None:
        """Reads no more."""
        if not self._left:
            self._left = True
            self._flight.left(self)

    async def asend(self, value: None) -> Part:
        """As __anext__: nothing can be sent."""
        return await self.__anext__()

    async def athrow(self, typ: Any, val: BaseException | object = None, tb: TracebackType | None = None) -> Part:
        """Leaves, and raises what it was given."""
        self.leave()
        if isinstance(typ, BaseException):
            raise typ
        raise val if isinstance(val, BaseException) else typ()

    async def aclose(self) -> None:
        """Leaves."""
        self.leave()


def _again(error: Exception) -> Exception:
    """The error for one more caller: one object raised in many tasks would collect the frames of all."""
    if not isinstance(error, MeshError):
        return error
    copy = MeshError(
        error.reason,
        error.message,
        metadata=error.metadata,
        violations=error.violations,
        retry_after_s=error.retry_after_s,
        quota=error.quota,
    )
    copy.__cause__ = error
    return copy
