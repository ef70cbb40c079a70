"""A rolling restart: one process after the other is replaced, and nobody who calls the mesh notices.

A worker: another one starts beside it, on its spare ports; once it serves, the edge is told to send calls to it and
none to the old one (`endpoints.py`), peers find it by themselves, and then the old one is told to end, which lets calls
under way go on for PROMPTMESH_DRAIN_S. The edge: a second Envoy listens on the same port; the first one tells its
callers to connect anew, closes its listeners, and ends when nothing is under way. Of the rest there is one each: it is
ended and started again, and is away meanwhile.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol

from services.local import edge_admin
from services.local.child import Child, ChildError
from services.local.edge_going import EdgeGoing
from services.local.edge_plan import EDGE_CONFIGURATION
from services.local.endpoints import Endpoints, until_taken, write_endpoints
from services.local.errors import PlainError
from services.local.observe.specs import PROMETHEUS
from services.local.port_book import EDGE
from services.local.port_names import EDGE_ADMIN, SPARE
from services.local.ports import free_ports, is_free
from services.local.specs import Plan, ProcessSpec, TaskSpec
from services.local.state import MeshState, RestartState

Replan = Callable[[Mapping[str, int], Collection[str]], Plan]
"""The plan of this mesh with these ports when these processes listen on their spare ones, with the settings as they are
now."""

# Peers try an address where nobody listened twice a second (`_RECONNECT_MS` in services/mesh/client.py, and a jitter of
# a fifth): by then each has a connection to the new process, and may lose the one to the old.
PEERS_S = 0.8
CLOSING_S = 12.0  # beyond the drain: closing what is open
EDGE_WAIT_S = 10.0  # for the last requests through an edge that was replaced; then it is left to end by itself
POLL_S = 0.1


class Replaced(Protocol):
    """What a rolling restart needs of the supervisor."""

    state: MeshState

    def child(self, name: str) -> Child:
        """The process that is kept running under this name."""
        ...

    async def start_beside(self, spec: ProcessSpec) -> Child:
        """Starts one beside that of its name and waits until it serves. Raises ChildError; nothing is left then."""
        ...

    def replace(self, new: Child) -> Child:
        """Keeps this one running in place of the one of its name, which is answered."""
        ...

    async def end(self, child: Child, grace_s: float | None = None) -> bool:
        """Ends one that is not kept running; says whether it ended by itself."""
        ...

    async def again(self, name: str) -> None:
        """Ends a process and starts it again, on the same ports. Raises ChildError; it is tried on then."""
        ...

    async def do(self, task: TaskSpec) -> None:
        """Runs a task. Raises ChildError."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Does something as long as the mesh is kept."""
        ...

    def changed(self) -> None:
        """Writes the state down."""
        ...


class RestartError(PlainError):
    """A process was not replaced, and the old one serves on; the message says why."""


class RollingRestart:
    """Replaces processes of a mesh that runs. It remembers who listens on spare ports, so there is one a mesh."""

    def __init__(self, mesh: Replaced, endpoints_folder: Path, ports: Mapping[str, int], replan: Replan) -> None:
        self._mesh, self._folder, self._replan = mesh, endpoints_folder, replan
        self._ports = dict(ports)
        self._turned: frozenset[str] = frozenset()
        self._going: list[EdgeGoing] = []

    async def run(self, restart: RestartState) -> None:
        """Replaces what the request names, and says in it how that went; the first failure ends it."""
        try:
            # The edge first: streams through the old one end with the workers that carry them, and resume at the new.
            for name in sorted(restart.processes, key=lambda name: name != EDGE):
                begun = time.monotonic()
                how = await self._one(name)
                restart.lines.append(f"{name}: {how} ({time.monotonic() - begun:.1f} s in all)")
                self._mesh.changed()
            restart.lines += await self._edges_gone()
            restart.phase = "done"
        except (PlainError, OSError) as error:
            restart.phase, restart.error = "failed", str(error)
        except asyncio.CancelledError:
            restart.phase, restart.error = "failed", "The mesh was ended meanwhile."
            raise
        finally:
            self._mesh.changed()

    async def _one(self, name: str) -> str:
        if name == EDGE:
            return await self._edge()
        if self._mesh.child(name).spec.service is not None:
            return await self._worker(name)
        begun = time.monotonic()
        await self._mesh.again(name)
        return f"there is only one; it was away for {time.monotonic() - begun:.1f} s"

    # A worker

    async def _worker(self, name: str) -> str:
        turned = self._turned ^ {name}
        plan = self._replan(self._ports, turned)
        new = await self._beside(plan, name)
        before, after = self._replan(self._ports, self._turned).endpoints, plan.endpoints
        both = {cluster: list(dict.fromkeys([*before[cluster], *ports])) for cluster, ports in after.items()}
        try:
            await self._tell_edges(both, new.spec)
            await self._tell_edges(after, new.spec)
        except PlainError as error:
            write_endpoints(self._folder, before)
            await self._mesh.end(new)
            raise RestartError(f"{name} was not replaced; the old one serves on.\n{error}") from error
        await asyncio.sleep(PEERS_S)
        self._turned = turned
        old = self._mesh.replace(new)
        self._scrape(plan)
        begun = time.monotonic()
        drained = await self._mesh.end(old, old.spec.drain_s + CLOSING_S)
        how = f"drained in {time.monotonic() - begun:.1f} s" if drained else "did not end, and was killed"
        return f"process {new.state.pid} serves; the old one {how}"

    async def _beside(self, plan: Plan, name: str) -> Child:
        spec = next(one for one in plan.processes if one.name == name)
        taken = [port for port in _listens_on(spec) - _listens_on(self._mesh.child(name).spec) if not is_free(port)]
        if taken:
            raise RestartError(
                f"{name} was not replaced: port {taken[0]}, which is kept for that, is in use by another program "
                f"(`ss -ltnp` shows which). End that one and try again; the old one serves on."
            )
        try:
            return await self._mesh.start_beside(spec)
        except ChildError as error:
            raise RestartError(f"{name} was not replaced; the old one serves on.\n{error}") from error

    async def _tell_edges(self, endpoints: Endpoints, new: ProcessSpec) -> None:
        write_endpoints(self._folder, endpoints)
        for edge in (self._mesh.child(EDGE), *(going.child for going in self._going if not going.ended)):
            await until_taken(edge.spec.more_ports["admin"], endpoints, _listens_on(new))

    def _scrape(self, plan: Plan) -> None:
        """Tells Prometheus, where it runs, the new ports."""
        for spec in plan.processes:
            if spec.name == PROMETHEUS:
                child = self._mesh.child(PROMETHEUS)
                child.spec = spec
                spec.prepare()
                child.signal(signal.SIGHUP)

    # The edge

    async def _edge(self) -> str:
        turned = self._turned ^ {EDGE}
        admin = f"{EDGE_ADMIN}-{SPARE}" if EDGE in turned else EDGE_ADMIN
        if edge_admin.answers(self._ports[admin]) or not is_free(
            self._ports[admin]
        ):  # one that was replaced before still has streams under way
            self._ports[admin] = free_ports(1, avoid=frozenset(self._ports.values()))[0]
        plan = self._replan(self._ports, turned)
        try:
            await self._mesh.do(next(task for task in plan.tasks if task.name == EDGE_CONFIGURATION))
        except ChildError as error:
            raise RestartError(f"{EDGE} was not replaced; the old one serves on.\n{error}") from error
        new = await self._beside(plan, EDGE)
        self._turned = turned
        old = self._mesh.replace(new)
        self._scrape(plan)
        going = EdgeGoing(old, self._mesh.end)
        self._going.append(going)
        self._mesh.spawn(going.run())
        return f"process {new.state.pid} serves; the old one takes no more callers"

    async def _edges_gone(self) -> list[str]:
        """Waits for the last requests through edges that were replaced."""
        deadline = time.monotonic() + EDGE_WAIT_S
        while any(going.busy for going in self._going) and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(POLL_S)
        busy = [going for going in self._going if going.busy]
        self._going = [going for going in self._going if not going.ended]
        return [
            f"{EDGE}: the old one (process {going.child.state.pid}) has requests under way still, and ends with them"
            for going in busy
        ]


def _listens_on(spec: ProcessSpec) -> set[int]:
    return {spec.port, *(port for use, port in spec.more_ports.items() if SPARE not in use)}
