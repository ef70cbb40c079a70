"""The processes of a mesh that is being upgraded: a release's own, which its own command line started, and today's.

Each service has two places: the old process stands in the first, today's is started beside it in the second. The old
release's supervisor is stopped (SIGSTOP) once its mesh serves, so that whoever ends a process here finds it ended, as
in a cluster. Both edges know both places, and so does every process that is started here.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.local.data_folder import DataFolder
from services.local.plan import DATABASE, embedded_postgres, make_plan
from services.local.port_book import EDGE
from services.local.port_names import EDGE_ADMIN, POSTGRES, port_names
from services.local.ports import free_ports
from services.local.probes import GrpcReady, HttpReady
from services.local.secrets import load_or_make_secrets
from services.local.settings import SERVICES, MeshSettings
from services.local.specs import Plan, ProcessSpec, TaskSpec
from services.local.testing import send_signal
from tools.release_code import python_path

PLACES = 2
START_TIMEOUT_S = 240.0
START_ATTEMPTS = 3  # a process that ends is started again, as in a cluster: on a busy machine its patience may not do
END_TIMEOUT_S = 60.0
POLL_S = 0.05
_UP = ("up", "--detach", "--json", "--workers", "1", "--edge-port")
_CALLS = re.compile(r"^rpc_server_\w*duration_seconds_count\{([^}]*)\} ([\d.e+]+)$", re.MULTILINE)


class RolloutError(AssertionError):
    """A process did not do what a rollout needs of it; the message has the end of its log."""


@dataclass
class Process:
    """One that runs: which version it is of, and how it was started."""

    name: str
    version: str
    pid: int
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    metrics_port: int
    log: Path
    own: subprocess.Popen[bytes] | None = None  # None: the old release's supervisor started it

    @property
    def running(self) -> bool:
        """A process that ended but was not asked for its code yet does not."""
        if self.own is not None:
            return self.own.poll() is None
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        except OSError:
            return False

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text(errors="replace")[-3000:]


class Rollout:
    """A release's mesh in `data`, and today's processes that take its place."""

    def __init__(self, code: Path, data: Path, environment: Mapping[str, str], release: str) -> None:
        """code: where the release's archive was unpacked; environment: what both meshes get of it."""
        self._code, self.data, self._environment = code, data, dict(environment)
        self.release, self.today = release, "today"
        self.processes: dict[str, Process] = {}
        self.calls: Counter[tuple[str, str]] = Counter()  # (process, version) → calls answered, of those that ended
        self.url = self.new_url = ""
        self.admin: dict[str, str] = {}
        self.begun = time.monotonic()
        self._supervisor = 0
        self._started: list[Process] = []
        self._plan: Plan | None = None
        self._ports: dict[str, int] = {}

    # The old release

    async def start_release(self) -> None:
        """Starts the old release's mesh as a person would, takes its processes over from its supervisor, and puts an
        edge of that release in front that knows both places of each service."""
        said = await self._up()
        self.admin, self._supervisor = said["admin"], said["pid"]
        state = json.loads((self.data / "run" / "state.json").read_text())
        send_signal(self._supervisor, signal.SIGSTOP)
        for one in state["processes"]:
            self._ports[one["name"]] = one["port"]
            self._ports |= {f"{one['name']}-{use}": port for use, port in one["more_ports"].items()}
            if one["name"].rpartition("-")[0] in SERVICES or one["name"] == EDGE:
                self.processes[one["name"]] = _found(one, self.release, self.data)
        settings = MeshSettings(workers=PLACES, edge_port=None, log_level="info", envoy_concurrency=1)
        missing = [name for name in port_names(settings) if name not in self._ports]
        self._ports |= dict(zip(missing, free_ports(len(missing)), strict=True))
        await self._start_old_edge()
        # Started again with both places: a cluster's names lead to all processes of a service, however old who asks is.
        await asyncio.gather(*(self.restart(f"{service}-0") for service in SERVICES))
        self.calls.clear()

    async def _up(self) -> dict[str, Any]:
        for attempt in range(1, START_ATTEMPTS + 1):
            try:
                said = await self._old("services.local", *_UP, str(free_ports(1)[0]), "--data", str(self.data))
                return dict(json.loads(said))
            except RolloutError:
                if attempt == START_ATTEMPTS:
                    raise
        raise AssertionError("not reached")

    async def _start_old_edge(self) -> None:
        run = self.data / "run"
        port, admin = free_ports(2)
        settings = json.loads((run / "edge-settings.json").read_text()) | {"edge_port": port, "admin_port": admin}
        settings.pop("endpoints_dir", None)  # from v0.2.0 on: files that are today's edge's alone here
        for uses, suffix in (("clusters", ""), ("http_clusters", "-http")):
            for service in settings.get(uses, {}):
                settings[uses][service] = [["127.0.0.1", self._ports[f"{one}{suffix}"]] for one in _places(service)]
        (run / "old-edge-settings.json").write_text(json.dumps(settings))
        configuration = str(run / "old-edge.yaml")
        await self._old(
            *("gateway.render", "--target", "local", "--settings", str(run / "old-edge-settings.json")),
            *("--out", configuration),
        )
        found = self.processes.pop(EDGE)  # it knows the first places alone, and nobody asks it
        command = tuple(configuration if one == str(run / "edge.yaml") else one for one in found.command)
        await self._start("old-edge", self.release, command, found.environment, HttpReady(admin, "/ready"))
        self.url = f"http://127.0.0.1:{port}"

    async def _old(self, module: str, *arguments: str) -> str:
        """Runs a program of the old release to its end; answers what it printed."""
        environment = self._environment | {"PYTHONPATH": python_path(self._code)}
        # What `--detach` starts looks where it stands first, before PYTHONPATH.
        return await _run((sys.executable, "-P", "-m", module, *arguments), environment, self._code)

    async def restart(self, name: str) -> None:
        """Ends a process and starts another of the same version in its place, as one that died is."""
        before = self.processes[name]
        targets = {f"PROMPTMESH_{one.upper()}_TARGET": self._target(one) for one in SERVICES}
        await self.end(name)
        await self._start(name, before.version, before.command, {**before.environment, **targets})

    def _target(self, service: str) -> str:
        return "ipv4:" + ",".join(f"127.0.0.1:{self._ports[one]}" for one in _places(service))

    # Today's

    def plan(self) -> Plan:
        """Today's plan, in those places; its edge gets ports of its own."""
        if self._plan is None:
            ports = self._ports | dict(zip((EDGE, EDGE_ADMIN), free_ports(2), strict=True))
            self.new_url = f"http://127.0.0.1:{ports[EDGE]}"
            folder = DataFolder(self.data)
            (folder.run / "start").touch()  # nothing is held back: what a process waits for stands
            settings = MeshSettings.read(
                workers=PLACES,
                edge_port=None,
                data=self.data,
                environment=self._environment | {"PROMPTMESH_PUBLIC_URL": self.url},
                directory=self.data,
            )
            self._plan = make_plan(folder, settings, load_or_make_secrets(folder), ports, bootstrap_admin=False)
        return self._plan

    async def migrate(self) -> str:
        """As the cluster's Job does, while the old release serves; answers what it said."""
        return await self._task("database-setup")

    async def start_new_edge(self) -> None:
        """Today's edge beside the old one, in front of whatever serves."""
        await self._task("edge-configuration")
        spec = self._spec(EDGE)
        await self._start(
            "new-edge", self.today, spec.command, spec.environment, HttpReady(spec.more_ports["admin"], "/ready")
        )

    async def start(self, name: str) -> None:
        """Starts today's process in a place that is empty."""
        spec = self._spec(name)
        spec.prepare()
        await self._start(name, self.today, spec.command, spec.environment)

    def _spec(self, name: str) -> ProcessSpec:
        return next(one for one in self.plan().processes if one.name == name)

    async def _task(self, name: str) -> str:
        task: TaskSpec = next(one for one in self.plan().tasks if one.name == name)
        task.prepare()
        return await _run(task.command, task.environment, self.data)

    # Either

    async def end(self, name: str) -> None:
        """SIGTERM, and the end of the drain; its calls are counted before."""
        process = self.processes.pop(name)
        self._count(process)
        send_signal(process.pid, signal.SIGTERM)
        async with asyncio.timeout(END_TIMEOUT_S):
            while process.running:
                await asyncio.sleep(POLL_S)

    async def _start(
        self,
        name: str,
        version: str,
        command: tuple[str, ...],
        environment: Mapping[str, str],
        ready: GrpcReady | HttpReady | None = None,
    ) -> None:
        probe = ready or GrpcReady(self._ports[name])
        for attempt in range(1, START_ATTEMPTS + 1):
            log = self.data / "logs" / f"{name}-{version}-{len(self._started)}.log"
            with log.open("wb") as file:
                own = subprocess.Popen(command, env=dict(environment), stdout=file, stderr=file)  # noqa: ASYNC220
            metrics = self._ports.get(f"{name}-metrics", 0)
            process = Process(name, version, own.pid, command, environment, metrics, log, own)
            self._started.append(process)
            async with asyncio.timeout(START_TIMEOUT_S):
                while process.running and not await probe.is_ready(own.pid):
                    await asyncio.sleep(POLL_S)
            if process.running:
                self.processes[name] = process
                return
            if attempt == START_ATTEMPTS:
                raise RolloutError(f"{name} of {version} ended instead of serving:\n{process.tail()}")

    def count(self) -> Counter[tuple[str, str]]:
        """Calls that each process answered so far, by (service, version)."""
        counted = Counter(self.calls)
        for process in self.processes.values():
            if process.metrics_port:
                counted[process.name.rpartition("-")[0], process.version] += _calls(process)
        return counted

    def _count(self, process: Process) -> None:
        if process.metrics_port:
            self.calls[process.name.rpartition("-")[0], process.version] += _calls(process)

    def logs(self) -> dict[str, str]:
        """What today's processes said, by the name of the log."""
        return {one.log.name: one.log.read_text(errors="replace") for one in self._started}

    def database_url(self) -> str:
        """The superuser's address of the database."""
        folder = DataFolder(self.data)
        return embedded_postgres(folder, load_or_make_secrets(folder), self._ports[POSTGRES]).url(DATABASE)

    async def close(self) -> None:
        """Ends whatever runs."""
        for process in self._started:
            if process.own is not None and process.running:
                process.own.terminate()
        for process in self._started:
            if process.own is not None:
                try:
                    process.own.wait(END_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    process.own.kill()
                    process.own.wait()
        if self._supervisor:
            send_signal(self._supervisor, signal.SIGCONT)
            await self._old("services.local", "down", "--data", str(self.data))


def _found(state: dict[str, Any], version: str, data: Path) -> Process:
    """A process that runs, as the kernel tells how it was started."""
    proc = Path(f"/proc/{state['pid']}")
    command = tuple((proc / "cmdline").read_text().rstrip("\0").split("\0"))
    environment = dict(one.split("=", 1) for one in (proc / "environ").read_text().split("\0") if "=" in one)
    return Process(
        state["name"],
        version,
        state["pid"],
        command,
        environment,
        state["more_ports"].get("metrics", 0),
        data / "logs" / f"{state['name']}.log",
    )


def _places(service: str) -> list[str]:
    return [f"{service}-{place}" for place in range(PLACES)]


async def _run(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, env=dict(environment), cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    said, complaints = await asyncio.wait_for(process.communicate(), START_TIMEOUT_S)
    if process.returncode:
        raise RolloutError(f"{' '.join(command)} ended with {process.returncode}: {complaints.decode()[-3000:]}")
    return said.decode()


def _calls(process: Process) -> int:
    """Calls of callers and other services that it has answered; none of health checks."""
    with urllib.request.urlopen(f"http://127.0.0.1:{process.metrics_port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return sum(int(float(count)) for labels, count in _CALLS.findall(text) if "promptmesh" in labels)
