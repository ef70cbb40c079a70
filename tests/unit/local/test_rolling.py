"""A rolling restart with fakes: its order, and what is left when something fails in its midst."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Collection, Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

from services.local import endpoints, rolling
from services.local.child import ChildError
from services.local.endpoints import EdgeDeafError, write_endpoints
from services.local.files import write_private
from services.local.port_names import turned as turned_ports
from services.local.rolling import RollingRestart
from services.local.specs import Plan, ProcessSpec, TaskSpec
from services.local.state import MeshState, ProcessState, RestartState

PORTS = {"edge": 1, "edge-admin": 2, "edge-admin-spare": 3, "postgres": 4, "prometheus": 5}
PORTS |= {f"{name}{use}": 10 * base + n for base, name in enumerate(("auth-0", "prompts-0"), 1)
          for n, use in enumerate(("", "-metrics", "-spare", "-spare-metrics"))}  # fmt: skip
FULL = OSError(errno.ENOSPC, "No space left on device")


def spec_of(name: str, ports: Mapping[str, int], prepare: Callable[[], None] = lambda: None) -> ProcessSpec:
    service = name.removesuffix("-0") if name.endswith("-0") else None
    uses = {"edge": ("admin", "admin-spare")}.get(name, ("metrics", "spare", "spare-metrics") if service else ())
    more = {use: ports[f"{name}-{use}"] for use in uses}
    return ProcessSpec(
        name, service or name, ("true",), ports[name], None, {}, more_ports=more, service=service, prepare=prepare  # type: ignore[arg-type]
    )  # fmt: skip


class FakeChild:
    """A process that runs until it is ended."""

    pids = iter(range(100, 10_000))

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self.state = ProcessState(spec.name, spec.port, "fake", dict(spec.more_ports), pid=next(self.pids))
        self.gone = False
        self.signalled = 0

    def signal(self, _: int) -> None:
        self.signalled += 1


class FakeMesh:
    """What a rolling restart needs of a supervisor; `did` is what was done."""

    def __init__(self, *names: str) -> None:
        self.children = {name: FakeChild(spec_of(name, PORTS)) for name in names}
        self.did: list[str] = []
        self.beside: list[FakeChild] = []
        self.printed: str | ChildError = "auth: nothing to do\nprompts: nothing to do\n"
        self.state = MeshState(1, 0.0, processes=[one.state for one in self.children.values()])

    def child(self, name: str) -> Any:
        return self.children[name]

    async def start_beside(self, spec: ProcessSpec) -> Any:
        self.did.append(f"start {spec.name} on {spec.port}")
        self.beside.append(FakeChild(spec))
        return self.beside[-1]

    def replace(self, new: Any) -> Any:
        old, self.children[new.spec.name] = self.children[new.spec.name], new
        return old

    async def end(self, child: Any, _grace_s: float | None = None) -> bool:
        self.did.append(f"end {child.spec.name} on {child.spec.port}")
        child.gone = True
        return True

    async def again(self, name: str) -> None:
        self.did.append(f"again {name}")

    async def do(self, task: TaskSpec) -> str:
        self.did.append(f"do {task.name}")
        if isinstance(self.printed, ChildError):
            raise self.printed
        return self.printed

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        work.close()

    def changed(self) -> None:
        pass


class Ours:
    """A rolling restart of a fake mesh."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder, self.mesh = folder, FakeMesh(*names)
        self.prepare: Callable[[], None] = lambda: None
        self.deaf_to: Collection[int] = ()
        self.behind: list[str] | Exception = []
        self.peers_look = True
        self.asked: list[tuple[dict[str, int], int, int]] = []
        write_endpoints(folder, self.plan(PORTS, ()).endpoints)
        self.rolling = RollingRestart(
            self.mesh, folder, PORTS, self.plan,
            until_taken=self.until_taken, not_connected=self.not_connected, sleep=self.sleep,
        )  # fmt: skip

    def plan(self, ports: Mapping[str, int], turned: Collection[str]) -> Plan:
        there = turned_ports(ports, turned)
        tasks = [TaskSpec(name, name, ("true",), {}) for name in ("database-setup", "edge-configuration")]
        processes = [spec_of(name, there, self.prepare) for name in self.mesh.children]
        endpoints = {one.service: [one.port] for one in processes if one.service}
        return Plan(tuple(processes), tuple(tasks), "", endpoints, self.peers_look)

    async def until_taken(self, _admin: int, endpoints: Mapping[str, Any], _fresh: Collection[int]) -> None:
        if any(port in self.deaf_to for ports in endpoints.values() for port in ports):
            raise EdgeDeafError("the edge is deaf")

    async def not_connected(self, pids: Mapping[str, int], old: int, new: int, _at_most_s: float) -> list[str]:
        self.asked.append((dict(pids), old, new))
        self.mesh.did.append(f"peers reach {new}")
        if isinstance(self.behind, Exception):
            raise self.behind
        return self.behind

    async def sleep(self, _s: float) -> None:
        pass

    async def run(self, *names: str) -> RestartState:
        one = RestartState("x", list(names), 0.0)
        await self.rolling.run(one)
        return one

    def ports_of(self, cluster: str) -> list[int]:
        told = json.loads((self.folder / f"{cluster}.json").read_text())["resources"][0]
        return [
            one["endpoint"]["address"]["socket_address"]["port_value"] for one in told["endpoints"][0]["lb_endpoints"]
        ]


@pytest.fixture
def ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ours:
    monkeypatch.setattr(rolling, "EDGE_WAIT_S", 0.0)
    monkeypatch.setattr("services.local.edge_admin.answers", lambda _port: False)
    monkeypatch.setattr(rolling, "is_free", lambda _port: True)
    return Ours(tmp_path, "auth-0", "prompts-0", "edge", "postgres", "prometheus")


async def test_the_database_first_then_each_service_and_the_edge_last(ours: Ours) -> None:
    ours.mesh.printed = "auth: applied 0012 more\nprompts: nothing to do\n"
    done = await ours.run("auth-0", "prompts-0", "edge", "postgres")
    assert done.phase == "done", done.error
    assert ours.mesh.did == [
        "do database-setup",
        *("start auth-0 on 12", "peers reach 12", "end auth-0 on 10"),
        *("start prompts-0 on 22", "peers reach 22", "end prompts-0 on 20"),
        *("do edge-configuration", "start edge on 1"),
        "again postgres",
    ]
    assert done.lines[0] == "database-setup: auth: applied 0012 more"
    assert [line.split(":")[0] for line in done.lines[1:5]] == ["auth-0", "prompts-0", "edge", "postgres"]
    assert (ours.ports_of("auth"), ours.ports_of("prompts")) == ([12], [22])


async def test_nothing_is_replaced_when_the_database_cannot_be_migrated(ours: Ours) -> None:
    ours.mesh.printed = ChildError("database-setup", "column x is missing")
    done = await ours.run("auth-0", "edge")
    assert ours.mesh.did == ["do database-setup"]
    assert done.phase == "failed"
    assert "Nothing was replaced" in done.error
    assert "column x is missing" in done.error


async def test_without_a_service_the_database_is_left_alone(ours: Ours) -> None:
    assert (await ours.run("edge", "postgres")).phase == "done"
    assert "do database-setup" not in ours.mesh.did


async def test_an_old_process_goes_when_those_who_call_it_reach_the_new_one(ours: Ours) -> None:
    ours.behind = ["prompts-0"]
    done = await ours.run("auth-0")
    (asked,) = ours.asked
    assert asked == ({"prompts-0": ours.mesh.child("prompts-0").state.pid}, 10, 12), "services other than itself"
    assert "prompts-0 had no connection to it after 10 s" in done.lines[0]


async def test_peers_that_look_for_the_next_when_one_ends_are_not_waited_for(ours: Ours) -> None:
    ours.peers_look = False
    assert (await ours.run("auth-0")).phase == "done"
    assert ours.asked == []
    assert ours.mesh.did[-2:] == ["start auth-0 on 12", "end auth-0 on 10"]


async def test_a_deaf_edge_is_told_what_was_before_and_the_new_process_ends(ours: Ours) -> None:
    ours.deaf_to = [12]
    done = await ours.run("auth-0", "prompts-0")
    assert ours.mesh.did == ["do database-setup", "start auth-0 on 12", "end auth-0 on 12"]
    assert ours.ports_of("auth") == [10]
    assert done.phase == "failed"
    assert "auth-0 was not replaced; the old one serves on.\nthe edge is deaf" in done.error


async def test_a_fault_while_peers_are_waited_for_ends_the_new_process(ours: Ours) -> None:
    ours.behind = ValueError("what is this?")
    done = await ours.run("auth-0")
    assert (done.phase, ours.mesh.beside[0].gone, ours.ports_of("auth")) == ("failed", True, [10])
    assert "ValueError: what is this?" in done.error


@pytest.mark.parametrize("writes", [0, 1], ids=["at once", "once both serve"])
async def test_a_full_disk_ends_the_new_process_and_the_old_one_serves(
    ours: Ours, monkeypatch: pytest.MonkeyPatch, writes: int
) -> None:
    left = [write_endpoints] * writes

    def write(*arguments: Any) -> None:
        if not left:
            raise FULL
        left.pop()(*arguments)

    monkeypatch.setattr(rolling, "write_endpoints", write)
    old = ours.mesh.child("auth-0")
    done = await ours.run("auth-0")
    assert (done.phase, ours.mesh.beside[0].gone, old.gone) == ("failed", True, False)
    assert ours.mesh.child("auth-0") is old
    assert "No space left on device" in done.error
    assert 10 in ours.ports_of("auth"), "the edge knows the old one in any case"


async def test_a_prometheus_that_cannot_be_told_keeps_no_old_process(ours: Ours) -> None:
    def full() -> None:
        raise FULL

    ours.prepare = full
    old = ours.mesh.child("auth-0")
    done = await ours.run("auth-0")
    assert (done.phase, old.gone) == ("done", True)
    assert "prometheus was not told where it is (No space left on device)" in done.lines[0]


def test_endpoints_are_written_all_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_endpoints(tmp_path, {"a": [1], "b": [2]})
    before = {path.name: path.read_text() for path in tmp_path.glob("*.json")}
    written: list[Path] = []

    def full_at_second(path: Path, content: str, *, durable: bool) -> None:
        if written:
            raise FULL
        written.append(path)
        write_private(path, content, durable=durable)

    monkeypatch.setattr(endpoints, "write_private", full_at_second)
    with pytest.raises(OSError, match="No space"):
        write_endpoints(tmp_path, {"a": [3], "b": [4]})
    assert {path.name: path.read_text() for path in tmp_path.glob("*.json")} == before
