"""`promptmesh backup` and `promptmesh restore`."""

from __future__ import annotations

from pathlib import Path

import click

from services.local.backup import back_up
from services.local.backup import restore as restore_archive
from services.local.data_folder import DataFolder
from services.local.options import command_line, data_option

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command(short_help="Write the whole mesh to one file.")
@click.argument("file", type=_FILE)
@data_option
def backup(file: Path, data: DataFolder) -> None:
    """Write the whole mesh to FILE: its database, and the secrets and keys to run on it. It may run meanwhile.

    FILE is readable by you only. Who has it, has the mesh: keep it as you keep a password.
    """
    size = back_up(data, file.resolve())
    click.echo(f"{file}: {size / 2**20:.1f} MiB. It holds secrets; keep it where only you can read it.")


@click.command(short_help="Make a mesh anew from a backup.")
@click.argument("file", type=_FILE)
@click.option("--force", is_flag=True, help="Also where a mesh is: what is there is moved aside.")
@data_option
def restore(file: Path, force: bool, data: DataFolder) -> None:
    """Make the mesh of a data folder anew from FILE, a backup. The mesh must not run."""
    aside = restore_archive(data, file.resolve(), force=force)
    if aside is not None:
        click.echo(f"What was there is now in {aside}.")
    click.echo(f"Restored to {data.path}. Start it with `{command_line('up', data=data)}`.")
