"""How long a start takes, and what an idle mesh costs in CPU and memory.

`seconds_to_ready` is what `promptmesh up` itself measures, of starts on a data folder that exists (warm). Memory
is the sum of the processes' proportional set sizes (PSS), the supervisor's included, one worker each.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import psutil

from bench.harness import row
from services.local.testing import local_mesh

STARTS = 5
SETTLE_S = 10.0
IDLE_S = 30.0
START_TARGET_S = 3.5
MEMORY_TARGET_MIB = 560
MIB = 1024 * 1024


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="promptmesh-bench-") as folder:
        data = Path(folder)
        with local_mesh(data) as mesh:
            row("first start to ready", f"{mesh.seconds_to_ready:.1f} s", "makes the database, the keys and the admin")
        warm = []
        for _ in range(STARTS):
            with local_mesh(data) as mesh:
                warm.append(mesh.seconds_to_ready)
        row(
            "warm start to ready, median",
            f"{statistics.median(warm):.1f} s",
            f"{STARTS} starts, worst {max(warm):.1f} s; wanted: {START_TARGET_S:.1f} s or less",
        )
        with local_mesh(data) as mesh:
            time.sleep(SETTLE_S)  # what start-up needed once is given back
            status = mesh.status()
            roots = {one["name"]: psutil.Process(one["pid"]) for one in status["processes"]}
            roots["supervisor"] = psutil.Process(status["pid"])
            before = {name: _cpu_s(root) for name, root in roots.items()}
            began = time.monotonic()
            time.sleep(IDLE_S)
            idle_s = time.monotonic() - began
            cpu = {name: (_cpu_s(root) - before[name]) / idle_s for name, root in roots.items()}
            memory = {name: _pss_mib(root) for name, root in roots.items()}
        for name, mebibytes in sorted(memory.items(), key=lambda one: -one[1]):
            row(f"  {name}", f"{mebibytes:.0f} MiB", f"{cpu[name]:.1%} of a core")
        row(
            "memory of an idle mesh (PSS)",
            f"{sum(memory.values()):.0f} MiB",
            f"wanted: {MEMORY_TARGET_MIB} MiB or less",
        )
        row("CPU of an idle mesh", f"{sum(cpu.values()):.1%} of a core", f"over {IDLE_S:.0f} s")


def _family(root: psutil.Process) -> list[psutil.Process]:
    """A process and its children (PostgreSQL's backends)."""
    return [root, *root.children(recursive=True)] if root.name().startswith("postgres") else [root]


def _cpu_s(root: psutil.Process) -> float:
    """Of those that are alive: PostgreSQL's backends stay for minutes."""
    times = [one.cpu_times() for one in _family(root)]
    return float(sum(one.user + one.system for one in times))


def _pss_mib(root: psutil.Process) -> float:
    return float(sum(one.memory_full_info().pss for one in _family(root))) / MIB


if __name__ == "__main__":
    main()
