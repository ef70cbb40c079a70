"""Runs a schedule against a world under load, and writes down what was struck, what was seen and how it ended."""

from __future__ import annotations

import asyncio
import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.canary import Canary, NotWholeError
from tests.chaos.faults import Faults, Heal, SkippedError
from tests.chaos.load import Counters, Load
from tests.chaos.parts import Parts, Stopwatch
from tests.chaos.schedule import FAILPOINT, KILL, Strike, rounds

SETTLE_TIMEOUT_S = 180.0
ANSWERS_FIRST = 20
POLL_S = 0.1
WAITED_SHOWN = 8  # of what was missed on the way


@dataclass
class Outcome:
    """A strike, and what came of it. `seen`: by the load, from the strike until all was whole."""

    strike: Strike
    done: str = ""
    skipped: str = ""
    recovery_s: float | None = None
    seen: Counters = field(default_factory=lambda: Counters(Counter(), Counter()))
    with_others: bool = False  # in its round


@dataclass
class Result:
    """Of a run. `wrongs` empty: it passed. `left_out`: strikes for which there was no time left."""

    outcomes: list[Outcome]
    table: dict[str, object]
    wrongs: list[str]
    left_out: int = 0


class Struck:
    """The journal of strikes: a line of JSON each, with the seconds since the run began."""

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._file, self._say, self.clock = path.open("w", buffering=1), say, Stopwatch()

    def close(self) -> None:
        """No more lines."""
        self._file.close()

    def write(self, what: str, **facts: Any) -> None:
        at_s = round(self.clock.s, 2)
        self._file.write(json.dumps({"at_s": at_s, "what": what, **facts}) + "\n")
        self._say(f"{at_s:7.1f}  {what:9}" + "  ".join(str(one) for one in facts.values() if one != ""))


class Runner:
    """Strikes round after round; between them the mesh has to become whole by itself."""

    def __init__(self, faults: Faults, parts: Parts, canary: Canary, load: Load, struck: Struck) -> None:
        self._faults, self._parts, self._canary, self._load, self._struck = faults, parts, canary, load, struck
        self._wrongs: list[str] = []

    async def run(self, schedule: Sequence[Strike], duration_s: float = math.inf) -> Result:
        """The whole of it. Where recovery takes long, rounds come later than planned. Once duration_s are over, the
        rest is left out, but never the first round of a kind."""
        outcomes: list[Outcome] = []
        loading = asyncio.create_task(self._load.run(), name="load")
        try:
            await self._under_way(loading)
            for strikes in rounds(schedule):
                if self._struck.clock.s > duration_s and strikes[0].kind in {one.strike.kind for one in outcomes}:
                    continue
                outcomes += await self._round(strikes)
                if loading.done():
                    loading.result()
                    raise RuntimeError("the load has ended by itself")
                if self._wrongs:
                    break  # what follows would say nothing new
        finally:
            await self._faults.heal_all()
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        self._struck.write("settle")
        try:
            await self._load.settle(SETTLE_TIMEOUT_S)
        except Exception as error:
            self._wrongs.append(f"it did not settle: {error}")
        verdict = await self._load.judge()
        wrongs = [*self._wrongs, *verdict.wrongs]
        self._struck.write("verdict", wrongs=wrongs, table=verdict.table)
        return Result(outcomes, verdict.table, wrongs, len(schedule) - len(outcomes))

    async def _under_way(self, loading: asyncio.Task[None]) -> None:
        """Waits until the load has begun, and starts the clock."""
        while self._load.marks().answers.total() < ANSWERS_FIRST and not loading.done():
            await asyncio.sleep(POLL_S)
        if loading.done():
            loading.result()
        whole_s = await self._canary.until_whole({})
        self._struck.clock = Stopwatch()
        self._struck.write("begin", so=f"whole, looked for {whole_s:.1f} s")

    async def _round(self, strikes: Sequence[Strike]) -> list[Outcome]:
        await asyncio.sleep(max(0.0, strikes[0].at_s - self._struck.clock.s))
        before, restarts, begun = self._load.marks(), self._parts.restarts(), Stopwatch()
        outcomes = await asyncio.gather(*(self._one(one, strikes[0].at_s, begun) for one in strikes))
        died = {one.strike.target for one in outcomes if one.strike.kind == KILL and one.done.startswith("process")}
        died |= {f"{one.strike.target.split(':')[0]}-0" for one in outcomes if one.done == "hit"}
        try:
            recovery_s = await self._canary.until_whole({name: restarts[name] for name in died})
        except NotWholeError as error:
            self._wrongs.append(f"{' + '.join(str(one).strip() for one in strikes)}: {error}")
            recovery_s = None
        seen = self._load.marks().since(before)
        for one in outcomes:
            one.with_others = len(strikes) > 1
            one.recovery_s = None if one.skipped else recovery_s
            one.seen = seen
        for line in self._canary.waited[:: max(1, len(self._canary.waited) // WAITED_SHOWN)]:
            self._struck.write("waited", for_what=line)
        self._struck.write(
            "whole",
            canary=self._canary.last,
            after_s="" if recovery_s is None else f"{recovery_s:.1f} s",
            **_seen(outcomes[0]),
        )
        return list(outcomes)

    async def _one(self, strike: Strike, round_at_s: float, begun: Stopwatch) -> Outcome:
        await asyncio.sleep(max(0.0, strike.at_s - round_at_s - begun.s))
        outcome = Outcome(strike)
        self._struck.write("strike", strike=str(strike).strip())
        try:
            lasted = Stopwatch()
            outcome.done, heal = await self._faults.strike(strike)
        except SkippedError as error:
            outcome.skipped = str(error)
            self._struck.write("skipped", strike=str(strike).strip(), why=str(error))
            return outcome
        except Exception as error:
            outcome.skipped = f"could not be done: {type(error).__name__}: {error}"
            self._wrongs.append(f"{strike}: {outcome.skipped}")
            return outcome
        await self._heal(outcome, heal, 0.0 if strike.kind == FAILPOINT else strike.lasts_s - lasted.s)
        return outcome

    async def _heal(self, outcome: Outcome, heal: Heal, after_s: float) -> None:
        try:
            await asyncio.sleep(max(0.0, after_s))
        finally:
            outcome.done = await heal() or outcome.done
        self._struck.write("heal", strike=f"{outcome.strike.kind} {outcome.strike.target}", done=outcome.done)


def _seen(outcome: Outcome) -> dict[str, str]:
    failed = ", ".join(f"{kind} {count}" for kind, count in outcome.seen.failures.most_common(4))
    return {
        "answered": f"{outcome.seen.answers.total()} answered",
        "failed": f"failed: {failed}" if failed else "none failed",
    }
