"""A stream read by a task of its own, so that it can outlive its reader (draining) or race another (hedging)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Protocol

from services.inference.providers.base import AnswerRecord, Part

# Parts read ahead of the caller: a slow one holds the provider back, not our memory.
AHEAD_MAX = 16
# Parts without content that are held back so that fallback stays open; past them the answer counts as begun. A provider
# sends one or two (the role), or signs of life.
HELD_MAX = 256


class Drains(Protocol):
    """Reads streams that their callers left to their end, within bounds, for exact usage."""

    def adopt(self, parts: AsyncGenerator[Part, None], record: AnswerRecord, done: Callable[[], None]) -> None:
        """Takes a stream over. Calls `done` once, when it has ended or was given up (and then closed)."""
        ...


class Pump:
    """Reads `parts` at once. `begun` holds None when the first token is there, or the error that came before it.

    Whoever makes one reads `parts()` to its end, or calls `abort`.
    """

    def __init__(self, parts: AsyncGenerator[Part, None], record: AnswerRecord, clock: Callable[[], float]) -> None:
        self.begun: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.begun_time: float | None = None
        self._record = record
        self._clock = clock
        self._ready: deque[Part] = deque()
        self._error: Exception | None = None
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run(parts))

    async def parts(self) -> AsyncGenerator[Part, None]:
        """What was read, in order. Closing it ends nothing: what was not given out yet is there for `rest`."""
        while True:
            while self._ready:
                part = self._ready.popleft()
                self._room.set()
                yield part
            if self._ended:
                if self._error is not None:
                    raise self._error
                return
            self._changed.clear()
            await self._changed.wait()

    async def rest(self) -> AsyncGenerator[Part, None]:
        """The same for the last reader: closing it aborts the call of the provider."""
        try:
            async with aclosing(self.parts()) as parts:
                async for part in parts:
                    yield part
        finally:
            await self.abort()

    def cancel(self) -> None:
        """Begins to end the call of the provider, if it has not ended."""
        self._task.cancel()

    async def abort(self) -> None:
        """Ends the call of the provider, if it has not ended, and waits until it has let go."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, parts: AsyncGenerator[Part, None]) -> None:
        try:
            async for part in parts:
                self._ready.append(part)
                self._changed.set()
                if self.begun_time is None:
                    if self._record.began or len(self._ready) > HELD_MAX:
                        self._begin(None)
                elif len(self._ready) >= AHEAD_MAX:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:  # for the reader, whoever it is
            self._error = error
        finally:
            self._ended = True
            self._changed.set()
            if self.begun_time is None:
                self._begin(self._error)
            await parts.aclose()

    def _begin(self, error: Exception | None) -> None:
        self.begun_time = self._clock()
        if not self.begun.done():
            self.begun.set_result(error)
