"""Records on their way to PostgreSQL, in the order they ended: some in memory, the rest where the journal has them."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Iterator
from itertools import islice

from services.inference.ledger.journal import Journal, Place
from services.inference.ledger.record import CallRecord
from services.inference.limits.epochs import Unflushed

# Of a gap that is read on the event loop, because nothing may be written meanwhile: about 1 ms.
TAIL_BYTES = 128 * 1024
_HOUR_S = 3600
_NS = 1_000_000_000

_SpendKey = tuple[str, str, str, int]
"""Organisation, person, API key, hour since the epoch."""


class Backlog:
    """At most `records_max` in memory, and beside them those that the journal could not take."""

    def __init__(self, journal: Journal, records_max: int) -> None:
        self._journal = journal
        self._records_max = records_max
        self._records: deque[CallRecord] = deque()
        self._spilled_from: Place | None = None  # from there on ends stand in the journal alone
        self._spilled = 0
        # Of the calls that stand in the journal alone: what they cost, and how many they are.
        self._spilled_nanos: Counter[_SpendKey] = Counter()
        self._spilled_calls: Counter[_SpendKey] = Counter()

    def __len__(self) -> int:
        return len(self._records) + self._spilled

    @property
    def full(self) -> bool:
        """Whether memory holds as many as it may."""
        return len(self._records) >= self._records_max

    def add(self, record: CallRecord, place: Place | None) -> None:
        """`place`: where its line begins in the journal; None: it has none."""
        if place is None or (self._spilled_from is None and len(self._records) < self._records_max):
            self._records.append(record)
        else:
            if self._spilled_from is None:
                self._spilled_from = place
            self._spilled += 1
            key = _spend_key(record)
            self._spilled_calls[key] += 1
            self._spilled_nanos[key] += record.cost_nanos or 0

    def first(self, most: int) -> list[CallRecord]:
        """Up to `most` of the oldest in memory; they stay until `done`."""
        return list(islice(self._records, most))

    def done(self, count: int) -> None:
        """The oldest `count` are stored."""
        for _ in range(count):
            self._records.popleft()

    def unflushed(self) -> Iterator[Unflushed]:
        """What all of them cost, those in the journal summed by hour."""
        for record in self._records:
            time_s = record.begin_time_ns / _NS
            yield Unflushed(record.org_id, record.user_id, record.api_key_id, time_s, record.cost_nanos or 0)
        for key, calls in self._spilled_calls.items():
            if calls:
                org_id, user_id, api_key_id, hour = key
                nanos = self._spilled_nanos[key]
                yield Unflushed(org_id, user_id, api_key_id, float(hour * _HOUR_S), nanos, calls)

    async def refill(self) -> None:
        """Reads from the journal where memory is empty and something waits there."""
        start = self._spilled_from
        if start is None or self._records:
            return
        end = self._journal.end
        found, reached = await asyncio.to_thread(self._read, start, end)
        if len(found) < self._records_max:
            # All of it up to `end`: what was written while the thread read is little, and read without a pause.
            now = self._journal.end
            if now[0] == end[0] and now[1] - end[1] <= TAIL_BYTES:
                more, _ = self._read(end, now)
                self._take(found + more, None)
                return
            reached = end
        self._take(found, reached)

    def _take(self, found: list[CallRecord], spilled_from: Place | None) -> None:
        # What could not be journaled meanwhile stands in memory already; its turn does not matter.
        self._records.extend(found)
        self._spilled_from = spilled_from
        if spilled_from is None:
            self._spilled = 0
            self._spilled_nanos.clear()
            self._spilled_calls.clear()
            return
        self._spilled = max(0, self._spilled - len(found))
        for record in found:
            key = _spend_key(record)
            self._spilled_calls[key] -= 1
            self._spilled_nanos[key] -= record.cost_nanos or 0

    def _read(self, start: Place, end: Place) -> tuple[list[CallRecord], Place]:
        found: list[CallRecord] = []
        reached = start
        for record, place in self._journal.finished(start, end):
            found.append(record)
            reached = place
            if len(found) >= self._records_max:
                break
        return found, reached


def _spend_key(record: CallRecord) -> _SpendKey:
    return record.org_id, record.user_id, record.api_key_id, record.begin_time_ns // (_HOUR_S * _NS)
