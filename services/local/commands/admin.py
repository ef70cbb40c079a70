"""`promptmesh admin`: the first admin of this machine's mesh."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import click

from services.local.child import run_task
from services.local.data_folder import DataFolder
from services.local.files import write_private
from services.local.options import data_option
from services.local.plan import bootstrap_password_file
from services.local.running import side_tasks
from services.local.secrets import (
    ADMIN_PASSWORD_BYTES,
    load_or_make_admin,
    make_secret,
    save_admin,
)


@click.group(short_help="Look after the first admin.")
def admin() -> None:
    """Look after the first admin."""


@admin.command("reset-password", short_help="Give the first admin a new password.")
@data_option
def reset_password(data: DataFolder) -> None:
    """Give the first admin a new password, and print it. The mesh must run; open sessions of theirs end."""
    tasks = side_tasks(data)
    known = load_or_make_admin(data)
    changed = replace(known, password=make_secret(ADMIN_PASSWORD_BYTES), made=True)
    file = bootstrap_password_file(data)
    write_private(file, changed.password)
    try:
        asyncio.run(run_task(tasks.reset_password(), data))
    finally:
        file.unlink(missing_ok=True)
    save_admin(data, changed)
    data.session.unlink(missing_ok=True)
    click.echo(f"{changed.email} now has the password {changed.password} (kept in {data.admin}).")
