"""One run: a schedule from a seed, a world, a load, and what came of it."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.chaos.breaker import failpoints
from tests.chaos.building import built_world
from tests.chaos.load import Load
from tests.chaos.runner import Result, Runner, Struck
from tests.chaos.schedule import KINDS, Strike, make_schedule
from tests.support.provider import FAULTS


def _print(line: str) -> None:
    print(line, flush=True)


async def run_chaos(
    seed: int,
    duration_s: float,
    folder: Path,
    *,
    only: Sequence[str] = KINDS,
    target: str = "",
    plan: bool = False,
    say: Callable[[str], None] = _print,
) -> Result | None:
    """Runs the schedule of a seed; `folder`, emptied first, gets all that is written down. None if only planned."""
    points = await asyncio.to_thread(failpoints)
    schedule = make_schedule(seed, duration_s, failpoints=points, lies=lies(), only=only, target=target)
    say(f"seed {seed}, {duration_s / 60:g} minutes, {len(schedule)} strikes")
    if plan:
        say("\n".join(str(one) for one in schedule))
        return None
    await asyncio.to_thread(_keep, folder, seed, duration_s, schedule)
    async with built_world(folder, seed, say) as built:
        for why in built.without:
            say(f"skipped: {why}")
        load = Load(built.world, random.Random(seed))
        struck = Struck(folder / "struck.jsonl", say)
        try:
            return await Runner(built.faults, built.parts, built.canary, load, struck).run(schedule, duration_s)
        finally:
            struck.close()
            await load.close()


def lies() -> list[str]:
    """Every fault of a provider that is none of a machine without memory: those that break or bend an answer."""
    return [name for name in FAULTS if name != "none"]


def _keep(folder: Path, seed: int, duration_s: float, schedule: Sequence[Strike]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    whole = {"seed": seed, "duration_s": duration_s, "strikes": [one.as_json() for one in schedule]}
    (folder / "schedule.json").write_text(json.dumps(whole, indent=1) + "\n")
