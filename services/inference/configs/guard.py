"""Takes canaries back when their judge says so, in the background of the calls that it judges by."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import structlog

from services.inference.configs.versions import Configs
from services.inference.routing.route import Route
from services.mesh.backoff import Backoff
from services.mesh.errors import MeshError

_log = structlog.get_logger(__name__)


class CanaryGuard:
    """`roll_back` may be called from anywhere on the loop; `run` does it, again and again while PostgreSQL is away."""

    def __init__(self, configs: Configs, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._configs = configs
        self._uniform = uniform
        self._wanted: dict[str, str] = {}  # route → why; one verdict a route is enough
        self._come = asyncio.Event()

    def roll_back(self, route: Route, why: str) -> None:
        """Asks for it and returns at once."""
        self._wanted.setdefault(route.name, why)
        self._come.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        backoff = Backoff(0.1, 5.0, self._uniform)
        while True:
            await self._come.wait()
            route, why = next(iter(self._wanted.items()))
            try:
                await self._configs.roll_back_by_guard(route, why)
            except MeshError as error:
                if error.reason != "DEPENDENCY_UNAVAILABLE":
                    raise
                _log.warning("a canary waits to be taken back", route=route, reason=error.reason)
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            del self._wanted[route]
            if not self._wanted:
                self._come.clear()
