"""Background tasks of a process: started again when they fail, ended in the reverse order of their start."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from services.mesh.backoff import Backoff
from services.mesh.errors import MeshError
from services.mesh.sliding_max import SlidingMax
from services.mesh.telemetry.logs import get_logger
from services.mesh.telemetry.metrics import BACKGROUND_FAILED, LOOP_LAG

log = get_logger()
_LAG_TICK_S = 0.1
_LAG_TICKS = 10
LAG_WINDOW_S = 60.0  # as long as a step of the alert that reads it (PromptmeshEventLoopStalls)
_AWAY = "DEPENDENCY_UNAVAILABLE"  # PostgreSQL, Redis, or another service


class Background:
    """The supervised tasks."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._uniform = uniform

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Runs `work()` until it returns; an error is logged, and it starts again after a pause that grows."""
        self._tasks.append(asyncio.create_task(self._supervised(name, work), name=name))

    async def _supervised(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        backoff = Backoff(0.1, 10.0, self._uniform)
        while True:
            try:
                await work()
                return
            except Exception as error:
                BACKGROUND_FAILED.labels(name).inc()
                wait_s = backoff.next_s()
                again_in_s = round(wait_s, 2)
                if isinstance(error, MeshError) and error.reason == _AWAY:
                    # No fault of the task, and no news: whoever runs the mesh looks for what is away.
                    log.warning("a background task waits", task=name, again_in_s=again_in_s, error=str(error))
                else:
                    log.error("a background task failed", task=name, again_in_s=again_in_s, exc_info=error)
            await asyncio.sleep(wait_s)

    async def close(self) -> None:
        """Cancels them one after the other, the last started first, and waits for each."""
        while self._tasks:
            task = self._tasks.pop()
            task.cancel()
            await asyncio.wait([task])


async def look_now_and_then(look: Callable[[], Awaitable[None]], interval_s: float) -> None:
    """Calls `look()` for ever, some `interval_s` apart, so that processes do not look together.

    While PostgreSQL or Redis is away what it saw last stands; any other error is raised.
    """
    while True:
        try:
            await look()
        except MeshError as error:
            if error.reason != _AWAY:
                raise
        await asyncio.sleep(interval_s * random.uniform(0.8, 1.2))


async def watch_loop_lag(
    now: Callable[[], float] = time.monotonic, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Measures how long the event loop stalls: what looks like a slow dependency may be ourselves.

    Told is the longest of LAG_WINDOW_S: a stall of one second would otherwise be gone before Prometheus asks.
    """
    of_late = SlidingMax(LAG_WINDOW_S)
    while True:
        worst_s = 0.0
        for _ in range(_LAG_TICKS):
            began = now()
            await sleep(_LAG_TICK_S)
            worst_s = max(worst_s, now() - began - _LAG_TICK_S)
        LOOP_LAG.set(of_late.see(now(), worst_s))
