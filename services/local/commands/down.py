"""`promptmesh down`: ends a mesh in order, and waits until it is gone."""

from __future__ import annotations

import os
import signal
import time

import click
import psutil

from services.local.data_folder import DataFolder, DataFolderError
from services.local.options import data_option

POLL_INTERVAL_S = 0.05
# All graces of the plan, one after the other.
DOWN_TIMEOUT_S = 75.0


@click.command(short_help="Drain and end the mesh.")
@data_option
def down(data: DataFolder) -> None:
    """Drain and end the mesh of a data folder; comes back once all of it is gone."""
    pid = data.require_running()
    end_mesh(data, pid)
    click.echo(f"The mesh in {data.path} has ended.")


def end_mesh(data: DataFolder, pid: int) -> None:
    """Asks the supervisor to drain, and waits until it has let go of the folder."""
    deadline = time.monotonic() + DOWN_TIMEOUT_S
    os.kill(pid, signal.SIGTERM)
    while data.running_pid() is not None or is_alive(pid):
        if time.monotonic() > deadline:
            raise DataFolderError(
                f"The mesh in {data.path} (process {pid}) has not ended within {DOWN_TIMEOUT_S:.0f} s. See "
                f"{data.log('mesh')} for what holds it; `kill -9 {pid}` ends it with all its processes."
            )
        time.sleep(POLL_INTERVAL_S)


def is_alive(pid: int) -> bool:
    """Whether the process still does anything; one that only waits for its parent to take note does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
