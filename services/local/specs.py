"""What a plan is made of: processes that run as long as the mesh, and tasks that run to their end while it starts."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from services.local.child_setup import Identity
from services.local.probes import HttpReady, Probe

SERVICE_GRACE_S = 20.0  # more than the services' own drain
TASK_TIMEOUT_S = 120.0


def _nothing() -> None:
    """The preparation of what needs none."""


@dataclass(frozen=True)
class ProcessSpec:
    """One process that runs as long as the mesh."""

    name: str
    group: str
    command: tuple[str, ...]
    port: int
    probe: Probe
    environment: Mapping[str, str] = field(repr=False)
    depends_on: tuple[str, ...] = ()
    start_file: Path | None = None  # it is started at once, and begins only when this file is there:
    held_until: tuple[str, ...] = ()  # when all of these stand
    more_ports: Mapping[str, int] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    stop_grace_s: float = SERVICE_GRACE_S
    death_signal: signal.Signals = signal.SIGKILL
    prepare: Callable[[], None] = _nothing  # before each start; may block
    identity: Callable[[], Identity | None] = lambda: None
    service: str | None = None
    drain_s: float = 0.0  # how long it lets calls under way go on once it was told to end
    drain: HttpReady | None = None  # a POST there tells it to take no more clients


@dataclass(frozen=True)
class TaskSpec:
    """One program that runs to its end while the mesh starts."""

    name: str
    title: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    depends_on: tuple[str, ...] = ()
    prepare: Callable[[], None] = _nothing
    timeout_s: float = TASK_TIMEOUT_S


@dataclass(frozen=True)
class Plan:
    """The whole mesh; `depends_on` and `held_until` name processes and tasks of the same plan."""

    processes: tuple[ProcessSpec, ...]
    tasks: tuple[TaskSpec, ...]
    url: str
    endpoints: Mapping[str, Sequence[int]] = field(default_factory=dict)  # cluster of the edge → ports
    peers_look: bool = True  # processes connect to each one of a service by themselves; else to the next as one ends
    healthy: HttpReady | None = None  # answers 200 once all of it serves together
