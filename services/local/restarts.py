"""How `promptmesh restart` tells the supervisor what to replace: a file and a signal; the state says how it goes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.files import OWNER_ONLY, read_json
from services.local.state import MeshState, RestartState

ASK_SIGNAL = signal.SIGUSR1


class RestartRefusedError(PlainError):
    """A restart cannot begin; the message says why."""


def ask_for_restart(data: DataFolder, pid: int, processes: Sequence[str], ident: str) -> None:
    """Asks the supervisor `pid`. ident: of this request, which the state will name. Raises RestartRefusedError."""
    try:
        descriptor = os.open(data.restart_request, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    except FileExistsError:
        raise RestartRefusedError("Another restart has just been asked for. Try again when it is done.") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"ident": ident, "processes": list(processes)}, file)
    os.kill(pid, ASK_SIGNAL)


class Told(Protocol):
    """Where it is written how a restart goes: the supervisor."""

    state: MeshState

    def changed(self) -> None:
        """Writes the state down."""
        ...


class Restarts:
    """The supervisor's side: `asked` when the signal comes, `run` as long as the mesh is kept."""

    def __init__(
        self,
        data: DataFolder,
        mesh: Told,
        restart: Callable[[RestartState], Awaitable[None]],
        report: Callable[[str], None],
    ) -> None:
        self._data, self._mesh, self._restart, self._report = data, mesh, restart, report
        self._asked = asyncio.Event()
        data.restart_request.unlink(missing_ok=True)  # of a run before

    def asked(self) -> None:
        """There is something in the file."""
        self._asked.set()

    async def run(self) -> None:
        """Does one restart after the other."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            wanted = read_json(self._data.restart_request)
            if wanted is None:
                continue
            self._mesh.state.restart = one = RestartState(wanted["ident"], list(wanted["processes"]), time.time())
            self._data.restart_request.unlink(missing_ok=True)
            self._mesh.changed()
            self._report(f"A rolling restart of {', '.join(one.processes)} begins")
            try:
                await self._restart(one)
            except Exception as error:  # a fault of ours must not end the mesh
                one.phase, one.error = "failed", f"{type(error).__name__}: {error}"
                self._mesh.changed()
            for line in one.lines:
                self._report(f"  {line}")
            self._report(f"The rolling restart is {one.phase}{f': {one.error}' if one.error else ''}")
