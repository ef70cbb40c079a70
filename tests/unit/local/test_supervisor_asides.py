"""What the supervisor does beside keeping processes (fakes, here): replacing them, side work, holding ports."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from services.local import supervisor as module
from services.local.child import ChildError
from services.local.data_folder import DataFolder
from services.local.ports import free_ports, is_free
from services.local.restarts import Restarts
from services.local.specs import Plan, ProcessSpec
from services.local.state import MeshState, ProcessState, RestartState
from services.local.supervisor import PortCollisionError, Supervisor

PATIENCE_S = 30.0  # of a test that would last for ever


class Ready:
    """A probe of what serves at once."""

    kind = "fake"

    async def is_ready(self, _pid: int) -> bool:
        return True


class FakeChild:
    """A process that never dies; `fail` is what its start raises."""

    fail: BaseException | None = None
    hang_at_start = False

    def __init__(self, spec: ProcessSpec, *_: Any) -> None:
        self.spec = spec
        self.state = ProcessState(spec.name, spec.port, "fake", dict(spec.more_ports))
        self.stopping = asyncio.Event()
        self.starting = asyncio.Event()
        self.go_on = asyncio.Event()
        self.killed = False
        self.free_at_start: list[int] = []

    async def begin(self) -> None:
        pass

    async def until_it_serves(self) -> None:
        if self.fail is not None:
            raise self.fail

    async def start(self) -> None:
        self.free_at_start = [port for port in (self.spec.port, *self.spec.more_ports.values()) if is_free(port)]
        self.starting.set()
        if self.hang_at_start:
            await asyncio.Event().wait()
        if self.fail is not None:
            raise self.fail

    async def keep(self) -> None:
        await asyncio.Event().wait()

    async def stop(self, _grace_s: float | None = None) -> bool:
        self.stopping.set()
        await self.go_on.wait()
        return True

    def kill(self) -> None:
        self.killed = True


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path)
    folder.make()
    return folder


@pytest.fixture
def said() -> list[str]:
    return []


def spec_of(ports: list[int]) -> ProcessSpec:
    return ProcessSpec(
        name="auth-0",
        group="service",
        command=(sys.executable,),
        port=ports[0],
        probe=Ready(),
        environment={},
        more_ports={"metrics": ports[1], "spare": ports[2], "spare-metrics": ports[3]},
        service="auth",
    )


@pytest.fixture
def ports() -> list[int]:
    return free_ports(4)


@pytest.fixture
def ours(data: DataFolder, ports: list[int], said: list[str], monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    monkeypatch.setattr(module, "Child", FakeChild)
    monkeypatch.setattr(FakeChild, "fail", None)
    return Supervisor(Plan((spec_of(ports),), (), ""), data, MeshState(os.getpid(), time.time()), said.append)


def child_of(supervisor: Supervisor) -> FakeChild:
    child: Any = supervisor.child("auth-0")
    assert isinstance(child, FakeChild)
    return child


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=PATIENCE_S)
    assert done, "it goes on for ever"


async def test_a_mesh_ends_while_a_process_is_started_again(ours: Supervisor, data: DataFolder) -> None:
    async def again(one: RestartState) -> None:
        await ours.again(one.processes[0])

    restarts = Restarts(data, ours, again, lambda _: None)
    keeping = asyncio.create_task(ours.keep(restarts.run))
    data.restart_request.write_text('{"ident": "x", "processes": ["auth-0"]}')
    restarts.asked()
    await child_of(ours).stopping.wait()
    await ended(keeping)


async def test_a_cancelled_again_is_cancelled(ours: Supervisor) -> None:
    """By itself, whoever waits for it."""
    raised: list[BaseException] = []

    async def again() -> None:
        try:
            await ours.again("auth-0")
        except BaseException as error:
            raised.append(error)
            raise

    keeping = asyncio.create_task(ours.keep(again))
    await child_of(ours).stopping.wait()
    await ended(keeping)
    assert [type(error) for error in raised] == [asyncio.CancelledError]


async def test_what_is_not_started_again_is_kept_nonetheless(ours: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []
    done = asyncio.Event()

    async def again() -> None:
        child = child_of(ours)
        child.go_on.set()
        child.fail = ChildError("auth-0", "no")
        monkeypatch.setattr(ours, "_keep", kept.append)
        with pytest.raises(ChildError):
            await ours.again("auth-0")
        done.set()

    keeping = asyncio.create_task(ours.keep(again))
    await done.wait()
    await ended(keeping)
    assert kept == ["auth-0"]


async def test_side_work_that_fails_is_reported_and_ends_nothing(ours: Supervisor, said: list[str]) -> None:
    failed, went_on = asyncio.Event(), asyncio.Event()

    async def fails() -> None:
        failed.set()
        raise ValueError("7")

    async def goes_on() -> None:
        await failed.wait()
        ours.spawn(fails())
        went_on.set()

    keeping = asyncio.create_task(ours.keep(fails, goes_on))
    await went_on.wait()
    await asyncio.sleep(0)  # the second failure's turn
    assert not keeping.done()
    assert [line for line in said if "fails failed" in line and "ValueError: 7" in line]
    await ended(keeping)
    assert keeping.cancelled()


async def test_spare_ports_are_held_until_who_takes_them_starts_and_then_the_old_ones(
    ours: Supervisor, ports: list[int]
) -> None:
    def free() -> list[bool]:
        return [is_free(port) for port in ports]

    await ours.start()
    assert free() == [True, True, False, False]
    turned = spec_of([*ports[2:], *ports[:2]])
    keeping = asyncio.create_task(ours.keep())
    await asyncio.sleep(0)
    old = child_of(ours)
    old.go_on.set()
    new: Any = await ours.start_beside(turned)
    assert set(ports[2:]) <= set(new.free_at_start)
    assert ours.replace(new) is old  # type: ignore[comparison-overlap]
    await ours.end(old)  # type: ignore[arg-type]
    assert free() == [False, False, True, True]
    await ended(keeping)
    new.go_on.set()
    await ours.stop()
    assert all(free())


@pytest.mark.parametrize("error", [ChildError("auth-0", "no"), OSError("full")], ids=["it ended", "a full disk"])
async def test_one_that_does_not_start_beside_leaves_nothing(
    ours: Supervisor, ports: list[int], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    await ours.start()
    monkeypatch.setattr(FakeChild, "fail", error)
    with pytest.raises(type(error)):
        await ours.start_beside(spec_of([*ports[2:], *ports[:2]]))
    assert not any(is_free(port) for port in ports[2:])
    child_of(ours).go_on.set()
    await ours.stop()


async def test_ports_that_the_supervisor_holds_are_no_collision(
    ours: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeChild, "fail", ChildError("auth-0", "of itself"))
    with pytest.raises(ChildError, match="of itself"):
        await ours.start()
    child_of(ours).go_on.set()
    await ours.stop()


async def test_one_that_starts_while_the_mesh_ends_is_killed(
    ours: Supervisor, ports: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[FakeChild] = []

    def make(spec: ProcessSpec, *_: Any) -> FakeChild:
        made.append(FakeChild(spec))
        return made[-1]

    monkeypatch.setattr(module, "Child", make)
    monkeypatch.setattr(FakeChild, "hang_at_start", True)
    starting = asyncio.create_task(ours.start_beside(spec_of([*ports[2:], *ports[:2]])))
    await asyncio.sleep(0)
    await made[0].starting.wait()
    starting.cancel()
    await asyncio.wait({starting})
    assert made[0].killed


async def test_a_spare_port_that_another_has_is_told(ours: Supervisor, ports: list[int]) -> None:
    with socket.create_server(("127.0.0.1", ports[2])):
        with pytest.raises(PortCollisionError, match=f"port {ports[2]}, which is kept for restarts of auth-0"):
            await ours.start()
        with pytest.raises(PortCollisionError, match=f"Port {ports[2]}, which is kept for restarts of auth-0"):
            await ours.start_beside(spec_of([*ports[2:], *ports[:2]]))
    child_of(ours).go_on.set()
    await ours.stop()
