"""What runs, as the supervisor tells the other commands: one JSON file in the data folder, replaced at each change."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from services.local.files import read_json, write_private_json

Phase = Literal["starting", "ready", "stopping", "failed"]


@dataclass
class ProcessState:
    """One process. `pid` is 0 while it does not run; `started_at` is in seconds since the epoch."""

    name: str
    port: int
    probe: str
    more_ports: dict[str, int] = field(default_factory=dict)
    pid: int = 0
    started_at: float = 0.0
    restarts: int = 0
    ready: bool = False
    last_exit: str = ""


@dataclass
class RestartState:
    """A rolling restart: what was asked for, and how it goes. `begun_at` is in seconds since the epoch."""

    ident: str
    processes: list[str]
    begun_at: float
    phase: Literal["running", "done", "failed"] = "running"
    error: str = ""
    lines: list[str] = field(default_factory=list)


@dataclass
class MeshState:
    """The whole mesh of one data folder."""

    pid: int
    started_at: float
    phase: Phase = "starting"
    url: str = ""
    error: str = ""
    seconds_to_ready: float = 0.0
    processes: list[ProcessState] = field(default_factory=list)
    # In a rolling restart: who are about to take another's place, and who were replaced and have not ended yet.
    leaving: list[ProcessState] = field(default_factory=list)
    takes_restarts: bool = False  # whether `promptmesh restart` may signal this supervisor
    restart: RestartState | None = None  # the last one
    done: list[str] = field(default_factory=list)  # what has started or run, in this order: the progress of a start

    def write(self, path: Path) -> None:
        """Replaces the file. It is of this run only, so it need not survive a power cut."""
        write_private_json(path, asdict(self), durable=False)


def read_state(path: Path) -> MeshState | None:
    """The state that was last written; None if none ever was."""
    stored = read_json(path)
    if stored is None:
        return None
    processes = [ProcessState(**one) for one in stored.pop("processes")]
    leaving = [ProcessState(**one) for one in stored.pop("leaving", [])]
    restart = stored.pop("restart", None)
    return MeshState(
        **_known(stored),
        processes=processes,
        leaving=leaving,
        restart=RestartState(**restart) if restart is not None else None,
    )


def _known(stored: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in stored.items() if name in MeshState.__dataclass_fields__}
