"""`promptmesh admin`: the first admin of this machine's mesh."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import click

from services.local.child import run_task
from services.local.data_folder import DataFolder
from services.local.errors import PlainError
from services.local.files import write_private
from services.local.options import data_option
from services.local.plan import bootstrap_password_file, port_names, ports_of, reset_password_task
from services.local.secrets import (
    ADMIN_PASSWORD_BYTES,
    load_or_make_admin,
    load_or_make_secrets,
    make_secret,
    save_admin,
)
from services.local.settings import SERVICES, MeshSettings
from services.local.state import read_state


@click.group()
def admin() -> None:
    """Look after the first admin."""


@admin.command("reset-password")
@data_option
def reset_password(data: DataFolder) -> None:
    """Give the first admin a new password, and print it. The mesh must run; open sessions of theirs end."""
    data.require_running()
    state = read_state(data.state)
    assert state is not None, "a running mesh has written its state"
    workers = sum(one.name.startswith(f"{SERVICES[0]}-") for one in state.processes)
    settings = MeshSettings.read(workers=workers, edge_port=None, data=data.path)
    ports = ports_of(state.processes)
    missing = [name for name in port_names(settings) if name not in ports]
    if missing:
        raise PlainError(
            f"This mesh runs without {', '.join(missing)} of its own. Set the variables that it was started with "
            f"(PROMPTMESH_DATABASE_URL, PROMPTMESH_REDIS_URL, ...) for this command too."
        )
    known = load_or_make_admin(data)
    changed = replace(known, password=make_secret(ADMIN_PASSWORD_BYTES), made=True)
    task = reset_password_task(data, settings, load_or_make_secrets(data), ports)
    file = bootstrap_password_file(data)
    write_private(file, changed.password)
    try:
        asyncio.run(run_task(task, data))
    finally:
        file.unlink(missing_ok=True)
    save_admin(data, changed)
    data.session.unlink(missing_ok=True)
    click.echo(f"{changed.email} now has the password {changed.password} (kept in {data.admin}).")
