"""`promptmesh access`: who may call each method, from the contracts alone."""

from __future__ import annotations

import subprocess
import sys

import click


@click.command(
    short_help="Show who may call each method.",
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
)
@click.pass_context
def access(context: click.Context) -> None:
    """Runs the kit's own command, which knows the rule that every server applies."""
    command = [sys.executable, "-P", "-m", "services.mesh.access.command", *context.args]
    raise click.exceptions.Exit(subprocess.run(command, check=False).returncode)
