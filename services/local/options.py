"""Options that several commands share, and the one way that a command fails."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from services.local.data_folder import DATA_SETTING, DataFolder, default_data_folder
from services.local.program import program

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
    """A command as the reader can type it here, in this terminal or in another one, whose environment differs."""
    line = [program(), *(shlex.quote(word) for word in words)]
    if data is not None and data.path != default_data_folder({**os.environ, DATA_SETTING: ""}):
        line += ["--data", shlex.quote(str(data.path))]
    return " ".join(line)
