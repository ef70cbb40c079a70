"""A mesh of one's own, to break: a process is killed, and held dead for as long as a test looks at what still works."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

import psutil

from services.local.testing import LocalMesh, send_signal
from tests.mesh.client import PATIENCE_S, Client, eventually
from tests.mesh.people import Person, register

_numbers = itertools.count(1)


@dataclass
class Breakable:
    """A mesh of one's own, to break."""

    mesh: LocalMesh
    client: Client

    async def person(self) -> Person:
        """Somebody new."""
        return await register(self.client, f"witness-{next(_numbers)}")

    @contextlib.asynccontextmanager
    async def without(self, process: str) -> AsyncIterator[None]:
        """Kills a process, which stays dead until the end of the block; afterwards waits until the mesh is whole."""
        status = await asyncio.to_thread(self.mesh.status)
        victim = next(one["pid"] for one in status["processes"] if one["name"] == process)
        children = psutil.Process(victim).children(recursive=True)
        # Whoever would start it again is held still meanwhile.
        send_signal(status["pid"], signal.SIGSTOP)
        try:
            send_signal(victim, signal.SIGKILL)
            # PostgreSQL's backends serve on until they notice.
            await asyncio.to_thread(psutil.wait_procs, children, timeout=PATIENCE_S)
            yield
        finally:
            send_signal(status["pid"], signal.SIGCONT)
            await self.whole(process, victim)

    async def whole(self, process: str, before: int) -> None:
        """Waits until the process was started again and everything serves."""

        async def ready() -> bool:
            processes = await asyncio.to_thread(self.mesh.processes)
            again = processes[process]["pid"] != before and all(one["ready"] for one in processes.values())
            return again and (await self.client.ask("GET", "/healthz")).status == 200

        await eventually(f"{process} is back", ready)
