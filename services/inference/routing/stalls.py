"""Whether our own event loop stood still just now: then a timer that went off proves nothing about a provider."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

TICK_S = 0.1
# The kit aims at milliseconds a turn of the loop; a quarter of a second is a stall by any measure.
STALL_S = 0.25
# What was queued behind a stall is worked off within this time after it.
MEMORY_S = 1.0


class LoopStalls:
    """Ticks in the background. `stalled` is True for a second after each stall."""

    def __init__(self, *, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or asyncio.get_running_loop().time
        self._stall_time = float("-inf")
        self._tick_time: float | None = None

    def stalled(self) -> bool:
        """Whether the loop stood still within the last second, or stands behind with its ticks now."""
        now = self._clock()
        if now - self._stall_time < MEMORY_S:
            return True
        return self._tick_time is not None and now - self._tick_time > TICK_S + STALL_S

    async def run(self) -> None:
        """Ticks until it is cancelled."""
        try:
            while True:
                self._tick_time = self._clock()
                await asyncio.sleep(TICK_S)
                now = self._clock()
                if now - self._tick_time > TICK_S + STALL_S:
                    self._stall_time = now
        finally:
            self._tick_time = None
