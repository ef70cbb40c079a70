"""How each kind of strike is done to a mesh, and undone."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from services.local.wiring import link
from tests.chaos.clocks import Clocks
from tests.chaos.disks import Disks
from tests.chaos.parts import Parts, Stopwatch
from tests.chaos.relays import Relays
from tests.chaos.schedule import CLOCK, DISK, FAILPOINT, KILL, LIE, PARTITION, PAUSE, Strike
from tests.chaos.world import World

POLL_S = 0.05
#: Failpoints that only a process which takes over what one before it left comes by.
AFTER_A_DEATH = ("inference:examples.after_claim", "inference:ledger.before_removal")
_WAL_SEGMENTS = 40
#: What a database says that has no room, or is not there for want of it.
_DATABASE_GONE = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)

#: Done at the end; what it answers is written down.
Heal = Callable[[], Awaitable[str]]


class SkippedError(Exception):
    """This cannot be struck here; the message says why."""


@dataclass
class Faults:
    """All that strikes. None of the tools: what needs it is skipped."""

    world: World
    parts: Parts
    relays: Relays
    armed: Path  # where failpoints are armed
    disks: Disks | None
    clocks: Clocks | None
    somebody_registers: Callable[[], Awaitable[None]]
    missed: list[str] = field(default_factory=list)  # failpoints that nobody came by

    async def strike(self, one: Strike) -> tuple[str, Heal]:
        """Does it. Answers what was done, and how it is undone."""
        return await {
            KILL: self._kill,
            PAUSE: self._pause,
            PARTITION: self._partition,
            DISK: self._fill,
            CLOCK: self._skew,
            FAILPOINT: self._arm,
            LIE: self._lie,
        }[one.kind](one)

    async def heal_all(self) -> None:
        """Whatever still stands, when a run ends early."""
        self.parts.all_go_on()
        if self.disks is not None:
            self.disks.free_all()

    async def _kill(self, one: Strike) -> tuple[str, Heal]:
        pid = self.parts.kill(one.target)
        return (f"process {pid}" if pid else "it did not run just then"), _nothing

    async def _pause(self, one: Strike) -> tuple[str, Heal]:
        pids = self.parts.stop(one.target)

        async def heal() -> str:
            self.parts.go_on(pids)
            return ""

        return f"{len(pids)} processes", heal

    async def _partition(self, one: Strike) -> tuple[str, Heal]:
        name = link(*one.target.split(">"))
        await self.relays.set(name, one.how)

        async def heal() -> str:
            await self.relays.set(name, "open")
            return ""

        return "", heal

    async def _fill(self, one: Strike) -> tuple[str, Heal]:
        if self.disks is None:
            raise SkippedError("no file system can be mounted here")
        disks = self.disks
        await asyncio.to_thread(disks.fill, one.target)
        writing = asyncio.create_task(self._write_ahead() if one.target == "postgres" else _said("full"))

        async def heal() -> str:
            await asyncio.to_thread(disks.free, one.target)
            writing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                return await writing
            return "full"

        return "", heal

    async def _write_ahead(self) -> str:
        """Uses up what PostgreSQL had set aside for its log, as an hour of writing would."""
        with contextlib.suppress(*_DATABASE_GONE):
            conn = await self.parts.connect()
            try:
                for number in range(_WAL_SEGMENTS):
                    try:
                        await conn.execute("SELECT pg_current_xact_id()")
                        await conn.execute("SELECT pg_switch_wal()", timeout=5)
                    except _DATABASE_GONE as error:
                        return f"its log was full after {number} segments: {type(error).__name__}"
            finally:
                conn.terminate()
        return "full"

    async def _skew(self, one: Strike) -> tuple[str, Heal]:
        if self.clocks is None:
            raise SkippedError("no C compiler for the library that moves a clock")
        clocks = self.clocks
        clocks.set(one.target, float(one.how))

        async def heal() -> str:
            clocks.set(one.target, 0)
            return ""

        return "", heal

    async def _arm(self, one: Strike) -> tuple[str, Heal]:
        file = self.armed / one.target
        file.touch()
        if one.target in AFTER_A_DEATH:
            self.parts.kill("inference-0")
        if one.target.startswith("auth:"):  # the flow of posts does not come by: somebody new does
            with contextlib.suppress(OSError, RuntimeError):  # refused: the one that it kills is away already
                await self.somebody_registers()
        lasted = Stopwatch()
        while file.exists() and lasted.s < one.lasts_s:
            await asyncio.sleep(POLL_S)

        async def heal() -> str:
            if not file.exists():
                return "hit"
            file.unlink(missing_ok=True)
            self.missed.append(one.target)
            return "nobody came by"

        return "", heal

    async def _lie(self, one: Strike) -> tuple[str, Heal]:
        providers = self.world.provider
        await providers.play(one.target, [{"fault": one.how, "times": None}])

        async def heal() -> str:
            await providers.play(one.target, [])
            return ""

        return "", heal


async def _nothing() -> str:
    return ""


async def _said(text: str) -> str:
    return text


def failpoint_of(one: Strike) -> Any:
    """The service that dies of it."""
    return f"{one.target.split(':')[0]}-0"
