"""The supervisor with real PostgreSQL and Redis: starts in order, restarts what dies, leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from services.local.child import ChildError
from services.local.data_folder import DataFolder
from services.local.embedded.postgres import PostgresCluster, processes_in
from services.local.embedded.redis import RedisServer, running_redis
from services.local.ports import free_ports
from services.local.probes import PostgresReady, RedisReady
from services.local.specs import Plan, ProcessSpec, TaskSpec
from services.local.state import MeshState, read_state
from services.local.supervisor import PortCollisionError, Supervisor


def postgres_spec(data: DataFolder) -> ProcessSpec:
    cluster = PostgresCluster(data.postgres, free_ports(1)[0], "secret", durable=False, database="mesh")
    return ProcessSpec(
        name="postgres",
        group="postgres",
        command=tuple(cluster.command()),
        port=cluster.port,
        probe=PostgresReady(cluster.folder),
        environment=cluster.environment(),
        stop_signal=signal.SIGINT,
        death_signal=signal.SIGQUIT,
        prepare=cluster.prepare,
        identity=cluster.identity,
    )


def redis_spec(data: DataFolder, port: int | None = None) -> ProcessSpec:
    server = RedisServer(data.run, "redis-state", port or free_ports(1)[0], "secret")
    return ProcessSpec(
        name="redis-state",
        group="redis",
        command=tuple(server.command()),
        port=server.port,
        probe=RedisReady(server.port, server.password),
        environment=server.environment(),
        prepare=server.write_configuration,
    )


def task(program: str, *depends_on: str) -> TaskSpec:
    return TaskSpec("task", "the task", (sys.executable, "-I", "-c", program), {}, depends_on)


@asynccontextmanager
async def running(data: DataFolder, plan: Plan, said: list[str]) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(plan, data, MeshState(os.getpid(), time.time()), said.append)
    try:
        await supervisor.start()
        keeping = asyncio.create_task(supervisor.keep())
        try:
            yield supervisor
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
    finally:
        await supervisor.stop()


async def until(condition: Callable[[], bool] | Callable[[], Awaitable[bool]]) -> None:
    while True:
        answer = condition()
        if answer if isinstance(answer, bool) else await answer:
            return
        await asyncio.sleep(0.02)


async def test_a_task_runs_after_what_it_depends_on_and_its_output_is_kept(data: DataFolder) -> None:
    redis = redis_spec(data)
    connects = f"import socket; socket.create_connection(('127.0.0.1', {redis.port})); print('connected')"
    said: list[str] = []
    async with running(data, Plan((redis,), (task(connects, "redis-state"),), ""), said) as supervisor:
        assert supervisor.printed["task"] == "connected\n"
        assert [line.split(" (")[0] for line in said] == [f"redis-state on port {redis.port}", "the task"]


async def test_a_process_that_is_held_is_started_at_once_and_begins_when_all_stand(data: DataFolder) -> None:
    redis = redis_spec(data)
    begin, begun = data.path / "begin", data.path / "begun"
    begin.touch()  # of a mesh before
    held = (
        "import os, pathlib, sys, time; begin, begun, *command = sys.argv[1:]; pathlib.Path(begun).touch()\n"
        "while not pathlib.Path(begin).exists(): time.sleep(0.01)\n"
        "os.execv(command[0], command)"
    )
    redis = replace(
        redis,
        command=(sys.executable, "-I", "-c", held, str(begin), str(begun), *redis.command),
        start_file=begin,
        held_until=("task",),
    )
    # The task ends only once the held process was started, and fails if that has begun before.
    waits = (
        "import pathlib, time\n"
        f"while not pathlib.Path({str(begun)!r}).exists(): time.sleep(0.01)\n"
        f"assert not pathlib.Path({str(begin)!r}).exists()"
    )
    said: list[str] = []
    async with running(data, Plan((redis,), (task(waits),), ""), said):
        assert begin.exists()
        assert [line.split(" (")[0] for line in said] == ["the task", f"redis-state on port {redis.port}"]


async def test_what_is_held_for_a_task_that_fails_is_ended(data: DataFolder) -> None:
    sleeps = replace(
        redis_spec(data),
        command=(sys.executable, "-I", "-c", "import time; time.sleep(600)"),
        start_file=data.path / "begin",
        held_until=("task",),
    )
    state = MeshState(os.getpid(), time.time())
    supervisor = Supervisor(Plan((sleeps,), (task("raise SystemExit('no')"),), ""), data, state, lambda _: None)
    try:
        with pytest.raises(ChildError, match="the task"):
            await supervisor.start()
    finally:
        pids = [one.pid for one in state.processes if one.pid]
        await supervisor.stop()
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert not (data.path / "begin").exists()


async def test_postgres_and_redis_are_restarted_when_killed_and_gone_after_stop(data: DataFolder) -> None:
    said: list[str] = []
    async with running(data, Plan((postgres_spec(data), redis_spec(data)), (), ""), said) as supervisor:
        before = {one.name: one.pid for one in supervisor.state.processes}
        for pid in before.values():
            os.kill(pid, signal.SIGKILL)
        await until(lambda: all(one.ready and one.restarts == 1 for one in supervisor.state.processes))
        after = {one.name: one.pid for one in supervisor.state.processes}
        assert not set(before.values()) & set(after.values())
        written = read_state(data.state)
        assert written is not None
        assert {one.name: (one.restarts, one.last_exit) for one in written.processes} == {
            "postgres": (1, "was ended by SIGKILL"),
            "redis-state": (1, "was ended by SIGKILL"),
        }
        assert any("postgres was ended by SIGKILL; starting it again" in line for line in said)
    assert not [pid for pid in after.values() if psutil.pid_exists(pid)]
    assert processes_in(data.postgres) == []


async def test_a_process_that_cannot_start_says_why_and_what_ran_is_ended(data: DataFolder) -> None:
    broken = replace(redis_spec(data), command=(sys.executable, "-I", "-c", "raise SystemExit('no such thing: x=y')"))
    supervisor = Supervisor(
        Plan((postgres_spec(data), broken), (), ""), data, MeshState(os.getpid(), time.time()), lambda _: None
    )
    try:
        with pytest.raises(ChildError) as raised:
            await supervisor.start()
    finally:
        await supervisor.stop()
    message = str(raised.value)
    assert "redis-state did not start: it ended with status 1" in message
    assert "  | no such thing: x=y" in message
    assert str(data.log("redis-state")) in message
    assert processes_in(data.postgres) == []


async def test_a_task_that_fails_says_what_it_printed(data: DataFolder) -> None:
    supervisor = Supervisor(
        Plan((), (task("import sys; print('said'); sys.exit('column x is missing')"),), ""),
        data,
        MeshState(os.getpid(), time.time()),
        lambda _: None,
    )
    with pytest.raises(ChildError) as raised:
        await supervisor.start()
    assert "the task" in str(raised.value)
    assert "  | said\n  | column x is missing" in str(raised.value)


async def test_a_port_that_another_program_took_is_told_apart(data: DataFolder, tmp_path: Path) -> None:
    with running_redis(RedisServer(tmp_path, "other", free_ports(1)[0], "other")) as _:
        other = next(
            iter(
                int(line.split()[1])
                for line in (tmp_path / "other.conf").read_text().splitlines()
                if line.startswith("port ")
            )
        )
        supervisor = Supervisor(
            Plan((redis_spec(data, other),), (), ""), data, MeshState(os.getpid(), time.time()), lambda _: None
        )
        try:
            with pytest.raises(PortCollisionError, match=f"port {other} of redis-state is in use"):
                await supervisor.start()
        finally:
            await supervisor.stop()


async def test_one_that_ignores_its_signal_is_killed(data: DataFolder) -> None:
    port = free_ports(1)[0]
    deaf = f"""
        import signal, socket
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        server = socket.create_server(("127.0.0.1", {port}))
        while True:
            connection, _ = server.accept()
            connection.recv(100)
            connection.sendall(b"+OK\\r\\n+PONG\\r\\n")
    """
    spec = replace(
        redis_spec(data, port), command=(sys.executable, "-I", "-c", textwrap.dedent(deaf)), stop_grace_s=0.1
    )
    said: list[str] = []
    async with running(data, Plan((spec,), (), ""), said) as supervisor:
        pid = supervisor.state.processes[0].pid
    assert not psutil.pid_exists(pid)
    assert any("did not end within" in line for line in said)


async def test_nothing_outlives_a_supervisor_that_is_killed(data: DataFolder, tmp_path: Path) -> None:
    script = tmp_path / "supervise.py"
    script.write_text(
        textwrap.dedent(
            """
            import asyncio, os, sys, time
            from pathlib import Path
            sys.path[:0] = [sys.argv[2], sys.argv[3]]
            from test_supervisor import postgres_spec, redis_spec
            from services.local.data_folder import DataFolder
            from services.local.specs import Plan
            from services.local.state import MeshState
            from services.local.supervisor import Supervisor

            async def main():
                data = DataFolder(Path(sys.argv[1]))
                plan = Plan((postgres_spec(data), redis_spec(data)), (), "")
                supervisor = Supervisor(plan, data, MeshState(os.getpid(), time.time()), print)
                await supervisor.start()
                supervisor.set_phase("ready")
                await supervisor.keep()

            asyncio.run(main())
            """
        )
    )
    here = Path(__file__).parent
    command = [sys.executable, str(script), str(data.path), str(here), str(here.parents[2])]
    process = subprocess.Popen(command)  # noqa: ASYNC220 -- it is killed, not awaited
    try:

        def ready() -> bool:
            state = read_state(data.state)
            assert process.poll() is None
            return state is not None and state.phase == "ready"

        await until(ready)
        state = read_state(data.state)
        assert state is not None
    finally:
        process.kill()
        process.wait()
    await until(lambda: not any(psutil.pid_exists(one.pid) for one in state.processes))
    await until(lambda: processes_in(data.postgres) == [])
    for one in state.processes:
        with pytest.raises(OSError), socket.create_connection(("127.0.0.1", one.port), timeout=1):
            pass

    # and the folder serves again, though a pid file is left that names a living process (as after a power cut)
    (data.postgres / "postmaster.pid").write_text(f"1\n{data.postgres}\n0\n5432\n\n127.0.0.1\n\nready\n")
    async with running(data, Plan((postgres_spec(data),), (), ""), []) as supervisor:
        assert supervisor.state.processes[0].ready


async def test_on_a_full_disk_what_dies_is_started_again_and_told_later(
    data: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis, written = redis_spec(data), MeshState.write
    full = False

    def write(state: MeshState, path: Path) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        written(state, path)

    class Said(list[str]):
        def append(self, line: str) -> None:
            super().append(line)
            if full:
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(MeshState, "write", write)
    said = Said()
    async with running(data, Plan((redis,), (), ""), said) as supervisor:
        full = True
        os.kill(supervisor.state.processes[0].pid, signal.SIGKILL)
        async with asyncio.timeout(30):
            await until(lambda: supervisor.state.processes[0].restarts == 1 and supervisor.state.processes[0].ready)
            stored = read_state(data.state)
            assert stored is not None
            assert stored.processes[0].restarts == 0
            assert sum("cannot be written (No space left on device)" in line for line in said) == 1
            full = False
            await until(lambda: (read_state(data.state) or stored).processes[0].restarts == 1)
