"""How a process is told to end."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Protocol

from services.mesh.telemetry import logs

log = logs.get_logger()


class Stopped(Protocol):
    """What is to end: a Mesh."""

    @property
    def draining(self) -> asyncio.Event: ...

    @property
    def serving(self) -> bool: ...


class Stop:
    """SIGTERM and SIGINT: the first drains, or ends what does not serve yet; the second ends the process at once."""

    def __init__(self) -> None:
        self._asked = False
        self._drain: Callable[[], None] | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled, number)

    def told(self, mesh: Stopped, task: asyncio.Future[None]) -> None:
        """Says what to stop; at once, if it was asked for before."""

        def drain() -> None:
            mesh.draining.set()
            if not mesh.serving:
                task.cancel()

        self._drain = drain
        if self._asked:
            drain()

    def _signalled(self, number: int) -> None:
        if self._asked:
            logs.flush()
            os._exit(128 + number)
        self._asked = True
        log.info("told to stop", signal=signal.Signals(number).name)
        if self._drain is not None:
            self._drain()
