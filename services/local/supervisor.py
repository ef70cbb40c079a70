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
from services.local.held_ports import HeldPorts
from services.local.logs import Rotation
from services.local.plan import STOP_ORDER
from services.local.port_book import EDGE
from services.local.port_names import listens_on, spare_ports
from services.local.ports import is_free
from services.local.probes import http_status
from services.local.specs import Plan, ProcessSpec, TaskSpec
from services.local.state import MeshState, Phase

LOG_CHECK_INTERVAL_S = 10.0
STATE_CHECK_INTERVAL_S = 1.0
HEALTH_POLL_INTERVAL_S = 0.03
HEALTH_TIMEOUT_S = 30.0


class PortCollisionError(PlainError):
    """Another program listens on a port of a process, which did not start: choose other ports and try again."""


class Supervisor:
    """The processes of one mesh. `start`, then `keep` (which lasts), then `stop`, also after a failed start."""

    def __init__(self, plan: Plan, data: DataFolder, state: MeshState, report: Callable[[str], None]) -> None:
        self._plan = plan
        self._data = data
        self.state = state
        self._say = report
        self._children = {spec.name: Child(spec, data, self.changed, self._report) for spec in plan.processes}
        self._others: list[Child] = []  # who are about to replace one of these, or were replaced
        self._held = HeldPorts()
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._group = asyncio.TaskGroup()
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
            if taken := self._held.hold(spare_ports(spec)):
                raise PortCollisionError(f"port {taken[0]}, which is kept for restarts of {spec.name}, is in use")
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

    async def keep(self, *others: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Restarts what dies, rotates the logs, and does `others`, until it is cancelled."""
        async with asyncio.TaskGroup() as self._group:
            for name in self._children:
                self._keep(name)
            self.spawn(self._rotate_logs())
            self.spawn(self._write_what_was_not())
            for other in others:
                self.spawn(other())

    async def stop(self) -> None:
        """Ends everything in `STOP_ORDER`; before that, what can be told so takes no more clients."""
        self._held.release_all()
        self.set_phase("stopping")
        for child in self._children.values():
            if child.spec.drain is not None and child.state.ready:
                await http_status("POST", child.spec.drain.port, child.spec.drain.path)
        for name in STOP_ORDER:
            everyone = (*self._children.values(), *self._others)
            await _all(child.stop() for child in everyone if child.spec.group == name)

    def kill(self) -> None:
        """Kills everything at once."""
        for child in (*self._children.values(), *self._others):
            child.kill()

    # A rolling restart; see `rolling.Replaced`

    def child(self, name: str) -> Child:
        """The process that is kept running under this name."""
        return self._children[name]

    async def start_beside(self, spec: ProcessSpec) -> Child:
        """Starts a process beside that of its name; `replace` keeps it. Raises ChildError or PortCollisionError."""
        fresh = listens_on(spec) - listens_on(self._children[spec.name].spec)
        child = Child(spec, self._data, self.changed, self._report)
        self._others.append(child)
        self._held.release(fresh)
        try:
            taken = [port for port in sorted(fresh) if not is_free(port)]
            if taken:
                raise PortCollisionError(
                    f"Port {taken[0]}, which is kept for restarts of {spec.name}, is in use by another program "
                    f"(`ss -ltnp` shows which). End that one and try again."
                )
            await child.start()
        except Exception:
            child.kill()
            self._others.remove(child)
            self._hold_spare(spec.name)
            raise
        except BaseException:
            child.kill()  # `stop`, which is next, waits for its end
            raise
        return child

    def replace(self, new: Child) -> Child:
        """Keeps `new` running in place of the one of its name, which is answered."""
        name = new.spec.name
        old = self._children[name]
        self._keepers[name].cancel()
        self._others[self._others.index(new)] = old
        self._children[name] = new
        new.state.restarts = old.state.restarts
        self._keep(name)
        self.changed()
        return old

    async def end(self, child: Child, grace_s: float | None = None) -> bool:
        """Ends one that is not kept running; says whether it ended by itself."""
        by_itself = await child.stop(grace_s)
        self._others.remove(child)
        self._hold_spare(child.spec.name)
        self.changed()
        return by_itself

    async def again(self, name: str) -> None:
        """Ends a process and starts it again, on the same ports. Raises ChildError; it is tried on then."""
        self._keepers[name].cancel()
        try:
            await self._children[name].stop()
            await self._children[name].start()
        except asyncio.CancelledError:
            raise  # the mesh ends: nothing is kept any more
        except BaseException:
            self._keep(name)
            raise
        self._keep(name)

    async def do(self, task: TaskSpec) -> str:
        """Runs a task; answers what it printed. Raises ChildError."""
        return await run_task(task, self._data)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something as long as the mesh is kept. What fails is reported, and ends nothing else."""
        self._group.create_task(self._aside(work))

    async def _aside(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # a fault of ours must not end the mesh
            what = getattr(work, "__qualname__", work)
            self._report(f"{what} failed, and is not done any more: {type(error).__name__}: {error}")

    def _hold_spare(self, name: str) -> None:
        for port in self._held.hold(spare_ports(self._children[name].spec)):
            self._report(
                f"Port {port}, which is kept for restarts of {name}, is in use by another program (`ss -ltnp` shows "
                f"which), and gets calls of this mesh: end it"
            )

    def _keep(self, name: str) -> None:
        self._keepers[name] = self._group.create_task(self._children[name].keep(), name=f"keep {name}")

    def set_phase(self, phase: Phase, error: str = "") -> None:
        """Writes down where the mesh stands."""
        self.state.phase = phase
        self.state.error = error
        self.changed()

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
        self.changed()
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
            taken = [port for port in sorted(listens_on(child.spec)) if not is_free(port)]
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
        rotation = Rotation(self._data.logs)
        while True:
            await asyncio.sleep(LOG_CHECK_INTERVAL_S)
            for line in await asyncio.to_thread(rotation.look):
                self._report(line)

    async def _write_what_was_not(self) -> None:
        while True:
            await asyncio.sleep(STATE_CHECK_INTERVAL_S)
            if self._unwritten:
                self.changed()

    def changed(self) -> None:
        """Writes down what runs; on a full disk later: it is kept running, whether or not it can be written down."""
        self.state.processes = [child.state for child in self._children.values()]
        self.state.leaving = [child.state for child in self._others if child.state.pid]
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


async def _all(stops: Iterable[Coroutine[Any, Any, bool]]) -> None:
    await asyncio.gather(*stops)
