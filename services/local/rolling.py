"""A rolling restart: one process after the other is replaced, and who tries once more loses no call.

A worker: another one starts beside it, on its spare ports; once it serves, the edge is told to send calls to it and
none to the old one (`endpoints.py`), the old one is told to end, which lets calls under way go on for
PROMPTMESH_DRAIN_S. Its peers connect to the new one as they hear that the old one ends; where they connect to all
processes of a service by themselves, that is waited for first. The edge: a second Envoy listens on the same port; the
first one tells its callers to connect anew, closes its listeners, and ends when nothing is under way. It goes after the
services: a new one may ask for what only new services have. Before all of them the database is migrated, which takes
nothing away from who serves. Of the rest there is one each: it is ended and started again, and is away meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from pathlib import Path
from typing import Any, Protocol

from services.local import edge_admin
from services.local.child import Child, ChildError
from services.local.edge_going import EdgeGoing
from services.local.edge_plan import EDGE_CONFIGURATION
from services.local.endpoints import Endpoints, until_taken, write_endpoints
from services.local.errors import PlainError
from services.local.observe.specs import PROMETHEUS
from services.local.peers import not_connected
from services.local.plan import DATABASE_SETUP
from services.local.port_book import EDGE
from services.local.port_names import EDGE_ADMIN, SPARE, listens_on
from services.local.ports import free_ports, is_free
from services.local.specs import Plan, ProcessSpec, TaskSpec
from services.local.state import MeshState, RestartState

Replan = Callable[[Mapping[str, int], Collection[str]], Plan]
"""The plan of this mesh with these ports when these processes listen on their spare ones, with the settings as they are
now."""

# Peers try an address where nobody listened twice a second (`_RECONNECT_MS` in services/mesh/client.py); on a busy
# machine that takes longer. One that is stuck is not waited for: it gets UNAVAILABLE, and tries again.
PEERS_AT_MOST_S = 10.0
# From their connection until calls go there: the greeting of HTTP/2. Also for peers whose connections are not seen.
PEERS_S = 0.8
NOTHING_TO_DO = "nothing to do"  # as services/mesh/database/setup.py says it
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
        """Starts one beside that of its name and waits until it serves. Raises PlainError; nothing is left then."""
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

    async def do(self, task: TaskSpec) -> str:
        """Runs a task; answers what it printed. Raises ChildError."""
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

    def __init__(
        self,
        mesh: Replaced,
        endpoints_folder: Path,
        ports: Mapping[str, int],
        replan: Replan,
        *,
        until_taken: Callable[[int, Endpoints, Collection[int]], Awaitable[None]] = until_taken,
        not_connected: Callable[[Mapping[str, int], int, int, float], Awaitable[list[str]]] = not_connected,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._mesh, self._folder, self._replan = mesh, endpoints_folder, replan
        self._until_taken, self._not_connected, self._sleep = until_taken, not_connected, sleep
        self._ports = dict(ports)
        self._turned: frozenset[str] = frozenset()
        self._going: list[EdgeGoing] = []

    async def run(self, restart: RestartState) -> None:
        """Replaces what the request names, in its order, and says in it how that went; the first failure ends it."""
        try:
            restart.lines += await self._migrated(restart.processes)
            for name in restart.processes:
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

    async def _migrated(self, names: Collection[str]) -> list[str]:
        """Makes the database what new code needs; what was done. Code that serves goes on with it (decision 17)."""
        if not any(self._mesh.child(name).spec.service for name in names):
            return []
        task = next(one for one in self._replan(self._ports, self._turned).tasks if one.name == DATABASE_SETUP)
        try:
            said = await self._mesh.do(task)
        except ChildError as error:
            raise RestartError(f"Nothing was replaced: the database is not what new code needs.\n{error}") from error
        return [f"{DATABASE_SETUP}: {line}" for line in said.splitlines() if not line.endswith(NOTHING_TO_DO)]

    # A worker

    async def _worker(self, name: str) -> str:
        turned = self._turned ^ {name}
        plan = self._replan(self._ports, turned)
        new, old = await self._beside(plan, name), self._mesh.child(name)
        before, after = self._replan(self._ports, self._turned).endpoints, plan.endpoints
        both = {cluster: list(dict.fromkeys([*before[cluster], *ports])) for cluster, ports in after.items()}
        try:
            await self._tell_edges(both, new.spec)
            await self._tell_edges(after, new.spec)
            behind = await self._known_to_peers(name, old.spec.port, new.spec.port) if plan.peers_look else []
        except Exception as error:
            with contextlib.suppress(OSError):  # a full disk: an edge finds that the new one is gone
                write_endpoints(self._folder, before)
            await self._mesh.end(new)
            raise _not_replaced(name, error) from error
        self._turned = turned
        self._mesh.replace(new)
        untold = self._scrape(plan)
        begun = time.monotonic()
        drained = await self._mesh.end(old, old.spec.drain_s + CLOSING_S)
        how = f"drained in {time.monotonic() - begun:.1f} s" if drained else "did not end, and was killed"
        late = f"; {', '.join(behind)} had no connection to it after {PEERS_AT_MOST_S:.0f} s" if behind else ""
        return f"process {new.state.pid} serves{late}; the old one {how}{untold}"

    async def _known_to_peers(self, name: str, old: int, new: int) -> list[str]:
        """Waits until those who call this process may call the new one; who still has no connection to it."""
        behind = await self._not_connected(self._callers(name), old, new, PEERS_AT_MOST_S)
        await self._sleep(PEERS_S)
        return behind

    def _callers(self, name: str) -> dict[str, int]:
        """The processes that may call this one, by name."""
        states = [one for one in self._mesh.state.processes if one.pid and one.name != name]
        return {one.name: one.pid for one in states if self._mesh.child(one.name).spec.service}

    async def _beside(self, plan: Plan, name: str) -> Child:
        spec = next(one for one in plan.processes if one.name == name)
        try:
            return await self._mesh.start_beside(spec)
        except (PlainError, OSError) as error:
            raise _not_replaced(name, error) from error

    async def _tell_edges(self, endpoints: Endpoints, new: ProcessSpec) -> None:
        write_endpoints(self._folder, endpoints)
        for edge in (self._mesh.child(EDGE), *(going.child for going in self._going if not going.ended)):
            await self._until_taken(edge.spec.more_ports["admin"], endpoints, listens_on(new))

    def _scrape(self, plan: Plan) -> str:
        """Tells Prometheus, where it runs, the new ports. Answers what to say where that failed: no restart fails for
        it."""
        for spec in plan.processes:
            if spec.name == PROMETHEUS:
                child = self._mesh.child(PROMETHEUS)
                child.spec = spec
                try:
                    spec.prepare()
                except OSError as error:
                    return f"; {PROMETHEUS} was not told where it is ({error.strerror})"
                child.signal(signal.SIGHUP)
        return ""

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
        except (ChildError, OSError) as error:
            raise _not_replaced(EDGE, error) from error
        new = await self._beside(plan, EDGE)
        self._turned = turned
        old = self._mesh.replace(new)
        untold = self._scrape(plan)
        going = EdgeGoing(old, self._mesh.end)
        self._going.append(going)
        self._mesh.spawn(going.run())
        return f"process {new.state.pid} serves; the old one takes no more callers{untold}"

    async def _edges_gone(self) -> list[str]:
        """Waits for the last requests through edges that were replaced."""
        deadline = time.monotonic() + EDGE_WAIT_S
        while any(going.busy for going in self._going) and time.monotonic() < deadline:
            await self._sleep(POLL_S)
        busy = [going for going in self._going if going.busy]
        self._going = [going for going in self._going if not going.ended]
        return [
            f"{EDGE}: the old one (process {going.child.state.pid}) has requests under way still, and ends with them"
            for going in busy
        ]


def _not_replaced(name: str, error: Exception) -> RestartError:
    why = str(error) if isinstance(error, (PlainError, OSError)) else f"{type(error).__name__}: {error}"
    return RestartError(f"{name} was not replaced; the old one serves on.\n{why}")
