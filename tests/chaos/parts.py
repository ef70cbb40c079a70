"""The processes of a mesh as its supervisor wrote them down: looked at often, so without starting a program for it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import asyncpg
import psutil

from services.local.data_folder import DataFolder
from services.local.plan import DATABASE, POSTGRES, embedded_postgres
from services.local.secrets import load_or_make_secrets
from services.local.state import MeshState, ProcessState, read_state
from services.local.testing import LocalMesh, send_signal


class Parts:
    """Processes by name."""

    def __init__(self, mesh: LocalMesh) -> None:
        self._folder = DataFolder(mesh.data)
        self._stopped: set[int] = set()

    def state(self) -> MeshState:
        """As it was last written."""
        state = read_state(self._folder.state)
        assert state is not None, "a running mesh has written its state"
        return state

    def one(self, name: str) -> ProcessState:
        """A process."""
        return next(one for one in self.state().processes if one.name == name)

    def restarts(self) -> dict[str, int]:
        """How often each was started again."""
        return {one.name: one.restarts for one in self.state().processes}

    def kill(self, name: str) -> int:
        """SIGKILL. Answers the process's id; 0 where it does not run just now."""
        process = self._process(name)
        if process is not None:
            process.kill()
        return 0 if process is None else process.pid

    def stop(self, name: str) -> list[int]:
        """SIGSTOP of a process and all that it started, as PostgreSQL's. Answers their ids."""
        process = self._process(name)
        stopped: list[int] = []
        for one in [] if process is None else [process, *process.children(recursive=True)]:
            if _signal(one.pid, signal.SIGSTOP):
                stopped.append(one.pid)
        self._stopped.update(stopped)
        return stopped

    def go_on(self, pids: list[int]) -> None:
        """SIGCONT."""
        for pid in pids:
            _signal(pid, signal.SIGCONT)
            self._stopped.discard(pid)

    def all_go_on(self) -> None:
        """Whatever still stands."""
        self.go_on(list(self._stopped))

    async def connect(self) -> Any:
        """To the database as its superuser, not over a link."""
        cluster = embedded_postgres(self._folder, load_or_make_secrets(self._folder), self.one(POSTGRES).port)
        return await asyncpg.connect(cluster.url(DATABASE), timeout=5)

    def _process(self, name: str) -> psutil.Process | None:
        """Of this mesh and no other: a child of its supervisor."""
        state = self.state()
        pid = next(one.pid for one in state.processes if one.name == name)
        try:
            return next((one for one in psutil.Process(state.pid).children() if one.pid == pid), None)
        except psutil.NoSuchProcess:
            return None


def _signal(pid: int, number: signal.Signals) -> bool:
    try:
        send_signal(pid, number)
    except ProcessLookupError:
        return False
    return True


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._begun = clock, clock()

    @property
    def s(self) -> float:
        """So far."""
        return self._clock() - self._begun
