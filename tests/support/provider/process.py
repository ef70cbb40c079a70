"""The provider in a process of its own, so that it takes no time from the loop that is tested.

async with provider_process() as providers:
    await providers.play("first", [{"fault": "rate_limit", "times": 3}])
    ... providers.base_url("first") ...
    record = await providers.record("first", requests_min=1000, running_max=0, calls=False)
    assert record["reported_whole"]["mock-small"]["completion_tokens"] == ...
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.provider.record import KEPT_CALLS_MAX, PATIENCE_S

ROOT = Path(__file__).resolve().parents[3]


class RemoteProviders:
    """What `control` offers, as methods. ValueError with the server's words where it refuses, TimeoutError where what
    was waited for did not come."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url  # of the server, without a path

    def base_url(self, name: str) -> str:
        """What a client appends `/chat/completions` to."""
        return f"{self.url}/p/{name}/v1"

    async def play(self, name: str, steps: Sequence[dict[str, Any]]) -> None:
        """Replaces the script; none: the provider recovers."""
        await self._ask("POST", name, json=list(steps))

    async def set_default(self, name: str, **fields: Any) -> None:
        """How requests are answered that no step answers, in fields of Behaviour."""
        await self._ask("PUT", name, json=fields)

    async def reset(self, name: str) -> None:
        """Forgets record and script."""
        await self._ask("DELETE", name)

    async def record(
        self,
        name: str,
        *,
        requests_min: int = 0,
        running_max: int = -1,
        calls: bool = True,
        timeout_s: float = PATIENCE_S,
    ) -> dict[str, Any]:
        """The record, as soon as there were so many requests and so few are under way (-1: whatever number)."""
        asked = {"requests_min": requests_min, "running_max": running_max, "calls": int(calls), "timeout_s": timeout_s}
        return await self._ask("GET", name, params=asked)

    async def _ask(self, method: str, name: str, **how: Any) -> dict[str, Any]:
        async with self._session.request(method, f"{self.url}/_control/{name}", **how) as answer:
            answered: dict[str, Any] = await answer.json()
            if answer.status == 408:
                raise TimeoutError(answered["error"])
            if answer.status != 200:
                raise ValueError(answered["error"])
            return answered


@contextlib.asynccontextmanager
async def provider_process(
    *, latency_s: float = 0.0, pace_s: float = 0.0, keep: int = KEPT_CALLS_MAX
) -> AsyncIterator[RemoteProviders]:
    """Starts the process on a free port, and ends it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.provider", "0", str(latency_s), str(pace_s), str(keep),
        stdout=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            base_url = (await process.stdout.readline()).decode().strip()
        if not base_url:
            raise RuntimeError("the provider's process did not start; what it says is on stderr")
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as session:
            yield RemoteProviders(session, base_url.removesuffix("/v1"))
    finally:
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
            process.terminate()
        await process.wait()
