"""Which API keys were used, told to auth once a minute: a key costs a call here a dictionary's entry, and auth a write
a minute at most, however much it is used and by however many processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from services.mesh.telemetry.logs import get_logger

log = get_logger()
REPORT_EVERY_S = 60.0
REPORT_KEYS_MAX = 1000  # in a message, as the contract has it
KEYS_MAX = (
    100_000  # remembered between two reports, as many as identities are known; more are told of in the next minute
)

Report = Callable[[Sequence[str]], Awaitable[None]]


class KeyUses:
    """Keys that were used since the last report."""

    def __init__(self, *, keys_max: int = KEYS_MAX) -> None:
        self._used: set[str] = set()
        self._keys_max = keys_max

    def note(self, api_key_id: str) -> None:
        """A call came with the key."""
        if len(self._used) < self._keys_max:
            self._used.add(api_key_id)

    def __len__(self) -> int:
        return len(self._used)

    async def report(self, report: Report) -> None:
        """Tells of them. What could not be told is told with the next report."""
        used, self._used = list(self._used), set()
        for first in range(0, len(used), REPORT_KEYS_MAX):
            try:
                await report(used[first : first + REPORT_KEYS_MAX])
            except Exception as error:
                for api_key_id in used[first:]:
                    self.note(api_key_id)
                log.info("uses of API keys could not be told; with the next report", error=type(error).__name__)
                return

    async def keep_reporting(self, report: Report, every_s: float = REPORT_EVERY_S) -> None:
        """Reports without end."""
        while True:
            await asyncio.sleep(every_s)
            await self.report(report)
