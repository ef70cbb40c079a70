"""How `promptmesh restart` tells the supervisor what to replace: a file and a signal; the state says how it goes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.files import read_json, write_private
from services.local.state import MeshState, RestartState

ASK_SIGNAL = signal.SIGUSR1
TAKEN_UP_S = 10.0  # by a supervisor that lives: it removes the request as soon as it has read it


class RestartRefusedError(PlainError):
    """A restart cannot begin; the message says why."""


def ask_for_restart(data: DataFolder, pid: int, processes: Sequence[str], ident: str) -> None:
    """Asks the supervisor `pid`. ident: of this request, which the state will name. Raises RestartRefusedError."""
    request = data.restart_request
    whole = request.with_name(f"{request.name}.{ident}")
    try:
        write_private(whole, json.dumps({"ident": ident, "processes": list(processes)}), durable=False)
        try:
            _remove_abandoned(request)
            os.link(whole, request)
        finally:
            whole.unlink()
    except FileExistsError:
        raise RestartRefusedError("Another restart has just been asked for. Try again when it is done.") from None
    except OSError as error:
        raise RestartRefusedError(f"The request cannot be written: {error}. Nothing was replaced.") from error
    try:
        os.kill(pid, ASK_SIGNAL)
    except OSError as error:
        request.unlink(missing_ok=True)
        raise RestartRefusedError(f"The supervisor, process {pid}, cannot be asked: {error.strerror}.") from error


def _remove_abandoned(request: Path) -> None:
    """That of one who was killed before the supervisor was told."""
    with contextlib.suppress(FileNotFoundError):
        if time.time() - request.stat().st_mtime > TAKEN_UP_S:
            request.unlink()


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
        self._data, self._mesh, self._restart, self._say = data, mesh, restart, report
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
            try:
                one = self._taken_up()
            except Exception as error:  # a bad file must not end the mesh
                self._report(f"A restart was asked for, which cannot be read: {type(error).__name__}: {error}")
                continue
            if one is not None:
                await self._do(one)

    def _taken_up(self) -> RestartState | None:
        try:
            wanted = read_json(self._data.restart_request)
        finally:
            with contextlib.suppress(OSError):
                self._data.restart_request.unlink(missing_ok=True)
        if wanted is None:
            return None
        one = RestartState(str(wanted["ident"]), [str(name) for name in wanted["processes"]], time.time())
        self._mesh.state.restart = one
        self._mesh.changed()
        return one

    def _report(self, line: str) -> None:
        with contextlib.suppress(OSError):  # a full disk
            self._say(line)

    async def _do(self, one: RestartState) -> None:
        self._report(f"A rolling restart of {', '.join(one.processes)} begins")
        try:
            await self._restart(one)
        except Exception as error:  # a fault of ours must not end the mesh
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # nor keep it from ending
                raise asyncio.CancelledError from error
            one.phase, one.error = "failed", f"{type(error).__name__}: {error}"
            self._mesh.changed()
        for line in one.lines:
            self._report(f"  {line}")
        self._report(f"The rolling restart is {one.phase}{f': {one.error}' if one.error else ''}")
