"""The flights that this process leads for all replicas.

One task renews all leases of the process in one pipeline, and so learns whether other replicas follow. Only a flight
that is followed is published; nearly none is, and those cost one round trip at their begin and one at their end.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from dataclasses import dataclass

from services.inference.cache.entries import pack
from services.inference.cache.flight import Flight, Follower
from services.inference.cache.options import CacheOptions
from services.inference.cache.shared import Head, SharedLayer
from services.mesh.errors import MeshError

# How many looks a follower may miss, before what it has not read may be dropped.
_POLLS_MISSED = 4


@dataclass(slots=True, eq=False)
class Lead:
    """One flight that is led. `reader` holds its parts from the first on, until it is known who else follows."""

    prefix: str
    token: str
    flight: Flight
    reader: Follower
    hurried: bool = False  # is to be looked at now
    over: bool = False  # given up: nothing more is told to other replicas
    said: bool = False  # its end stands in Redis
    publisher: asyncio.Task[None] | None = None


class Leads:
    """See the module."""

    def __init__(self, shared: SharedLayer, options: CacheOptions) -> None:
        self._shared = shared
        self._options = options
        self._leads: dict[str, Lead] = {}
        self._soon = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self, prefix: str, token: str, flight: Flight) -> Lead:
        """Leads `flight`, for which `token` has been claimed."""
        lead = Lead(prefix, token, flight, flight.observe())
        self._leads[token] = lead
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(
                self._keep(), name="cache leads", context=contextvars.Context()
            )
        return lead

    def hurry(self, lead: Lead) -> None:
        """Looks at once whether other replicas follow: the first part has come, the last caller left, or the door is
        shut."""
        lead.hurried = True
        self._soon.set()

    async def finish(self, lead: Lead, answer: bytes, ttl_s: float) -> None:
        """After the flight has ended by itself: stores the answer, unless empty, and tells those who follow."""
        try:
            self._leads.pop(lead.token, None)
            if lead.publisher is not None:
                await asyncio.wait([lead.publisher])
            if lead.over:
                if answer:
                    await self._shared.store(lead.prefix, answer, ttl_s)
                return
            if not await self._shared.finish(lead.prefix, lead.token, said=lead.said, answer=answer, ttl_s=ttl_s):
                await self._publish(lead)
                await self._shared.finish(lead.prefix, lead.token, said=True)
        finally:
            lead.reader.leave()

    async def give_back(self, lead: Lead) -> None:
        """After the flight was cancelled: whoever follows asks anew."""
        self._leads.pop(lead.token, None)
        if lead.publisher is not None:
            lead.publisher.cancel()
            await asyncio.wait([lead.publisher])
        lead.reader.leave()
        if not lead.over:
            lead.over = True
            await self._shared.finish(lead.prefix, lead.token, said=True)

    async def close(self) -> None:
        """After the last flight."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep(self) -> None:
        loop = asyncio.get_running_loop()
        renew_s, orphan_s = self._options.renew_ms / 1000, self._options.orphan_ms / 1000
        renew_time = loop.time() + renew_s
        while self._leads:
            orphans = any(lead.flight.callers == 0 for lead in self._leads.values())
            until = min(renew_time, loop.time() + orphan_s) if orphans else renew_time
            try:
                async with asyncio.timeout_at(until):
                    await self._soon.wait()
            except TimeoutError:
                pass
            self._soon.clear()
            if loop.time() >= renew_time:
                renew_time = loop.time() + renew_s
                due = list(self._leads.values())
            else:
                due = [lead for lead in self._leads.values() if lead.hurried or lead.flight.callers == 0]
            if due:
                await self._look(due)

    async def _look(self, due: list[Lead]) -> None:
        for lead in due:
            lead.hurried = False
        asked = [(lead.prefix, lead.token, lead.flight.open, lead.flight.callers == 0) for lead in due]
        counts = await self._shared.renew(asked)
        for i, lead in enumerate(due):
            flight = lead.flight
            if flight.ended or lead.over:
                continue
            if counts is None:
                # Nobody knows who follows: what must be decided now is decided as if nobody did.
                if flight.callers == 0 or not flight.open:
                    self._give_up(lead)
            elif counts[i] > 0:
                if lead.publisher is None:
                    work = self._publish(lead)
                    lead.publisher = asyncio.get_running_loop().create_task(work, name="cache publisher")
            elif counts[i] < 0 or (not asked[i][2] and lead.publisher is None):
                self._give_up(lead)

    def _give_up(self, lead: Lead) -> None:
        lead.over = True
        self._leads.pop(lead.token, None)
        lead.reader.leave()
        if lead.publisher is not None and lead.publisher is not asyncio.current_task():
            lead.publisher.cancel()
        if lead.flight.callers == 0:
            lead.flight.cancel()

    async def _publish(self, lead: Lead) -> None:
        """Tells all parts, and the end."""
        flight, number, oldest, size = lead.flight, 0, 1, 0
        loop = asyncio.get_running_loop()
        kept: deque[tuple[int, float]] = deque()  # of entries in Redis: size, and until when nobody is too slow for it
        while True:
            parts, ended = lead.reader.take(), flight.ended
            if not parts and not ended:
                await flight.news()
                continue
            head = Head(flight.model, flight.provider)
            if ended:
                if flight.error is not None and not isinstance(flight.error, MeshError):
                    return  # a fault of ours: other replicas take it that we died, and ask themselves
                head.end(flight.info.record, flight.error)
            packed = pack(parts)
            number += 1
            size += len(packed)
            # A follower that is too far behind finds a gap, and its callers an answer that broke off.
            while size > flight.ahead_bytes and kept:
                await asyncio.sleep(kept[0][1] - loop.time())
                size -= kept.popleft()[0]
                oldest += 1
            kept.append((len(packed), loop.time() + _POLLS_MISSED * self._options.poll_most_ms / 1000))
            if not await self._shared.publish(lead.prefix, lead.token, number, head, packed, oldest):
                if not flight.ended:
                    self._give_up(lead)
                lead.over = True
                return
            if ended:
                lead.said = True
                return
            await asyncio.sleep(self._options.publish_batch_ms / 1000)
