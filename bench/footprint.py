"""How long a start takes, and how much memory an idle mesh holds.

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
SETTLE_S = 5.0
START_TARGET_S = 6.0
MEMORY_TARGET_MB = 700


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
            f"{STARTS} starts, worst {max(warm):.1f} s; wanted: {START_TARGET_S:.0f} s or less",
        )
        with local_mesh(data) as mesh:
            time.sleep(SETTLE_S)  # what start-up needed once is given back
            status = mesh.status()
            memory = {one["name"]: _pss_mb(one["pid"]) for one in status["processes"]}
            memory["supervisor"] = _pss_mb(status["pid"])
        for name, megabytes in sorted(memory.items(), key=lambda one: -one[1]):
            row(f"  {name}", f"{megabytes:.0f} MB")
        row("memory of an idle mesh (PSS)", f"{sum(memory.values()):.0f} MB", f"wanted: {MEMORY_TARGET_MB} MB or less")


def _pss_mb(pid: int) -> float:
    """A process and its children (PostgreSQL's backends)."""
    root = psutil.Process(pid)
    family = [root]
    if root.name().startswith("postgres"):
        family += root.children(recursive=True)
    return float(sum(one.memory_full_info().pss for one in family)) / 1e6


if __name__ == "__main__":
    main()
