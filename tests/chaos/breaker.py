"""Breaks a mesh: kills its processes at random and at every named failpoint."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from services.local.testing import LocalMesh

RECOVERY_TIMEOUT_S = 60.0
FAILPOINT_TIMEOUT_S = 30.0
POLL_S = 0.05


def failpoints() -> list[str]:
    """Every failpoint of every service, as `<service>:<name>`."""
    done = subprocess.run(
        [sys.executable, "-m", "services.mesh.failpoints"], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.split()


@dataclass
class Breaker:
    """Kills one thing at a time and waits until the mesh is whole again."""

    mesh: LocalMesh
    folder: Path
    rng: random.Random
    kills: dict[str, int] = field(default_factory=dict)
    hit: list[str] = field(default_factory=list)
    recoveries_s: list[float] = field(default_factory=list)

    async def whole(self, of: str) -> None:
        """Waits until every process is ready and the edge says that all four services serve."""
        begun = time.monotonic()
        while True:
            status = await asyncio.to_thread(self.mesh.status)
            if all(one["ready"] for one in status["processes"]) and await asyncio.to_thread(self.mesh.healthy):
                break
            if time.monotonic() - begun > RECOVERY_TIMEOUT_S:
                raise AssertionError(f"{RECOVERY_TIMEOUT_S:.0f} s after {of} died the mesh is not whole: {status}")
            await asyncio.sleep(POLL_S)
        self.recoveries_s.append(time.monotonic() - begun)

    async def kill(self, process: str) -> None:
        """Kills a process by its id; waits until it was started again and all is well."""
        before = (await asyncio.to_thread(self.mesh.processes))[process]["restarts"]
        await asyncio.to_thread(self.mesh.kill, process)
        self.kills[process] = self.kills.get(process, 0) + 1
        begun = time.monotonic()
        while (await asyncio.to_thread(self.mesh.processes))[process]["restarts"] == before:
            assert time.monotonic() - begun < RECOVERY_TIMEOUT_S, f"nobody noticed that {process} died"
            await asyncio.sleep(POLL_S)
        await self.whole(process)

    async def arm(self, failpoint: str) -> bool:
        """Arms a failpoint and waits until a process hit it, and died of it. Answers whether one did."""
        armed = self.folder / failpoint
        armed.touch()
        begun = time.monotonic()
        while armed.exists():
            if time.monotonic() - begun > FAILPOINT_TIMEOUT_S:
                armed.unlink(missing_ok=True)
                return False
            await asyncio.sleep(POLL_S)
        self.hit.append(failpoint)
        await self.whole(failpoint)
        return True
