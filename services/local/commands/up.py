"""`promptmesh up`: starts everything, in the foreground or detached."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from typing import Any

import click

from services.local.child import ChildError
from services.local.data_folder import AlreadyRunningError, DataFolder
from services.local.interrupts import EXIT_INTERRUPTED
from services.local.logs import open_log, tail
from services.local.mesh import run_mesh
from services.local.observe.specs import PAGE, PROMETHEUS
from services.local.options import command_line, data_option, json_option
from services.local.ports import LOOPBACK
from services.local.secrets import Admin, load_or_make_admin
from services.local.settings import MeshSettings
from services.local.state import MeshState, read_state

DETACHED_POLL_INTERVAL_S = 0.05
SUPERVISOR_LOG = "mesh"


@click.command(short_help="Start the whole mesh.")
@click.option("--workers", default=1, show_default=True, help="Processes of each service.")
@click.option("--edge-port", type=int, help="Port of the edge. [default: the last one, else 8080, else a free one]")
@click.option("--observe", is_flag=True, help="Measure it: Prometheus, and a page with the key charts.")
@click.option("--detach", is_flag=True, help="Come back once everything serves, and leave it running.")
@click.option("--supervise", is_flag=True, hidden=True, help="Be the process that --detach leaves running.")
@json_option
@data_option
def up(
    workers: int,
    edge_port: int | None,
    observe: bool,
    detach: bool,
    supervise: bool,
    as_json: bool,
    data: DataFolder,
) -> None:
    """Start the whole mesh: PostgreSQL, Redis, the four services and the edge.

    Runs until Ctrl-C, which drains and ends all of it. With --detach it goes on in the background; `promptmesh down`
    ends it.
    """
    settings = MeshSettings.read(workers=workers, edge_port=edge_port, data=data.path, observe=observe)
    if detach:
        _print_ready(*_detached(data, workers, edge_port, observe), data, as_json=as_json)
        return

    served = False

    def progress(line: str) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')}  {line}" if supervise else f"  {line}", err=True)

    def locked() -> None:
        click.echo(f"Starting Promptmesh in {data.path}", err=True)

    def ready(state: MeshState, admin: Admin) -> None:
        nonlocal served
        served = True
        if not supervise:  # the supervisor's output goes to a log, where no password belongs
            _print_ready(state, admin, data, as_json=as_json)

    asyncio.run(run_mesh(data, settings, progress, ready, locked))
    click.echo("Ended.", err=True)
    if not served and not supervise:  # the start was broken off; to end a mesh that serves is no failure
        raise click.exceptions.Exit(EXIT_INTERRUPTED)


def _detached(data: DataFolder, workers: int, edge_port: int | None, observe: bool) -> tuple[MeshState, Admin]:
    """Starts the supervisor in a session of its own and waits until it says that the mesh is ready or has failed."""
    holder = data.running_pid()
    if holder is not None:
        raise AlreadyRunningError(
            f"A mesh already runs on {data.path} (process {holder}). See it with "
            f"`{command_line('status', data=data)}`, stop it with `{command_line('down', data=data)}`, or start "
            f"another one elsewhere with --data."
        )
    data.make()
    command = [sys.executable, "-m", "services.local", "up", "--supervise", "--data", str(data.path)]
    command += ["--workers", str(workers)] + (["--edge-port", str(edge_port)] if edge_port is not None else [])
    command += ["--observe"] if observe else []
    log = open_log(data.log(SUPERVISOR_LOG))
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    finally:
        os.close(log)
    try:
        return _wait_ready(process, data)
    except KeyboardInterrupt:
        click.echo(f"It goes on starting; `{command_line('down', data=data)}` ends it.", err=True)
        raise


def _wait_ready(process: subprocess.Popen[bytes], data: DataFolder) -> tuple[MeshState, Admin]:
    log_path = data.log(SUPERVISOR_LOG)
    shown = 0
    while True:
        ended = process.poll() is not None  # read before the state: it is written before the process ends
        state = read_state(data.state)
        if state is not None and state.pid == process.pid:
            for line in state.done[shown:]:
                click.echo(f"  {line}", err=True)
            shown = len(state.done)
            if state.phase == "ready":
                return state, load_or_make_admin(data)
            if state.phase == "failed" and ended:
                raise ChildError(SUPERVISOR_LOG, state.error)
        if ended:
            said = "\n".join(f"  | {line}" for line in tail(log_path))
            raise ChildError(SUPERVISOR_LOG, f"The supervisor ended with status {process.returncode}:\n{said}")
        time.sleep(DETACHED_POLL_INTERVAL_S)


def _print_ready(state: MeshState, admin: Admin, data: DataFolder, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_summary(state, admin, data)))
        return
    click.echo(
        f"""
Promptmesh serves on {state.url} ({state.seconds_to_ready:.1f} s).

  admin     {admin.email}
  password  {admin.password}
            (kept in {data.admin}; `{command_line("admin", "reset-password", data=data)}` makes another)

{_observed_lines(state)}Try:
  {command_line("post", "Explain recursion to a cat, in three sentences.", data=data)}
  {command_line("watch", data=data)}
  {command_line("chat", "Say hello in five languages.", data=data)}
"""
    )


def _observed(state: MeshState) -> dict[str, str]:
    """Where `--observe` shows what it measures, by the name of the process; empty without it."""
    return {one.name: f"http://{LOOPBACK}:{one.port}" for one in state.processes if one.name in (PAGE, PROMETHEUS)}


def _observed_lines(state: MeshState) -> str:
    observed = _observed(state)
    if not observed:
        return ""
    return f"  charts    {observed[PAGE]}\n  numbers   {observed[PROMETHEUS]} (Prometheus)\n\n"


def _summary(state: MeshState, admin: Admin, data: DataFolder) -> dict[str, Any]:
    edge = next(one for one in state.processes if one.name == "edge")
    return {
        "url": state.url,
        "edge_port": edge.port,
        "pid": state.pid,
        "data": str(data.path),
        "seconds_to_ready": state.seconds_to_ready,
        "observe": _observed(state),
        "admin": {"email": admin.email, "password": admin.password, "file": str(data.admin)},
        "processes": [
            {"name": one.name, "pid": one.pid, "port": one.port, **one.more_ports} for one in state.processes
        ],
    }
