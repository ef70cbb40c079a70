"""Options that several commands share, and the one way that a command fails."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from services.local.data_folder import DataFolder, default_data_folder

Function = TypeVar("Function", bound=Callable[..., Any])


def _folder(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> DataFolder:
    return DataFolder(value.expanduser().resolve() if value else default_data_folder())


def data_option(function: Function) -> Function:
    """`--data DIR`, given to the command as `data: DataFolder`."""
    return click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        callback=_folder,
        metavar="DIR",
        help="Data folder of the mesh. [default: $PROMPTMESH_DATA, or ~/.local/share/promptmesh]",
    )(function)


def json_option(function: Function) -> Function:
    """`--json`, given as `as_json: bool`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(function)


def text_or_stdin(text: str | None, what: str) -> str:
    """TEXT as typed, or else standard input whole; a UsageError if it is blank. what: what it should have been."""
    given = text if text is not None else sys.stdin.read()
    if not given.strip():
        raise click.UsageError(f"{'TEXT' if text is not None else 'Standard input'} is blank; expected {what}.")
    return given


def command_line(*words: str, data: DataFolder | None = None) -> str:
    """A command as the reader can type it here: the name if it is on their path, else the way they called it."""
    found = shutil.which("promptmesh")
    program = "promptmesh"
    if found is None or Path(found).resolve() != Path(sys.argv[0]).resolve():
        own = Path(sys.argv[0])
        if own.name == "promptmesh" and own.exists():
            try:
                program = str(own.resolve().relative_to(Path.cwd()))
            except ValueError:
                program = str(own.resolve())
        elif found is None:
            program = f"{sys.executable} -m services.local"
    line = [program, *(shlex.quote(word) for word in words)]
    if data is not None and data.path != default_data_folder():
        line += ["--data", shlex.quote(str(data.path))]
    return " ".join(line)
