"""What a start needs of PostgreSQL: asked again while the server is away, or too busy to answer in time.

A start is when everything else starts as well; a process that ends for one slow statement starts again, and adds to it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.mesh.backoff import Backoff
from services.mesh.database.faults import is_conflict
from services.mesh.errors import MeshError

T = TypeVar("T")
log = logging.getLogger(__name__)
START_TIMEOUT_S = 30.0
_PAUSE_FIRST_S = 0.1
_PAUSE_MOST_S = 2.0


async def until_done(what: str, work: Callable[[], Awaitable[T]], *, timeout_s: float = START_TIMEOUT_S) -> T:
    """What `work()` answers, tried again after faults that pass. It must be safe to do again.

    what: for the log. timeout_s: after which the last fault is raised; a try that is under way is not cut short.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    backoff = Backoff(_PAUSE_FIRST_S, _PAUSE_MOST_S)
    while True:
        try:
            return await work()
        except Exception as error:
            away = isinstance(error, MeshError) and error.reason == "DEPENDENCY_UNAVAILABLE"
            pause_s = backoff.next_s()
            if not (away or is_conflict(error)) or loop.time() + pause_s > deadline:
                raise
            log.warning("%s could not be done, again in %.1f s: %s", what, pause_s, error)
        await asyncio.sleep(pause_s)
