"""Runs a plan: everything as early as what it depends on allows, kept running, and ended in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from services.local.child import Child, ChildError, run_task
from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.logs import rotate
from services.local.plan import STOP_ORDER
from services.local.port_book import EDGE
from services.local.ports import is_free
from services.local.probes import http_status
from services.local.specs import Plan, ProcessSpec, TaskSpec
from services.local.state import MeshState, Phase

LOG_CHECK_INTERVAL_S = 10.0
STATE_CHECK_INTERVAL_S = 1.0
HEALTH_POLL_INTERVAL_S = 0.03
HEALTH_TIMEOUT_S = 30.0


class PortCollisionError(PlainError):
    """A process did not start, and another program listens on one of its ports: choose other ports and try again."""


class Supervisor:
    """The processes of one mesh. `start`, then `keep` (which lasts), then `stop`, also after a failed start."""

    def __init__(self, plan: Plan, data: DataFolder, state: MeshState, report: Callable[[str], None]) -> None:
        self._plan = plan
        self._data = data
        self.state = state
        self._say = report
        self._children = {spec.name: Child(spec, data, self._write_state, self._report) for spec in plan.processes}
        self._started: dict[str, asyncio.Future[None]] = {}
        self._unwritten = False  # a state that is newer than the file
        self.printed: dict[str, str] = {}  # what each task printed
        state.processes = [child.state for child in self._children.values()]
        state.url = plan.url

    async def start(self) -> None:
        """Starts everything and waits until the edge says that all of it serves.

        Raises ChildError or PortCollisionError; what runs by then runs on until `stop`.
        """
        parts: list[ProcessSpec | TaskSpec] = [*self._plan.processes, *self._plan.tasks]
        _check_dependencies(parts)
        for spec in self._plan.processes:
            if spec.start_file is not None:
                spec.start_file.unlink(missing_ok=True)
        loop = asyncio.get_running_loop()
        self._started = {part.name: loop.create_future() for part in parts}
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(self._start_part(part), name=part.name)
        except* (ChildError, PortCollisionError) as errors:
            collisions, _ = errors.split(PortCollisionError)
            raise _first(collisions or errors) from None
        finally:
            for future in self._started.values():
                future.cancel()
        await self._wait_healthy()

    async def keep(self) -> None:
        """Restarts what dies and rotates the logs, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            for child in self._children.values():
                group.create_task(child.keep(), name=f"keep {child.spec.name}")
            group.create_task(self._rotate_logs(), name="rotate logs")
            group.create_task(self._write_what_was_not(), name="write the state")

    async def stop(self) -> None:
        """Ends everything in `STOP_ORDER`; before that, what can be told so takes no more clients."""
        self.set_phase("stopping")
        for spec in self._plan.processes:
            if spec.drain is not None and self._children[spec.name].state.ready:
                await http_status("POST", spec.drain.port, spec.drain.path)
        for name in STOP_ORDER:
            await _all(child.stop() for child in self._children.values() if child.spec.group == name)

    def kill(self) -> None:
        """Kills everything at once."""
        for child in self._children.values():
            child.kill()

    def set_phase(self, phase: Phase, error: str = "") -> None:
        """Writes down where the mesh stands."""
        self.state.phase = phase
        self.state.error = error
        self._write_state()

    async def _start_part(self, part: ProcessSpec | TaskSpec) -> None:
        await self._stand(part.depends_on)
        begun = time.monotonic()
        if isinstance(part, TaskSpec):
            self.printed[part.name] = await run_task(part, self._data)
            what = part.title
        else:
            await self._start_child(self._children[part.name])
            what = f"{part.name} on port {part.port}"
        self.state.done.append(f"{what} ({time.monotonic() - begun:.1f} s)")
        self._write_state()
        self._report(self.state.done[-1])
        self._started[part.name].set_result(None)

    async def _stand(self, names: Iterable[str]) -> None:
        for name in names:
            await asyncio.shield(self._started[name])

    async def _start_child(self, child: Child) -> None:
        try:
            await child.begin()
            if child.spec.start_file is not None:
                await self._stand(child.spec.held_until)
                child.spec.start_file.touch()
            await child.until_it_serves()
        except ChildError as error:
            child.kill()
            taken = [port for port in (child.spec.port, *child.spec.more_ports.values()) if not is_free(port)]
            if taken:
                raise PortCollisionError(f"port {taken[0]} of {child.spec.name} is in use\n{error}") from error
            raise

    async def _wait_healthy(self) -> None:
        """All of it serves together, not only each by itself."""
        probe = self._plan.healthy
        if probe is None:
            return
        deadline = time.monotonic() + HEALTH_TIMEOUT_S
        while (status := await http_status("GET", probe.port, probe.path)) != 200:
            if time.monotonic() > deadline:
                raise ChildError(
                    EDGE,
                    f"All processes run, but after {HEALTH_TIMEOUT_S:.0f} s the edge still answers {status} (0: not at "
                    f"all) to GET {probe.path}; expected 200.\nIts log: {self._data.log(EDGE)}",
                )
            await asyncio.sleep(HEALTH_POLL_INTERVAL_S)

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(LOG_CHECK_INTERVAL_S)
            for path in self._data.logs.glob("*.log"):
                try:
                    await asyncio.to_thread(rotate, path)
                except OSError as error:
                    self._report(f"{path.name} has grown long and cannot be put aside: {error.strerror}")

    async def _write_what_was_not(self) -> None:
        while True:
            await asyncio.sleep(STATE_CHECK_INTERVAL_S)
            if self._unwritten:
                self._write_state()

    def _write_state(self) -> None:
        """On a full disk later: what runs is kept running, whether or not it can be written down."""
        try:
            self.state.write(self._data.state)
        except OSError as error:
            if not self._unwritten:
                self._report(f"{self._data.state} cannot be written ({error.strerror}); `status` tells what was before")
            self._unwritten = True
        else:
            self._unwritten = False

    def _report(self, line: str) -> None:
        with contextlib.suppress(OSError):  # its log is on the same disk
            self._say(line)


def _check_dependencies(parts: list[ProcessSpec | TaskSpec]) -> None:
    names = {part.name for part in parts}
    for part in parts:
        unknown = {*part.depends_on, *getattr(part, "held_until", ())} - names
        assert not unknown, f"{part.name} depends on {unknown}, which the plan does not have"


def _first(group: BaseExceptionGroup[Exception]) -> Exception:
    one: BaseException = group
    while isinstance(one, BaseExceptionGroup):
        one = one.exceptions[0]
    assert isinstance(one, Exception)
    return one


async def _all(stops: Iterable[Coroutine[Any, Any, None]]) -> None:
    await asyncio.gather(*stops)
