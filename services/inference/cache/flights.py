"""The flights of this process: where each answer comes from, and what is kept of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.cache import metrics
from services.inference.cache.entries import Entry, decode, encode, joined, part_of
from services.inference.cache.flight import Flight, FlightMemory
from services.inference.cache.following import LeaderLostError, broken, follow
from services.inference.cache.keys import EMBEDDINGS, family_of, tenant_of
from services.inference.cache.leading import Lead, Leads
from services.inference.cache.memory import MemoryLayer
from services.inference.cache.options import CacheOptions
from services.inference.cache.shared import Claim, SharedLayer, prefix_of
from services.inference.engine.call import AnswerInfo, ModelCall
from services.inference.providers.base import Part
from services.mesh.errors import MeshError

Produce = Callable[[AnswerInfo], AsyncGenerator[Part, None]]
# How a whole answer ends that says what the model would say again.
STORABLE = frozenset({"stop", "length", "tool_calls", "function_call"})
# A large answer takes longer to compress than the event loop can spare (1 MiB: 10 ms): from here on a thread does it.
_THREAD_BYTES = 64 * 1024
# How often a flight follows other replicas' that are lost, before it calls the provider without asking again.
_FOLLOWS_MAX = 3


@dataclass(slots=True, eq=False)
class _Job:
    """What a flight is for."""

    key: bytes
    prefix: str
    token: str
    embeds: bool
    asks_others: bool
    produce: Produce
    paid: bool = False  # the provider is called here
    lead: Lead | None = None


class Flights:
    """Begins flights, and finds those that can be joined."""

    def __init__(
        self, shared: SharedLayer | None, memory: MemoryLayer, options: CacheOptions, new_token: Callable[[], str]
    ) -> None:
        self._shared = shared
        self._leads = Leads(shared, options) if shared is not None else None
        self._memory = memory
        self._options = options
        self._new_token = new_token
        self._held = FlightMemory(options.flight_bytes_max)
        self._open: dict[bytes, Flight] = {}  # those that can be joined
        self._jobs: dict[Flight, _Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def find(self, key: bytes) -> Flight | None:
        """The flight of this question that can be joined."""
        return self._open.get(key)

    def begin(
        self, key: bytes, call: ModelCall, entry_bytes_max: int, ttl_s: float, produce: Produce, *, alone: bool = False
    ) -> Flight:
        """A new flight, in place of the one that could be joined so far. `alone`: nobody joins it, nothing is kept."""
        refresh = call.cache.refresh
        flight = Flight(
            decision=pb.CACHE_DECISION_REFRESH if refresh else pb.CACHE_DECISION_MISS,
            streamed=call.streamed,
            entry_bytes_max=entry_bytes_max,
            ahead_bytes=self._options.flight_ahead_entries * entry_bytes_max,
            ttl_s=ttl_s,
            memory=self._held,
            on_orphan=self._orphaned,
            on_shut=self._shut,
        )
        job = _Job(
            key=key,
            prefix=prefix_of(tenant_of(call.caller), key),
            token=self._new_token(),
            embeds=family_of(call) == EMBEDDINGS,
            asks_others=not (refresh or alone),
            produce=produce,
        )
        self._jobs[flight] = job
        if not alone:
            self._open[key] = flight
        metrics.FLIGHTS.inc()
        # A new task has a copy of the caller's context.
        flight.task = self._spawn(self._fly(flight, job))
        # Not `finally` in the task: one that is cancelled before its first step runs none.
        flight.task.add_done_callback(lambda _: self._landed(flight, job))
        return flight

    async def close(self) -> None:
        """Ends all flights; callers that are left get DRAINING."""
        for flight in list(self._jobs):
            flight.cancel()
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        if self._leads is not None:
            await self._leads.close()

    async def _fly(self, flight: Flight, job: _Job) -> None:
        answer: Entry | None = None
        error: Exception | None = None
        try:
            async with aclosing(self._source(flight, job)) as parts:
                async for part in parts:
                    flight.add(part)
                    if flight.ahead:
                        await flight.room()
                    if flight.count == 1 and flight.streamed and job.lead is not None and self._leads is not None:
                        self._leads.hurry(job.lead)  # whoever joined meanwhile waits for this part
            answer = self._keep(flight, job)
        except Exception as failure:
            error = failure
        self._close_door(flight, job)
        flight.end(error)
        await self._share(flight, job, answer)

    def _landed(self, flight: Flight, job: _Job) -> None:
        """The flight's task is done, in whatever way."""
        del self._jobs[flight]
        metrics.FLIGHTS.dec()
        self._close_door(flight, job)
        if not flight.ended:  # cancelled
            flight.end(_draining())
            if job.lead is not None and self._leads is not None:
                self._spawn(self._leads.give_back(job.lead))

    async def _source(self, flight: Flight, job: _Job) -> AsyncGenerator[Part, None]:
        """The answer from Redis, from another replica's flight, or from the provider."""
        decision, waited = flight.decision, False
        for _ in range(_FOLLOWS_MAX if job.asks_others else 0):
            claim = await self._claim(job)
            if claim is None:
                break
            if claim.answer:
                entry = await _decoded(claim.answer)
                if entry is None or entry.streamed != flight.streamed:
                    break  # not ours to read; the provider's answer takes its place
                flight.decision = pb.CACHE_DECISION_JOINED if waited else pb.CACHE_DECISION_HIT
                flight.remote = (entry.model, entry.provider)
                flight.info.record.usage, flight.info.record.finish_reasons = entry.usage, dict(entry.finish_reasons)
                flight.ttl_s = min(flight.ttl_s, claim.ttl_s)
                for data in entry.parts:
                    yield part_of(data, flight.streamed)
                return
            if not claim.leader:
                if self._leads is not None:
                    job.lead = self._leads.begin(job.prefix, job.token, flight)
                break
            assert self._shared is not None
            waited, flight.decision = True, pb.CACHE_DECISION_JOINED
            told = follow(self._shared, self._options, flight, job.prefix, claim.leader, job.token, self._spawn)
            try:
                async with aclosing(told) as parts:
                    async for part in parts:
                        yield part
                return
            except LeaderLostError as lost:
                metrics.REMOTE_LOST.inc()
                if flight.count:
                    raise broken() from lost
                if lost.tired:
                    break
        flight.remote, flight.decision, job.paid = None, decision, True
        async with aclosing(job.produce(flight.info)) as parts:
            async for part in parts:
                yield part

    async def _claim(self, job: _Job) -> Claim | None:
        if self._shared is None:
            return None
        claim: Claim | None = None
        try:
            claim = await self._shared.claim(job.prefix, job.token)
        finally:
            # Cancelled or too late, it may have led all the same; nobody is to wait for that.
            if claim is None and self._shared.available:
                self._spawn(self._give_back_claim(job))
        return claim

    async def _give_back_claim(self, job: _Job) -> None:
        if self._shared is not None:
            await self._shared.finish(job.prefix, job.token, said=True)

    def _keep(self, flight: Flight, job: _Job) -> Entry | None:
        """Stores a whole answer in memory; None: it is not to be stored."""
        record = flight.info.record
        if not flight.open or flight.info.restarted or self._open.get(job.key) is not flight:
            return None
        if not job.embeds and not (record.finish_reasons and STORABLE.issuperset(record.finish_reasons.values())):
            return None
        parts = flight.whole
        if flight.streamed and self._options.replay_join_bytes:
            parts = joined(parts, self._options.replay_join_bytes)
        usage, finish_reasons = record.usage, dict(record.finish_reasons)
        entry = Entry(parts, flight.streamed, flight.model, flight.provider, usage, finish_reasons)
        if self._memory.put(job.key, entry, flight.ttl_s):
            metrics.STORED_MEMORY.inc()
        return entry

    async def _share(self, flight: Flight, job: _Job, answer: Entry | None) -> None:
        """Stores the answer in Redis, where it came from here, and tells those who follow that it has ended."""
        if self._shared is None or not job.paid:
            return
        value = await self._encoded(answer) if answer is not None else b""
        if job.lead is not None and self._leads is not None:
            await self._leads.finish(job.lead, value, flight.ttl_s)
        elif value:
            await self._shared.store(job.prefix, value, flight.ttl_s)

    async def _encoded(self, entry: Entry) -> bytes:
        if entry.size_bytes < _THREAD_BYTES:
            return encode(entry, self._options.compress_from_bytes)
        return await asyncio.to_thread(encode, entry, self._options.compress_from_bytes)

    def _orphaned(self, flight: Flight) -> None:
        """Its last caller has left: the flight ends, at once or when it is known that no other replica follows."""
        lead = self._jobs[flight].lead
        if lead is not None and not lead.over and self._shared is not None and self._shared.available:
            assert self._leads is not None
            self._leads.hurry(lead)
        else:
            flight.cancel()

    def _shut(self, flight: Flight) -> None:
        """Nobody may join it any more."""
        job = self._jobs[flight]
        self._close_door(flight, job)
        if job.lead is not None and not job.lead.over and self._leads is not None:
            self._leads.hurry(job.lead)

    def _close_door(self, flight: Flight, job: _Job) -> None:
        if self._open.get(job.key) is flight:
            del self._open[job.key]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name="cache")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _decoded(value: bytes) -> Entry | None:
    try:
        return decode(value) if len(value) < _THREAD_BYTES else await asyncio.to_thread(decode, value)
    except ValueError:
        return None


def _draining() -> MeshError:
    return MeshError("DRAINING", "This process is about to stop. Send the call again.", retry_after_s=1.0)
