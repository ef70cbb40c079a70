"""A stream read by a task of its own, so that whoever waits for its next part can do something else meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from services.inference.providers.base import Part

# Parts read ahead: a slow caller holds the provider back, not our memory.
AHEAD_MAX = 16


class Reading:
    """Reads at once. Whoever makes one closes it."""

    def __init__(self, parts: AsyncGenerator[Part, None]) -> None:
        self._ready: list[Part] = []
        self._error: Exception | None = None
        self._ended = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._task = asyncio.create_task(self._run(parts), name="screened stream")

    async def next(self, until: float | None) -> list[Part] | None:
        """All parts that are there, at least one; none where none came until then (the event loop's clock). None: the
        stream has ended. Raises what it ended in, after its last part."""
        while not self._ready:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._changed.wait()
            except TimeoutError:
                return []
        ready, self._ready = self._ready, []
        self._room.set()
        return ready

    async def close(self) -> None:
        """Ends the stream, if it has not ended, and waits until it has let go."""
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self, parts: AsyncGenerator[Part, None]) -> None:
        try:
            async with aclosing(parts):
                async for part in parts:
                    self._ready.append(part)
                    self._changed.set()
                    while len(self._ready) >= AHEAD_MAX:
                        self._room.clear()
                        await self._room.wait()
        except Exception as error:  # for the reader
            self._error = error
        finally:
            self._ended = True
            self._changed.set()
