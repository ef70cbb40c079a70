"""How much of the mixed load this machine takes: steps of rising load, until one is not kept up with.

Each step is short, so what it finds is the peak that a mesh begins to fall behind at, not one that it holds for hours:
half of it is what the soak runs at.
"""

from __future__ import annotations

import asyncio

import asyncpg

from bench.endurance.traffic import Job, Result, Traffic, rates
from bench.harness import percentile, row
from services.local.testing import LocalMesh

STEP_S = 8.0
STEPS = ((20, 80), (40, 160), (60, 240), (80, 320), (100, 400), (125, 500), (150, 600))  # posts, calls a second
IN_TIME_LEAST = 0.9  # of what began: whole calls end within a second, so a step that is held has most of them
CALL_P50_MAX_S = 1.0  # twice what the provider takes
WAITING_MAX_S = 3.0  # posts not published yet, in seconds of posts
_ENDING = ("post", "feed read", "chat", "chat, streamed", "generate over REST")
_WAITING = "SELECT count(*) FROM prompts.posts WHERE state = 1"  # PENDING


async def find_peak(mesh: LocalMesh, people: list[dict[str, str]]) -> tuple[float, float]:
    """Posts and calls a second of the last step that was held; RuntimeError if not even the first is."""
    held: tuple[float, float] | None = None
    connection = await asyncpg.connect(mesh.database_url())
    try:
        for posts, calls in STEPS:
            job = Job(mesh.url, mesh.edge_port, people, rates(posts, calls, 1.0), STEP_S)
            waited, result = await _step(connection, job)
            why = _not_held(result, waited, posts)
            told = f"p50 of a call {_p50_s(result) * 1e3:.0f} ms, {waited} posts waited"
            row(f"{posts} posts/s and {calls} calls/s", "not held" if why else "held", why or told)
            if why:
                break
            held = (posts, calls)
    finally:
        await connection.close()
    if held is None:
        raise RuntimeError("this machine holds not even the smallest step: say --posts-per-second, --calls-per-second")
    return held


async def _step(connection: asyncpg.Connection, job: Job) -> tuple[int, Result]:
    """Posts that waited when the step ended, and what became of its acts."""
    traffic = Traffic(job)
    waited = 0
    try:
        end_time = asyncio.get_running_loop().time() + STEP_S
        while asyncio.get_running_loop().time() < end_time and traffic.running:
            await asyncio.sleep(0.5)
            waited = await connection.fetchval(_WAITING)
        return waited, await asyncio.to_thread(traffic.result)
    finally:
        traffic.stop()


def _p50_s(result: Result) -> float:
    return percentile(result.acts["chat"].times_s, 0.5)


def _not_held(result: Result, waited: int, posts: float) -> str:
    acts = [result.acts[name] for name in _ENDING]
    in_time = sum(one.in_time for one in acts) / max(1, sum(one.begun for one in acts))
    if result.failed:
        return f"{result.failed} failed: {next(iter(failures(result)), '')}"
    if in_time < IN_TIME_LEAST:
        return f"{in_time:.0%} ended in time"
    if _p50_s(result) > CALL_P50_MAX_S:
        return f"p50 of a call {_p50_s(result):.1f} s"
    return f"{waited} posts waited" if waited > WAITING_MAX_S * posts else ""


def failures(result: Result) -> list[str]:
    """Failures of all acts, most frequent first in each."""
    return [
        f"{name}: {count} times {what}" for name, told in result.acts.items() for what, count in told.failures.items()
    ]
