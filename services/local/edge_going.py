"""How an edge that was replaced goes: it takes no more callers, and ends when nothing is under way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from services.local.child import Child
from services.local.edge_admin import ask
from services.local.edge_plan import EDGE_DRAIN_S

POLL_S = 0.2
# Connections without a request are closed then. Clients that keep one (browsers, pools) may send on it at that very
# moment; most have let go of it, or have been told to by an answer, before.
IDLE_S = 20.0
LISTENERS_S = 1.0  # they are closed so long after the drain's time, on a machine that does much else

_REQUESTS, _CONNECTIONS = "http.edge.downstream_rq_active", "http.edge.downstream_cx_active"


class EdgeGoing:
    """One edge that goes. `run` lasts until it has ended; `busy` says whether requests are under way."""

    def __init__(
        self,
        child: Child,
        end: Callable[[Child], Awaitable[bool]],
        ask_edge: Callable[[int, str, str], str] = ask,
    ) -> None:
        """child: its spec's `drain_s` is the most that this lasts."""
        self.child = child
        self._end, self._ask_edge = end, ask_edge
        self.busy = True
        self.ended = False
        self._admin_port = child.spec.more_ports["admin"]

    async def run(self) -> None:
        """Drains it, waits, ends it."""
        asked = time.monotonic()
        begun: float | None = None  # the drain
        while not self.child.gone and time.monotonic() - asked <= self.child.spec.drain_s:
            try:
                if begun is None:
                    await asyncio.to_thread(self._ask, "POST", "/drain_listeners?graceful")
                    begun = time.monotonic()
                requests, connections = await asyncio.to_thread(self._under_way)
            except (OSError, ValueError):  # too busy to answer in time, or gone, or it said something else
                await asyncio.sleep(POLL_S)
                continue
            waited_s = time.monotonic() - begun
            self.busy = waited_s < EDGE_DRAIN_S + LISTENERS_S or requests > 0
            if not self.busy and (connections == 0 or waited_s > IDLE_S):
                break
            await asyncio.sleep(POLL_S)
        await self._end(self.child)
        self.busy, self.ended = False, True

    def _under_way(self) -> tuple[int, int]:
        found = {_REQUESTS: 0, _CONNECTIONS: 0}
        for line in self._ask("GET", "/stats?filter=^http.edge.downstream_(rq|cx)_active$").splitlines():
            name, _, value = line.partition(": ")
            found[name] = int(value)
        return found[_REQUESTS], found[_CONNECTIONS]

    def _ask(self, verb: str, path: str) -> str:
        return self._ask_edge(self._admin_port, verb, path)
