"""Ends of examples, committed in groups: the row, its event and the money in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog
from prometheus_client import Counter
from promptmesh.inference.v1 import events_pb2

from services.inference.examples.budget import Settlement, settle
from services.inference.examples.job import ExampleJob
from services.mesh.backoff import Backoff
from services.mesh.database import Connection, Database, queries
from services.mesh.dependencies import is_away
from services.mesh.errors import MeshError
from services.mesh.events.envelope import NewEvent
from services.mesh.events.outbox import Outbox
from services.mesh.failpoints import Failpoint

SQL = queries("services.inference")
BEFORE_FINISH = Failpoint("examples.before_finish")
AFTER_FINISH = Failpoint("examples.after_finish")
GROUP_MAX = 128
EXAMPLES = Counter("promptmesh_examples", "Examples that ended, by how.", ("outcome",))
OUTCOMES: Mapping[int, str] = {
    events_pb2.EXAMPLE_OUTCOME_READY: "ready",
    events_pb2.EXAMPLE_OUTCOME_FAILED: "failed",
    events_pb2.EXAMPLE_OUTCOME_WITHHELD: "withheld",
}

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Ending:
    """What becomes of one example: `event` finishes it, without one it is tried again after `retry_after_s`.

    `job` None: only the money is settled. `attempts`: what this one counts for, of those that an example has.
    """

    job: ExampleJob | None
    event: events_pb2.ExampleFinished | None = None
    retry_after_s: float = 0.0
    attempts: int = 1
    settlement: Settlement | None = None
    done: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Finisher:
    """Commits endings, those that come within `batch_s` together. While one group commits, the next one gathers.

    With PostgreSQL away it holds them and tries again: nothing that was written is lost while the process lives.
    """

    def __init__(self, database: Database, outbox: Outbox, holder: str, *, batch_s: float = 0.005) -> None:
        self._database = database
        self._outbox = outbox
        self._holder = holder
        self._batch_s = batch_s
        self._waiting: list[Ending] = []
        self._task: asyncio.Task[None] | None = None

    async def end(self, ending: Ending) -> None:
        """Returns when it is committed, or when the example turned out not to be ours any more."""
        self.add(ending)
        await ending.done

    def add(self, ending: Ending) -> None:
        """As `end`, for those who do not wait."""
        self._waiting.append(ending)
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def close(self, timeout_s: float) -> None:
        """Commits what is left, as far as that succeeds in time; the rest is another process's to do again."""
        task = self._task
        if task is not None:
            await asyncio.wait({task}, timeout=timeout_s)
            task.cancel()

    async def _run(self) -> None:
        backoff = Backoff(0.1, 2.0)
        try:
            while self._waiting:
                await asyncio.sleep(self._batch_s)
                group, self._waiting = self._waiting[:GROUP_MAX], self._waiting[GROUP_MAX:]
                await self._commit_surely(group, backoff)
                backoff.reset()
                for ending in group:
                    if not ending.done.done():
                        ending.done.set_result(None)
        finally:
            self._task = None

    async def _commit(self, group: list[Ending]) -> bool:
        """False: PostgreSQL is away, or asks for the transaction to be run again."""
        BEFORE_FINISH.hit()
        try:
            async with self._database.transaction() as conn:
                await self._write(conn, group)
        except MeshError:
            return False
        except Exception as error:
            if is_away(error):
                return False
            _log.exception("ends of examples could not be committed together", examples=len(group))
            if len(group) > 1:
                # One that PostgreSQL refuses must not hold up the rest; its row stays, and it is run again.
                for ending in group:
                    await self._commit_surely([ending], Backoff(0.1, 2.0))
            return True
        AFTER_FINISH.hit()
        for ending in group:
            if ending.event is not None:
                EXAMPLES.labels(OUTCOMES.get(ending.event.outcome, "unknown")).inc()
        return True

    async def _commit_surely(self, group: list[Ending], backoff: Backoff) -> None:
        committed = await self._commit(group)
        while not committed:
            await asyncio.sleep(backoff.next_s())
            committed = await self._commit(group)

    async def _write(self, conn: Connection, group: list[Ending]) -> None:
        # In order of id, so that two transactions never wait for each other.
        jobs = sorted(
            ((ending.job, ending) for ending in group if ending.job is not None), key=lambda pair: pair[0].post_id
        )
        finished = {job.post_id: (job, ending.event) for job, ending in jobs if ending.event is not None}
        again = [(job, ending) for job, ending in jobs if ending.event is None]
        if finished:
            rows = await conn.fetch(
                SQL["finish_examples"],
                self._holder,
                list(finished),
                [job.revision for job, _ in finished.values()],
            )
            # A row that did not change was superseded, deleted or taken over: what we have is nobody's answer.
            ours = {row["post_id"] for row in rows}
            await self._outbox.append(
                conn,
                [
                    NewEvent(job.org_id, job.post_id, job.revision, event, job.traceparent or None)
                    for job, event in finished.values()
                    if job.post_id in ours and event is not None
                ],
            )
        if again:
            await conn.execute(
                SQL["requeue_examples"],
                self._holder,
                [job.post_id for job, _ in again],
                [job.revision for job, _ in again],
                [ending.retry_after_s for _, ending in again],
                [ending.attempts for _, ending in again],
            )
        await settle(conn, [ending.settlement for ending in group if ending.settlement is not None])
