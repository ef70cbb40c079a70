"""What the cache measures."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

_LOOKUPS = Counter("promptmesh_cache_lookups", "Calls of routes with a cache, by what it did.", ("result",))
HIT_MEMORY = _LOOKUPS.labels("hit_memory")
HIT_REDIS = _LOOKUPS.labels("hit_redis")
JOINED = _LOOKUPS.labels("joined")
MISS = _LOOKUPS.labels("miss")
BYPASS = _LOOKUPS.labels("bypass")
REFRESH = _LOOKUPS.labels("refresh")

_STORED = Counter("promptmesh_cache_stored", "Answers stored.", ("layer",))
STORED_MEMORY = _STORED.labels("memory")
STORED_REDIS = _STORED.labels("redis")
_DROPPED = Counter("promptmesh_cache_dropped", "Answers that memory no longer keeps.", ("cause",))
DROPPED_SIZE = _DROPPED.labels("size")
DROPPED_AGE = _DROPPED.labels("age")
BYTES = Gauge("promptmesh_cache_bytes", "Memory that kept answers take.")
ENTRIES = Gauge("promptmesh_cache_entries", "Answers kept in memory.")

FLIGHTS = Gauge("promptmesh_cache_flights", "Calls of providers under way that others can join.")
FLIGHT_BYTES = Gauge("promptmesh_cache_flight_bytes", "Memory that the parts of flights take.")
REMOTE_LOST = Counter("promptmesh_cache_leaders_lost", "Flights of other replicas that ended without an end.")
REDIS_FAILED = Counter("promptmesh_cache_redis_failed", "Times that Redis did not serve the cache.", ("operation",))
