"""`promptmesh up`: a plan made from the data folder and the settings, and run until somebody ends it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from services.local.companion import watch_companion
from services.local.data_folder import DataFolder
from services.local.files import write_private
from services.local.plan import bootstrap_password_file, make_plan
from services.local.port_book import choose_ports
from services.local.port_names import port_names
from services.local.restarts import ASK_SIGNAL, Restarts
from services.local.rolling import RollingRestart
from services.local.secrets import Admin, Secrets, load_or_make_admin, load_or_make_secrets, save_admin
from services.local.settings import MeshSettings, edge_settings_of
from services.local.specs import Plan
from services.local.state import MeshState
from services.local.supervisor import PortCollisionError, Supervisor

# How often a start is tried with other ports, when a program takes one between choosing and listening.
PORT_ATTEMPTS = 4


async def run_mesh(
    data: DataFolder,
    settings: MeshSettings,
    report: Callable[[str], None],
    ready: Callable[[MeshState, Admin], None],
    locked: Callable[[], None] = lambda: None,
) -> None:
    """Runs the mesh until SIGINT or SIGTERM, then drains it. A second signal kills it at once.

    `locked` is called once the data folder is this process's, `ready` once everything serves; `report` gets lines for
    a person. A failed start raises after what had started has ended again.
    """
    with data.locked():
        locked()
        begun = time.monotonic()
        state = MeshState(pid=os.getpid(), started_at=time.time())
        state.write(data.state)
        try:
            secrets, admin = load_or_make_secrets(data), load_or_make_admin(data)
            for attempt in range(1, PORT_ATTEMPTS + 1):
                ports = choose_ports(data, port_names(settings), settings.edge_port)
                plan = _first_plan(data, settings, secrets, ports, admin)
                supervisor = Supervisor(plan, data, state, report)
                rolling = RollingRestart(
                    supervisor, data.endpoints, ports, partial(_next_plan, data, settings, secrets)
                )
                restarts = Restarts(data, supervisor, rolling.run, report)
                try:
                    await _run(supervisor, restarts, lambda: ready(state, _admin_made(data, admin)), begun)
                    return
                except PortCollisionError as error:
                    if attempt == PORT_ATTEMPTS:
                        raise
                    report(f"Other ports are tried: {str(error).splitlines()[0]}")
                    state.phase, state.done = "starting", []
        except Exception as error:
            state.phase, state.error = "failed", str(error)
            state.write(data.state)
            raise
        finally:
            bootstrap_password_file(data).unlink(missing_ok=True)


def _first_plan(
    data: DataFolder, settings: MeshSettings, secrets: Secrets, ports: Mapping[str, int], admin: Admin
) -> Plan:
    if not admin.made:
        write_private(bootstrap_password_file(data), admin.password)
    return make_plan(data, settings, secrets, ports, bootstrap_admin=not admin.made)


def _next_plan(
    data: DataFolder, settings: MeshSettings, secrets: Secrets, ports: Mapping[str, int], turned: Collection[str]
) -> Plan:
    """The plan of a mesh that runs, with the operator's settings of the edge as they are now. Raises SettingsError."""
    now = replace(settings, edge_settings=edge_settings_of(data.edge))
    return make_plan(data, now, secrets, ports, bootstrap_admin=False, turned=turned)


def _admin_made(data: DataFolder, admin: Admin) -> Admin:
    if admin.made:
        return admin
    made = replace(admin, made=True)
    save_admin(data, made)
    return made


async def _run(supervisor: Supervisor, restarts: Restarts, ready: Callable[[], None], begun: float) -> None:
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            supervisor.kill()
        stop.set()

    loop = asyncio.get_running_loop()
    # A closed terminal ends the mesh in order too, unless it was told not to (nohup).
    numbers = [signal.SIGINT, signal.SIGTERM]
    numbers += [signal.SIGHUP] if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else []
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    loop.add_signal_handler(ASK_SIGNAL, restarts.asked)
    unwatch = watch_companion(os.environ, stop.set)
    try:
        try:
            if not await _unless(stop, supervisor.start()):
                return
            supervisor.state.seconds_to_ready = round(time.monotonic() - begun, 2)
            supervisor.state.takes_restarts = True
            supervisor.set_phase("ready")
            ready()
            await _unless(stop, supervisor.keep(restarts.run))
        finally:
            await supervisor.stop()
    finally:
        unwatch()
        for number in (*numbers, ASK_SIGNAL):
            loop.remove_signal_handler(number)


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Does the work, or leaves it when the event comes first; says whether it was done."""
    working, stopping = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return True
        return False
    finally:
        for task in (working, stopping):
            task.cancel()
        await asyncio.gather(working, stopping, return_exceptions=True)
