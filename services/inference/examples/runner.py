"""Runs jobs: launches, cancels, tries again, and takes over what other processes left.

Who may write a row is decided by its `holder`, the incarnation of a process that renews its lease. A process that
starts anew under its name is another incarnation, so it takes its own leftovers at once; those of a process that does
not come back go to others when its lease ends. Everything is checked again where an example is finished: a process
that lost a row without noticing finishes nothing.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog
from prometheus_client import Gauge

from services.inference.catalog import Catalog, Offers
from services.inference.engine.call import ModelCall
from services.inference.examples.budget import Budget, CapReachedError, Settlement
from services.inference.examples.finisher import OUTCOMES, Ending, Finisher
from services.inference.examples.job import ExampleJob, call_for
from services.inference.examples.table import ExampleTable
from services.inference.examples.writer import FAILURE, FAILURES, PASSING, Writer, failed
from services.inference.money import dollars
from services.mesh.backoff import Backoff
from services.mesh.call import Call, enter
from services.mesh.errors import MeshError
from services.mesh.ids import uuid7
from services.mesh.telemetry.traces import Tracing

# Rows that end free room for rows that wait; looking for those is bundled.
CLAIM_PAUSE_S = 0.01
AWAY = "DEPENDENCY_UNAVAILABLE"
UNDER_WAY = Gauge("promptmesh_examples_under_way", "Examples that this process writes.")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """How examples are run. Times in seconds."""

    streams_max: int = 256
    output_tokens_max: int = 256
    attempts_max: int = 3
    retry_first_s: float = 1.0
    retry_most_s: float = 30.0
    sweep_s: float = 1.0
    stop_s: float = 2.0


@dataclass(slots=True)
class _Running:
    job: ExampleJob
    task: asyncio.Task[None]
    launch_time: float


class ExampleRunner:
    """The jobs of one process."""

    def __init__(
        self,
        table: ExampleTable,
        offers: Offers,
        writer: Writer,
        finisher: Finisher,
        budget: Budget,
        options: RunnerOptions | None = None,
        *,
        tracing: Tracing | None = None,
    ) -> None:
        self._table = table
        self._offers = offers
        self._writer = writer
        self._finisher = finisher
        self._budget = budget
        self._options = options or RunnerOptions()
        self._tracing = tracing or Tracing("", "", 0.0)
        self._slots = asyncio.Semaphore(self._options.streams_max)
        self._running: dict[str, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._queued = True  # whether rows may wait in the table; at a start nobody knows
        self._stopped = False
        self._time: Callable[[], float] = asyncio.get_running_loop().time

    @property
    def incarnation(self) -> str:
        """Who holds the rows that this process runs."""
        return self._table.incarnation

    @property
    def room(self) -> int:
        """How many more jobs may be launched now. None while rows wait in the table: they come first."""
        if self._stopped or self._queued or not self._table.entered:
            return 0
        return max(0, self._options.streams_max - len(self._running))

    @property
    def running(self) -> int:
        """How many jobs this process has."""
        return len(self._running)

    def launch(self, job: ExampleJob) -> None:
        """Starts a job whose row this process holds. An older revision of the post is cancelled; the same one, or a
        newer, is left alone."""
        known = self._running.get(job.post_id)
        if self._stopped or (known is not None and known.job.revision >= job.revision):
            return
        if known is not None:
            known.task.cancel()
        # In no one's context: a job without a trace would be taken for a part of what its launcher works on.
        task = asyncio.create_task(self._run(job), context=contextvars.Context())
        running = _Running(job, task, self._time())
        self._running[job.post_id] = running
        self._tasks.add(task)
        UNDER_WAY.set(len(self._running))
        task.add_done_callback(lambda _: self._ended(running))

    def cancel(self, post_id: str, before_revision: int | None = None) -> None:
        """Stops the job of a post, up to the provider; `before_revision`: only an older one."""
        known = self._running.get(post_id)
        if known is not None and (before_revision is None or known.job.revision < before_revision):
            known.task.cancel()

    def expect_queued(self) -> None:
        """Rows wait in the table."""
        self._queued = True

    def wake(self) -> None:
        """Looks for rows that wait, if there may be some and there is room."""
        if self._queued:
            self._wake.set()

    async def sweep_forever(self) -> None:
        """Looks for orphaned and waiting rows, and at what became of our own; runs until cancelled."""
        while True:
            next_sweep_time = self._time() + self._options.sweep_s
            await _unless_away(self.sweep)
            while await self._woken_before(next_sweep_time):
                await asyncio.sleep(CLAIM_PAUSE_S)
                await _unless_away(self._claim)

    async def sweep(self) -> None:
        """One look at everything."""
        await self._table.keep()
        if not self._table.entered:
            # Another process of this name runs; what we hold is its by now.
            self._cancel_all()
            return
        await self._reconcile()
        room = self._options.streams_max - len(self._running)
        if room > 0 and not self._stopped:
            self._launch_all(await self._table.adopt(room))
        await self._claim()

    async def stop(self) -> None:
        """Stops all jobs and gives their rows back, so that others go on with them at once."""
        self._stopped = True
        self._cancel_all()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._options.stop_s)
        await self._finisher.close(self._options.stop_s)
        await self._table.leave()

    async def _woken_before(self, time: float) -> bool:
        try:
            async with asyncio.timeout_at(time):
                await self._wake.wait()
        except TimeoutError:
            return False
        self._wake.clear()
        return True

    async def _claim(self) -> None:
        room = self._options.streams_max - len(self._running)
        if room <= 0 or self._stopped or not self._table.entered:
            return
        jobs = await self._table.claim(room)
        # Fewer than asked for: nothing more waits whose time has come.
        self._queued = len(jobs) == room
        self._launch_all(jobs)

    async def _reconcile(self) -> None:
        """Compares what the table says we hold with what we run: starts what was missed, as where the answer to a
        commit was lost, and stops what is not ours any more."""
        look_time = self._time()
        held = await self._table.held()
        for post_id, running in list(self._running.items()):
            if running.launch_time < look_time and held.get(post_id) != running.job.revision:
                running.task.cancel()
        missed = [
            post_id
            for post_id, revision in held.items()
            if post_id not in self._running or self._running[post_id].job.revision < revision
        ]
        if missed:
            self._launch_all(await self._table.take(missed))

    def _launch_all(self, jobs: Sequence[ExampleJob]) -> None:
        for job in jobs:
            self.launch(job)

    def _cancel_all(self) -> None:
        for running in self._running.values():
            running.task.cancel()

    def _ended(self, running: _Running) -> None:
        self._tasks.discard(running.task)
        if self._running.get(running.job.post_id) is running:
            del self._running[running.job.post_id]
            UNDER_WAY.set(len(self._running))
        self.wake()

    async def _run(self, job: ExampleJob) -> None:
        async with self._slots:
            with self._tracing.span("write example", job.traceparent) as inside:
                # What the model and moderation are asked for it, and what is logged meanwhile, is of its post's trace.
                enter(Call(uuid7(), "/examples/write", traceparent=inside))
                ending = await self._ending(job)
                if ending.event is not None:
                    outcome = OUTCOMES.get(ending.event.outcome, "unknown")
                    _log.info("an example is written", post_id=job.post_id, revision=job.revision, outcome=outcome)
            await self._finisher.end(ending)

    async def _ending(self, job: ExampleJob) -> Ending:
        catalog = self._offers.catalog
        call = call_for(job, catalog.examples, self._options.output_tokens_max)
        try:
            reservation_id = await self._reserve(catalog, call)
        except CapReachedError:
            cap = dollars(catalog.examples_daily_cap_nanos or 0)
            _log.warning("the daily cap of examples is reached", post_id=job.post_id, cap=cap)
            return Ending(job, failed(job, f"The daily cap for examples ({cap}) is reached.", catalog.examples.name))
        costs: list[int] = []
        ending: Ending | None = None
        try:
            ending = Ending(job, await self._writer.write(job, call, costs))
        except MeshError as error:
            ending = self._after_failure(job, catalog.examples.name, error)
        except Exception as error:
            _log.exception("an example failed for no known reason", post_id=job.post_id, revision=job.revision)
            ending = self._after_failure(job, catalog.examples.name, MeshError("INTERNAL", type(error).__name__))
        finally:
            if reservation_id is not None:
                settlement = Settlement(reservation_id, sum(costs))
                if ending is None:
                    # Cancelled: the money is settled all the same.
                    self._finisher.add(Ending(None, settlement=settlement))
                else:
                    ending.settlement = settlement
        return ending

    async def _reserve(self, catalog: Catalog, call: ModelCall) -> str | None:
        backoff = Backoff(0.1, 5.0)
        while True:
            try:
                return await self._budget.reserve(catalog, call)
            except MeshError:
                await asyncio.sleep(backoff.next_s())

    def _after_failure(self, job: ExampleJob, model: str, error: MeshError) -> Ending:
        attempts = job.attempts + 1
        if error.reason == AWAY or _nothing_was_asked(error):
            # Of the mesh, the journal's disk for one, or of breakers that are open: no provider was asked, and the
            # example waits until one can be.
            _log.warning("an example waits", post_id=job.post_id, revision=job.revision, error=str(error))
            delay_s = min(max(self._options.retry_first_s, error.retry_after_s or 0.0), self._options.retry_most_s)
            return Ending(job, retry_after_s=delay_s, attempts=0)
        again = error.reason in PASSING and attempts < self._options.attempts_max
        _log.warning(
            "an attempt at an example failed",
            post_id=job.post_id,
            revision=job.revision,
            attempts=attempts,
            again=again,
            error=str(error),
        )
        if not again:
            return Ending(job, failed(job, FAILURES.get(error.reason, FAILURE), model))
        delay_s = min(self._options.retry_first_s * 2 ** (attempts - 1), self._options.retry_most_s)
        return Ending(job, retry_after_s=max(delay_s, min(error.retry_after_s or 0.0, self._options.retry_most_s)))


def _nothing_was_asked(error: MeshError) -> bool:
    """Whether the route left every target alone (`Plan.refusal`), and time may mend that: a credential that is refused
    is for people to mend, and whoever waits for the example is told so."""
    return error.metadata.get("attempts") == "0" and error.metadata.get("targets") != "PROVIDER_CREDENTIAL_REFUSED"


async def _unless_away(look: Callable[[], Awaitable[None]]) -> None:
    """With PostgreSQL away there is nothing to see; the next look comes soon."""
    try:
        await look()
    except MeshError as error:
        if error.reason != AWAY:
            raise
