"""The `promptmesh` command."""

from __future__ import annotations

import sys

import click

from services.local.backup import BackupError
from services.local.child import ChildError
from services.local.child_setup import UnprivilegedUserError
from services.local.commands.backup import backup, restore
from services.local.commands.down import down
from services.local.commands.logs import logs
from services.local.commands.status import status
from services.local.commands.up import up
from services.local.data_folder import DataFolderError
from services.local.embedded.binaries import MissingBinaryError
from services.local.embedded.postgres import PostgresError
from services.local.embedded.redis import RedisError
from services.local.port_book import PortTakenError
from services.local.ports import NoFreePortError
from services.local.settings import SettingsError
from services.local.supervisor import PortCollisionError

# Errors made for the reader: the message is all they need.
_PLAIN_ERRORS = (
    BackupError,
    ChildError,
    DataFolderError,
    MissingBinaryError,
    NoFreePortError,
    PortCollisionError,
    PortTakenError,
    PostgresError,
    RedisError,
    SettingsError,
    UnprivilegedUserError,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="promptmesh-mesh", prog_name="promptmesh")
def cli() -> None:
    """Run a prompt mesh on this machine, and use it."""


for command in (up, status, logs, down, backup, restore):
    cli.add_command(command)


def main() -> None:
    """Runs the command line; exits 1 with a plain message on an error that its reader can act on."""
    try:
        cli.main(standalone_mode=True)
    except _PLAIN_ERRORS as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
