"""The `promptmesh` command."""

from __future__ import annotations

import importlib
import sys

import click

from services.local.errors import PlainError

_COMMANDS = {
    "up": "up",
    "status": "status",
    "logs": "logs",
    "down": "down",
    "backup": "backup",
    "restore": "backup",
    "post": "post",
    "watch": "post",
    "chat": "chat",
    "admin": "admin",
    "config": "config",
    "events": "events",
}


class _Commands(click.Group):
    """Imports a command when it is asked for: `up` stays in memory, and the gRPC client must not be in it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        command: click.Command = getattr(importlib.import_module(f"services.local.commands.{module}"), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="promptmesh-mesh", prog_name="promptmesh")
def cli() -> None:
    """Run a prompt mesh on this machine, and use it."""


def main() -> None:
    """Runs the command line; exits 1 with a plain message on an error that its reader can act on."""
    try:
        cli.main(standalone_mode=True)
    except PlainError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
