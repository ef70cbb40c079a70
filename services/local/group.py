"""The commands of `promptmesh`, each imported when it is asked for."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from services.local.errors import PlainError
from services.local.interrupts import EXIT_INTERRUPTED, raise_on_interrupt

_COMMANDS = {
    "up": "up",
    "status": "status",
    "logs": "logs",
    "restart": "restart",
    "down": "down",
    "backup": "backup",
    "restore": "backup",
    "post": "post",
    "watch": "post",
    "chat": "chat",
    "admin": "admin",
    "config": "config",
    "plans": "plans",
    "provider-keys": "provider_keys",
    "usage": "usage",
    "events": "events",
    "mail": "mail",
    "access": "access",
    "audit": "audit",
}


class _Commands(click.Group):
    """Imports a command when it is asked for: `up` stays in memory, and the gRPC client must not be in it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module = _COMMANDS.get(cmd_name)
        if module is None:
            return None
        found = importlib.import_module(f"services.local.commands.{module}")
        command: click.Command = getattr(found, cmd_name.replace("-", "_"))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        resolved = super().resolve_command(ctx, args)
        raise_on_interrupt()  # all is imported
        return resolved

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # click would print "Aborted!" and exit 1
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="promptmesh-mesh", prog_name="promptmesh")
def cli() -> None:
    """Run a prompt mesh on this machine, and use it."""


def run() -> None:
    """Does what the command line says, and exits."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own log lines would stand before our message
    try:
        cli.main(standalone_mode=True)
    except PlainError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
