"""`promptmesh status`: every process, asked on its own port just now."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass

import click

from services.local.data_folder import DataFolder, NotRunningError
from services.local.memory import pss_bytes
from services.local.observe.specs import READY_PATHS
from services.local.options import data_option, json_option
from services.local.port_names import REDIS_STATE
from services.local.probes import GrpcReady, HttpReady, PostgresReady, Probe, RedisReady, SmtpReady
from services.local.secrets import Secrets, load_or_make_secrets
from services.local.state import MeshState, ProcessState, read_state


@dataclass(frozen=True)
class ProcessStatus:
    """One process as it is now. `memory_mb` is its PSS with that of its children, in MiB."""

    name: str
    pid: int
    port: int
    ready: bool
    uptime_s: float
    restarts: int
    memory_mb: float
    last_exit: str


@click.command(short_help="Show every process, as it is just now.")
@json_option
@data_option
def status(as_json: bool, data: DataFolder) -> None:
    """Show every process: whether it serves, its port, uptime, restarts and memory. Exits 3 when none runs."""
    try:
        data.require_running()
    except NotRunningError as error:
        if as_json:
            click.echo(json.dumps({"running": False, "data": str(data.path)}))
        else:
            click.echo(str(error), err=True)
        raise click.exceptions.Exit(3) from None
    state = read_state(data.state)
    assert state is not None, "a running mesh has written its state"
    processes = asyncio.run(_ask(state, data))
    supervisor_mb = _own_mb(state, processes)
    total = round(sum(one.memory_mb for one in processes) + supervisor_mb, 1)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "running": True,
                    "phase": state.phase,
                    "ready": state.phase == "ready" and all(one.ready for one in processes),
                    "url": state.url,
                    "data": str(data.path),
                    "pid": state.pid,
                    "uptime_s": round(time.time() - state.started_at, 1),
                    "seconds_to_ready": state.seconds_to_ready,
                    "memory_mb": total,
                    "supervisor_memory_mb": supervisor_mb,
                    "processes": [asdict(one) for one in processes],
                }
            )
        )
        return
    click.echo(f"{state.url}  {state.phase}  (data: {data.path}, supervisor: process {state.pid})\n")
    click.echo(f"{'process':<16}{'serves':<8}{'pid':>8}{'port':>7}{'uptime':>10}{'restarts':>10}{'memory':>11}")
    for one in processes:
        click.echo(
            f"{one.name:<16}{'yes' if one.ready else 'NO':<8}{one.pid or '-':>8}{one.port:>7}"
            f"{_duration(one.uptime_s):>10}{one.restarts:>10}{one.memory_mb:>7.1f} MiB"
        )
        if one.last_exit:
            click.echo(f"{'':<16}last time it {one.last_exit}")
    click.echo(f"{'supervisor':<16}{'':<8}{state.pid:>8}{'':>27}{supervisor_mb:>7.1f} MiB")
    click.echo(f"{'together':<59}{total:>7.1f} MiB")


async def _ask(state: MeshState, data: DataFolder) -> list[ProcessStatus]:
    secrets = load_or_make_secrets(data)
    return list(await asyncio.gather(*(_ask_one(one, data, secrets) for one in state.processes)))


async def _ask_one(process: ProcessState, data: DataFolder, secrets: Secrets) -> ProcessStatus:
    ready = bool(process.pid) and await _probe(process, data, secrets).is_ready(process.pid)
    memory = await asyncio.to_thread(pss_bytes, process.pid) if process.pid else 0
    return ProcessStatus(
        name=process.name,
        pid=process.pid,
        port=process.port,
        ready=ready,
        uptime_s=round(time.time() - process.started_at, 1) if process.pid else 0.0,
        restarts=process.restarts,
        memory_mb=round(memory / 2**20, 1),
        last_exit=process.last_exit,
    )


def _probe(process: ProcessState, data: DataFolder, secrets: Secrets) -> Probe:
    if process.probe == "postgres":
        return PostgresReady(data.postgres)
    if process.probe == "redis":
        state = process.name == REDIS_STATE
        return RedisReady(process.port, secrets.redis_password if state else secrets.redis_cache_password)
    if process.probe == "smtp":
        return SmtpReady(process.port)
    if process.probe in READY_PATHS:
        return HttpReady(process.port, READY_PATHS[process.probe])
    if process.probe == "http":
        return HttpReady(process.more_ports["admin"], "/ready")
    return GrpcReady(process.port)


def _own_mb(state: MeshState, processes: list[ProcessStatus]) -> float:
    """The supervisor's own memory: its family's less its children's."""
    family = pss_bytes(state.pid) / 2**20
    return round(max(0.0, family - sum(one.memory_mb for one in processes)), 1)


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
