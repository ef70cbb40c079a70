"""Auth away under load: `python -m bench.auth_away`, 60 seconds hanging and 60 killed; a test does the same for less.

Callers with a key and with a token that the services have seen before go on reading, writing, screening and asking
models; none of it may fail. Told are the calls, what failed, and the slowest call before, while and after.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import aiohttp
import psutil

from bench.harness import EDGE_WIDE_OPEN, row
from services.local.testing import LocalMesh, local_mesh

AUTH = "auth-0"
SCOPES = ("posts:read", "posts:write", "moderation:screen", "inference:invoke")
#: No call takes as long, whatever is away.
CALL_TIMEOUT_S = 20.0
PATIENCE_S = 60.0
POLL_S = 0.05
OK = "200"
#: Between two calls of a caller: what is asked is whether they go on, and not how many the machine bears.
_PAUSE_S, _PAUSE_OF_WRITES_S = 0.05, 0.3
_CHAT = {"model": "demo", "messages": [{"role": "user", "content": "Hello."}], "max_tokens": 8}
_TEXT = "Write a short story about a lighthouse keeper who counts ships."
KINDS: Mapping[str, tuple[str, str, object]] = {
    "read": ("GET", "/api/v1/posts?pageSize=1", None),
    "write": ("POST", "/api/v1/posts", {"title": "A title", "body": _TEXT}),
    "screen": ("POST", "/api/v1/moderation:screen", {"text": _TEXT}),
    "models": ("GET", "/api/v1/models", None),
    "complete": ("POST", "/v1/chat/completions", _CHAT),
}


@dataclass
class Callers:
    """One caller of each kind with each credential. `counts`: their calls by credential, kind and how they ended;
    `slowest_s`: the longest of these."""

    http: aiohttp.ClientSession
    url: str
    credentials: Mapping[str, str]
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    slowest_s: float = 0.0
    _ends: asyncio.Event = field(default_factory=asyncio.Event)
    _one_more: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Calls for a block; those under way at its end are waited for."""
        self._ends.clear()
        async with asyncio.TaskGroup() as tasks:
            for name in self.credentials:
                for kind in KINDS:
                    tasks.create_task(self._forever(name, kind))
            try:
                yield
            finally:
                self._ends.set()

    async def more(self, calls: int, outcome: str = "") -> None:
        """Waits until so many more of each have ended, or ended so."""
        before = self.counts.copy()

        def ended(of: Counter[tuple[str, str, str]], name: str, kind: str) -> int:
            return sum(count for key, count in of.items() if key[:2] == (name, kind) and outcome in ("", key[2]))

        async with asyncio.timeout(PATIENCE_S):
            while any(
                ended(self.counts, name, kind) < ended(before, name, kind) + calls
                for name in self.credentials
                for kind in KINDS
            ):
                self._one_more.clear()
                await self._one_more.wait()

    async def status(self, kind: str, credential: str) -> str:
        """How one call ends: its status, with the reason where it is an error; or the name of what went wrong."""
        verb, path, body = KINDS[kind]
        try:
            async with self.http.request(
                verb, self.url + path, json=body, headers={"authorization": f"Bearer {credential}"}
            ) as answer:
                text = await answer.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__
        return OK if answer.status == 200 else f"{answer.status} {text[:300]}"

    async def _forever(self, name: str, kind: str) -> None:
        while not self._ends.is_set():
            began_s = time.monotonic()
            outcome = await self.status(kind, self.credentials[name])
            self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)
            self.counts[name, kind, outcome] += 1
            self._one_more.set()
            await asyncio.sleep(_PAUSE_OF_WRITES_S if kind == "write" else _PAUSE_S)


@contextlib.asynccontextmanager
async def callers_of(mesh: LocalMesh, name: str = "witness") -> AsyncIterator[Callers]:
    """Somebody's key and token, known to every service when the block begins."""
    _, token = await asyncio.to_thread(mesh.register, name)
    key = await asyncio.to_thread(mesh.api_key, token, *SCOPES)
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as http:
        callers = Callers(http, mesh.url, {"key": key, "token": token})
        async with callers.running():
            await callers.more(3, OK)
        callers.counts.clear()
        callers.slowest_s = 0.0
        yield callers


@contextlib.asynccontextmanager
async def hanging(mesh: LocalMesh) -> AsyncIterator[None]:
    """Auth stands still: it takes connections and answers nothing. So does who would restart it."""
    status = await asyncio.to_thread(mesh.status)
    pid = next(int(one["pid"]) for one in status["processes"] if one["name"] == AUTH)
    os.kill(int(status["pid"]), signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        os.kill(int(status["pid"]), signal.SIGCONT)
        await _serving(mesh)


@contextlib.asynccontextmanager
async def killed(mesh: LocalMesh) -> AsyncIterator[None]:
    """Auth is dead, and stays so for the block; then it is started again."""
    status = await asyncio.to_thread(mesh.status)
    pid = next(int(one["pid"]) for one in status["processes"] if one["name"] == AUTH)
    children = psutil.Process(pid).children(recursive=True)
    os.kill(int(status["pid"]), signal.SIGSTOP)
    try:
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(psutil.wait_procs, children, timeout=PATIENCE_S)
        yield
    finally:
        os.kill(int(status["pid"]), signal.SIGCONT)
        await _serving(mesh, pid)


async def _serving(mesh: LocalMesh, before: int = 0) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            auth = (await asyncio.to_thread(mesh.processes))[AUTH]
            if auth["ready"] and auth["pid"] != before and await asyncio.to_thread(mesh.healthy):
                return
            await asyncio.sleep(POLL_S)


WAYS = {"hanging": hanging, "killed": killed}


async def _measure(mesh: LocalMesh, seconds: float) -> None:
    async with callers_of(mesh) as callers:
        for how, away in WAYS.items():
            for phase in ("before", "while auth is away", "after"):
                callers.counts.clear()
                callers.slowest_s = 0.0
                async with contextlib.AsyncExitStack() as stack:
                    if phase.startswith("while"):
                        await stack.enter_async_context(away(mesh))
                    async with callers.running():
                        await asyncio.sleep(seconds if phase.startswith("while") else 5.0)
                failed = {key: count for key, count in callers.counts.items() if key[2] != OK}
                note = f"{sum(failed.values())} failed, the slowest took {callers.slowest_s * 1e3:.0f} ms"
                row(f"auth {how}, {phase}: calls", f"{callers.counts.total()}", note)
                for key, count in list(failed.items())[:5]:
                    row("  failed", f"{count}", f"{key}")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.auth_away", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long auth is away, each time")
    options = parser.parse_args(arguments)
    with local_mesh(edge=EDGE_WIDE_OPEN, environment={"PROMPTMESH_LOG_LEVEL": "warning"}) as mesh:
        asyncio.run(_measure(mesh, options.seconds))


if __name__ == "__main__":
    main()
