"""Accounts for what processes left that are gone: calls that ended and were not stored, and calls that never ended."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import structlog

from services.inference.ledger import lines, segments
from services.inference.ledger.journal import LOCK, remove, try_lock
from services.inference.ledger.metrics import RECOVERED, TORN
from services.inference.ledger.record import CallRecord, record_of
from services.mesh.failpoints import Failpoint

FOLDER = "ledger"
"""Below a worker's folder; it holds a folder for each process that ran, named by its incarnation."""

BATCH = 500
RECENT_NS = 15_000_000_000
"""Calls that ended in so much time before a process did are told of even where PostgreSQL has them: Redis, which is
told every 100 ms and takes a process for dead that is silent for some seconds, may not have heard of them."""

BEFORE_REMOVAL = Failpoint("ledger.before_removal")

Store = Callable[[Sequence[CallRecord]], Awaitable[None]]
OnRecovered = Callable[[str, Sequence[CallRecord]], Awaitable[None]]
"""(incarnation of the process that is gone, the calls that it left)."""

_log = structlog.get_logger(__name__)


class Recovery:
    """Takes over journals whose process is gone, known by their lock, which ends with it.

    `store` returns when records are in PostgreSQL. `home`: where this worker's processes have their folders.
    `siblings`: the folder that holds those of other workers, None: there are none to be seen. Theirs are left to
    themselves for `adopt_s` first, to come back.

    `on_recovered` is awaited once for each process, when all that it left is stored, so that its reservations can be
    settled; it hears of the calls of the last seconds, too, that were stored before (RECENT_NS). It may hear of them
    again, after a further crash; where it raises, the journal stays and is tried again.
    """

    def __init__(
        self,
        store: Store,
        home: Path,
        siblings: Path | None,
        *,
        adopt_s: float,
        on_recovered: OnRecovered | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._home = home
        self._siblings = siblings
        self._adopt_s = adopt_s
        self._on_recovered = on_recovered
        self._monotonic = monotonic
        self._seen_free: dict[Path, float] = {}

    async def run_once(self) -> int:
        """Accounts for every journal that may be taken now; returns how many records that were."""
        total = 0
        for folder in await asyncio.to_thread(self._free):
            total += await self.recover(folder)
        return total

    async def recover(self, folder: Path) -> int:
        """Accounts for one folder and removes it; returns how many records that were, 0 if its process lives."""
        try:
            lock = try_lock(folder)
        except OSError:
            return 0  # another process has just taken it away
        if lock is None:
            return 0
        try:
            through, open_records, left_ns = await asyncio.to_thread(_survey, folder)
            batches = _finished(folder, through, left_ns - RECENT_NS)
            left: list[CallRecord] = []
            finished = 0
            while batch := await asyncio.to_thread(lambda: list(islice(batches, BATCH))):
                unstored = [record for record in batch if not record.stored]
                if unstored:
                    await self._store(unstored)
                left += batch
                finished += len(unstored)
            lost = list(open_records.values())
            for record in lost:
                record.lose((left_ns - record.begin_time_ns) // 1000)
            for start in range(0, len(lost), BATCH):
                await self._store(lost[start : start + BATCH])
            if self._on_recovered is not None:
                await self._on_recovered(folder.name, left + lost)
        except BaseException:
            os.close(lock)
            raise
        RECOVERED.labels("finished").inc(finished)
        RECOVERED.labels("lost").inc(len(lost))
        BEFORE_REMOVAL.hit()
        await asyncio.to_thread(remove, folder, lock)
        self._seen_free.pop(folder, None)
        if finished or lost:
            _log.warning("accounted for calls of a process that is gone", finished=finished, lost=len(lost))
        return finished + len(lost)

    def _free(self) -> list[Path]:
        """Folders that may be taken, this worker's own first."""
        own = [one for one in _folders(self._home) if _is_free(one)]
        if self._siblings is None:
            return own
        now = self._monotonic()
        others = []
        for home in sorted(self._siblings.glob(f"*/{FOLDER}")):
            if home == self._home:
                continue
            for one in _folders(home):
                # A folder is never used again by another process, so once free it stays so.
                if (one in self._seen_free or _is_free(one)) and now - self._seen_free.setdefault(
                    one, now
                ) >= self._adopt_s:
                    others.append(one)
        return own + others


def _folders(home: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(one for one in home.iterdir() if (one / LOCK).exists())
    return []


def _is_free(folder: Path) -> bool:
    try:
        lock = try_lock(folder)
    except OSError:
        return False
    if lock is None:
        return False
    os.close(lock)
    return True


def _survey(folder: Path) -> tuple[tuple[int, int], dict[str, CallRecord], int]:
    """(up to where all that ended is stored, calls that did not end, when the last line was written in ns)."""
    through = (0, 0)
    begun: dict[str, CallRecord] = {}
    left_ns = 0
    for _, path in segments.found(folder):
        left_ns = max(left_ns, path.stat().st_mtime_ns)
        for fields, _ in lines.read_lines(path):
            if fields is None:
                TORN.inc()
            elif fields[0] == "b":
                begun[fields[1]] = record_of(fields)
            elif fields[0] in ("f", "r", "e"):
                begun.pop(fields[1], None)
            elif fields[0] == "w":
                through = (fields[1], fields[2])
    return through, begun, left_ns


def _finished(folder: Path, through: tuple[int, int], since_ns: int) -> Iterator[CallRecord]:
    """Calls that ended and are not stored, and those, marked as stored, that ended since a moment."""
    for number, path in segments.found(folder):
        for fields, offset in lines.read_lines(path):
            if fields is None or fields[0] not in ("f", "r"):
                continue
            record = record_of(fields)
            # What was written late has no place in the order.
            record.stored = fields[0] == "f" and (number, offset) <= through
            if not record.stored or record.begin_time_ns + record.duration_us * 1000 >= since_ns:
                yield record
