"""What `promptmesh restart` may be asked, and what it says where it cannot be done."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from services.local import restarts
from services.local.commands.restart import chosen, restart
from services.local.data_folder import DataFolder, NotRunningError
from services.local.endpoints import taken
from services.local.port_names import turned
from services.local.restarts import TAKEN_UP_S, RestartRefusedError, Restarts, ask_for_restart
from services.local.state import MeshState, ProcessState, RestartState, read_state

NAMES = ("postgres", "redis-state", "auth-0", "auth-1", "prompts-0", "prompts-1", "edge", "mail")


def state_of(**more: object) -> MeshState:
    processes = [ProcessState(name, 20_000 + index, "grpc") for index, name in enumerate(NAMES)]
    return MeshState(os.getpid(), time.time(), "ready", processes=processes, **more)  # type: ignore[arg-type]


@pytest.fixture
def data(tmp_path: Path) -> DataFolder:
    folder = DataFolder(tmp_path)
    folder.make()
    return folder


@pytest.mark.parametrize(
    ("asked", "everything", "meant"),
    [
        ((), False, ["auth-0", "auth-1", "prompts-0", "prompts-1", "edge"]),
        ((), True, ["auth-0", "auth-1", "prompts-0", "prompts-1", "edge", "postgres", "redis-state", "mail"]),
        (("auth",), False, ["auth-0", "auth-1"]),
        (("edge", "prompts-1"), False, ["prompts-1", "edge"]),
        (("postgres", "auth-1"), False, ["auth-1", "postgres"]),
    ],
)
def test_who_is_meant(asked: tuple[str, ...], everything: bool, meant: list[str]) -> None:
    assert chosen(state_of(), asked, everything=everything) == meant


def test_a_name_that_is_none_is_told_which_there_are() -> None:
    with pytest.raises(click.UsageError, match=r"has no process auth-7, redis\. It has postgres, .*a service"):
        chosen(state_of(), ("auth-7", "redis"), everything=False)
    with pytest.raises(click.UsageError, match="names every process"):
        chosen(state_of(), ("auth",), everything=True)


def _asked(data: DataFolder, state: MeshState) -> Exception:
    """What the command fails with, at a folder that this process holds."""
    with data.locked():
        state.write(data.state)
        result = CliRunner().invoke(restart, ["--data", str(data.path)])
    assert isinstance(result.exception, Exception)
    return result.exception


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (state_of(), "was started by a version without it, so it cannot be restarted"),
        (state_of(takes_restarts=True, restart=RestartState("x", ["edge"], time.time())), "restart of edge has been"),
    ],
    ids=["an older supervisor", "two at once"],
)
def test_it_is_refused_before_anybody_is_signalled(data: DataFolder, state: MeshState, why: str) -> None:
    assert why in str(_asked(data, state))
    assert not data.restart_request.exists()


def test_a_mesh_that_is_stopping_is_left_alone(data: DataFolder) -> None:
    state = state_of(takes_restarts=True)
    state.phase = "stopping"
    assert "is stopping; only one that is ready" in str(_asked(data, state))


def test_without_a_mesh_it_says_how_to_start_one(data: DataFolder) -> None:
    result = CliRunner().invoke(restart, ["--data", str(data.path)])
    assert isinstance(result.exception, NotRunningError)


def test_who_asks_second_is_refused(data: DataFolder) -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: told.append(number))
    try:
        ask_for_restart(data, os.getpid(), ["edge"], "one")
        with pytest.raises(RestartRefusedError, match="Another restart"):
            ask_for_restart(data, os.getpid(), ["edge"], "two")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told == [signal.SIGUSR1]
    assert data.restart_request.stat().st_mode & 0o777 == 0o600


def test_a_request_that_nobody_took_up_is_abandoned(data: DataFolder) -> None:
    data.restart_request.write_text("{}")
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    try:
        with pytest.raises(RestartRefusedError, match="Another restart"):
            ask_for_restart(data, os.getpid(), ["edge"], "one")
        long_ago = time.time() - TAKEN_UP_S - 1
        os.utime(data.restart_request, (long_ago, long_ago))
        ask_for_restart(data, os.getpid(), ["edge"], "two")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert json.loads(data.restart_request.read_text())["ident"] == "two"
    assert _files_of(data) == [data.restart_request]


def test_a_supervisor_that_cannot_be_told_leaves_no_request(data: DataFolder) -> None:
    child = subprocess.Popen(["true"])
    child.wait()
    with pytest.raises(RestartRefusedError, match=f"process {child.pid}, cannot be asked: No such process"):
        ask_for_restart(data, child.pid, ["edge"], "one")
    assert _files_of(data) == []


def test_a_full_disk_leaves_no_request(data: DataFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(restarts, "write_private", full)
    with pytest.raises(RestartRefusedError, match="No space left"):
        ask_for_restart(data, os.getpid(), ["edge"], "one")
    assert _files_of(data) == []


def _files_of(data: DataFolder) -> list[Path]:
    """Requests, whole or half written."""
    return list(data.restart_request.parent.glob(f"*{data.restart_request.name}*"))


class FakeTold:
    """A supervisor's state, written nowhere."""

    def __init__(self) -> None:
        self.state = state_of(takes_restarts=True)

    def changed(self) -> None:
        pass


@pytest.mark.parametrize("bad", ["no JSON", "[]", '{"ident": "x"}', '{"ident": "x", "processes": 7}'])
async def test_a_bad_request_ends_nothing(data: DataFolder, bad: str) -> None:
    said: asyncio.Queue[str] = asyncio.Queue()
    done: list[str] = []

    async def replace(one: RestartState) -> None:
        done.extend(one.processes)
        one.phase = "done"

    ours = Restarts(data, FakeTold(), replace, said.put_nowait)
    running = asyncio.create_task(ours.run())
    try:
        data.restart_request.write_text(bad)
        ours.asked()
        assert "cannot be read" in await said.get()
        assert not data.restart_request.exists()
        data.restart_request.write_text('{"ident": "x", "processes": ["edge"]}')
        ours.asked()
        assert "of edge begins" in await said.get()
        assert "is done" in await said.get()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert done == ["edge"]


async def test_a_fault_while_the_mesh_ends_does_not_keep_it(data: DataFolder) -> None:
    begun = asyncio.Event()

    async def replace(_: RestartState) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise RuntimeError("the group is ending")

    ours = Restarts(data, FakeTold(), replace, lambda _: None)
    running = asyncio.create_task(ours.run())
    data.restart_request.write_text('{"ident": "x", "processes": ["edge"]}')
    ours.asked()
    await begun.wait()
    running.cancel()
    done, _ = await asyncio.wait({running}, timeout=30)
    assert done
    assert running.cancelled()


def test_the_state_tells_of_a_restart_and_of_who_leaves(data: DataFolder) -> None:
    state = state_of(takes_restarts=True, restart=RestartState("x", ["edge"], 1.0, "failed", "why", ["a line"]))
    state.leaving = [ProcessState("edge", 8080, "http", pid=7)]
    state.write(data.state)
    assert read_state(data.state) == state


def test_ports_change_places_and_back() -> None:
    ports = {"auth-0": 1, "auth-0-metrics": 2, "auth-0-spare": 3, "auth-0-spare-metrics": 4, "auth-01": 5, "edge": 6}
    ports |= {"edge-admin": 7, "edge-admin-spare": 8}
    there = turned(ports, ["auth-0"])
    assert there == ports | {"auth-0": 3, "auth-0-metrics": 4, "auth-0-spare": 1, "auth-0-spare-metrics": 2}
    assert turned(there, ["auth-0"]) == ports
    assert turned(ports, ["edge"]) == ports | {"edge-admin": 8, "edge-admin-spare": 7}


CLUSTERS = """auth::default_priority::max_connections::1024
auth::127.0.0.1:20001::cx_active::1
auth::127.0.0.1:20001::health_flags::healthy
auth::127.0.0.1:20002::health_flags::{health}
edge_admin::127.0.0.1:9901::health_flags::healthy
"""


def test_an_edge_has_taken_what_it_sends_calls_to() -> None:
    healthy = CLUSTERS.format(health="healthy")
    assert taken(healthy, {"auth": [20001, 20002]}, {20002})
    assert not taken(healthy, {"auth": [20002]}, {20002}), "the old one still gets calls"
    assert not taken(healthy, {"auth": [20001, 20002], "prompts": [3]}, {20002})
    sick = CLUSTERS.format(health="/failed_active_hc")
    assert not taken(sick, {"auth": [20001, 20002]}, {20002}), "nobody gets calls before they are healthy"
    assert taken(sick, {"auth": [20001, 20002]}, {20001}), "another one that is sick is not ours to wait for"
