"""`python -m bench.endurance [--minutes 30]`: half of peak for half an hour, and whether any process grows meanwhile.

A mesh of its own and a provider that takes its time; callers of every kind, all through the edge, in an open loop. The
peak of that mixed load is found first, by steps of rising load, and half of it is run. After a warm-up every process is
judged: the slope of its memory, its descriptors, connections and threads. Status 1 where something grows or fails. The
samples are under out/, a line of JSON each.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from pathlib import Path

import asyncpg
import psutil

from bench.endurance import report
from bench.endurance.peak import find_peak
from bench.endurance.sampling import INTERVAL_S, GoneError, Sampler
from bench.endurance.setting import BEHAVIOUR, CAPS, MODEL, models_yaml, people_of
from bench.endurance.traffic import Job, Result, Traffic, rates
from bench.harness import EDGE_WIDE_OPEN, row
from services.local.testing import LocalMesh, local_mesh
from tests.support.provider import RemoteProviders, provider_process

SETTLE_TIMEOUT_S = 60.0
#: Posts that were accepted and neither published nor decided; examples that are owed.
_OWED = """
SELECT count(*) FILTER (WHERE state = 1) AS pending, count(*) FILTER (WHERE example_state = 1) AS writing,
       count(*) FILTER (WHERE publish_time IS NOT NULL) AS published, count(*) AS posts
  FROM prompts.posts
"""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="that are judged")
    parser.add_argument("--warm-up-minutes", type=float, default=5.0, help="before them, under the same load")
    parser.add_argument("--posts-per-second", type=float, help="instead of half of the peak; with --calls-per-second")
    parser.add_argument("--calls-per-second", type=float)
    parser.add_argument("--out", type=Path, default=Path("out/endurance.jsonl"), help="where the samples go")
    options = parser.parse_args()
    if (options.posts_per_second is None) != (options.calls_per_second is None):
        parser.error("--posts-per-second and --calls-per-second are said together")
    if options.minutes * 60 < 6 * INTERVAL_S:
        parser.error(f"--minutes: at least {6 * INTERVAL_S / 60:.0f}; a slope wants samples")
    return options


async def _main(options: argparse.Namespace) -> list[str]:
    async with provider_process(keep=0) as providers:
        await providers.set_default(MODEL, **BEHAVIOUR)
        models = models_yaml(providers.base_url(MODEL))
        with local_mesh(models_yaml=models, edge=EDGE_WIDE_OPEN, environment=CAPS) as mesh:
            people = await asyncio.to_thread(people_of, mesh)
            return await _hold(mesh, providers, people, options)


async def _hold(
    mesh: LocalMesh, providers: RemoteProviders, people: list[dict[str, str]], options: argparse.Namespace
) -> list[str]:
    posts, calls = options.posts_per_second, options.calls_per_second
    if posts is None:
        peak = await find_peak(mesh, people)
        posts, calls = peak[0] / 2, peak[1] / 2
    row("held", f"{posts:g} posts/s", f"and {calls:g} calls/s, {options.minutes:g} minutes after a warm-up")
    seconds = (options.warm_up_minutes + options.minutes) * 60
    options.out.parent.mkdir(parents=True, exist_ok=True)
    traffic = Traffic(Job(mesh.url, mesh.edge_port, people, rates(posts, calls, 0.5), seconds))
    with options.out.open("w") as raw:
        sampler = Sampler(mesh, {report.PROVIDER: _provider_pid(), report.LOAD: traffic.pid}, raw)
        try:
            gone = await _sampled(sampler, seconds)
            result = await asyncio.to_thread(traffic.result)
            owed = await _owed(mesh)
        finally:
            traffic.stop()
            await sampler.close()
    return gone + _judged(result, sampler, owed, options)


async def _sampled(sampler: Sampler, seconds: float) -> list[str]:
    """Samples for so long; what went wrong with it."""
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await sampler.run()
    except GoneError as error:
        return [str(error)]
    return []


def _judged(result: Result, sampler: Sampler, owed: list[str], options: argparse.Namespace) -> list[str]:
    wrong = report.load_table(result, options.warm_up_minutes + options.minutes)
    judged = [one for one in sampler.samples if one["time_s"] >= options.warm_up_minutes * 60]
    if len(judged) < 6:
        return [*wrong, *owed, f"only {len(judged)} samples after the warm-up"]
    return [*wrong, *owed, *report.process_table(judged), *report.store_table(judged)]


async def _owed(mesh: LocalMesh) -> list[str]:
    """What of the posts is not done when all had time for it."""
    connection = await asyncpg.connect(mesh.database_url())
    try:
        end_time = time.monotonic() + SETTLE_TIMEOUT_S
        while True:
            found = await connection.fetchrow(_OWED)
            assert found is not None
            if not (found["pending"] or found["writing"]) or time.monotonic() > end_time:
                break
            await asyncio.sleep(1.0)
    finally:
        await connection.close()
    row("posts published", f"{found['published']:,}", f"of {found['posts']:,} accepted")
    return [] if not (found["pending"] or found["writing"]) else [f"left over: {dict(found)}"]


def _provider_pid() -> int:
    (found,) = [one.pid for one in psutil.Process().children() if "tests.support.provider" in one.cmdline()]
    return found


def main() -> None:
    began = time.monotonic()
    wrong = asyncio.run(_main(_options()))
    row("\nin all", f"{(time.monotonic() - began) / 60:.1f} min")
    for one in wrong:
        print(f"WRONG: {one}")
    if wrong:
        raise SystemExit(1)
    print("flat: nothing grows, nothing failed")


if __name__ == "__main__":
    main()
