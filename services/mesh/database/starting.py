"""What a start needs of PostgreSQL: asked again while the server is away, or too busy to answer in time.

A start is when everything else starts as well; a process that ends for one slow statement starts again, and adds to it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.mesh.backoff import Backoff
from services.mesh.database.faults import is_conflict
from services.mesh.errors import MeshError

T = TypeVar("T")
log = logging.getLogger(__name__)
START_TIMEOUT_S = 30.0
"""Of all that a start waits for, together: it ends by itself, and says why, before a startup probe has it killed."""
LAST_TRY_S = 12.0
"""What a try that is under way then is still given: a statement that PostgreSQL cancels after 10 s, and its answer."""
_PAUSE_FIRST_S = 0.1
_PAUSE_MOST_S = 2.0


class Patience:
    """How long one start goes on: its steps share it, for each of them may find PostgreSQL away."""

    def __init__(self, seconds: float = START_TIMEOUT_S, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.seconds, self._monotonic = seconds, monotonic
        self._end = monotonic() + seconds

    def lasts(self, pause_s: float) -> bool:
        """Whether there is time for this pause and another try."""
        return self._monotonic() + pause_s <= self._end

    def try_s(self) -> float:
        """How long a try that begins now may take."""
        return max(0.0, self._end + LAST_TRY_S - self._monotonic())


async def until_done(what: str, work: Callable[[], Awaitable[T]], patience: Patience | None = None) -> T:
    """What `work()` answers, tried again after faults that pass. It must be safe to do again, and to be cut short.

    what: for the log. patience: of the start; when it is over the last fault is raised.
    """
    patience = patience or Patience()
    backoff = Backoff(_PAUSE_FIRST_S, _PAUSE_MOST_S)
    while True:
        try:
            return await _tried(what, work, patience)
        except Exception as error:
            away = isinstance(error, MeshError) and error.reason == "DEPENDENCY_UNAVAILABLE"
            pause_s = backoff.next_s()
            if not (away or is_conflict(error)) or not patience.lasts(pause_s):
                raise
            log.warning("%s could not be done, again in %.1f s: %s", what, pause_s, error)
        await asyncio.sleep(pause_s)


async def _tried(what: str, work: Callable[[], Awaitable[T]], patience: Patience) -> T:
    try:
        async with asyncio.timeout(patience.try_s()) as cut:
            return await work()
    except TimeoutError as error:
        if not cut.expired():
            raise
        raise MeshError(
            "DEPENDENCY_UNAVAILABLE",
            f"{what} took too long: a start has {patience.seconds:g} s for all that it waits for. Is PostgreSQL "
            "running, and has it room to answer?",
        ) from error
