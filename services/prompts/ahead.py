"""Reads a stream of events a little ahead, so that its reader can wait for events and for something else at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.mesh.events import Event

AHEAD_MAX = 64  # events; what is beyond waits in the tail, which lets go of who reads too slowly


class Ahead:
    """Events read and not yet taken. `wake` is set when there are some, or the stream failed."""

    def __init__(self, events: AsyncIterator[Event], wake: asyncio.Event) -> None:
        self._source = events
        self._wake = wake
        self._events: deque[Event] = deque()
        self._room = asyncio.Event()
        self._error: Exception | None = None

    def take(self) -> list[Event]:
        """All that were read, in order. Raises the stream's error once what came before it was taken."""
        taken = list(self._events)
        self._events.clear()
        self._room.set()
        if not taken and self._error is not None:
            raise self._error
        if self._error is not None:
            self._wake.set()
        return taken

    async def _read(self) -> None:
        try:
            async for event in self._source:
                self._events.append(event)
                self._wake.set()
                while len(self._events) >= AHEAD_MAX:
                    self._room.clear()
                    await self._room.wait()
        except Exception as error:  # handed to whoever takes
            self._error = error
        self._wake.set()


@asynccontextmanager
async def reading_ahead(events: AsyncIterator[Event], wake: asyncio.Event) -> AsyncIterator[Ahead]:
    """Reads ahead in a task that ends with the block."""
    ahead = Ahead(events, wake)
    task = asyncio.create_task(ahead._read(), name="prompts.read_ahead")
    try:
        yield ahead
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
