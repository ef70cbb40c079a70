"""`promptmesh restart`: replaces the processes of a running mesh one after the other, under load."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from uuid import uuid4

import click

from services.local.data_folder import DataFolder
from services.local.options import command_line, data_option, json_option
from services.local.port_book import EDGE
from services.local.restarts import TAKEN_UP_S, RestartRefusedError, ask_for_restart
from services.local.settings import SERVICES
from services.local.state import MeshState, RestartState, read_state

POLL_INTERVAL_S = 0.05


@click.command(short_help="Replace processes one by one, under load.")
@click.argument("processes", nargs=-1, metavar="[PROCESS]...")
@click.option("--all", "everything", is_flag=True, help="Also what there is one of: PostgreSQL, Redis, mail.")
@json_option
@data_option
def restart(processes: tuple[str, ...], everything: bool, as_json: bool, data: DataFolder) -> None:
    """Replace the PROCESSes (as `promptmesh status` names them, or a service for all of its) one after the other.

    Without a name: every process of the four services, then the edge. Each new one serves before the old one is
    drained, for PROMPTMESH_DRAIN_S (8 s) at most; then its streams end. Who tries once more loses no call. What runs
    afterwards is the code as it is installed now, and edge.json as it is now; other settings change with `down` and
    `up`. Before a service is replaced, the database is migrated if the code needs it.

    PostgreSQL and Redis are ended and started again, only if they are named or with --all: callers are told to come
    back meanwhile.
    """
    pid = data.require_running()
    state = read_state(data.state)
    assert state is not None, "a running mesh has written its state"
    names = chosen(state, processes, everything=everything)
    _check(state, data)
    ident = str(uuid4())
    ask_for_restart(data, pid, names, ident)
    if not as_json:
        click.echo(f"Replacing {', '.join(names)}, one after the other.", err=True)
    try:
        done = _wait(data, ident, quiet=as_json)
    except KeyboardInterrupt:
        click.echo(f"It goes on; `{command_line('status', data=data)}` shows the processes.", err=True)
        raise
    if as_json:
        click.echo(json.dumps(asdict(done)))
        if done.phase == "failed":
            raise click.exceptions.Exit(1)
        return
    if done.phase == "failed":
        left = names[sum(any(line.startswith(f"{name}: ") for line in done.lines) for name in names) :]
        raise RestartRefusedError(f"{done.error}\nNot replaced: {', '.join(left)}.")
    click.echo(f"Replaced: {', '.join(names)} ({time.time() - done.begun_at:.1f} s).")


def chosen(state: MeshState, wanted: Sequence[str], *, everything: bool) -> list[str]:
    """The processes that are meant: the services' in the order of the state, the edge, what there is one of."""
    known = [one.name for one in state.processes]
    ours = [name for name in known if name == EDGE or _service(name) in SERVICES]
    if everything and wanted:
        raise click.UsageError("--all names every process; leave out either it or the names.")
    unknown = [name for name in wanted if name not in known and name not in SERVICES]
    if unknown:
        raise click.UsageError(
            f"This mesh has no process {', '.join(unknown)}. It has {', '.join(known)}; a service "
            f"({', '.join(SERVICES)}) stands for all of its processes."
        )
    if not wanted:
        meant = known if everything else ours
    else:
        meant = [name for name in known if name in wanted or (name in ours and _service(name) in wanted)]
    return sorted(meant, key=lambda name: (name not in ours, name == EDGE))


def _service(process: str) -> str:
    return process.rpartition("-")[0]


def _check(state: MeshState, data: DataFolder) -> None:
    if not state.takes_restarts:
        what = "was started by a version without it" if state.phase == "ready" else f"is {state.phase}"
        raise RestartRefusedError(
            f"The mesh in {data.path} {what}, so it cannot be restarted while it runs. "
            f"`{command_line('down', data=data)}`, then `{command_line('up', '--detach', data=data)}`, does."
        )
    if state.phase != "ready":
        raise RestartRefusedError(f"The mesh in {data.path} is {state.phase}; only one that is ready is restarted.")
    if state.restart is not None and state.restart.phase == "running":
        raise RestartRefusedError(
            f"A restart of {', '.join(state.restart.processes)} has been under way for "
            f"{time.time() - state.restart.begun_at:.0f} s. Try again when it is done."
        )


def _wait(data: DataFolder, ident: str, *, quiet: bool) -> RestartState:
    shown = 0
    asked = time.monotonic()
    while True:
        running = data.running_pid() is not None  # read before the state: it is written before the process ends
        state = read_state(data.state)
        found = state.restart if state is not None else None
        if found is not None and found.ident == ident:
            for line in found.lines[shown:]:
                if not quiet:
                    click.echo(f"  {line}", err=True)
            shown = len(found.lines)
            if found.phase != "running":
                return found
        elif time.monotonic() - asked > TAKEN_UP_S:
            data.restart_request.unlink(missing_ok=True)
            raise RestartRefusedError(
                f"The supervisor has not begun after {TAKEN_UP_S:.0f} s. Its log, {data.log('mesh')}, may say why."
            )
        if not running:
            raise RestartRefusedError(f"The mesh in {data.path} ended before the restart was done.")
        time.sleep(POLL_INTERVAL_S)
