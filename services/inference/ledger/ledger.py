"""The ledger of one process: a call is on record before it may cost anything, and accounted for whatever happens."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from services.inference.ledger.backlog import Backlog
from services.inference.ledger.journal import Journal, JournalUnwritableError
from services.inference.ledger.metrics import (
    BACKLOG,
    DROPPED,
    JOURNAL_BYTES,
    JOURNAL_FULL,
    OPEN,
    RECOVERED,
    REFUSED,
    TOKENS_IN_FLIGHT,
)
from services.inference.ledger.record import FAILED, NONE, RUNNING, CallRecord
from services.inference.ledger.recovery import FOLDER, OnRecovered, Recovery
from services.inference.ledger.redaction import redact as redact_by_rule
from services.inference.ledger.rows import TagValues
from services.inference.ledger.settings import LedgerOptions
from services.inference.ledger.writer import Writer
from services.inference.limits.epochs import Unflushed
from services.mesh.backoff import Backoff
from services.mesh.database import Database
from services.mesh.dependencies import is_away
from services.mesh.errors import MeshError
from services.mesh.failpoints import Failpoint
from services.mesh.ids import SYSTEM_CLOCK, Clock, uuid7

AFTER_BEGIN = Failpoint("ledger.after_begin")
AFTER_FINISH = Failpoint("ledger.after_finish")
AFTER_FLUSH = Failpoint("ledger.after_flush")

HOUSEKEEPING_S = 0.5
KEEP_S = 3600.0
KEEP_RETRY_S = 60.0
RETRY_AFTER_S = 1.0

_log = structlog.get_logger(__name__)


class Ledger:
    """`begin` before a provider is called, `finish` when it is over; a call that no provider was needed for may have
    `finish` alone. Both are plain functions of a few microseconds.

    `worker_dir`: the worker's folder, which outlives the process. None: a temporary one, and what a crash leaves is
    lost. Its parent may hold the folders of other workers: this one accounts for those that never come back.
    """

    def __init__(
        self,
        database: Database,
        options: LedgerOptions,
        worker_dir: Path | None,
        *,
        worker: str = "",
        on_recovered: OnRecovered | None = None,
        redact: Callable[[str], str] = redact_by_rule,
        clock: Clock = SYSTEM_CLOCK,
        new_id: Callable[[], str] = uuid7,
    ) -> None:
        self._options = options
        self._redact = redact
        self._clock = clock
        self._temporary: Path | None = None
        if worker_dir is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="promptmesh-ledger-"))
            _log.warning(
                "PROMPTMESH_WORKER_DIR is not set: the journal of calls is in a temporary folder, and what a crash "
                "leaves in it is not accounted for. Name a folder that outlives the process.",
                folder=str(self._temporary),
            )
        home = (self._temporary or worker_dir or Path()) / FOLDER
        self._writer = Writer(
            database, TagValues(options.tag_keys_max, options.tag_values_max), home / "refused.journal"
        )
        self._recovery = Recovery(
            self._store,
            home,
            None if worker_dir is None else worker_dir.parent,
            adopt_s=options.adopt_s,
            on_recovered=on_recovered,
            monotonic=clock.monotonic,
        )
        self._journal = Journal(
            home / new_id(),
            sync_s=options.sync_ms / 1000,
            segment_bytes=options.segment_bytes,
            bytes_max=options.bytes_max,
            worker=worker,
        )
        self._backlog = Backlog(self._journal, options.backlog_records)
        self._some = asyncio.Event()
        self._many = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._released = asyncio.Event()
        self._released.set()
        self._release_timer: asyncio.TimerHandle | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def keeps_texts(self) -> bool:
        """Whether texts of prompts and answers are wanted in records."""
        return self._options.keep_texts

    @property
    def text_chars_max(self) -> int:
        """Of each text that is kept."""
        return self._options.text_chars_max

    # Calls

    def begin(self, record: CallRecord) -> None:
        """Puts on record that the call begins, with what it reserved. MeshError DEPENDENCY_UNAVAILABLE: it cannot be,
        so the call must not go on."""
        self._guard_texts(record)
        try:
            self._journal.begin(record)
        except JournalUnwritableError as error:
            REFUSED.inc()
            JOURNAL_FULL.set(1)
            raise MeshError(
                "DEPENDENCY_UNAVAILABLE",
                "Calls cannot be recorded right now, so none are made. Retry after the delay in RetryInfo; calls go on "
                "by themselves once the journal can be written.",
                retry_after_s=RETRY_AFTER_S,
            ) from error
        AFTER_BEGIN.hit()

    def finish(self, record: CallRecord) -> None:
        """Puts on record how the call ended; the record is the ledger's from here on. A second time does nothing.

        What cost nothing (BASIS_NONE) has the cost 0. A record that says no end counts as failed.
        """
        if record.ended:
            return
        record.ended = True
        if record.outcome <= RUNNING:
            record.outcome, record.reason = FAILED, record.reason or "INTERNAL"
        if record.basis == NONE and record.cost_nanos is None:
            record.cost_nanos = 0
        self._guard_texts(record)
        journal, backlog = self._journal, self._backlog
        if journal.fault and backlog.full and record.begun_in is None and not record.cost_nanos:
            # Neither disk nor database: what cost nothing is given up, so that memory holds.
            DROPPED.inc()
            return
        backlog.add(record, journal.finish(record))
        if not self._some.is_set():
            self._some.set()
        if len(backlog) >= self._options.batch_max:
            self._many.set()
        AFTER_FINISH.hit()

    async def hold(self, on: bool) -> None:
        """Pauses flushing, and returns when none is under way; or lets it go on. It goes on by itself after
        `ledger_hold_s`."""
        if self._release_timer is not None:
            self._release_timer.cancel()
            self._release_timer = None
        if not on:
            self._released.set()
            return
        self._released.clear()
        self._release_timer = asyncio.get_running_loop().call_later(self._options.hold_s, self._released.set)
        async with self._flushing:
            pass

    def unflushed(self) -> Iterable[Unflushed]:
        """What calls cost that ended and are not in PostgreSQL yet: what a count from its sums lacks while `hold`
        pauses them."""
        return self._backlog.unflushed()

    # Life

    async def start(self) -> None:
        """Accounts for what this worker's processes before left, for at most `journal_recovery_wait_s`; what is not
        done by then, because PostgreSQL is away or it is much, goes on beside the calls."""
        self._start(self._flush_forever(), "ledger flush")
        first = self._start(self._recover_once(), "ledger recovery")
        await asyncio.wait([first], timeout=self._options.recovery_wait_s)
        self._start(self._sweep_forever(first), "ledger sweep")
        self._start(self._keep_house(), "ledger house")
        self._start(self._keep_retention(), "ledger retention")

    async def close(self) -> None:
        """Writes what is left to PostgreSQL, for at most `ledger_close_s`. What is not done by then stays in the
        journal for the next process."""
        self._released.set()
        if self._release_timer is not None:
            self._release_timer.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.close_s):
                while len(self._backlog):
                    await self._flush()
        while self._tasks:
            task = self._tasks.pop()
            task.cancel()
            await asyncio.wait([task])
        if len(self._backlog):
            _log.warning("records of calls wait in the journal for the next start", records=len(self._backlog))
        self._journal.look_for_room()
        self._journal.close()
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

    # The way to PostgreSQL

    async def _flush_forever(self) -> None:
        while True:
            await self._some.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.flush_ms / 1000):
                    await self._many.wait()
            await self._released.wait()
            try:
                await self._flush()
            except OSError as error:
                _log.error("the journal could not be read; it is tried again", error=str(error))
                await asyncio.sleep(RETRY_AFTER_S)
            if not len(self._backlog):
                self._some.clear()
            if len(self._backlog) < self._options.batch_max:
                self._many.clear()

    async def _flush(self) -> None:
        """One batch, surely."""
        backoff = Backoff(0.1, 5.0)
        while True:
            async with self._flushing:
                await self._backlog.refill()
                batch = self._backlog.first(self._options.batch_max)
                if not batch:
                    return
                if await self._writer.write(batch):
                    AFTER_FLUSH.hit()
                    self._backlog.done(len(batch))
                    self._journal.flushed(batch)
                    return
            await asyncio.sleep(backoff.next_s())
            await self._released.wait()

    async def _store(self, records: Sequence[CallRecord]) -> None:
        """Records of a process that is gone, surely; they wait for pauses too."""
        backoff = Backoff(0.1, 5.0)
        while True:
            await self._released.wait()
            async with self._flushing:
                if await self._writer.write(records):
                    return
            await asyncio.sleep(backoff.next_s())

    # What is left, and what is in the way

    async def _recover_once(self) -> None:
        try:
            await self._recovery.run_once()
        except Exception as error:
            if not (isinstance(error, MeshError) or is_away(error)):
                _log.exception("journals of processes gone could not be accounted for; they are tried again")
            else:
                _log.warning("journals of processes gone wait until what they need is back", error=str(error))

    async def _sweep_forever(self, first: asyncio.Task[None]) -> None:
        await asyncio.wait([first])
        while True:
            await asyncio.sleep(self._options.sweep_s)
            await self._recover_once()

    async def _keep_house(self) -> None:
        while True:
            if self._journal.unwritable:
                self._journal.look_for_room()
            self._end_abandoned()
            JOURNAL_BYTES.set(self._journal.size)
            JOURNAL_FULL.set(self._journal.unwritable)
            OPEN.set(len(self._journal.open))
            TOKENS_IN_FLIGHT.set(sum(record.reserved_tokens for record in self._journal.open.values()))
            BACKLOG.set(len(self._backlog))
            await asyncio.sleep(HOUSEKEEPING_S)

    async def _keep_retention(self) -> None:
        while True:
            try:
                await self._writer.keep(self._options.retention_days, self._options.rollup_retention_days)
            except Exception as error:
                _log.warning("the retention of the ledger could not be kept; it is tried again", error=str(error))
                await asyncio.sleep(KEEP_RETRY_S)
                continue
            await asyncio.sleep(KEEP_S)

    def _end_abandoned(self) -> None:
        """Calls that nobody ended though their time is long over count as lost. They stand in order of their begin."""
        now_ns = int(self._clock.time() * 1e9)
        oldest_ns = now_ns - int(self._options.open_max_s * 1e9)
        while self._journal.open:
            record = next(iter(self._journal.open.values()))
            if record.begin_time_ns > oldest_ns:
                return
            record.lose((now_ns - record.begin_time_ns) // 1000)
            RECOVERED.labels("abandoned").inc()
            _log.error("a call was never ended; it counts as lost", record_id=record.record_id)
            self.finish(record)

    def _start(self, work: Coroutine[None, None, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        return task

    def _guard_texts(self, record: CallRecord) -> None:
        if not (record.input_text or record.output_text):
            return
        if not self._options.keep_texts:
            record.input_text = record.output_text = ""
            return
        most = self._options.text_chars_max
        # Redacted before it is cut: half a secret may be none to the rules.
        record.input_text = self._redact(record.input_text[: 2 * most])[:most]
        record.output_text = self._redact(record.output_text[: 2 * most])[:most]
