"""Streams that their callers left, read to their end in the background so that what they cost is known exactly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

import structlog

from services.inference.providers.base import AnswerRecord, Part
from services.mesh.errors import MeshError

DRAIN_S = 30.0
DRAIN_BYTES_MAX = 4 * 1024 * 1024
DRAINS_MAX = 256  # at once, of a process: each holds a connection

_log = structlog.get_logger(__name__)


class Drains:
    """What is drained now, within bounds of time, of bytes and of number; a stream past one of them is aborted."""

    def __init__(
        self, *, drain_s: float = DRAIN_S, bytes_max: int = DRAIN_BYTES_MAX, drains_max: int = DRAINS_MAX
    ) -> None:
        self._drain_s = drain_s
        self._bytes_max = bytes_max
        self._drains_max = drains_max
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def adopt(self, parts: AsyncGenerator[Part, None], record: AnswerRecord, done: Callable[[], None]) -> None:
        """Takes a stream over that nobody reads. Calls `done` once, when it has ended or was given up, and is closed.

        `record` is filled as it is while somebody reads. Nobody else may use `parts` afterwards.
        """
        within = not self._closed and len(self._tasks) < self._drains_max
        task = asyncio.create_task(self._drain(parts, record, done, within=within))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Aborts what is still drained, and waits until each has let go."""
        self._closed = True
        await asyncio.sleep(0)  # a task that is cancelled before it began never reaches its `finally`
        while self._tasks:
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(list(self._tasks))

    async def _drain(
        self, parts: AsyncGenerator[Part, None], record: AnswerRecord, done: Callable[[], None], *, within: bool
    ) -> None:
        try:
            if within:
                await self._read(parts)
        except (TimeoutError, MeshError) as error:
            # What is known by then is accounted: nobody is left to be told of it.
            _log.debug("drain_ended", why=str(error) or "out of time", output_bytes=record.output_bytes)
        except Exception:
            _log.exception("drain_failed")
        finally:
            try:
                await parts.aclose()
            finally:
                done()

    async def _read(self, parts: AsyncGenerator[Part, None]) -> None:
        size = 0
        async with asyncio.timeout(self._drain_s):
            async for part in parts:
                size += len(part.data)
                if size > self._bytes_max:
                    return
