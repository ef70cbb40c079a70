"""`promptmesh logs`: what the processes printed."""

from __future__ import annotations

import time
from pathlib import Path

import click

from services.local.data_folder import DataFolder
from services.local.logs import Follower
from services.local.options import data_option

FOLLOW_POLL_INTERVAL_S = 0.2


@click.command(short_help="Print what the processes printed, and follow it.")
@click.argument("service", required=False)
@click.option("--follow", "-f", is_flag=True, help="Go on as more is printed, until Ctrl-C.")
@click.option(
    "--lines",
    "-n",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="Lines of each log to begin with.",
)
@data_option
def logs(service: str | None, follow: bool, lines: int, data: DataFolder) -> None:
    """Print the logs of all processes, or of SERVICE: a service (prompts), a worker (prompts-0), postgres, edge, ..."""
    paths = _log_files(data, service)
    width = max(len(path.stem) for path in paths)
    followers = {path: Follower(path) for path in paths}

    def show(path: Path, said: list[str]) -> None:
        for line in said:
            click.echo(line if len(followers) == 1 else f"{path.stem:<{width}} | {line}")

    for path, follower in followers.items():
        show(path, follower.skip_to_tail(lines))
    while follow:
        for path in _log_files(data, service):  # a worker may join
            followers.setdefault(path, Follower(path))
        for path, follower in followers.items():
            show(path, follower.new_lines())
        time.sleep(FOLLOW_POLL_INTERVAL_S)


def _log_files(data: DataFolder, service: str | None) -> list[Path]:
    every = sorted(data.logs.glob("*.log"))
    chosen = [path for path in every if service is None or path.stem == service or _service_of(path) == service]
    if not chosen:
        names = ", ".join(sorted({path.stem for path in every} | {_service_of(path) for path in every}))
        there = f"There are: {names}." if names else f"There are none in {data.logs}: has the mesh been started?"
        raise click.UsageError(f"No log of {service or 'any process'}. {there}")
    return chosen


def _service_of(path: Path) -> str:
    """`prompts` for the log of worker `prompts-1`."""
    name, _, index = path.stem.rpartition("-")
    return name if index.isdigit() else path.stem
