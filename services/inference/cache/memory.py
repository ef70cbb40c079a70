"""Answers in this process: the ones used last, bounded by bytes, each for its time."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from services.inference.cache import metrics
from services.inference.cache.entries import Entry


class MemoryLayer:
    """At most `bytes_max` bytes, keys and overhead included (see entries)."""

    def __init__(self, bytes_max: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._bytes_max = bytes_max
        self._monotonic = monotonic
        self._kept: OrderedDict[bytes, tuple[Entry, float, int]] = OrderedDict()  # with its end, and its size
        self.size_bytes = 0

    def get(self, key: bytes) -> Entry | None:
        """The answer, now the one used last; None: there is none, or it is too old."""
        found = self._kept.get(key)
        if found is None:
            return None
        if found[1] <= self._monotonic():
            self.drop(key)
            metrics.DROPPED_AGE.inc()
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: bytes, entry: Entry, ttl_s: float) -> bool:
        """Keeps it in place of what was there; False: it is larger than all that may be kept, or has no time left."""
        self.drop(key)
        size = entry.size_bytes
        if size > self._bytes_max or ttl_s <= 0:
            return False
        while self.size_bytes + size > self._bytes_max:
            self.drop(next(iter(self._kept)))
            metrics.DROPPED_SIZE.inc()
        self._kept[key] = (entry, self._monotonic() + ttl_s, size)
        self._count(1, size)
        return True

    def drop(self, key: bytes) -> None:
        """Forgets one, if it is known."""
        found = self._kept.pop(key, None)
        if found is not None:
            self._count(-1, -found[2])

    def clear(self) -> None:
        """Forgets all."""
        self._count(-len(self._kept), -self.size_bytes)
        self._kept.clear()

    def __len__(self) -> int:
        return len(self._kept)

    def _count(self, entries: int, size: int) -> None:
        self.size_bytes += size
        metrics.BYTES.inc(size)
        metrics.ENTRIES.inc(entries)
