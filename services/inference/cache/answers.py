"""The cache of answers, as the engine uses it: one `open` for each call of a route that has a cache.

Looked for, in order: in memory; among the flights of this process; in Redis; among the flights of other replicas. Who
finds nothing begins a flight: one call of the provider, which all who ask the same meanwhile join.

`produce` runs in the flight's task, in a copy of the context of the caller that began it: `services.mesh.call.current`
is that caller's, also when that caller has left and others follow. So produce charges that caller, ends what it
reserved by itself, and must not depend on that caller's presence: no closers on its Call, and not its deadline, since
the flight is cancelled when the last who follows has left.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Callable

from prometheus_client import Counter
from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.cache import metrics
from services.inference.cache.entries import Entry, part_of
from services.inference.cache.flight import Flight, Follower
from services.inference.cache.flights import Flights, Produce
from services.inference.cache.following import ASKERS_OWN
from services.inference.cache.keys import UncacheableError, key_of
from services.inference.cache.memory import MemoryLayer
from services.inference.cache.options import CacheOptions
from services.inference.cache.shared import SharedLayer
from services.inference.cache.ticket import Ticket
from services.inference.engine.call import AnswerInfo, ModelCall
from services.inference.providers.base import AnswerRecord, Part
from services.inference.routing.route import CachePolicy
from services.mesh.errors import MeshError
from services.mesh.redis import Redis

__all__ = ["AnswerCache", "CacheOptions", "Ticket"]
BYPASS, HIT, JOINED = pb.CACHE_DECISION_BYPASS, pb.CACHE_DECISION_HIT, pb.CACHE_DECISION_JOINED
_COUNTS: dict[int, Counter] = {
    pb.CACHE_DECISION_HIT: metrics.HIT_REDIS,
    pb.CACHE_DECISION_JOINED: metrics.JOINED,
    pb.CACHE_DECISION_MISS: metrics.MISS,
    pb.CACHE_DECISION_REFRESH: metrics.REFRESH,
}
# How often a call joins a flight that fails for reasons of the one who began it, before it goes by itself.
_JOINS_MAX = 2


class AnswerCache:
    """See the module. One a process. `redis`: the one that may forget; None: this process alone."""

    def __init__(
        self,
        redis: Redis | None,
        *,
        memory_bytes_max: int | None = None,
        options: CacheOptions | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        new_token: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        options = options or CacheOptions()
        bytes_max = options.memory_bytes_max if memory_bytes_max is None else memory_bytes_max
        self._memory = MemoryLayer(bytes_max, monotonic)
        shared = SharedLayer(redis, options) if redis is not None else None
        self._flights = Flights(shared, self._memory, options, new_token)

    def key(self, call: ModelCall) -> bytes:
        """See keys; UncacheableError."""
        return key_of(call)

    async def open(self, call: ModelCall, policy: CachePolicy, produce: Produce) -> Ticket:
        """What becomes of the call. Returns when the first part is there, so that an error before it is raised here
        (except for BYPASS, where nothing has happened yet)."""
        control = call.cache
        try:
            key = b"" if control.bypass else key_of(call)
        except UncacheableError:
            key = b""
        if not key:
            metrics.BYPASS.inc()
            info = AnswerInfo()
            return Ticket(BYPASS, info, produce(info))
        if not control.refresh:
            entry = self._memory.get(key)
            if entry is not None:
                metrics.HIT_MEMORY.inc()
                return _hit(entry)
        ttl_s = min(policy.ttl_s, control.ttl_s or policy.ttl_s)
        joins = 0
        while True:
            alone = joins == _JOINS_MAX
            found = None if control.refresh or alone else self._flights.find(key)
            flight = found or self._flights.begin(key, call, policy.entry_bytes_max, ttl_s, produce, alone=alone)
            follower = flight.join(ttl_s)
            try:
                await follower.first()
            except MeshError as error:
                if found is None or error.reason not in ASKERS_OWN:
                    raise
                joins += 1
            else:
                return _ticket(flight, follower, began=found is None)

    async def close(self) -> None:
        """Ends what is under way; then the cache is not used again."""
        await self._flights.close()
        self._memory.clear()


def _ticket(flight: Flight, follower: Follower, *, began: bool) -> Ticket:
    decision = flight.decision if began or flight.decision == HIT else JOINED
    _COUNTS[decision].inc()
    info = flight.info
    if decision in (HIT, JOINED):
        info = AnswerInfo(target=info.target, record=info.record)
        follower.info = info
    return Ticket(decision, info, follower, flight=flight)


def _hit(entry: Entry) -> Ticket:
    info = AnswerInfo(record=AnswerRecord(usage=entry.usage, finish_reasons=dict(entry.finish_reasons)))
    return Ticket(HIT, info, _replay(entry), entry=entry)


async def _replay(entry: Entry) -> AsyncGenerator[Part, None]:
    streamed = entry.streamed
    for data in entry.parts:
        yield part_of(data, streamed)
