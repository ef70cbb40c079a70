"""`promptmesh admin`: the first admin of this machine's mesh, and the key that signs its sessions."""

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
    add_signing_key,
    load_or_make_admin,
    load_or_make_secrets,
    make_secret,
    save_admin,
)


@click.group(short_help="Look after the first admin and the signing key.")
def admin() -> None:
    """Look after the first admin, and the key that signs sessions."""


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


@admin.command("rotate-signing-key", short_help="Let another key sign the sessions.")
@data_option
def rotate_signing_key(data: DataFolder) -> None:
    """Let another key sign the sessions, without a restart and without anybody logged out.

    A running mesh takes the key up within a minute, publishes it, and signs with it some minutes later. The key before
    is retired when the last token that it signed has ended.
    """
    load_or_make_secrets(data)
    add_signing_key(data)
    click.echo(
        f"A new signing key is in {data.signing_key}. It is published within a minute and signs from about 11 minutes "
        "after that, unless PROMPTMESH_SIGNING_KEY_PUBLISH_S says another time; nobody is logged out."
    )
